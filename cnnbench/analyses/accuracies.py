"""Test accuracies of finished runs with their intervals, as pictures of cost draw them."""

from collections.abc import Sequence
from typing import Any

from cnnbench.measures import scores_of_masks
from cnnbench.reading import DamagedError
from cnnbench.runs import Run
from cnnbench.statistics import PROPORTION, Estimate, binomial_interval, image_interval, mean_interval


def accuracy_of(runs: Sequence[Run], measure: str = "accuracy", split: str = "test") -> Estimate | None:
    """The measure on a split as a fraction, with the interval over seeds, or of one seed that over images.

    None where no run has it.
    """
    name = f"{split}_{measure}"
    measured = [(run, value) for run in runs if (value := result_of(run)["metrics"].get(name)) is not None]
    if not measured:
        return None
    if len(measured) > 1:
        return mean_interval([value for _, value in measured], within=PROPORTION)
    run, value = measured[0]
    try:
        arrays = run.predictions()
    except DamagedError:
        return Estimate(value, None, None, None, 1)
    predicted, targets = arrays[f"{split}_predictions"], arrays[f"{split}_targets"]
    if targets.ndim > 1:
        return image_interval(scores_of_masks(predicted, targets, arrays.get(f"{split}_groups"))[measure])
    right = predicted == targets
    return binomial_interval(int(right.sum()), len(right))


def result_of(run: Run) -> dict[str, Any]:
    """The result of a complete run."""
    result = run.result()
    assert result is not None, f"{run.path} is not complete"  # a Subject holds complete runs
    return result
