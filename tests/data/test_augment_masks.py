"""Images and masks move together: a mask that equals its image still does afterwards."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cnnbench.data import load_dataset
from cnnbench.data.augment import Augment
from cnnbench.data.loader import Loader
from cnnbench.recipe.config import DataConfig, Named

PAD, CROP = {"name": "PadIfNeeded", "min_height": 20, "min_width": 22}, {"name": "RandomCrop", "height": 16}
SAME: dict[str, list[dict[str, Any]]] = {
    "flips": [{"name": "HorizontalFlip"}, {"name": "VerticalFlip"}],
    "pad": [PAD],
    "pad anywhere": [PAD | {"position": "random"}],
    "reflected": [PAD | {"border_mode": 4, "position": "random"}],
    "pad and crop": [PAD, CROP | {"width": 16}],
    "crop that pads": [CROP | {"width": 20, "pad_if_needed": True}],
    "shift, rotate": [
        {"name": "Affine", "translate_percent": [-0.1, 0.1], "rotate": [-9, 9], "interpolation": 0, "p": 1.0}
    ],
    "scale": [
        {"name": "Affine", "scale": [0.8, 1.2], "rotate": [-20, 20], "interpolation": 0, "p": 1.0}
    ],
    "transpose": [{"name": "Transpose"}],
    "all": [{"name": "HorizontalFlip"}, {"name": "Rotate", "limit": 30, "interpolation": 0}, PAD,
            CROP | {"width": 16}, {"name": "VerticalFlip"}],
}  # fmt: skip


def augment(*entries: dict[str, Any]) -> Augment:
    return Augment([Named(**entry) for entry in entries])


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shapes(num_images: int = 12, channels: int = 1) -> Tensor:
    """Images of blocks of 1 on 0."""
    images = torch.zeros(num_images, 1, 16, 16, dtype=torch.uint8)
    for number, image in enumerate(images):
        image[:, number % 9 : number % 9 + 5, (5 * number) % 11 : (5 * number) % 11 + 3] = 1
    return images.expand(-1, channels, -1, -1).contiguous()


@pytest.mark.parametrize("entries", SAME.values(), ids=SAME)
def test_a_mask_equal_to_its_image_stays_equal(entries: list[dict[str, Any]]) -> None:
    images = shapes()
    moved, masks = augment(*entries).with_masks(images, images[:, 0], generator())
    assert torch.equal(moved[:, 0], masks)
    assert masks.dtype == torch.uint8
    assert moved.shape != images.shape or not torch.equal(moved, images)


@pytest.mark.parametrize("entries", SAME.values(), ids=SAME)
def test_images_move_as_they_do_without_masks(entries: list[dict[str, Any]]) -> None:
    images = shapes(channels=3)
    moved, _ = augment(*entries).with_masks(images, images[:, 0], generator())
    assert torch.equal(moved, augment(*entries)(images, generator()))


def test_color_leaves_the_mask() -> None:
    images = 100 * shapes(channels=3) + 50
    masks = shapes()[:, 0]
    moved, same = augment(
        {"name": "RandomBrightnessContrast", "p": 1.0}, {"name": "GaussNoise", "p": 1.0}
    ).with_masks(images, masks, generator())
    assert not torch.equal(moved, images)
    assert torch.equal(same, masks)


@pytest.mark.parametrize("fill", [200.0, [200.0, 100.0, 50.0]], ids=["grey", "color"])
def test_padding_is_a_color_in_the_image_and_ground_in_the_mask(fill: Any) -> None:
    images = torch.ones(2, 3, 4, 4, dtype=torch.uint8)
    entry = {"name": "PadIfNeeded", "min_height": 6, "min_width": 4, "position": "top_left", "fill": fill}
    moved, masks = augment(entry).with_masks(images, images[:, 0], generator())
    assert moved[:, 0, 4:].unique().tolist() == [200]
    assert masks[:, 4:].unique().tolist() == [0]
    assert masks[:, :4].unique().tolist() == [1]


def test_a_mask_keeps_its_classes_where_an_image_is_interpolated() -> None:
    entry = {"name": "Affine", "rotate": [30, 30], "scale": [1.1, 1.1], "p": 1.0}
    images = 255 * shapes()
    moved, masks = augment(entry).with_masks(images, images[:, 0] // 255, generator())
    assert len(moved.unique()) > 2
    assert set(masks.unique().tolist()) <= {0, 1}


def test_training_batches_have_their_masks() -> None:
    """Of scenes that are their own masks, every batch has inputs that follow from its targets."""
    from dataclasses import replace
    from pathlib import Path

    data = DataConfig(
        name="lunar_synthetic", num_images=12, size=16, batch_size=5, normalize=False,
        augment=[Named(name="HorizontalFlip"), Named(name="Transpose"), Named(name="VerticalFlip")],
    )  # type: ignore[call-arg]  # fmt: skip
    dataset = load_dataset(data, Path())
    masks = dataset.train.targets
    own = (255 * masks[:, None]).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    loader = Loader(
        replace(dataset, train=replace(dataset.train, images=own), val=replace(dataset.val, images=own)),
        data,
        torch.device("cpu"),
    )
    for inputs, targets in loader.train_batches(0, 1):
        assert inputs.shape == (5, 3, 16, 16)
        assert torch.allclose(inputs[:, 0], targets.float())
    for inputs, targets in loader.eval_batches(loader.dataset.val):
        assert torch.allclose(inputs[:, 0], targets.float())
