"""What a data set is as published and once prepared: three splits of uint8 images and their targets."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Format(NamedTuple):
    """What a model must know of a data set."""

    in_shape: tuple[int, int, int]  # channels, height, width
    num_classes: int


class Survey(NamedTuple):
    """What of a data set is there, and how that is known."""

    num_train: int
    num_test: int
    how: str = "verified"


@dataclass(frozen=True)
class Source:
    """A data set as published: uint8 images (N, C, H, W), int64 targets (N,), class names.

    One that is `test_only` has no training images: those of test stand in their place, and nothing may
    be trained on them.
    """

    train_images: Tensor
    train_targets: Tensor
    test_images: Tensor
    test_targets: Tensor
    classes: tuple[str, ...]
    test_only: bool = False


@dataclass(frozen=True)
class Split:
    """Some rows of shared tensors, so that train and validation stand in memory once."""

    images: Tensor  # (M, C, H, W) uint8 in channels-last layout, shared between splits
    targets: Tensor  # (M,) int64
    rows: Tensor  # (N,) int64: which of the M belong to this split

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) uint8, channels last, and targets (B,) at these positions within the split."""
        rows = self.rows.index_select(0, positions)
        # index_select copies an image whose pixels lie together as one block; indexing goes byte by byte
        pixels = self.images.permute(0, 2, 3, 1).index_select(0, rows)
        return pixels.permute(0, 3, 1, 2), self.targets.index_select(0, rows)

    def all_targets(self) -> Tensor:
        """Targets (N,) of the split in order."""
        return self.targets[self.rows]

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.targets.to(device), self.rows.to(device))

    def sharing(self, other: "Split") -> "Split":
        """This split on the storage of `other`, which holds the same images."""
        return Split(other.images, other.targets, self.rows.to(other.rows.device))


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
    test_only: bool = False  # train and val are images of test: nothing may be trained on them

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the stored images."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def to(self, device: torch.device) -> "Dataset":
        """The data set on a device; images that train and val share are copied once."""
        train = self.train.to(device)
        shared = self.val.images is self.train.images
        val = self.val.sharing(train) if shared else self.val.to(device)
        return replace(self, train=train, val=val, test=self.test.to(device))
