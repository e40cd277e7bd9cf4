"""The contract of an augmentation."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Move = Callable[[Tensor], Tensor]  # images (B, C, H, W) uint8 -> (B, C, H', W') uint8


class Shape(NamedTuple):
    """What a transform must know of a batch before it draws."""

    num_images: int
    height: int
    width: int


class Transform(Protocol):
    """One batched augmentation."""

    def draw(self, shape: Shape, generator: torch.Generator) -> Move:
        """Decides for each image what happens to it; the function returned does it."""
        ...
