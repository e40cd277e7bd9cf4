"""Accuracy (of masks IoU) against what it costs: parameters, multiply-adds, training time."""

from collections.abc import Iterator, Sequence

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.accuracies import accuracy_of, result_of
from cnnbench.analyses.base import Analysis, Figure, Subject
from cnnbench.devices import described
from cnnbench.runs import Run
from cnnbench.statistics import Estimate, Point, is_steady, mean_interval, pareto_front

COSTS = (
    ("num_params", "accuracy_vs_parameters", "parameters", "parameters"),
    ("macs", "accuracy_vs_macs", "multiply-adds", "multiply-adds per image"),
    ("train_seconds", "accuracy_vs_time", "training time", "training time (s)"),
)


class AccuracyVsCost(Analysis):
    """Which variants buy accuracy at the least cost."""

    def analyse(self, subject: Subject) -> Iterator[Figure]:
        """Yields one picture per cost that is known, and above 0, for at least one variant.

        None of training time where the runs are not of one machine, shared with as many others, or where
        those of a variant took unequally long: their seconds do not compare.
        """
        devices = {described(result_of(run).get("device")) for run in subject.runs}
        measure = subject.leading()
        word = measures.label(measure)
        split, on = ("val", "validation") if subject.judged_on == "val" else ("test", "test")
        accuracies = {name: accuracy_of(runs, measure, split) for name, runs in subject.trained().items()}
        trained = list(subject.trained().items())
        data_sets = list(dict.fromkeys(subject.data_set(name) for name, _ in trained))
        for key, file_name, words, axis in COSTS:
            if key == "train_seconds" and (len(devices) > 1 or not _are_steady(subject)):
                continue
            for number, data in enumerate(data_sets, start=1):
                points = []
                styles = []
                for index, (name, runs) in enumerate(trained):
                    estimate, cost = accuracies[name], _mean_cost(runs, key)
                    if subject.data_set(name) == data and estimate is not None and cost is not None:
                        points.append(Point(name, cost, estimate.mean, estimate.low, estimate.high))
                        styles.append(plots.style_of(index))
                if not any(point.x > 0 for point in points):  # untrained, all stand at 0 s
                    continue
                several = len(data_sets) > 1
                yield Figure(
                    name=f"{file_name}_{number}" if several else file_name,
                    title=f"{on.capitalize()} {word} against {words}" + f" ({data})" * several,
                    caption=_caption(points, accuracies, words, measure, on) + subject.diverged_note(),
                    figure=plots.cost_plot(points, x_label=axis, y_label=f"{on} {word} (%)", styles=styles),
                )


def _caption(
    points: Sequence[Point], accuracies: dict[str, Estimate | None], words: str, measure: str, on: str
) -> str:
    several = any(estimate is not None and estimate.num > 1 for estimate in accuracies.values())
    single = any(estimate is not None and estimate.num == 1 for estimate in accuracies.values())
    kinds = []
    if several:
        kinds.append("Student's t over seeds (the luck of training)")
    if single:
        how = "binomial" if measure == "accuracy" else "over images"
        kinds.append(f"{how} where there is one seed (the luck of the {on} images)")
    front = pareto_front([point.x for point in points], [point.mean for point in points])
    text = f"Error bars are 95 % intervals: {'; '.join(kinds)}."
    if len(points) > 1:
        names = ", ".join(points[index].label for index in front)
        text += f" On the Pareto front of {words}, going by the means alone: {names}."
        text += " Markers that would cover each other are drawn side by side, about where they belong."
    if words == "training time":
        text += " Times compare only between runs on the same, otherwise idle, machine."
    return text


def _are_steady(subject: Subject) -> bool:
    """Whether the seeds of each variant took about as long as one another."""
    seconds = [
        [float(value) for run in runs if (value := result_of(run).get("train_seconds")) is not None]
        for runs in subject.trained().values()
    ]
    return all(is_steady(mean_interval(values)) for values in seconds if len(values) > 1)


def _mean_cost(runs: Sequence[Run], key: str) -> float | None:
    values = [value for run in runs if (value := result_of(run).get(key)) is not None]
    return sum(values) / len(values) if values else None
