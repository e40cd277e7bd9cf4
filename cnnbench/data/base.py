"""What a data set is once loaded: three splits of uint8 images and their targets."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Source:
    """A data set as published: uint8 images (N, C, H, W), int64 targets (N,), class names."""

    train_images: Tensor
    train_targets: Tensor
    test_images: Tensor
    test_targets: Tensor
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Some rows of shared tensors, so that train and validation stand in memory once."""

    images: Tensor  # (M, C, H, W) uint8, shared between splits
    targets: Tensor  # (M,) int64
    rows: Tensor  # (N,) int64: which of the M belong to this split

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) uint8 and targets (B,) at these positions within the split."""
        rows = self.rows[positions]
        return self.images[rows], self.targets[rows]

    def all_targets(self) -> Tensor:
        """Targets (N,) of the split in order."""
        return self.targets[self.rows]

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.targets.to(device), self.rows.to(device))


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training; mean and std are the train split's, by channel, on a 0-1 scale."""

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the stored images."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        return len(self.classes)
