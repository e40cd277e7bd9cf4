"""What is learned: a class for each image, or a mask of one class against the rest.

A task says how logits are scored, turned into predictions and measured; the train loop is the same for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnbench import metrics
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import Loss, TrainConfig

Reduction = Literal["mean", "sum"]
DEFAULT_LOSS = Loss(bce=0.5, dice=0.5)
NUM_THRESHOLDS = 200  # candidates are 1/200, 2/200 ... 199/200


@dataclass(frozen=True)
class Classification:
    """A class for each image: logits (N, C), targets (N,)."""

    label_smoothing: float = 0.0
    leading = "accuracy"

    def train_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy against smoothed labels."""
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

    def loss(self, logits: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Cross entropy."""
        return F.cross_entropy(logits, targets, reduction=reduction)

    def predict(self, logits: Tensor) -> Tensor:
        """The most likely class of each image: (N,) int64."""
        return logits.argmax(1)

    def counts(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What measures are made of, to be added up over batches: a confusion matrix (C, C)."""
        return metrics.confusion(targets, self.predict(logits), logits.shape[1])

    def calibrated(self, counts: Tensor) -> "Classification":
        """The task with what is chosen on validation, of which `counts` are: nothing."""
        return self

    def chosen(self) -> dict[str, float]:
        """What was chosen on validation."""
        return {}

    def measures(self, counts: Tensor) -> dict[str, float]:
        """Accuracy."""
        return {"accuracy": metrics.accuracy(counts)}


@dataclass(frozen=True)
class Segmentation:
    """Whether each pixel is of class 1: logits (N, 1, H, W), targets (N, H, W) of 0 and 1.

    Every loss is one of an image, and averaged over images: it depends on no batch size.
    """

    weights: Loss = DEFAULT_LOSS
    threshold: float = 0.5
    leading = "iou"

    def train_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of losses, mean over images."""
        return self.loss(logits, targets)

    def loss(self, logits: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """The same, or its sum over images."""
        masks = targets.to(logits.dtype)
        logits = logits[:, 0]
        per_image = torch.zeros(len(logits), dtype=logits.dtype, device=logits.device)
        if self.weights.bce:
            pixels = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
            per_image = per_image + self.weights.bce * pixels.mean((1, 2))
        if self.weights.dice:
            per_image = per_image + self.weights.dice * dice_loss(logits.sigmoid(), masks)
        return per_image.mean() if reduction == "mean" else per_image.sum()

    def predict(self, logits: Tensor) -> Tensor:
        """Masks (N, H, W) uint8: 1 where the probability reaches the threshold."""
        return reaches(logits[:, 0].float().sigmoid(), self.threshold).to(torch.uint8)

    def counts(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What measures are made of at any threshold, to be added up over batches.

        Pixels (2, NUM_THRESHOLDS) by target and by the last threshold that their probability reaches.
        """
        cells = (targets.long() * NUM_THRESHOLDS + _levels(logits)).flatten()
        counts = torch.zeros(2 * NUM_THRESHOLDS, dtype=torch.int64, device=logits.device)
        return counts.scatter_add_(0, cells, torch.ones_like(cells)).view(2, NUM_THRESHOLDS)

    def calibrated(self, counts: Tensor) -> "Segmentation":
        """The task at the threshold of the highest IoU on validation, of which `counts` are.

        Of equal ones it is that closest to one half.
        """
        candidates = [replace(self, threshold=place / NUM_THRESHOLDS) for place in range(1, NUM_THRESHOLDS)]
        return max(candidates, key=lambda each: (each.measures(counts)["iou"], -abs(each.threshold - 0.5)))

    def chosen(self) -> dict[str, float]:
        """What was chosen on validation."""
        return {"threshold": self.threshold}

    def measures(self, counts: Tensor) -> dict[str, float]:
        """Accuracy, IoU, Dice, precision and recall of class 1 over all pixels, at the threshold."""
        reaching = counts[:, _place(self.threshold) :].sum(1)
        return metrics.binary(torch.stack([counts.sum(1) - reaching, reaching], dim=1))


Task = Classification | Segmentation


def reaches(probabilities: Tensor, threshold: float) -> Tensor:
    """Where probabilities reach one of the thresholds, to the bit as the counts of `Segmentation` have it."""
    return probabilities * NUM_THRESHOLDS >= _place(threshold)


def _place(threshold: float) -> int:
    return round(threshold * NUM_THRESHOLDS)


def _levels(logits: Tensor) -> Tensor:
    """How many thresholds each pixel's probability reaches: (N, H, W) int64; NaN reaches none."""
    return (logits[:, 0].float().sigmoid() * NUM_THRESHOLDS).long().clamp_(0, NUM_THRESHOLDS - 1)


def dice_loss(probabilities: Tensor, masks: Tensor) -> Tensor:
    """1 - Dice of each image (N,), of probabilities (N, H, W) (Milletari et al. 2016, without squares).

    One pixel is added to both sides of the fraction, so that an empty mask found empty costs nothing.
    """
    overlap = (probabilities * masks).sum((1, 2))
    return 1 - (2 * overlap + 1) / (probabilities.sum((1, 2)) + masks.sum((1, 2)) + 1)


def make_task(name: str, config: TrainConfig) -> Task:
    """The task of this name ("classification", "segmentation") with the loss that [train] asks for."""
    if name == "segmentation":
        return Segmentation(config.loss or DEFAULT_LOSS)
    return Classification(config.label_smoothing)


def check_task(
    name: str, config: TrainConfig, in_shape: Sequence[int], num_classes: int, output_shape: Sequence[int]
) -> None:
    """Raises CnnbenchError where the model's output or the settings do not fit the task."""
    output = "×".join(map(str, output_shape))
    if name == "segmentation":
        if num_classes != 2:
            raise CnnbenchError(f"masks of {num_classes} classes: only masks of two can be learned")
        wanted = (1, *in_shape[1:])
        if tuple(output_shape) != wanted:
            raise CnnbenchError(
                f"the data has masks, so the model must put out {'×'.join(map(str, wanted))} (channels, "
                f'height, width), not {output}: take one for segmentation, such as "unet"'
            ).about("model")
        if config.label_smoothing:
            problem = "train.label_smoothing is for classification, but the data has masks"
            raise CnnbenchError(problem).about("train", "label_smoothing")
        return
    if len(output_shape) != 1:
        raise CnnbenchError(
            f"the data has a class for each image, but the model puts out {output}: take data with masks, "
            "or a model for classification"
        ).about("model")
    if output_shape[0] != num_classes:
        raise CnnbenchError(
            f"the model puts out {output_shape[0]:,} logits, but the data has {num_classes:,} classes: one "
            "for each is needed"
        ).about("model")
    if config.loss is not None:
        raise CnnbenchError(
            "train.loss is for data with masks; a classification is trained with cross entropy"
        ).about("train", "loss")
