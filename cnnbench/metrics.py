"""Metrics as functions of a confusion matrix (rows: true class, columns: predicted class)."""

import torch
from torch import Tensor


def confusion(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Counts (C, C) int64 of targets against predictions, both integer tensors of one shape."""
    pairs = targets.flatten() * num_classes + predictions.flatten()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def accuracy(matrix: Tensor) -> float:
    """Share of the counts on the diagonal, 0 to 1."""
    return matrix.diagonal().sum().item() / max(matrix.sum().item(), 1)
