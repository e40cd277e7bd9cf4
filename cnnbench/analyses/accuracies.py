"""Test accuracies of finished runs with their intervals, as pictures of cost draw them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnnbench.runs import DamagedError, Run
from cnnbench.statistics import Estimate, binomial_interval, mean_interval


@dataclass(frozen=True)
class Point:
    """A variant: its cost (mean over seeds), its test accuracy with the 95 % interval where one is known."""

    label: str
    x: float
    mean: float
    low: float | None
    high: float | None


def accuracy_of(runs: Sequence[Run]) -> Estimate | None:
    """Test accuracy as a fraction, with the interval over seeds, or of one seed the binomial interval.

    None where no run has a test accuracy.
    """
    measured = [
        (run, value) for run in runs if (value := result_of(run)["metrics"].get("test_accuracy")) is not None
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
    right = arrays["test_predictions"] == arrays["test_targets"]
    return binomial_interval(int(right.sum()), len(right))


def result_of(run: Run) -> dict[str, Any]:
    """The result of a complete run."""
    result = run.result()
    assert result is not None, f"{run.path} is not complete"  # a Subject holds complete runs
    return result
