"""Near copies are found whatever was done to their brightness, and other pictures are not."""

import numpy as np
import torch

from cnnbench.data import near_copies as module
from cnnbench.data.near_copies import joined, near_copies


def pictures(num: int, seed: int = 0) -> torch.Tensor:
    """Blotches (num, 3, 64, 64) uint8 that have nothing to do with each other."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(40, 200, (num, 1, 8, 8), generator=generator).float()
    return torch.nn.functional.interpolate(coarse, 64).expand(num, 3, 64, 64).to(torch.uint8)


def test_copies_are_one_group_and_others_are_their_own() -> None:
    images = pictures(30)
    noise = torch.randint(0, 20, images.shape, generator=torch.Generator().manual_seed(1))
    brighter = (images[4].float() * 0.7 + 60).to(torch.uint8)
    moved = torch.roll(images[7], 1, dims=2)
    noisy = (images[4] + noise[4]).to(torch.uint8)
    groups = near_copies(torch.cat([images, torch.stack([brighter, moved, noisy])]))
    assert groups is not None
    assert groups[30] == groups[4] == groups[32]
    assert groups[31] == groups[7]
    assert len(np.unique(groups)) == 30


def test_more_images_than_are_compared_at_a_time() -> None:
    images = pictures(50)
    images[49], images[20] = images[3], images[3]
    rows = module.ROWS
    try:
        module.ROWS = 16
        parted = near_copies(images)
    finally:
        module.ROWS = rows
    assert parted is not None
    assert parted.tolist() == near_copies(images).tolist()  # type: ignore[union-attr]
    assert parted[3] == parted[20] == parted[49]


def test_images_of_one_tone_are_like_no_others() -> None:
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 3, 8, 8)
    assert near_copies(images).tolist() == list(range(12))  # type: ignore[union-attr]


def test_where_everything_looks_alike_nothing_is_said() -> None:
    images = pictures(1).expand(40, 3, 64, 64).clone()
    images[:20] = pictures(20, seed=2)
    assert near_copies(images) is None


def test_joined() -> None:
    """0-1 by the first, 1-2 by the second, 3-4 and 4-5: two chains and one left alone."""
    first, second = np.array([0, 0, 1, 2, 2, 3, 9]), np.array([5, 6, 6, 7, 8, 8, 4])
    groups = joined(first, second)
    assert groups[0] == groups[1] == groups[2] != groups[3]
    assert groups[3] == groups[4] == groups[5]
    assert len(np.unique(groups)) == 3
