"""The contract of an augmentation: images move alone, or together with their masks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Move = Callable[[Tensor], Tensor]  # images (B, C, H, W) uint8 -> (B, C, H', W') uint8

Masks = Tensor  # (B, 1, H, W) uint8


@dataclass(frozen=True)
class Paired:
    """A move that does to masks something else than to images; any other one does the same to both."""

    alone: Move
    together: Callable[[Tensor, Masks], tuple[Tensor, Masks]]

    def __call__(self, images: Tensor) -> Tensor:
        return self.alone(images)


def move_both(move: Move, images: Tensor, masks: Masks) -> tuple[Tensor, Masks]:
    """One draw applied to images and to their masks."""
    return move.together(images, masks) if isinstance(move, Paired) else (move(images), move(masks))


class Shape(NamedTuple):
    """What a transform must know of a batch before it draws.

    `turns` (B,) int64: a number that rises by one from epoch to epoch for each image, from a random start.
    """

    num_images: int
    height: int
    width: int
    turns: Tensor | None = None


class Transform(Protocol):
    """One batched augmentation."""

    def draw(self, shape: Shape, generator: torch.Generator) -> Move:
        """Decides for each image what happens to it; the function returned does it."""
        ...
