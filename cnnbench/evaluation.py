"""How good a model is on a split: loss, measures and predictions, for every task."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnbench import metrics
from cnnbench.data.base import Split
from cnnbench.data.loader import Loader
from cnnbench.precision import Precision
from cnnbench.recipe.config import TrainConfig
from cnnbench.tasks import Segmentation, Task, make_task


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
    num_classes = loader.dataset.num_classes
    matrix = torch.zeros((num_classes, num_classes), dtype=torch.int64, device=loader.device)
    total_loss = torch.zeros((), device=loader.device)
    predictions: list[Tensor] = []
    for logits, targets in _logits(model, loader, split, precision):
        total_loss += task.loss(logits.float(), targets, reduction="sum")
        predictions.append(task.predict(logits))
        matrix += metrics.confusion(targets, predictions[-1], num_classes)
    return Evaluation(
        loss=total_loss.item() / len(split),
        measures=task.measures(matrix),
        predictions=torch.cat(predictions).cpu(),
        targets=split.all_targets().cpu(),
    )


@torch.inference_mode()
def evaluate_val(model: nn.Module, loader: Loader, precision: Precision, task: Task) -> Scores:
    """The validation split after an epoch, masks at the threshold that is best there.

    At one half an epoch would be judged by where its probabilities lie too: of rare pixels, cross entropy may
    leave all of them below, however well they are ordered.
    """
    val = loader.dataset.val
    if not isinstance(task, Segmentation):
        return evaluate(model, loader, val, precision, task)
    total_loss = torch.zeros((), device=loader.device)
    counts = []
    for logits, targets in _logits(model, loader, val, precision):
        total_loss += task.loss(logits.float(), targets, reduction="sum")
        counts.append(task.histogram(logits, targets))
    histogram = torch.stack(counts).sum(0).cpu()
    best = task.with_best_threshold(histogram)
    return Scores(total_loss.item() / len(val), best.measures(best.confusion(histogram)))


@torch.inference_mode()
def calibrate(model: nn.Module, loader: Loader, precision: Precision, task: Task) -> Task:
    """The task with what is chosen on validation: the threshold of a segmentation, and else nothing."""
    if not isinstance(task, Segmentation):
        return task
    batches = _logits(model, loader, loader.dataset.val, precision)
    counts = [task.histogram(logits, targets) for logits, targets in batches]
    return task.with_best_threshold(torch.stack(counts).sum(0).cpu())


def _logits(
    model: nn.Module, loader: Loader, split: Split, precision: Precision
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the model makes of each batch of a split, with the targets."""
    model.eval()
    for inputs, targets in loader.eval_batches(split):
        with precision.autocast():
            logits = model(inputs)
        yield logits, targets
