"""Near copies are found whatever was done to their brightness, and other pictures are not."""

import numpy as np
import pytest
from PIL import Image

from cnnbench.data import near_copies as module
from cnnbench.data.near_copies import SIDE, exact_copies, joined, largest_group, near_copies


def pictures(num: int, seed: int = 0) -> np.ndarray:
    """Blotches (num, SIDE, SIDE) that have nothing to do with each other."""
    coarse = np.random.default_rng(seed).integers(40, 200, (num, 8, 8), dtype=np.uint8)
    size, smooth = (SIDE, SIDE), Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(each).resize(size, smooth)) for each in coarse])


def groups_of(images: np.ndarray, largest: int = 10) -> list[int] | None:
    found = near_copies(images.reshape(len(images), -1), largest)
    return None if found is None else found.tolist()


def test_copies_are_one_group_and_others_are_their_own() -> None:
    images = pictures(30)
    noise = np.random.default_rng(1).integers(0, 20, images[4].shape, dtype=np.uint8)
    brighter = (images[4] * 0.7 + 60).astype(np.uint8)
    negative = 255 - images[7]
    groups = groups_of(np.concatenate([images, [brighter, negative, images[4] + noise]]))
    assert groups is not None
    assert groups[30] == groups[4] == groups[32]
    assert groups[31] != groups[7]
    assert len(set(groups)) == 31


def test_exact_copies_are_one_group_and_what_shows_nothing_is_no_copy() -> None:
    images = pictures(8)
    images[5] = images[2]
    images[6] = images[2] // 2
    images[0], images[7] = 90, 90
    assert exact_copies(images.reshape(8, -1)).tolist() == [0, 1, 2, 3, 4, 2, 6, 7]


def test_more_images_than_are_compared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(50)
    images[49], images[20] = images[3], images[3]
    whole = groups_of(images)
    monkeypatch.setattr(module, "ROWS", 16)
    assert groups_of(images) == whole
    assert whole is not None
    assert whole[3] == whole[20] == whole[49]


def test_images_of_one_tone_are_like_no_others() -> None:
    flat = np.arange(12, dtype=np.uint8)[:, None, None].repeat(SIDE, axis=1).repeat(SIDE, axis=2)
    assert len(set(groups_of(flat) or ())) == 12


def test_too_many_pairs_say_nothing() -> None:
    images = pictures(40)
    images[20:] = images[0]  # 190 pairs: more than groups of 4 can have, fewer than those of 20
    assert groups_of(images, largest=4) is None
    assert groups_of(images, largest=20) is not None


def test_joined() -> None:
    """0-1 by the first, 1-2 by the second, 3-4 and 4-5: two chains and one left alone."""
    groups = joined(np.array([0, 0, 1, 2, 2, 3, 9]), np.array([5, 6, 6, 7, 8, 8, 4]))
    assert groups.tolist() == [groups[0]] * 3 + [groups[3]] * 3 + [groups[6]]
    assert sorted(set(groups.tolist())) == [0, 1, 2]
    assert largest_group(groups) == 3
