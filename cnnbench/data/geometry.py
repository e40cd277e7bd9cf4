"""Where pixels go when whole batches are padded, cropped and flipped."""

import torch
from torch import Tensor


def move(drawn: Tensor, images: Tensor) -> Tensor:
    """A draw made on the CPU, brought to the images' device without waiting for it."""
    return drawn.to(images.device, non_blocking=True)


def crop_windows(images: Tensor, tops: Tensor, lefts: Tensor, height: int, width: int) -> Tensor:
    """A window (height, width) of each image (B, C, H, W) at its own offset (B,), channels last."""
    pixels = images.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    crop = _copy_windows if pixels.device.type == "cpu" else _index_windows
    return crop(pixels, tops, lefts, height, width).permute(0, 3, 1, 2)


def _copy_windows(pixels: Tensor, tops: Tensor, lefts: Tensor, height: int, width: int) -> Tensor:
    """Window by window: on a CPU copying whole rows is six times faster than indexing byte by byte."""
    windows = torch.empty((len(pixels), height, width, pixels.shape[3]), dtype=pixels.dtype)
    source, destination = pixels.flatten(2).numpy(), windows.flatten(2).numpy()  # (B, H, W * C)
    channels = pixels.shape[3]
    for number, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
        start = left * channels
        destination[number] = source[number, top : top + height, start : start + width * channels]
    return windows


def _index_windows(pixels: Tensor, tops: Tensor, lefts: Tensor, height: int, width: int) -> Tensor:
    """All windows in one operation: every possible one is part of a view that needs no copy."""
    num_images, full_height, full_width, channels = pixels.shape
    row = full_width * channels
    windows = pixels.as_strided(
        (num_images, full_height - height + 1, full_width - width + 1, height, width * channels),
        (full_height * row, row, channels, row, 1),
    )
    chosen = windows[torch.arange(num_images, device=pixels.device), tops, lefts]
    return chosen.view(num_images, height, width, channels)


def flip_some(images: Tensor, chosen: Tensor, dim: int) -> Tensor:
    """Images (B, C, H, W), channels last, mirrored along `dim` where `chosen` (B,) is true."""
    pixels = images.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    mirrored = pixels.flip(dim - 1)
    # choosing whole images from both stacks is several times faster than a choice per pixel (torch.where)
    which = torch.arange(len(images), device=images.device) + len(images) * chosen
    return torch.cat([pixels, mirrored]).index_select(0, which).permute(0, 3, 1, 2)


def border_positions(size: int, before: int, after: int, mode: int) -> Tensor:
    """The pixel that each one of a padded side repeats; 1 replicate, 2 reflect, 3 wrap, 4 reflect_101."""
    positions = torch.arange(-before, size + after)
    if mode == 1:
        return positions.clamp(0, size - 1)
    if mode == 3:
        return positions % size
    period = 2 * size if mode == 2 else max(1, 2 * size - 2)
    positions = positions % period
    return torch.where(positions < size, positions, (period - 1 if mode == 2 else period) - positions)
