"""Accuracy (of masks IoU) against what it costs: parameters, multiply-adds, training time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Figure, Subject
from cnnbench.runs import DamagedError, Run
from cnnbench.statistics import (
    Estimate,
    binomial_interval,
    image_interval,
    mean_interval,
    scores_of_masks,
)

COSTS = (
    ("num_params", "accuracy_vs_parameters", "parameters", "parameters"),
    ("macs", "accuracy_vs_macs", "multiply-adds", "multiply-adds per image"),
    ("train_seconds", "accuracy_vs_time", "training time", "training time (s)"),
)


@dataclass(frozen=True)
class Point:
    """A variant: its cost (mean over seeds), its test accuracy with the 95 % interval where one is known."""

    label: str
    x: float
    mean: float
    low: float | None
    high: float | None


def accuracy_of(runs: Sequence[Run], measure: str = "accuracy") -> Estimate | None:
    """The measure on test as a fraction, with the interval over seeds, or of one seed that over images.

    None where no run has it.
    """
    measured = [
        (run, value) for run in runs if (value := _result(run)["metrics"].get(f"test_{measure}")) is not None
    ]
    if not measured:
        return None
    if len(measured) > 1:
        return mean_interval([value for _, value in measured], proportion=True)
    run, value = measured[0]
    try:
        arrays = run.predictions()
    except DamagedError:
        return Estimate(value, None, None, None, 1)
    predicted, targets = arrays["test_predictions"], arrays["test_targets"]
    if targets.ndim > 1:
        return image_interval(scores_of_masks(predicted, targets, arrays.get("test_groups"))[measure])
    right = predicted == targets
    return binomial_interval(int(right.sum()), len(right))


class AccuracyVsCost(Analysis):
    """Which variants buy accuracy at the least cost."""

    def analyse(self, subject: Subject) -> Iterator[Figure]:
        """Yields one picture per cost that is known for at least one variant."""
        measure = subject.leading()
        word = measures.label(measure)
        accuracies = {name: accuracy_of(runs, measure) for name, runs in subject.trained().items()}
        for key, file_name, words, axis in COSTS:
            points = []
            styles = []
            for index, (name, runs) in enumerate(subject.trained().items()):
                estimate, cost = accuracies[name], _mean_cost(runs, key)
                if estimate is not None and cost is not None:
                    points.append(Point(name, cost, estimate.mean, estimate.low, estimate.high))
                    styles.append(plots.style_of(index))
            if points:
                yield Figure(
                    name=file_name,
                    title=f"Test {word} against {words}",
                    caption=_caption(points, accuracies, words, measure) + subject.diverged_note(),
                    figure=plots.cost_plot(points, x_label=axis, y_label=f"test {word} (%)", styles=styles),
                )


def _caption(
    points: Sequence[Point], accuracies: dict[str, Estimate | None], words: str, measure: str
) -> str:
    several = any(estimate is not None and estimate.num > 1 for estimate in accuracies.values())
    single = any(estimate is not None and estimate.num == 1 for estimate in accuracies.values())
    kinds = []
    if several:
        kinds.append("Student's t over seeds (the luck of training)")
    if single:
        how = "binomial" if measure == "accuracy" else "over images"
        kinds.append(f"{how} where there is one seed (the luck of the test images)")
    front = plots.pareto_front([point.x for point in points], [point.mean for point in points])
    text = f"Error bars are 95 % intervals: {'; '.join(kinds)}."
    if len(points) > 1:
        names = ", ".join(points[index].label for index in front)
        text += f" On the Pareto front of {words}, going by the means alone: {names}."
        text += " Variants of nearly equal cost stand side by side."
    if words == "training time":
        text += " Times compare only between runs on the same, otherwise idle, machine."
    return text


def _result(run: Run) -> dict[str, Any]:
    result = run.result()
    assert result is not None, f"{run.path} is not complete"  # a Subject holds complete runs
    return result


def _mean_cost(runs: Sequence[Run], key: str) -> float | None:
    values = [value for run in runs if (value := _result(run).get(key)) is not None]
    return sum(values) / len(values) if values else None
