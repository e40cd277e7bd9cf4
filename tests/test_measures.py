"""Measures from counts, and what they are where there is nothing to find."""

import pytest

from cnnbench import measures

COUNTS = (80, 6, 4, 10)  # true negatives, false positives, false negatives, true positives


@pytest.mark.parametrize(
    ("measure", "value"),
    [("accuracy", 0.9), ("iou", 10 / 20), ("dice", 20 / 30), ("precision", 10 / 16), ("recall", 10 / 14)],
)
def test_by_hand(measure: str, value: float) -> None:
    assert measures.ratio(measure, COUNTS) == pytest.approx(value)


@pytest.mark.parametrize("measure", ["iou", "dice", "precision", "recall"])
@pytest.mark.parametrize(
    ("counts", "value"),
    [((9, 0, 0, 0), 1.0), ((5, 4, 0, 0), 0.0), ((5, 0, 4, 0), 0.0), ((0, 0, 0, 0), 1.0)],
    ids=["both empty", "nothing to find", "nothing found", "no pixel"],
)
def test_empty_masks(measure: str, counts: tuple[int, int, int, int], value: float) -> None:
    assert measures.ratio(measure, counts) == value


def test_labels() -> None:
    assert measures.label("iou") == "IoU"
    assert measures.label("my_own") == "my own"
