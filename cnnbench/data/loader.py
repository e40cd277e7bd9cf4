"""Batches: gathered, augmented and normalized on the device from images that live there as bytes."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnbench.data.augment import Augment
from cnnbench.data.base import Dataset, Split, TaskName
from cnnbench.errors import CnnbenchError, about
from cnnbench.seeds import mix

if TYPE_CHECKING:
    from cnnbench.recipe.config import DataConfig

# Nets for masks keep the activations of every level at full size until the end: fewer images at a time.
EVAL_BATCH: dict[TaskName, int] = {"classification": 512, "segmentation": 32}
# An evaluation keeps nothing for backward: so many batches of training at a time fit where one of those does.
EVAL_FACTOR = 4
# What is not augmented is gathered and normalized for several batches at a time, up to so many bytes of them.
# Small batches take less time than it takes to launch what is done to them.
AHEAD_BYTES = 2**20
_ORDER = 0  # third counter of the draws of an epoch; its steps follow from 1
_NO_EPOCH = 0  # second counter of what is drawn once for all epochs, which count from 1


class Loader:
    """Feeds one run. What a batch holds depends on (seed, epoch, step) alone, on every device alike."""

    def __init__(
        self,
        dataset: Dataset,
        config: "DataConfig",
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
        plugins: Sequence[str] = (),
        as_bytes: bool = False,
    ) -> None:
        """`as_bytes`: inputs are the uint8 images themselves, for a model with a preprocessing of its own."""
        self.as_bytes = as_bytes
        self.dataset = dataset.to(device)
        self.device, self.dtype, self.channels_last = device, dtype, channels_last
        self.batch_size = min(config.batch_size, len(dataset.train))
        with about("augment"):
            self.augment = Augment(config.augment, plugins)
        self._check_size()
        mean, std = (dataset.mean, dataset.std) if config.normalize else ((0.0,), (1.0,))
        std = tuple(s or 1.0 for s in std)  # a channel that never changes stays at 0
        channels, _, width = dataset.in_shape
        # (x / 255 - mean) / std as one multiplication and one addition, spelled out for a row of pixels,
        # since rows of W * C numbers are processed several times faster than C numbers at each pixel
        self._scale = _row([1 / (255 * s) for s in std], channels, width, device)
        self._shift = _row([-m / s for m, s in zip(mean, std, strict=True)], channels, width, device)

    @property
    def eval_batch_size(self) -> int:
        """Images of an evaluation at a time; smaller batches of training mean fewer here too."""
        if self.as_bytes:  # the model works on larger images than these: no more at a time than in training
            return min(EVAL_BATCH[self.dataset.task], self.batch_size)
        return min(EVAL_BATCH[self.dataset.task], EVAL_FACTOR * self.batch_size)

    @property
    def num_train_steps(self) -> int:
        """Batches of an epoch; images left over after the last full batch wait for another epoch's order."""
        return max(1, len(self.dataset.train) // self.batch_size)

    def over(self, dataset: Dataset) -> "Loader":
        """The same batches of the same images as inputs that are made already, such as features."""
        other = copy(self)
        other.dataset, other.as_bytes = dataset, True
        return other

    def train_batches(
        self, seed: int, epoch: int, size: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented, normalized inputs (B, C, H, W) and targets of one epoch, in its own order.

        `size`: the height and width to shrink the images to, if they are not to keep their own.
        """
        train = self.dataset.train
        order = torch.randperm(len(train), generator=_generator(seed, epoch, _ORDER))
        starts = torch.randint(0, 2, (len(train),), generator=_generator(seed, _NO_EPOCH, _ORDER))
        turns = starts[order] + epoch  # stays on the CPU, where all draws are made
        order = order[: self.num_train_steps * self.batch_size].to(self.device)
        if not self.augment.transforms:
            yield from self._unaugmented(order, size)
            return
        for step in range(self.num_train_steps):
            chosen = slice(step * self.batch_size, (step + 1) * self.batch_size)
            images, targets = train.gather(order[chosen])
            generator = _generator(seed, epoch, step + 1)
            if self.dataset.task == "segmentation":
                images, targets = self.augment.with_masks(images, targets, generator, turns[chosen])
            else:
                images = self.augment(images, generator, turns[chosen])
            self._refuse_others(images)  # what one batch came out as, another need not
            yield self.normalize(images, size), targets

    def _unaugmented(self, order: Tensor, size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        train = self.dataset.train
        bytes_of_one = train.gather(order[:1])[0].nbytes  # an image, or its features
        at_once = max(1, AHEAD_BYTES // (self.batch_size * bytes_of_one)) * self.batch_size
        for first in range(0, len(order), at_once):
            images, targets = train.gather(order[first : first + at_once])
            inputs = self.normalize(images, size)
            for start in range(0, len(inputs), self.batch_size):
                stop = start + self.batch_size
                yield inputs[start:stop], targets[start:stop]

    def begin_inputs(self, seed: int) -> Tensor:
        """A batch (B, C, H, W) as those of training are, and none of them, to fit a model to."""
        inputs, _ = next(self.train_batches(seed, _NO_EPOCH))
        return inputs

    def eval_batches(self, split: Split, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalized inputs and targets of the whole split in its order, without augmentation."""
        batch_size = batch_size or self.eval_batch_size
        split = split.to(self.device)  # no copy for the splits of `self.dataset`
        for start in range(0, len(split), batch_size):
            positions = torch.arange(start, min(start + batch_size, len(split)), device=self.device)
            images, targets = split.gather(positions)
            yield self.normalize(images), targets

    def spread_over(self, split: Split, most: int) -> Tensor:
        """So many inputs from all over a split, which may be in the order of its classes."""
        rows = torch.linspace(0, len(split) - 1, min(most, len(split)), device=self.device)
        return self.normalize(split.to(self.device).gather(rows.long())[0])

    def normalize(self, images: Tensor, size: int | None = None) -> Tensor:
        """Images (B, C, H, W) uint8 as inputs of the loader's dtype and memory format, or as they are.

        `size`: see `train_batches`.
        """
        if self.as_bytes:
            return images
        pixels = images.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C), already so when channels last
        inputs = pixels.flatten(2).to(torch.float32)  # (B, H, W * C)
        torch.addcmul(self._shift, inputs, self._scale, out=inputs)
        inputs = inputs.view(pixels.shape).permute(0, 3, 1, 2)
        if size is not None:
            inputs = F.interpolate(inputs, size=(size, size), mode="bilinear", antialias=True)
        inputs = inputs.to(self.dtype)
        return inputs if self.channels_last else inputs.contiguous()

    def _check_size(self) -> None:
        """Shows mistakes in `augment` before training; val and test stay as they are, so sizes must agree."""
        if not self.augment.transforms:
            return
        images, targets = self.dataset.train.gather(torch.zeros(1, dtype=torch.int64, device=self.device))
        with about("augment"):
            for augment in (self.augment, self.augment.always()):
                if self.dataset.task == "segmentation":
                    augmented, _ = augment.with_masks(images, targets, _generator(0, 0, 1))
                else:
                    augmented = augment(images, _generator(0, 0, 1))
                self._refuse_others(augmented)

    def _refuse_others(self, images: Tensor) -> None:
        """Raises CnnbenchError where augmented images are not of the size of those of val and test."""
        if (found := tuple(images.shape[1:])) != self.dataset.in_shape:
            raise CnnbenchError(
                f"data.augment turns images of (channels, height, width) {self.dataset.in_shape} into "
                f"{found}, but val and test images stay as they are: end with a RandomCrop or Resize "
                "to their own size"
            ).about("augment")


def _generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """A CPU generator that no earlier draw has touched."""
    return torch.Generator().manual_seed(mix(seed, epoch, step))


def _row(values: list[float], channels: int, width: int, device: torch.device) -> Tensor:
    """One value per channel (or one for all) repeated for `width` pixels: (width * channels,) float32."""
    per_channel = torch.tensor(values, dtype=torch.float64).expand(channels)
    return per_channel.repeat(width).to(torch.float32).to(device)
