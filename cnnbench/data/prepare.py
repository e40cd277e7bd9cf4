"""From a data set as published to the three splits of a run: which classes, how many images, what size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnbench.data.base import Dataset, Source, Split
from cnnbench.data.files import listed
from cnnbench.data.split import SPLIT_SEED, cut_by_group, cut_validation, stratified_rows
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.mistakes import nearest

if TYPE_CHECKING:
    from cnnbench.recipe.config import DataConfig

_CHUNK = 1024  # images converted at a time: a float copy of a whole set would take gigabytes


def prepare(source: Source, config: "DataConfig") -> Dataset:
    """The data set a run sees; train and val share their images. CnnbenchError if a split would be empty."""
    if source.train_targets.dim() == 3:
        return _prepare_masks(source, config)
    train = (source.train_images, source.train_targets)
    test = (source.test_images, source.test_targets)
    classes = source.classes
    if config.classes is not None:
        numbers = [_class_number(name, classes, place) for place, name in enumerate(config.classes)]
        if len(set(numbers)) < len(numbers):
            raise CnnbenchError("data.classes names a class twice").about("classes")
        classes = tuple(config.classes)
        train, test = _only_classes(*train, numbers), _only_classes(*test, numbers)
    if config.limit is not None:
        train, test = _at_most(*train, config.limit), _at_most(*test, config.limit)
    train_images, test_images = (_stored(images, config.image_size) for images, _ in (train, test))
    train_rows, val_rows = cut_validation(train[1], config.val_size, config.val_fraction)
    train_split = Split(train_images, train[1], train_rows)
    mean, std = channel_statistics(train_split)
    unseen = [] if source.test_only else _classes_without_training(classes, train_split, config)
    return Dataset(
        name=config.name,
        classes=classes,
        train=train_split,
        val=Split(train_images, train[1], val_rows),
        test=Split(test_images, test[1], torch.arange(len(test[1]))),
        mean=mean,
        std=std,
        test_only=source.test_only,
        notes=(*source.notes, *unseen),
    )


def _prepare_masks(source: Source, config: "DataConfig") -> Dataset:
    """The same for masks: images of one group stand on one side, and classes are of pixels, not of images."""
    if config.classes is not None:
        raise CnnbenchError(
            f"data.classes chooses images by their class, but {config.name} has masks: leave it out"
        ).about("classes")
    train = _masks(source.train_images, source.train_targets, source.train_groups, config)
    test = _masks(source.test_images, source.test_targets, source.test_groups, config)
    num_val = config.val_size
    if num_val is None:
        num_val = max(1, round(len(train) * (config.val_fraction or 0.1)))
    groups = train.rows if train.groups is None else train.groups
    train_rows, val_rows = cut_by_group(groups, num_val)
    train_split = replace(train, rows=train_rows)
    val_split = replace(train, rows=val_rows)
    mean, std = channel_statistics(train_split)
    one_sided = [
        note
        for where, split in (("training", train_split), ("validation", val_split), ("test", test))
        if (note := _masks_of_one_class(source.classes, where, split, config))
    ]
    return Dataset(
        name=config.name,
        classes=source.classes,
        train=train_split,
        val=val_split,
        test=test,
        mean=mean,
        std=std,
        notes=(*source.notes, *one_sided),
    )


def _classes_without_training(classes: Sequence[str], train: Split, config: "DataConfig") -> list[str]:
    """A sentence where a class has no image that is trained on, and so will never be found."""
    seen = set(train.all_targets().tolist())
    absent = [repr(str(name)) for number, name in enumerate(classes) if number not in seen]
    if not absent:
        return []
    less = "" if config.limit is None else ", raise data.limit"
    cut = "val_fraction" if config.val_size is None else "val_size"
    return [f"{config.name}: no training image is left of {listed(absent)} (of {len(classes)} classes),"
            f" which cannot be learned: take more images{less} or lower data.{cut}"]  # fmt: skip


def _masks_of_one_class(classes: Sequence[str], where: str, split: Split, config: "DataConfig") -> str | None:
    """A sentence where all pixels of a split are of one class, so that its measures say nothing."""
    if len(split) == 0 or len(classes) != 2:
        return None
    lowest, highest = map(int, torch.aminmax(split.all_targets()))
    if lowest != highest or highest > 1:
        return None
    meaning = {
        "training": "so it cannot be learned",
        "validation": "so the best epoch and the threshold are chosen blindly",
        "test": "so the test measures say nothing",
    }[where]
    if highest == 0 and where != "training":
        meaning += " (where nothing is to be found and nothing is found, IoU counts as 100 %)"
    less = "" if config.limit is None else ", or raise data.limit"
    return (
        f"{config.name}: no pixel of {classes[1 - highest]} is in the {where} masks ({len(split)} in all), "
        f"{meaning}: take more images{less}"
    )


def _masks(images: Tensor, masks: Tensor, groups: Tensor | None, config: "DataConfig") -> Split:
    """All rows as one split: at most `limit` images, the same ones in every run, at the size asked for."""
    if config.limit is not None and config.limit < len(masks):
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        rows = torch.randperm(len(masks), generator=generator)[: config.limit].sort().values
        images, masks = _take(images, masks, rows)
        groups = None if groups is None else groups[rows]
    if config.image_size is not None:
        masks = resize_masks(masks, config.image_size)
    return Split(_stored(images, config.image_size), masks, torch.arange(len(masks)), groups)


def resize_masks(masks: Tensor, size: int) -> Tensor:
    """Masks (N, size, size) uint8, each pixel that of the nearest one, so that no new class arises."""
    return F.interpolate(masks[:, None], size=(size, size), mode="nearest-exact")[:, 0]


def channel_statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation of each channel on a 0-1 scale, exact to float64."""
    histograms = torch.zeros((split.images.shape[1], 256), dtype=torch.int64)
    for positions in torch.split(torch.arange(len(split)), _CHUNK):
        images, _ = split.gather(positions)
        for channel, histogram in enumerate(histograms):
            histogram += torch.bincount(images[:, channel].flatten(), minlength=256)
    shares = histograms.to(torch.float64) / histograms.sum(1, keepdim=True)  # (C, 256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = shares @ levels
    std = (shares * (levels - mean[:, None]).square()).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())


def resize(images: Tensor, size: int) -> Tensor:
    """Images (N, C, size, size) uint8, bilinear with antialiasing, a chunk at a time."""
    if images.shape[2:] == (size, size):
        return images
    shape = (len(images), images.shape[1], size, size)
    resized = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].to(torch.float32)
        scaled = F.interpolate(chunk, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        resized[start : start + _CHUNK] = scaled.round_().clamp_(0, 255)
    return resized


def _class_number(name: str, classes: Sequence[str], place: int) -> int:
    if name in classes:
        return classes.index(name)
    near = nearest(name, classes)
    hint = f"did you mean {near!r}?" if near else f"it has {', '.join(classes)}"
    problem = f"data.classes: the data set has no class {name!r}; {hint}"
    raise CnnbenchError(problem).about("classes", place)


def _only_classes(images: Tensor, targets: Tensor, numbers: list[int]) -> tuple[Tensor, Tensor]:
    """The images of these classes, numbered anew in the given order."""
    renumbered = torch.full((int(max(int(targets.max()), *numbers)) + 1,), -1)
    renumbered[torch.tensor(numbers)] = torch.arange(len(numbers))
    targets = renumbered[targets]
    rows = (targets >= 0).nonzero().squeeze(1)
    return _take(images, targets, rows)


def _at_most(images: Tensor, targets: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    if len(targets) <= limit:
        return images, targets
    return _take(images, targets, torch.from_numpy(stratified_rows(targets, limit)))


def _take(images: Tensor, targets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """A copy of these rows alone, so that what is left out leaves memory."""
    return Split(images, targets, rows).gather(torch.arange(len(rows)))


def _stored(images: Tensor, size: int | None) -> Tensor:
    """The images resized if asked and laid out channels last."""
    return (images if size is None else resize(images, size)).contiguous(memory_format=torch.channels_last)
