"""Losses by hand, measures against scikit-learn, thresholds by trying them all, and what does not fit."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score
from torch.nn import functional as F

from cnnbench import metrics
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import Loss, TrainConfig
from cnnbench.tasks import Classification, Segmentation, check_task, dice_loss, make_task, reaches

MASKS = torch.tensor([[[1, 0], [0, 1]], [[0, 0], [0, 0]]], dtype=torch.uint8)


def logits_of(probabilities: Any) -> torch.Tensor:
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64))[:, None]


def test_bce_by_hand() -> None:
    logits = logits_of([[[0.9, 0.2], [0.1, 0.6]], [[0.5, 0.5], [0.5, 0.5]]])
    task = Segmentation(Loss(bce=1.0))
    first = -(math.log(0.9) + math.log(0.8) + math.log(0.9) + math.log(0.6)) / 4
    assert task.loss(logits, MASKS).item() == pytest.approx((first + math.log(2)) / 2)
    assert task.loss(logits, MASKS, "sum").item() == pytest.approx(first + math.log(2))
    assert task.loss(logits, MASKS).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(logits[:, 0], MASKS.double()).item()
    )


def test_dice_loss_by_hand() -> None:
    logits = logits_of([[[0.9, 0.2], [0.1, 0.6]], [[0.25, 0.25], [0.25, 0.25]]])
    first = 1 - (2 * 1.5 + 1) / (1.8 + 2 + 1)
    second = 1 - (0 + 1) / (1 + 0 + 1)  # nothing to find, one pixel's worth found
    assert Segmentation(Loss(dice=1.0)).loss(logits, MASKS).item() == pytest.approx((first + second) / 2)


def test_a_perfect_mask_costs_nothing() -> None:
    assert dice_loss(MASKS.double(), MASKS.double()).tolist() == [0, 0]


def test_a_sum_of_losses_is_weighted() -> None:
    logits = torch.randn(2, 1, 2, 2, dtype=torch.float64)
    bce, dice, both = (
        Segmentation(Loss(**weights)).loss(logits, MASKS).item()
        for weights in ({"bce": 1.0}, {"dice": 1.0}, {"bce": 0.3, "dice": 0.7})
    )
    assert both == pytest.approx(0.3 * bce + 0.7 * dice)


@pytest.mark.parametrize("weights", [{"bce": 1.0}, {"dice": 1.0}, {"bce": 0.5, "dice": 0.5}], ids=str)
def test_gradients_of_the_losses(weights: dict[str, float]) -> None:
    logits = torch.randn(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    task = Segmentation(Loss(**weights))
    assert torch.autograd.gradcheck(lambda values: task.loss(values, MASKS), (logits,))


@pytest.mark.parametrize("share", [0.03, 0.5, 0.0], ids=str)
def test_measures_are_those_of_scikit_learn(share: float) -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((4, 16, 16)) < share).astype(np.uint8)
    found = np.where(rng.random(truth.shape) < 0.1, 1 - truth, truth)
    logits = torch.from_numpy(found).float()[:, None] * 8 - 4
    measured = Segmentation().measures(Segmentation().counts(logits, torch.from_numpy(truth)))
    flat = truth.ravel(), found.ravel()
    assert measured["accuracy"] == pytest.approx(accuracy_score(*flat))
    assert measured["iou"] == pytest.approx(jaccard_score(*flat, zero_division=0))
    assert measured["dice"] == pytest.approx(f1_score(*flat, zero_division=0))
    assert measured["precision"] == pytest.approx(precision_score(*flat, zero_division=0))
    assert measured["recall"] == pytest.approx(recall_score(*flat, zero_division=0))


def test_both_masks_empty_is_as_scikit_learn_has_it_with_zero_division_1() -> None:
    empty = torch.zeros(2, 4, 4, dtype=torch.uint8)
    counts = Segmentation().counts(torch.full((2, 1, 4, 4), -4.0), empty)
    measured = Segmentation().measures(counts)
    flat = empty.flatten().numpy()
    assert measured["iou"] == jaccard_score(flat, flat, zero_division=1) == 1
    assert measured["dice"] == f1_score(flat, flat, zero_division=1) == 1


def test_predictions_reach_the_threshold() -> None:
    logits = logits_of([[[0.2, 0.45], [0.5, 0.9]]])
    assert Segmentation().predict(logits).tolist() == [[[0, 0], [1, 1]]]
    assert Segmentation(threshold=0.4).predict(logits).tolist() == [[[0, 1], [1, 1]]]
    assert Segmentation().predict(logits).dtype == torch.uint8


def test_the_threshold_is_the_best_of_all_candidates() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(6, 24, 24, generator=generator) < 0.15).to(torch.uint8)
    logits = 2 * torch.randn(6, 1, 24, 24, generator=generator) + 3 * truth[:, None].float() - 3.5
    task = Segmentation()
    counts = task.counts(logits, truth)
    tried = {}
    for place in range(1, 200):
        candidate = Segmentation(threshold=place / 200)
        measured = metrics.binary(metrics.confusion(truth, candidate.predict(logits), 2))
        assert candidate.measures(counts) == measured
        tried[place / 200] = measured["iou"]
    chosen = task.calibrated(counts)
    assert chosen.threshold == max(tried, key=lambda threshold: tried[threshold])
    assert tried[chosen.threshold] > tried[0.5]
    assert chosen.chosen() == {"threshold": chosen.threshold}
    assert torch.equal(task.counts(logits[:2], truth[:2]) + task.counts(logits[2:], truth[2:]), counts)


def test_masks_in_perfect_order_are_found_however_small_their_probabilities() -> None:
    truth = torch.tensor([[[0, 1], [1, 0]]], dtype=torch.uint8)
    logits = logits_of([[[0.01, 0.045], [0.045, 0.01]]])
    task = Segmentation()
    assert task.measures(task.counts(logits, truth))["iou"] == 0
    chosen = task.calibrated(task.counts(logits, truth))
    assert chosen.measures(task.counts(logits, truth))["iou"] == 1


def test_what_is_not_a_number_is_not_found() -> None:
    """Weights that diverged are measured before they are told: nothing may break there."""
    logits = torch.full((1, 1, 2, 2), math.nan)
    assert Segmentation().predict(logits).tolist() == [[[0, 0], [0, 0]]]
    assert Segmentation().counts(logits, MASKS[:1])[:, 0].tolist() == [2, 2]


def test_a_probability_reaches_a_threshold_where_it_was_counted_to() -> None:
    """Also the floats just beside one, where the product with 200 and the quotient round another way."""
    exact = torch.arange(1, 200, dtype=torch.float32) / 200
    probabilities = torch.cat([exact, exact.nextafter(torch.tensor(0.0)), exact.nextafter(torch.tensor(1.0))])
    counted = (probabilities * 200).long()
    for place in range(1, 200):
        assert torch.equal(reaches(probabilities, place / 200), counted >= place)


def test_of_equal_thresholds_the_middle_one_is_taken() -> None:
    logits = logits_of([[[0.01, 0.99], [0.99, 0.01]]])
    task = Segmentation(threshold=0.3)
    truth = torch.tensor([[[0, 1], [1, 0]]], dtype=torch.uint8)
    assert task.calibrated(task.counts(logits, truth)).threshold == 0.5


def test_the_task_has_the_loss_that_was_asked_for() -> None:
    assert make_task("classification", TrainConfig(label_smoothing=0.1)) == Classification(0.1)
    assert make_task("segmentation", TrainConfig()) == Segmentation(Loss(bce=0.5, dice=0.5))
    assert make_task("segmentation", TrainConfig(loss="dice")) == Segmentation(Loss(dice=1.0))  # type: ignore[arg-type]


def test_classification_is_plain_cross_entropy() -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    task = Classification(0.2)
    assert torch.equal(task.loss(logits, targets), F.cross_entropy(logits, targets))
    assert torch.equal(
        task.train_loss(logits, targets), F.cross_entropy(logits, targets, label_smoothing=0.2)
    )
    assert torch.equal(task.predict(logits), logits.argmax(1))
    counts = task.counts(logits, targets)
    assert torch.equal(counts, metrics.confusion(targets, logits.argmax(1), 3))
    assert task.measures(counts) == {"accuracy": metrics.accuracy(counts)}
    assert task.calibrated(counts) is task


@pytest.mark.parametrize(
    ("name", "settings", "num_classes", "output_shape", "message"),
    [
        ("segmentation", {}, 2, (2,), "must put out 1×8×8.*not 2: take one for segmentation"),
        ("segmentation", {}, 2, (1, 4, 4), "not 1×4×4"),
        ("segmentation", {}, 3, (3, 8, 8), "masks of 3 classes"),
        ("segmentation", {"label_smoothing": 0.1}, 2, (1, 8, 8), "label_smoothing is for classification"),
        ("classification", {}, 10, (10, 8, 8), "the model puts out 10×8×8"),
        ("classification", {"loss": "dice"}, 10, (10,), "train.loss is for data with masks"),
    ],
)
def test_what_does_not_fit(
    name: str, settings: dict[str, Any], num_classes: int, output_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(CnnbenchError, match=message):
        check_task(name, TrainConfig(**settings), (3, 8, 8), num_classes, output_shape)


def test_what_fits() -> None:
    check_task("segmentation", TrainConfig(loss="bce"), (3, 8, 8), 2, (1, 8, 8))  # type: ignore[arg-type]
    check_task("classification", TrainConfig(label_smoothing=0.1), (3, 8, 8), 10, (10,))
