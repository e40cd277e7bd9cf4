"""Generated images for tests and trials: one smooth pattern per class under noise."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnbench.data.base import Format, Source
from cnnbench.options import Count, NonNegative, NonNegativeInt

_CELLS = 4  # a pattern is this many random blobs a side


def describe(
    root: Path,
    *,
    num_classes: int = 10,
    channels: int = 3,
    height: int = 32,
    width: int = 32,
    **_: object,
) -> Format:
    """The format that `load` makes with these options."""
    return Format((channels, height, width), num_classes)


def load(
    root: Path,
    *,
    num_images: Count = 512,
    num_classes: Count = 10,
    channels: Count = 3,
    height: Count = 32,
    width: Count = 32,
    noise: NonNegative = 0.5,
    pattern_seed: NonNegativeInt = 0,
) -> Source:
    """`num_images` training images and a quarter as many for test, classes in turn."""
    generator = torch.Generator().manual_seed(pattern_seed)
    cells = torch.randn(num_classes, channels, _CELLS, _CELLS, generator=generator)
    patterns = F.interpolate(cells, size=(height, width), mode="bilinear", align_corners=False)
    train_targets = torch.arange(num_images) % num_classes
    test_targets = torch.arange(max(num_classes, num_images // 4)) % num_classes
    return Source(
        _draw(patterns, train_targets, noise, generator),
        train_targets,
        _draw(patterns, test_targets, noise, generator),
        test_targets,
        tuple(f"pattern {number}" for number in range(num_classes)),
    )


def _draw(patterns: Tensor, targets: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """One noisy image (C, H, W) uint8 per target, a chunk at a time."""
    images = torch.empty((len(targets), *patterns.shape[1:]), dtype=torch.uint8)
    for rows in torch.split(torch.arange(len(targets)), 256):
        clean = patterns[targets[rows]]
        noisy = clean + noise * torch.randn(clean.shape, generator=generator)
        images[rows] = (128 + 48 * noisy).round_().clamp_(0, 255).to(torch.uint8)
    return images
