"""Tiny ImageNet (Stanford CS231n, 2015): 200 of ImageNet's classes at 64x64, 500 training images each.

An image takes 12,288 bytes in memory: all 100,000 for training 1.2 GB, and only those asked for are read.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from cnnbench import files
from cnnbench.data.base import Format, Source, Survey
from cnnbench.data.decoded import Decoder, cache_folders
from cnnbench.data.download import Progress, fetch
from cnnbench.data.tiny_imagenet_files import FOLDER, NAME, choose, find_classes, unusable
from cnnbench.data.unpack import unpack_zip
from cnnbench.errors import CnnbenchError

NUM_CLASSES = 200  # as published; a folder may have fewer
SIZE = 64

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
# Stanford publishes no checksum: this is the one that the loaders of Avalanche and others verify.
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


class TinyImageNetDataset(torch.utils.data.Dataset[tuple[Any, int]]):
    """Images (3, 64, 64) uint8, or what `transform` makes of them, with the number of their class.

    `classes` are names or WordNet numbers, numbered in this order; without them it has all that wnids.txt
    lists. The test split is the published validation split, since the published test images have no labels;
    images for validation are to be cut from train. Raises CnnbenchError for classes that are not there and
    for files that are missing or damaged.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        classes: Sequence[str] | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        if split not in ("train", "test"):
            raise CnnbenchError(f'split is "train" or "test" (the published validation split), not {split!r}')
        root = Path(root)
        found = find_classes(root, classes)
        groups = [each.train if split == "train" else each.test for each in found]
        counts = [len(group.files) for group in groups]
        # One array for all, filled class by class: a list that is stacked at the end would take twice that.
        pixels = np.empty((sum(counts), SIZE, SIZE, 3), dtype=np.uint8)
        decoder = Decoder(SIZE, SIZE, cache_folders(root / FOLDER), unusable)
        start = 0
        for each, group, count in zip(found, groups, counts, strict=True):
            decoder.read(f"{split}-{each.wnid}", group.folder, group.files, pixels[start : start + count])
            start += count
        self.classes = tuple(each.name for each in found)
        self.wnids = tuple(each.wnid for each in found)
        self.images = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (N, 3, 64, 64), channels last
        self.targets = torch.arange(len(found)).repeat_interleave(torch.tensor(counts))  # (N,)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.images[index]
        return (image if self.transform is None else self.transform(image)), int(self.targets[index])


def describe(root: Path, *, classes: list[str] | None = None) -> Format:
    """The format of the images; without the files there are as many classes as asked for or published."""
    if (root / FOLDER).is_dir():
        num_classes = len(choose(root, classes))
    else:
        num_classes = NUM_CLASSES if classes is None else len(classes)
    return Format((3, SIZE, SIZE), num_classes)


def load(root: Path, *, classes: list[str] | None = None) -> Source:
    """500 training and 50 test images (3, 64, 64) of each class; the published validation split is test."""
    train, test = (TinyImageNetDataset(root, split, classes) for split in ("train", "test"))
    return Source(train.images, train.targets, test.images, test.targets, train.classes)


def survey(root: Path) -> Survey:
    """How many images there are; none is opened, for that takes minutes."""
    found = find_classes(root)
    return Survey(
        sum(len(each.train.files) for each in found),
        sum(len(each.test.files) for each in found),
        f"{len(found)} of {NUM_CLASSES} classes, counted but not opened",
    )


def download(root: Path, progress: Progress | None = None) -> None:
    """Fetches the published archive, verifies and unpacks it, unless the folder is there."""
    if (root / FOLDER).exists():
        return  # the user's: it is surveyed as it is, and not touched
    try:
        files.make_folder(root)
        with FileLock(root / f"{FOLDER}.lock"):
            if not (root / FOLDER).exists():
                archive = root / f"{FOLDER}.zip"
                fetch(URL, archive, MD5, progress)
                unpack_zip(archive, FOLDER, root, NAME)
                archive.unlink()
    except OSError as error:
        raise CnnbenchError(f"{root / FOLDER} cannot be written: {error.strerror or error}.") from error
