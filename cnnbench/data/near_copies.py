"""Images that are nearly the same picture: a scene taken again, or a copy that was altered a little."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 32  # of the small grey pictures that are compared
ALIKE = 0.9  # correlation of their pixels from which two are one scene
LARGEST = 0.1  # share of all images: a larger group shows that pictures of other scenes look alike too
ROWS = 1024  # compared at a time, so that memory stays small


def near_copies(images: Tensor) -> "NDArray[np.int64] | None":
    """A group (N,) for each of images (N, C, H, W) uint8: near copies of each other have the same.

    What is near a copy of an image belongs to it too. None where a group would hold more than LARGEST of at
    least 20 images: then likeness says nothing of scenes.
    """
    pixels = _standardized(images)
    leader = np.arange(len(pixels))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = index = leader[leader[index]]
        return index

    for start in range(0, len(pixels), ROWS):
        alike = pixels[start : start + ROWS] @ pixels.T > ALIKE
        for row, column in torch.nonzero(alike.triu(start + 1)).tolist():
            one, other = sorted((find(start + row), find(column)))
            leader[other] = one
    groups = np.array([find(index) for index in range(len(pixels))])
    _, sizes = np.unique(groups, return_counts=True)
    if len(groups) >= 2 / LARGEST and sizes.max() > LARGEST * len(groups):
        return None
    return groups


def joined(first: "NDArray[np.int64]", second: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Groups (N,) in which all stay together that are together in one of two groupings."""
    groups = np.unique(first, return_inverse=True)[1]
    while True:
        smallest = groups
        for grouping in (first, second):
            _, inverse = np.unique(grouping, return_inverse=True)
            least = np.full(inverse.max() + 1, len(groups))
            np.minimum.at(least, inverse, smallest)
            smallest = least[inverse]
        if (smallest == groups).all():
            return np.asarray(groups, dtype=np.int64)
        groups = smallest


def _standardized(images: Tensor) -> Tensor:
    """Small grey pictures (N, SIDE²) of mean 0 and length 1; zeros where an image is all of one tone."""
    small = [
        adaptive_avg_pool2d(part.float().mean(1, keepdim=True), SIDE).flatten(1)
        for part in torch.split(images, ROWS)
    ]
    pixels = torch.cat(small)
    pixels -= pixels.mean(1, keepdim=True)
    length = pixels.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-3, pixels / length.clamp_min(1e-3), 0.0)
