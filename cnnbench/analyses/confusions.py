"""Test predictions as confusion matrices, run by run: what the analyses of single classes share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnbench.analyses.base import Subject
from cnnbench.reading import DamagedError

Counts = NDArray[np.int64]  # (num_classes, num_classes): row = true class, column = predicted class


@dataclass(frozen=True)
class Confusions:
    """The matrices of a subject's trained runs by variant, one for each readable run, and their classes.

    `note` ends a caption: it names the runs that are left out, if any.
    """

    classes: dict[str, Sequence[str]]
    counts: dict[str, list[Counts]]
    note: str
    unit: str = "images"  # what is counted


def count_confusions(targets: NDArray[Any], predictions: NDArray[Any], num_classes: int) -> Counts:
    """How many images (of masks: pixels) of each true class (row) were predicted as each class (column)."""
    cells = targets.ravel().astype(np.int64) * num_classes + predictions.ravel().astype(np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def read_confusions(subject: Subject) -> Confusions:
    """What the trained runs predicted on the test images; a variant without a readable run is left out."""
    classes: dict[str, Sequence[str]] = {}
    counts: dict[str, list[Counts]] = {}
    unreadable = []
    for name, runs in subject.trained().items():
        for run in runs:
            try:
                arrays = run.predictions()
            except DamagedError:
                unreadable.append(run.label)
                continue
            names = classes.setdefault(name, subject.classes(run))
            found = count_confusions(arrays["test_targets"], arrays["test_predictions"], len(names))
            counts.setdefault(name, []).append(found)
    note = subject.diverged_note()
    if unreadable:
        note += f" Predictions could not be read, so not counted: {', '.join(unreadable)}."
    return Confusions(classes, counts, note, "pixels" if subject.leading() == "iou" else "images")


def of_equal_classes(classes: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The variants, those with the same classes together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, names in classes.items():
        groups.setdefault(tuple(names), []).append(name)
    return list(groups.values())
