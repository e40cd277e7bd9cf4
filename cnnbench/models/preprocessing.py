"""What a pretrained network wants done to an image before it sees it, a batch at a time on the device."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Interpolation = Literal["bilinear", "bicubic"]


class Steps(NamedTuple):
    """Resize (short side, or height and width), center crop (height, width), mean and std on 0 to 1."""

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    interpolation: Interpolation
    mean: Sequence[float]
    std: Sequence[float]

    def at(self, size: int) -> "Steps":
        """The same for a network that is given squares of `size`: the crop keeps its share of the image."""
        scale = size / min(self.crop)
        resize = self.resize if isinstance(self.resize, int) else min(self.resize)
        return self._replace(resize=max(size, math.floor(resize * scale)), crop=(size, size))


class Preprocessing(nn.Module):
    """Resizes, crops and normalizes images (N, 1 or 3, H, W) to (N, 3, height, width) in float32.

    Bytes are resized as Pillow does it (antialiased, rounded to bytes after each direction), floats from
    0 to 1 without the rounding. Weights are floats where Pillow's are fixed point: a pixel may differ by one
    level of 255, and hardly one in twenty does.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps
        for name, values in (("mean", steps.mean), ("std", steps.std)):
            value = torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        is_bytes = images.dtype == torch.uint8
        pixels = images.float() if is_bytes else 255 * images.float()
        pixels = self._resize(pixels, is_bytes)
        height, width = self.steps.crop
        top, left = (
            round((have - want) / 2) for have, want in zip(pixels.shape[2:], (height, width), strict=True)
        )
        pixels = pixels[:, :, top : top + height, left : left + width]
        inputs = (pixels / 255 - self.mean) / self.std  # grey images take on three channels here
        return inputs.contiguous(memory_format=torch.channels_last)

    def _resize(self, pixels: Tensor, is_bytes: bool) -> Tensor:
        height, width = self.size_of(cast("tuple[int, int]", tuple(pixels.shape[2:])))
        for size in ((pixels.shape[2], width), (height, width)):  # along rows, then columns, as Pillow
            if tuple(pixels.shape[2:]) != size:
                pixels = F.interpolate(pixels, size=size, mode=self.steps.interpolation, antialias=True)
                if is_bytes:  # halves go up there
                    pixels = (pixels + 0.5).floor().clamp(0, 255)
        return pixels

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width after the resize."""
        if not isinstance(self.steps.resize, int):
            return self.steps.resize
        short, long = min(size), max(size)
        other = int(self.steps.resize * long / short)
        return (self.steps.resize, other) if size[0] <= size[1] else (other, self.steps.resize)
