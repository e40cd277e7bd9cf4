"""Batched transforms against albumentations: the same pixels for a draw, the same distribution of draws."""

import os
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from cnnbench import catalog
from cnnbench.data.augment import (
    AlternatingFlip,
    Augment,
    HorizontalFlip,
    PadIfNeeded,
    RandomCrop,
    VerticalFlip,
)
from cnnbench.data.geometry import _copy_windows, _index_windows
from cnnbench.data.transform import Shape
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import Named

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num_images: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randint(
        0, 256, (num_images, channels, height, width), dtype=torch.uint8, generator=generator(7)
    )


def positions(num_images: int, height: int, width: int) -> Tensor:
    """Images whose pixels say where they stand: value = row * width + column."""
    return (
        torch.arange(height * width, dtype=torch.uint8).view(1, 1, height, width).repeat(num_images, 1, 1, 1)
    )


def run(transform: Any, images: Tensor, seed: int = 0) -> Tensor:
    num_images, _, height, width = images.shape
    moved: Tensor = transform.draw(Shape(num_images, height, width), generator(seed))(images)
    return moved


def theirs(transform: Any, images: Tensor) -> Tensor:
    compose = A.Compose([transform], seed=3)
    done = [
        compose(image=np.ascontiguousarray(image))["image"] for image in images.permute(0, 2, 3, 1).numpy()
    ]
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("border_mode", range(5))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"min_height": 12, "min_width": 9}, id="odd"),
        pytest.param({"min_height": 4, "min_width": 8, "position": "top_left"}, id="top_left"),
        pytest.param({"min_height": 11, "min_width": 11, "position": "top_right"}, id="top_right"),
        pytest.param({"min_height": 11, "min_width": 11, "position": "bottom_right"}, id="bottom_right"),
        pytest.param({"min_height": 11, "min_width": 11, "position": "bottom_left"}, id="bottom_left"),
        pytest.param(
            {"min_height": None, "min_width": None, "pad_height_divisor": 4, "pad_width_divisor": 8},
            id="divisor",
        ),
        pytest.param({"min_height": 9, "min_width": 9, "fill": 77}, id="fill"),
        pytest.param({"min_height": 40, "min_width": 30}, id="wider-than-the-image"),
    ],
)
def test_pad_has_albumentations_pixels(border_mode: int, channels: int, options: dict[str, Any]) -> None:
    images = pictures(2, channels, 7, 6)
    expected = theirs(A.PadIfNeeded(border_mode=border_mode, **options), images)
    assert torch.equal(run(PadIfNeeded(border_mode=border_mode, **options), images), expected)


def test_bottom_left_is_where_the_image_goes() -> None:
    padded = run(PadIfNeeded(min_height=3, min_width=3, position="bottom_left", fill=9), positions(1, 2, 2))
    assert padded[0, 0].tolist() == [[9, 9, 9], [0, 1, 9], [2, 3, 9]]


def test_pad_by_channel() -> None:
    padded = run(
        PadIfNeeded(min_height=3, min_width=2, position="top_left", fill=[1, 2, 3]), pictures(2, 3, 2, 2)
    )
    assert padded[0, :, 2].tolist() == [[1, 1], [2, 2], [3, 3]]
    with pytest.raises(CnnbenchError, match="2 values for 3 channels"):
        run(PadIfNeeded(min_height=3, min_width=2, fill=[1, 2]), pictures(2, 3, 2, 2))


@pytest.mark.parametrize("border_mode", range(5))
def test_pad_at_random_positions(border_mode: int) -> None:
    images = pictures(300, 1, 3, 3)
    padded = run(PadIfNeeded(min_height=5, min_width=4, position="random", border_mode=border_mode), images)
    offsets = np.zeros((3, 2), dtype=int)
    for image, result in zip(images, padded, strict=True):
        (place,) = [
            (top, left)
            for top in range(3)
            for left in range(2)
            if torch.equal(result[:, top : top + 3, left : left + 3], image)
        ]
        offsets[place] += 1
    assert chisquare(offsets.ravel()).pvalue > 0.001


@pytest.mark.parametrize(
    ("transform", "reference"),
    [(HorizontalFlip(p=1.0), A.HorizontalFlip(p=1.0)), (VerticalFlip(p=1.0), A.VerticalFlip(p=1.0))],
    ids=["horizontal", "vertical"],
)
def test_flip_has_albumentations_pixels(transform: Any, reference: Any) -> None:
    images = pictures(3, 3, 5, 4)
    assert torch.equal(run(transform, images), theirs(reference, images))


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("flip", [HorizontalFlip, VerticalFlip])
def test_flip_frequency(flip: Any, p: float) -> None:
    images = pictures(2000, 1, 3, 3)
    mirrored = images.flip(flip.dim)
    moved = run(flip(p=p), images)
    is_flipped = (moved == mirrored).all((1, 2, 3)) & (images != mirrored).any((1, 2, 3))
    is_kept = (moved == images).all((1, 2, 3))
    assert bool((is_flipped | is_kept).all())
    spread = (p * (1 - p) / 2000) ** 0.5
    reference = theirs(getattr(A, flip.__name__)(p=p), images)
    for result in (moved, reference):
        share = (
            ((result == mirrored).all((1, 2, 3)) & (images != mirrored).any((1, 2, 3))).float().mean().item()
        )
        assert share == pytest.approx(p, abs=4 * spread + 0.005)


def test_alternating_flip_mirrors_every_other_epoch() -> None:
    images = pictures(200, 1, 3, 3)
    starts = torch.arange(200) % 2
    for epoch in range(1, 5):
        moved = AlternatingFlip().draw(Shape(200, 3, 3, starts + epoch), generator(epoch))(images)
        mirrored = (starts + epoch) % 2 == 1
        assert torch.equal(moved[mirrored], images[mirrored].flip(3))
        assert torch.equal(moved[~mirrored], images[~mirrored])


def test_crop_offsets_are_uniform_as_albumentations_are() -> None:
    images = positions(1800, 7, 6)  # offsets 0..4 by 0..2
    for moved in (
        run(RandomCrop(height=3, width=4), images),
        theirs(A.RandomCrop(height=3, width=4), images),
    ):
        corners = moved[:, 0, 0, 0].to(torch.int64)
        counts = torch.bincount(corners, minlength=42).view(7, 6)
        assert counts[5:].sum() == 0
        assert counts[:, 3:].sum() == 0
        assert chisquare(counts[:5, :3].ravel().numpy()).pvalue > 0.001
        # each crop is one whole window, not rows and columns of several
        window = torch.arange(3)[:, None] * 6 + torch.arange(4)
        assert torch.equal(moved[:, 0].to(torch.int64), corners[:, None, None] + window)


def test_crop_pads_if_asked() -> None:
    images = pictures(4, 3, 3, 9)
    moved = run(RandomCrop(height=5, width=9, pad_if_needed=True, fill=50), images)
    assert torch.equal(moved, theirs(A.PadIfNeeded(min_height=5, min_width=9, fill=50), images))


def test_both_ways_to_crop_agree() -> None:
    pixels = pictures(6, 3, 9, 8).permute(0, 2, 3, 1).contiguous()
    tops, lefts = torch.tensor([0, 1, 2, 3, 4, 4]), torch.tensor([0, 5, 1, 2, 3, 4])
    assert torch.equal(_copy_windows(pixels, tops, lefts, 5, 3), _index_windows(pixels, tops, lefts, 5, 3))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param(
            [{"name": "RandomCrop", "height": 9, "width": 4}], "larger than the images", id="too-large"
        ),
        pytest.param([{"name": "RandomCrop", "height": 4, "width": 4, "p": 0.5}], "p must be 1", id="crop-p"),
        pytest.param([{"name": "PadIfNeeded", "p": 0.5}], "p must be 1", id="pad-p"),
        pytest.param([{"name": "HorizontalFlop"}], "Did you mean HorizontalFlip", id="unknown"),
        pytest.param([{"name": "HorizontalFlip", "q": 1}], "HorizontalFlip", id="unknown-option"),
        pytest.param([{"name": "Rotate", "limits": 5}], "Rotate", id="their-unknown-option"),
        pytest.param([{"name": "Rotate", "p": 5.0}], "Rotate", id="their-wrong-value"),
        pytest.param([{"name": "PadIfNeeded", "pad_height_divisor": 4}], "either min_height or", id="both"),
    ],
)
def test_mistakes(entries: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(CnnbenchError, match=message):
        Augment([Named(**entry) for entry in entries])(pictures(2, 3, 6, 6), generator())


@pytest.mark.parametrize("name", ["PadIfNeeded", "RandomCrop", "HorizontalFlip", "VerticalFlip"])
def test_defaults_are_albumentations(name: str) -> None:
    import inspect

    reference = inspect.signature(getattr(A, name).__init__).parameters
    for option in catalog.options("augmentation", name):
        expected = reference[option.name].default
        assert option.default == (... if expected is inspect.Parameter.empty else expected), option.name


def test_order_is_kept_and_draws_repeat() -> None:
    augment = Augment(
        [
            Named(name="PadIfNeeded", min_height=10, min_width=10),
            Named(name="Rotate", limit=[90, 90], p=1.0),
            Named(name="RandomBrightnessContrast", p=0.5),
            Named(name="RandomCrop", height=6, width=6),
            Named(name="HorizontalFlip"),
        ]
    )
    assert [type(transform).__name__ for transform in augment.transforms] == [
        "PadIfNeeded",
        "PerImage",
        "RandomCrop",
        "HorizontalFlip",
    ]
    images = pictures(8, 3, 6, 6)
    first, other, again = (
        augment(images, generator(1)),
        augment(images, generator(2)),
        augment(images, generator(1)),
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert torch.equal(images, pictures(8, 3, 6, 6))  # the stored images stay as they were


@pytest.mark.parametrize("channels", [1, 3])
def test_single_images_go_through_albumentations_itself(channels: int) -> None:
    images = pictures(3, channels, 4, 5)
    moved = Augment([Named(name="Transpose", p=1.0)])(images, generator())
    assert torch.equal(moved, images.transpose(2, 3))


def test_neighbours_are_drawn_independently() -> None:
    """Transpose and InvertImg at 0.5: each of the four outcomes for a quarter of the images."""
    images = torch.zeros(64, 1, 2, 2, dtype=torch.uint8)
    images[:, :, 0, 1] = 50  # right above; below left where transposed
    augment = Augment([Named(name="Transpose", p=0.5), Named(name="InvertImg", p=0.5)])
    counts = [0] * 4
    for seed in range(32):
        done = augment(images, generator(seed))
        inverted = done[:, 0, 0, 0] == 255
        transposed = done[:, 0, 0, 1] == done[:, 0, 0, 0]
        for outcome in (2 * inverted.int() + transposed.int()).tolist():
            counts[outcome] += 1
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("task", ["alone", "with masks"])
def test_a_transform_that_fails_on_the_images_is_named(task: str) -> None:
    augment = Augment([Named(name="ISONoise", p=1.0)])  # of colors alone
    images = pictures(2, 1, 4, 4)
    masks = () if task == "alone" else (images[:, 0],)
    apply = augment.with_masks if masks else augment
    with pytest.raises(CnnbenchError, match=r"augment ISONoise fails on an image of 4×4×1: .*3-channel"):
        apply(images, *masks, generator())
