"""Metrics as functions of a confusion matrix (rows: true class, columns: predicted class)."""

import torch
from torch import Tensor

from cnnbench import measures


def confusion(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Counts (C, C) int64 of targets against predictions, both integer tensors of one shape."""
    pairs = targets.flatten().to(torch.int64) * num_classes + predictions.flatten()
    # adding up in place waits for no device, as bincount does
    counts = torch.zeros(num_classes**2, dtype=torch.int64, device=targets.device)
    return counts.scatter_add_(0, pairs, torch.ones_like(pairs)).view(num_classes, num_classes)


def accuracy(matrix: Tensor) -> float:
    """Share of the counts on the diagonal, 0 to 1."""
    return matrix.diagonal().sum().item() / max(matrix.sum().item(), 1)


def binary(matrix: Tensor) -> dict[str, float]:
    """Every measure of class 1 from a matrix (2, 2): accuracy, IoU, Dice, precision and recall."""
    counts = matrix.flatten().tolist()
    return {name: measures.ratio(name, counts) for name in measures.RATIOS}
