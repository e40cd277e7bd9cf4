"""How good a model is on a split: loss, measures and predictions, for every task."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnbench.data.base import Split
from cnnbench.data.loader import Loader
from cnnbench.precision import Precision
from cnnbench.recipe.config import TrainConfig
from cnnbench.tasks import Task, make_task


@dataclass(frozen=True)
class Scores:
    """Mean loss and every measure of the task over a split."""

    loss: float
    measures: dict[str, float]

    @property
    def accuracy(self) -> float:
        """The share of images, or of pixels, that are right."""
        return self.measures["accuracy"]


@dataclass(frozen=True)
class Evaluation(Scores):
    """The same with the predictions of each image in order."""

    predictions: Tensor  # classes (N,) int64 or masks (N, H, W) uint8, on the CPU
    targets: Tensor  # the same, as they should be


@torch.inference_mode()
def evaluate(
    model: nn.Module, loader: Loader, split: Split, precision: Precision, task: Task | None = None
) -> Evaluation:
    """Loss, measures and predictions over a split, without augmentation; by default of the data's task."""
    task = task or make_task(loader.dataset.task, TrainConfig())
    total_loss = counts = torch.zeros((), dtype=torch.int64, device=loader.device)
    predictions: list[Tensor] = []
    for logits, targets in _logits(model, loader, split, precision):
        total_loss = total_loss + task.loss(logits.float(), targets, reduction="sum")
        counts = counts + task.counts(logits, targets)
        predictions.append(task.predict(logits))
    return Evaluation(
        loss=total_loss.item() / len(split),
        measures=task.measures(counts.cpu()),
        predictions=torch.cat(predictions).cpu(),
        targets=split.all_targets().cpu(),
    )


@torch.inference_mode()
def evaluate_val(model: nn.Module, loader: Loader, precision: Precision, task: Task) -> tuple[Task, Scores]:
    """The task with what is chosen on validation (the threshold of masks), and validation measured with it.

    At one half masks would be judged by where their probabilities lie too: of rare pixels, cross entropy may
    leave all of them below, however well they are ordered.
    """
    val = loader.dataset.val
    total_loss = counts = torch.zeros((), dtype=torch.int64, device=loader.device)
    for logits, targets in _logits(model, loader, val, precision):
        total_loss = total_loss + task.loss(logits.float(), targets, reduction="sum")
        counts = counts + task.counts(logits, targets)
    counts = counts.cpu()
    task = task.calibrated(counts)
    return task, Scores(total_loss.item() / len(val), task.measures(counts))


def _logits(
    model: nn.Module, loader: Loader, split: Split, precision: Precision
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the model makes of each batch of a split, with the targets."""
    model.eval()
    for inputs, targets in loader.eval_batches(split):
        with precision.autocast():
            logits = model(inputs)
        yield logits, targets
