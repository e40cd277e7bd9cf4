"""Generated terrain with rocks, seen from above under a low sun, with exact masks: needs no download.

Heights are smoothed noise, rocks are bumps on it. Brightness is Lambert's cosine law, shadows are cast by
walking from each pixel towards the sun.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cnnbench.data.base import Format, Source
from cnnbench.memory import check_fits
from cnnbench.options import Count, ImageSize, NonNegativeInt

TASK = "segmentation"
CLASSES = ("ground", "rock")
SUN_SLOPE = (0.35, 0.9)  # tangent of the sun's height, lowest and highest
MOST_ROCKS = 14
Heights = NDArray[np.float64]  # (size, size), in pixels


def describe(root: Path, *, size: ImageSize = 128, **_: object) -> Format:
    """The format that `load` makes with these options."""
    return Format((3, size, size), len(CLASSES))


def load(
    root: Path, *, num_images: Count = 240, size: ImageSize = 128, terrain_seed: NonNegativeInt = 0
) -> Source:
    """`num_images` training scenes and a quarter as many for test."""
    num_test = max(1, num_images // 4)
    check_fits(
        2 * 4 * (num_images + num_test) * size**2,  # one by one, and together
        f"lunar_synthetic: {num_images + num_test:,} scenes of {size}×{size} with their masks",
        "lower data.size or data.num_images",
    )
    scenes = [render(size, [terrain_seed, index]) for index in range(num_images + num_test)]
    images = torch.from_numpy(np.stack([image for image, _ in scenes])).permute(0, 3, 1, 2)
    masks = torch.from_numpy(np.stack([mask for _, mask in scenes]))
    return Source(images[:num_images], masks[:num_images], images[num_images:], masks[num_images:], CLASSES)


def render(size: int, seed: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A scene (size, size, 3) and its mask (size, size), 1 where a rock is; the same for the same seed."""
    rng = np.random.default_rng(seed)
    ground = _terrain(size, rng)
    heights, mask = _with_rocks(ground, rng)
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(*SUN_SLOPE)
    sun = np.array([np.cos(angle), np.sin(angle), slope])  # down the rows, along the columns, up
    light = _lambert(heights, sun / np.linalg.norm(sun)) * ~_shadows(heights, sun)
    albedo = np.where(mask, rng.uniform(0.75, 1.05), 0.85) * rng.uniform(0.9, 1.1, (size, size))
    brightness = 255 * (0.06 + 0.9 * albedo * light) + rng.normal(0, 4, (size, size))
    tint = np.array([1.0, 0.98, 0.94])
    pixels = (brightness[..., None] * tint).round().clip(0, 255).astype(np.uint8)
    return pixels, mask.astype(np.uint8)


def _terrain(size: int, rng: np.random.Generator) -> Heights:
    """Noise in four octaves, the coarser the higher."""
    heights = np.zeros((size, size))
    for octave in range(4):
        cells = 2 ** (octave + 1) + 1
        heights += size / 14 / 2.2**octave * _stretched(rng.normal(size=(cells, cells)), size)
    return heights


def _stretched(cells: Heights, size: int) -> Heights:
    """A grid blown up to `size`, smoothly (cosine weights)."""
    places = np.linspace(0, len(cells) - 1, size)
    lower = np.minimum(places.astype(int), len(cells) - 2)
    weight = (1 - np.cos(np.pi * (places - lower))) / 2
    rows = cells[lower] * (1 - weight)[:, None] + cells[lower + 1] * weight[:, None]
    stretched: Heights = rows[:, lower] * (1 - weight) + rows[:, lower + 1] * weight
    return stretched


def _with_rocks(ground: Heights, rng: np.random.Generator) -> tuple[Heights, NDArray[np.bool_]]:
    """Ellipsoids, many small and few large ones, half sunk in; the mask is where one stands above ground."""
    size = len(ground)
    rows, columns = np.mgrid[:size, :size]
    above = np.zeros((size, size))
    for _ in range(rng.integers(2, MOST_ROCKS + 1)):
        radius = size * min(0.013 * (1 + rng.pareto(1.8)), 0.12)
        center, turn = rng.uniform(0, size, 2), rng.uniform(0, np.pi)
        down, across = rows - center[0], columns - center[1]
        along = (down * np.cos(turn) + across * np.sin(turn)) / radius
        aside = (across * np.cos(turn) - down * np.sin(turn)) / (radius * rng.uniform(0.6, 1.0))
        dome = 1 - along**2 - aside**2
        above = np.maximum(above, radius * rng.uniform(0.7, 1.1) * np.sqrt(np.maximum(dome, 0)))
    return ground + above, above > 0


def _lambert(heights: Heights, sun: NDArray[np.float64]) -> Heights:
    """The cosine between each pixel's normal and the direction of the sun, 0 where it is turned away."""
    # without a neighbor no slope is known: one pixel alone is flat
    down, across = np.gradient(heights) if len(heights) > 1 else (np.zeros((1, 1)), np.zeros((1, 1)))
    length = np.sqrt(down**2 + across**2 + 1)
    light: Heights = np.maximum((-down * sun[0] - across * sun[1] + sun[2]) / length, 0)
    return light


def _shadows(heights: Heights, sun: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where something on the way to the sun stands higher than its ray; beyond the edge is nothing."""
    size = len(heights)
    rows, columns = np.mgrid[:size, :size]
    dark = np.zeros((size, size), dtype=bool)
    for step in range(1, size // 4):
        down = rows + round(step * sun[0])
        across = columns + round(step * sun[1])
        inside = (down >= 0) & (down < size) & (across >= 0) & (across < size)
        there = heights[down.clip(0, size - 1), across.clip(0, size - 1)]
        dark |= inside & (there > heights + step * sun[2])
    return dark
