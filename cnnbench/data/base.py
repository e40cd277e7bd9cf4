"""What a data set is as published and once prepared: three splits of uint8 images and their targets."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

TaskName = Literal["classification", "segmentation"]


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
    """A data set as published: uint8 images (N, C, H, W), targets, class names.

    Targets are class indices, int64 (N,), or masks of them, uint8 (N, H, W). Images of one group (N,) int64
    are pictures of one thing, so they stay together when splits are cut; without groups each is its own.
    `notes` are sentences for the user, such as which files were left out.

    One that is `test_only` has no training images: those of test stand in their place, and nothing may
    be trained on them.
    """

    train_images: Tensor
    train_targets: Tensor
    test_images: Tensor
    test_targets: Tensor
    classes: tuple[str, ...]
    test_only: bool = False
    train_groups: Tensor | None = None
    test_groups: Tensor | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Some rows of shared tensors, so that train and validation stand in memory once."""

    images: Tensor  # (M, C, H, W) uint8 in channels-last layout, shared between splits
    targets: Tensor  # (M,) int64, or masks (M, H, W) uint8
    rows: Tensor  # (N,) int64: which of the M belong to this split
    groups: Tensor | None = None  # (M,) int64, where images come in groups

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) uint8, channels last, and their targets, at these positions in the split."""
        rows = self.rows.index_select(0, positions)
        # index_select copies an image whose pixels lie together as one block; indexing goes byte by byte
        pixels = self.images.movedim(1, -1).index_select(0, rows)
        return pixels.movedim(-1, 1), self.targets.index_select(0, rows)

    def all_targets(self) -> Tensor:
        """Targets (N,) or masks (N, H, W) of the split in order."""
        return self.targets[self.rows]

    def all_groups(self) -> Tensor | None:
        """Groups (N,) of the split in order, or None where each image is its own."""
        return None if self.groups is None else self.groups[self.rows.to(self.groups.device)]

    def described(self) -> dict[str, float]:
        """How many images there are, in how many groups, and of masks the share of class 1."""
        said: dict[str, float] = {"images": len(self)}
        groups = self.all_groups()
        if groups is not None:
            said["groups"] = len(torch.unique(groups))
        if self.targets.dim() == 3:
            masks = self.all_targets()
            said["share"] = masks.count_nonzero().item() / masks.numel()
        return said

    def to(self, device: torch.device) -> "Split":
        return replace(
            self,
            images=self.images.to(device),
            targets=self.targets.to(device),
            rows=self.rows.to(device),
        )

    def sharing(self, other: "Split") -> "Split":
        """This split on the storage of `other`, which holds the same images."""
        return replace(self, images=other.images, targets=other.targets, rows=self.rows.to(other.rows.device))


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
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> TaskName:
        """What is to be predicted: a class for each image, or for each pixel."""
        return "segmentation" if self.train.targets.dim() == 3 else "classification"

    def splits(self) -> dict[str, Split]:
        """What may be looked at, by name: of a data set that is for test only, test."""
        if self.test_only:
            return {"test": self.test}
        return {"train": self.train, "val": self.val, "test": self.test}

    def digest(self) -> str:
        """Changes with which images are in which split and what is to be predicted of them."""
        digest = hashlib.blake2b(digest_size=8)
        rows = (self.train.rows, self.val.rows, self.test.rows)
        for part in (*rows, self.train.targets, self.test.targets):  # validation shares those of train
            digest.update(part.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def pixels(self) -> str:
        """Changes with what any image shows, those of classes or parts left out included."""
        digest = hashlib.blake2b(digest_size=8)
        for split in (self.train, self.test):  # validation shares those of train
            digest.update(split.images.movedim(1, -1).cpu().contiguous().numpy().data)
        return digest.hexdigest()

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
        moved = replace(self, train=train, val=val, test=self.test.to(device))
        if "pixels" in vars(self):
            vars(moved)["pixels"] = self.pixels  # which are the same there, and long to go through
        return moved
