"""What counts of the image for a feature: gradients with respect to pixels (Luo et al. 2016)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnbench.models.receptive_field import LayerField, last_feature_layer

Contributions = NDArray[np.float64]  # (height, width) of the image

THRESHOLD = 1 - 0.9545  # of the peak: what counts in the paper
BATCH_SIZE = 16


def contributions_of(model: nn.Module, layer: LayerField, images: Tensor) -> Contributions:
    """How much each pixel counts for the layer's central position, which is (H // 2, W // 2).

    The absolute gradient, averaged over images and channels; images (N, C, H, W) are as the model sees them.
    """
    module = model if layer.name == "(model)" else model.get_submodule(layer.name)
    _, height, width = layer.output_shape
    total = torch.zeros(images.shape[2:], dtype=torch.float64)
    for start in range(0, len(images), BATCH_SIZE):
        calls = count()
        centers: list[Tensor] = []

        def keep(module: nn.Module, args: Any, output: Any, calls: Any = calls, found: Any = centers) -> None:
            if next(calls) == layer.call:
                maps = output if isinstance(output, Tensor) else output[0]
                found.append(maps[:, :, height // 2, width // 2].sum())

        part = images[start : start + BATCH_SIZE].detach()
        if part.dtype == torch.uint8:  # a model that normalizes them itself takes shares of 255 as well
            part = part.float() / 255
        inputs = part.requires_grad_()
        handle = module.register_forward_hook(keep)
        try:
            with torch.enable_grad():
                model(inputs.clone())  # a copy, lest the first layer changes the inputs in place
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(centers[0], inputs)
        total += gradient.abs().mean(1).sum(0).double().cpu()
    return (total / len(images)).numpy()


def effective_area(contributions: Contributions) -> NDArray[np.bool_]:
    """Which pixels contribute more than THRESHOLD of the peak; none where there is no finite peak."""
    peak = contributions.max()
    if not math.isfinite(peak):
        return np.zeros(contributions.shape, dtype=bool)
    return np.asarray(contributions > THRESHOLD * peak)


def effective_side(contributions: Contributions) -> float | None:
    """The side in pixels of a square as large as the effective area; None where that is empty."""
    num_pixels = int(effective_area(contributions).sum())
    return math.sqrt(num_pixels) if num_pixels else None


@dataclass(frozen=True)
class Seen:
    """A variant: its layers' fields, and by seed what counts for the model before and after training."""

    in_shape: tuple[int, int, int]
    layers: Sequence[LayerField]
    untrained: dict[int, Contributions] = field(default_factory=dict)
    trained: dict[int, Contributions] = field(default_factory=dict)

    @property
    def last(self) -> LayerField | None:
        return last_feature_layer(self.layers)

    @property
    def seed(self) -> int:
        """The seed that pictures show: the first whose weights can be read, else the first."""
        return next(iter(self.trained or self.untrained))

    @property
    def problem(self) -> str:
        """Where and why fields are unknown, in words, or nothing."""
        first = next((layer for layer in self.layers if layer.problem), None)
        return f"from {first.name} on, because of {first.problem}" if first else ""
