"""Metrics against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix

from cnnbench.metrics import accuracy, confusion


def test_confusion_by_hand() -> None:
    matrix = confusion(torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 0, 2, 2]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert matrix.dtype == torch.int64
    assert accuracy(matrix) == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("num_classes", "num_present"), [(2, 2), (10, 10), (100, 100), (10, 4)], ids=["2", "10", "100", "4 of 10"]
)
def test_agrees_with_sklearn(num_classes: int, num_present: int) -> None:
    generator = np.random.default_rng(num_classes)
    targets = generator.integers(0, num_present, 500)
    predictions = np.where(generator.random(500) < 0.6, targets, generator.integers(0, num_present, 500))
    matrix = confusion(torch.from_numpy(targets), torch.from_numpy(predictions), num_classes)
    expected = confusion_matrix(targets, predictions, labels=range(num_classes))
    assert np.array_equal(matrix.numpy(), expected)
    assert accuracy(matrix) == pytest.approx(accuracy_score(targets, predictions), abs=1e-15)


def test_maps_of_classes_count_every_pixel() -> None:
    targets = torch.tensor([[[0, 1], [1, 1]]])
    matrix = confusion(targets, torch.tensor([[[0, 1], [0, 1]]]), 2)
    assert matrix.tolist() == [[1, 0], [1, 2]]


def test_nothing_is_right_about_nothing() -> None:
    nothing = torch.empty(0, dtype=torch.int64)
    matrix = confusion(nothing, nothing, 3)
    assert matrix.tolist() == [[0, 0, 0]] * 3
    assert accuracy(matrix) == 0.0
