"""Measures from counts, and what they are where there is nothing to find."""

import math
from typing import Any

import numpy as np
import pytest

from cnnbench import measures
from cnnbench.measures import scores_of_masks
from cnnbench.statistics import image_interval

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


def masks(seed: int, num_images: int = 40, wrong: float = 0.1) -> tuple[Any, Any]:
    """Predictions and targets (N, 8, 8) whose images have from no to many pixels of class 1."""
    rng = np.random.default_rng(0)
    targets = (rng.random((num_images, 8, 8)) < rng.random((num_images, 1, 1)) / 2).astype(np.uint8)
    mistakes = np.random.default_rng(seed).random(targets.shape) < wrong
    return np.where(mistakes, 1 - targets, targets), targets


def test_the_mean_score_of_masks_is_the_measure_over_all_pixels() -> None:
    from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

    predicted, targets = masks(1)
    scores = scores_of_masks(predicted, targets)
    for measure, theirs in (
        ("iou", jaccard_score), ("dice", f1_score), ("accuracy", accuracy_score),
        ("precision", precision_score), ("recall", recall_score),
    ):  # fmt: skip
        assert scores[measure].shape == (40,)
        assert scores[measure].mean() == pytest.approx(theirs(targets.ravel(), predicted.ravel()))


def test_the_spread_of_scores_is_that_of_the_bootstrap() -> None:
    """The interval from linearized scores against resampling images and computing IoU anew."""
    predicted, targets = masks(1, num_images=200)
    scores = scores_of_masks(predicted, targets)["iou"]
    both = (predicted & targets).sum((1, 2))
    either = (predicted | targets).sum((1, 2))
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 200, (4000, 200))
    resampled = both[drawn].sum(1) / either[drawn].sum(1)
    assert scores.std(ddof=1) / math.sqrt(200) == pytest.approx(resampled.std(), rel=0.05)
    interval = image_interval(scores)
    assert interval.low == pytest.approx(np.quantile(resampled, 0.025), abs=0.005)
    assert interval.high == pytest.approx(np.quantile(resampled, 0.975), abs=0.005)


def test_copies_of_one_photograph_count_as_one() -> None:
    predicted, targets = masks(1, num_images=10)
    once = scores_of_masks(predicted, targets)["iou"]
    copied = scores_of_masks(
        np.repeat(predicted, 3, axis=0), np.repeat(targets, 3, axis=0), np.repeat(np.arange(10), 3)
    )["iou"]
    assert copied == pytest.approx(once)
    naive = scores_of_masks(np.repeat(predicted, 3, axis=0), np.repeat(targets, 3, axis=0))["iou"]
    wide, narrow = image_interval(copied), image_interval(naive)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)  # type: ignore[operator]


@pytest.mark.parametrize(("predicted", "value"), [(0, 1.0), (1, 0.0)], ids=["found empty", "found full"])
def test_scores_of_empty_masks(predicted: int, value: float) -> None:
    empty = np.zeros((3, 4, 4), dtype=np.uint8)
    assert scores_of_masks(empty + np.uint8(predicted), empty)["iou"].tolist() == [value] * 3
