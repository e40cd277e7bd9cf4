"""The course of a training: a column of the history by epoch, and numbers of one run made of it.

A change is that of validation accuracy into an epoch of the second half of training: with E epochs, into
epochs e > E/2. Progress that grows or fades steadily is no instability; how far the changes scatter about it
is: the roughness of a run is their residual standard deviation about the straight line through them (least
squares, over the epochs; n - 2 degrees of freedom).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cnnbench.reading import DamagedError
from cnnbench.runs import Run

MIN_CHANGES = 3  # two are always on a line: at least 5 epochs are needed


def values_by_epoch(run: Run, column: str, scale: float = 1.0) -> dict[int, float]:
    """The finite values of a column of the run's history, times `scale`, by epoch.

    What train found of masks counts only where the row says at which threshold, which validation's then was
    too: earlier runs took one half.
    """
    of_train = column.startswith("train_") and column != "train_loss"
    rows = (
        (row["epoch"], row.get(column))
        for row in run.history()
        if not (of_train and "val_iou" in row and "threshold" not in row)
    )
    return {epoch: scale * value for epoch, value in rows if value is not None and math.isfinite(value)}


@dataclass(frozen=True)
class Jumps:
    """The changes of one run, in the unit of the accuracies that were given."""

    changes: list[float]  # MIN_CHANGES or more
    epochs: list[int]  # into which they lead

    @property
    def progress(self) -> float:
        """The mean change: what an epoch brought."""
        return fmean(self.changes)

    @property
    def roughness(self) -> float:
        """How far the changes scatter about their line: 0 where each epoch brought as much more or less."""
        middle = fmean(self.epochs)
        across = math.fsum((epoch - middle) ** 2 for epoch in self.epochs)
        pairs = list(zip(self.epochs, self.changes, strict=True))
        slope = math.fsum((epoch - middle) * change for epoch, change in pairs) / across
        squares = math.fsum(
            (change - self.progress - slope * (epoch - middle)) ** 2 for epoch, change in pairs
        )
        return math.sqrt(squares / (len(self.changes) - 2))

    @property
    def num_drops(self) -> int:
        """How often accuracy fell."""
        return sum(change < 0 for change in self.changes)

    @property
    def largest_drop(self) -> float:
        """By how much it fell at most; 0 where it never fell."""
        return max(0.0, -min(self.changes))


def stability_of(accuracies: Mapping[int, float]) -> Jumps | None:
    """The jumps of one run from its validation accuracy by epoch, or None where there are too few epochs.

    An epoch that is missing takes the change into it and out of it along.
    """
    last = max(accuracies, default=0)
    epochs = [
        epoch for epoch in range(last // 2 + 1, last + 1) if epoch in accuracies and epoch - 1 in accuracies
    ]
    changes = [accuracies[epoch] - accuracies[epoch - 1] for epoch in epochs]
    return Jumps(changes, epochs) if len(changes) >= MIN_CHANGES else None


def area_under_curve(accuracies: Mapping[int, float]) -> float | None:
    """The mean over epochs 1 to the last; None where one of them was not measured, or there is none.

    Of two trainings of one length it is larger for the one that learns sooner, or ends higher.
    """
    epochs = range(1, max(accuracies, default=0) + 1)
    if not epochs or any(epoch not in accuracies for epoch in epochs):
        return None
    return fmean(accuracies[epoch] for epoch in epochs)


def numbers_of(run: Run, result: Mapping[str, Any]) -> dict[str, float]:
    """What the history of a finished run adds to its `result`, as fractions, as far as it can be told.

    `area_under_curve` and `roughness` of the validation measure that leads; `val_gap` and `test_gap`: by how
    much train is ahead, all measured with the weights that are kept. Raises DamagedError.
    """
    leading = str(result.get("leading", "accuracy"))
    train = result["metrics"].get(f"train_{leading}")
    try:
        accuracies = values_by_epoch(run, f"val_{leading}")
        jumps = stability_of(accuracies)
        found = {
            "area_under_curve": area_under_curve(accuracies),
            "roughness": None if jumps is None else jumps.roughness,
        }
        for split in ("val", "test"):
            value = result["metrics"].get(f"{split}_{leading}")
            found[f"{split}_gap"] = None if train is None or value is None else float(train - value)
    except OverflowError as error:
        raise DamagedError(f"{run.path}: a val_{leading} that no run measures ({error})") from error
    return {name: value for name, value in found.items() if value is not None}
