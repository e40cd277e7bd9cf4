"""Generated scenes: the same every time, lit and shadowed as geometry demands, with exact masks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cnnbench.data import load_dataset, lunar_synthetic
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import DataConfig


def test_a_scene_is_the_same_every_time() -> None:
    first, again = lunar_synthetic.render(32, [0, 5]), lunar_synthetic.render(32, [0, 5])
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (first[0] != lunar_synthetic.render(32, [1, 5])[0]).any()


def test_sizes_and_splits() -> None:
    source = lunar_synthetic.load(Path(), num_images=8, size=32)
    assert source.train_images.shape == (8, 3, 32, 32)
    assert source.train_targets.shape == (8, 32, 32)
    assert source.test_images.shape == (2, 3, 32, 32)
    assert set(source.train_targets.unique().tolist()) <= {0, 1}
    every = torch.cat([source.train_images, source.test_images]).flatten(1)
    assert len(every.unique(dim=0)) == 10  # no scene twice


def test_one_pixel_is_flat_ground_and_too_much_is_refused() -> None:
    pixels, mask = lunar_synthetic.render(1, [0, 0])
    assert pixels.shape == (1, 1, 3)
    assert mask.shape == (1, 1)
    with pytest.raises(
        CnnbenchError, match=r"1,250,000 scenes of 4096×4096 .* GiB .*lower data\.size or data\.num"
    ):
        lunar_synthetic.load(Path(), num_images=1_000_000, size=4096)


def test_rocks_take_a_small_share() -> None:
    masks = lunar_synthetic.load(Path(), num_images=40, size=64).train_targets.float()
    shares = masks.mean((1, 2))
    assert 0.01 < shares.mean() < 0.08
    assert (shares > 0).all()


def test_a_flat_ground_is_as_bright_as_the_sun_is_high() -> None:
    sun = np.array([3.0, 0.0, 4.0]) / 5
    assert lunar_synthetic._lambert(np.zeros((4, 4)), sun) == pytest.approx(0.8)


def test_a_wall_casts_a_shadow_as_long_as_it_is_high_under_a_sun_of_45_degrees() -> None:
    heights = np.zeros((32, 32))
    heights[16] = 4.0  # a wall along the columns; the sun stands over row 31
    dark = lunar_synthetic._shadows(heights, np.array([1.0, 0.0, 1.0]))
    assert np.flatnonzero(dark.any(1)).tolist() == [13, 14, 15]
    assert dark[13:16].all()


def test_training_sees_masks() -> None:
    data = DataConfig(name="lunar_synthetic", num_images=8, size=16, limit=6, val_size=2)  # type: ignore[call-arg]
    dataset = load_dataset(data, Path())
    assert dataset.task == "segmentation"
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (4, 2, 2)
    images, masks = dataset.val.gather(torch.tensor([1]))
    assert torch.equal(masks[0], dataset.val.targets[dataset.val.rows[1]])
    assert images.shape == (1, 3, 16, 16)
