"""Augmentation in albumentations' vocabulary (names, parameters, defaults of 2.0.8), a whole batch at a time.

A transform first draws what it will do and returns it as a function of images, so that one draw can move an
image and its mask together. Draws are made on the CPU: the same batch on every device, and no step waits.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from cnnbench import catalog
from cnnbench.data.geometry import border_positions, crop_windows, flip_some, move
from cnnbench.data.transform import Move, Paired, Shape, Transform, move_both
from cnnbench.errors import CnnbenchError
from cnnbench.options import Count, Probability
from cnnbench.recipe.mistakes import nearest

if TYPE_CHECKING:
    from cnnbench.recipe.config import Named

Position = Literal["center", "top_left", "top_right", "bottom_left", "bottom_right", "random"]
BorderMode = Literal[0, 1, 2, 3, 4]  # OpenCV's: constant, replicate, reflect, wrap, reflect_101
Fill = float | list[float]


class Augment:
    """The recipe's `augment` list as one function of a batch; what has no batched form goes singly."""

    def __init__(self, entries: Sequence["Named"], plugins: Sequence[str] = ()) -> None:
        self.transforms: list[Transform] = []
        singly: list[Named] = []
        for entry in entries:
            target = _target(entry.name, plugins)
            if target.startswith("albumentations."):
                singly.append(entry)
                continue
            self._add_singly(singly)
            try:
                self.transforms.append(catalog.resolve(target)(**entry.options))
            except TypeError as error:
                raise CnnbenchError(f"augment {entry.name}: {error}") from error
        self._add_singly(singly)

    def _add_singly(self, entries: "list[Named]") -> None:
        """Neighbors share one pass over the images; empties the list."""
        if entries:
            from cnnbench.data.per_image import PerImage

            self.transforms.append(PerImage(entries))
            entries.clear()

    def always(self) -> "Augment":
        """The same with nothing of what goes singly left to chance."""
        from cnnbench.data.per_image import PerImage

        other = Augment([])
        other.transforms = [each.always() if isinstance(each, PerImage) else each for each in self.transforms]
        return other

    def __call__(self, images: Tensor, generator: torch.Generator, turns: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) uint8 augmented with draws of a CPU generator; sizes may change.

        `turns`: see Shape.
        """
        for transform in self.transforms:
            images = transform.draw(_shape(images, turns), generator)(images)
        return images

    def with_masks(
        self, images: Tensor, masks: Tensor, generator: torch.Generator, turns: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same, and masks (B, H, W) uint8 moved along; what only colors the images leaves them."""
        layers = masks[:, None]
        for transform in self.transforms:
            images, layers = move_both(transform.draw(_shape(images, turns), generator), images, layers)
        return images, layers[:, 0]


def _shape(images: Tensor, turns: Tensor | None) -> Shape:
    num_images, _, height, width = images.shape
    return Shape(num_images, height, width, turns)


def _target(name: str, plugins: Sequence[str]) -> str:
    try:
        return catalog.target("augmentation", name, tuple(plugins))
    except KeyError:
        near = nearest(name, catalog.names("augmentation", tuple(plugins)))
        hint = f" Did you mean {near}?" if near else ""
        raise CnnbenchError(f"There is no augmentation named {name!r}.{hint}") from None


class PadIfNeeded:
    """Pads images that are smaller than asked, on both sides unless `position` says otherwise."""

    def __init__(
        self,
        *,
        min_height: Count | None = 1024,
        min_width: Count | None = 1024,
        pad_height_divisor: Count | None = None,
        pad_width_divisor: Count | None = None,
        position: Position = "center",
        border_mode: BorderMode = 0,
        fill: Fill = 0.0,
        p: Probability = 1.0,
    ) -> None:
        for side, least, divisor in (
            ("height", min_height, pad_height_divisor),
            ("width", min_width, pad_width_divisor),
        ):
            if (least is None) == (divisor is None):
                raise CnnbenchError(f"augment PadIfNeeded takes either min_{side} or pad_{side}_divisor")
        self.least, self.divisor = (min_height, min_width), (pad_height_divisor, pad_width_divisor)
        self.position, self.border_mode, self.fill, self.p = position, border_mode, fill, p

    def draw(self, shape: Shape, generator: torch.Generator) -> Move:
        size = (shape.height, shape.width)
        total = [_missing(*side) for side in zip(size, self.least, self.divisor, strict=True)]
        if self.p == 0 or total == [0, 0]:
            return _unchanged
        _only_always("PadIfNeeded", self.p)
        if self.position == "random":
            # padded fully on both sides, then cut: any border mode then comes out as if padded unevenly
            both = (total[0], total[0], total[1], total[1])
            crop = _draw_windows(shape, total, (size[0] + total[0], size[1] + total[1]), generator)
            return _then(self._move(both), crop)
        vertical, _, horizontal = self.position.partition("_")
        top = total[0] // 2 if vertical == "center" else total[0] if vertical == "bottom" else 0
        left = total[1] // 2 if vertical == "center" else total[1] if horizontal == "right" else 0
        return self._move((top, total[0] - top, left, total[1] - left))

    def _move(self, margins: tuple[int, int, int, int]) -> Move:
        """`fill` is a color: masks are filled with their class 0."""

        def together(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
            return self._pad(images, margins, self.fill), self._pad(masks, margins, 0.0)

        return Paired(lambda images: self._pad(images, margins, self.fill), together)

    def _pad(self, images: Tensor, margins: tuple[int, int, int, int], color: Fill) -> Tensor:
        num_images, channels, height, width = images.shape
        top, bottom, left, right = margins
        if self.border_mode != 0:
            rows = border_positions(height, top, bottom, self.border_mode)
            columns = border_positions(width, left, right, self.border_mode)
            return images.index_select(2, move(rows, images)).index_select(3, move(columns, images))
        fill = [color] * channels if isinstance(color, float | int) else color
        if len(fill) != channels:
            raise CnnbenchError(f"augment PadIfNeeded: fill has {len(fill)} values for {channels} channels")
        bytes_ = [min(255, max(0, round(value))) for value in fill]
        size = (num_images, channels, top + height + bottom, left + width + right)
        layout = torch.channels_last
        canvas = torch.empty(size, dtype=images.dtype, device=images.device, memory_format=layout)
        if len(set(bytes_)) == 1:  # all channels at once
            canvas.fill_(bytes_[0])
        else:
            for channel, value in enumerate(bytes_):
                canvas[:, channel].fill_(value)
        canvas[:, :, top : top + height, left : left + width] = images
        return canvas


class RandomCrop:
    """Cuts a window of the given size at a random place, every place alike."""

    def __init__(
        self,
        *,
        height: Count,
        width: Count,
        pad_if_needed: bool = False,
        pad_position: Position = "center",
        border_mode: BorderMode = 0,
        fill: Fill = 0.0,
        p: Probability = 1.0,
    ) -> None:
        self.height, self.width, self.p = height, width, p
        self.pad: PadIfNeeded | None = None
        if pad_if_needed:
            self.pad = PadIfNeeded(
                min_height=height, min_width=width, position=pad_position, border_mode=border_mode, fill=fill
            )

    def draw(self, shape: Shape, generator: torch.Generator) -> Move:
        if self.p == 0 or (shape.height, shape.width) == (self.height, self.width):
            return _unchanged
        _only_always("RandomCrop", self.p)
        pad = self.pad.draw(shape, generator) if self.pad else _unchanged
        if self.pad:
            shape = Shape(shape.num_images, max(shape.height, self.height), max(shape.width, self.width))
        rows, columns = shape.height - self.height, shape.width - self.width
        if min(rows, columns) < 0:
            raise CnnbenchError(
                f"augment RandomCrop of {self.height}x{self.width} is larger than the images of "
                f"{shape.height}x{shape.width}: put a PadIfNeeded before it or make it smaller"
            )
        crop = _draw_windows(shape, (rows, columns), (self.height, self.width), generator)
        return _then(pad, crop)


class HorizontalFlip:
    """Mirrors left and right."""

    dim = 3

    def __init__(self, *, p: Probability = 0.5) -> None:
        self.p = p

    def draw(self, shape: Shape, generator: torch.Generator) -> Move:
        chosen = torch.rand(shape.num_images, generator=generator) < self.p
        return lambda images: flip_some(images, move(chosen, images), self.dim)


class VerticalFlip(HorizontalFlip):
    """Mirrors top and bottom."""

    dim = 2


class AlternatingFlip:
    """Mirrors left and right every other epoch: half of the images in the odd ones, the others in the even.

    A random flip shows a fourth of the images the same way in three epochs in turn; this one none in two
    (Jordan 2024). Which half is which is drawn once for a seed.
    """

    def draw(self, shape: Shape, generator: torch.Generator) -> Move:
        turns = shape.turns
        if turns is None:  # no epoch is known
            turns = torch.randint(0, 2, (shape.num_images,), generator=generator)
        chosen = turns % 2 == 1
        return lambda images: flip_some(images, move(chosen, images), HorizontalFlip.dim)


def _draw_windows(
    shape: Shape, extra: Sequence[int], size: tuple[int, int], generator: torch.Generator
) -> Move:
    """A window of this size per image, its top at 0 to extra[0], its left at 0 to extra[1], inclusive."""
    tops, lefts = (torch.randint(0, n + 1, (shape.num_images,), generator=generator) for n in extra)
    return lambda images: crop_windows(images, move(tops, images), move(lefts, images), *size)


def _then(first: Move, second: Move) -> Move:
    """Both in turn, of images alone and of images with masks."""

    def together(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        return move_both(second, *move_both(first, images, masks))

    return Paired(lambda images: second(first(images)), together)


def _unchanged(images: Tensor) -> Tensor:
    return images


def _missing(size: int, least: int | None, divisor: int | None) -> int:
    """Pixels to add to a side."""
    return max(0, least - size) if least is not None else -size % (divisor or 1)


def _only_always(name: str, p: float) -> None:
    """A batch has one size, so what changes the size happens to all images or to none."""
    if p < 1:
        raise CnnbenchError(f"augment {name} changes the size of images, so its p must be 1 (or 0), not {p}")
