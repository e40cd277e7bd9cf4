from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnbench.data import synthetic
from cnnbench.data.base import Source, Split
from cnnbench.data.prepare import channel_statistics, prepare, resize, resize_masks
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import DataConfig


@pytest.fixture(scope="module")
def source() -> Source:
    return synthetic.load(Path(), num_images=200, num_classes=4, height=6, width=5)


def test_splits_are_stratified_and_share_their_images(source: Source) -> None:
    dataset = prepare(source, DataConfig(name="synthetic", val_fraction=0.2))
    assert torch.bincount(dataset.val.all_targets()).tolist() == [10] * 4
    assert torch.bincount(dataset.train.all_targets()).tolist() == [40] * 4
    assert len(dataset.test) == 50
    assert dataset.val.images is dataset.train.images
    assert dataset.val.targets is dataset.train.targets
    assert not set(dataset.val.rows.tolist()) & set(dataset.train.rows.tolist())
    assert dataset.in_shape == (3, 6, 5)
    moved = dataset.to(torch.device("cpu"))
    assert moved.val.images is moved.train.images
    assert "pixels" not in vars(moved)
    assert vars(moved.to(torch.device("cpu"))).get("pixels") is None
    assert moved.pixels == dataset.pixels
    assert vars(moved.to(torch.device("cpu")))["pixels"] == dataset.pixels, "not gone through once more"


def test_gathered_images_are_the_published_ones(source: Source) -> None:
    dataset = prepare(source, DataConfig(name="synthetic"))
    images, targets = dataset.val.gather(torch.tensor([3, 0, 3]))
    rows = dataset.val.rows[[3, 0, 3]]
    assert torch.equal(images, source.train_images[rows])
    assert torch.equal(targets, source.train_targets[rows])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_statistics_are_those_of_the_train_split(source: Source) -> None:
    dataset = prepare(source, DataConfig(name="synthetic"))
    pixels = source.train_images[dataset.train.rows].numpy() / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std((0, 2, 3)), rtol=1e-12)


def test_statistics_over_several_chunks() -> None:
    images = torch.zeros(3000, 1, 2, 2, dtype=torch.uint8)
    images[:1500] = 255
    split = Split(images, torch.zeros(3000, dtype=torch.int64), torch.arange(3000))
    assert channel_statistics(split) == ((0.5,), (0.5,))


@pytest.mark.parametrize("limit", [40, 41, 7, 2])
def test_limit_is_stratified_and_kept(source: Source, limit: int) -> None:
    dataset = prepare(source, DataConfig(name="synthetic", limit=limit))
    assert len(dataset.train) + len(dataset.val) == limit
    assert len(dataset.test) == limit
    assert len(dataset.train.images) == limit  # what is left out leaves memory
    counts = torch.bincount(dataset.train.targets, minlength=4)
    assert counts.max() - counts.min() <= 1


def test_limit_of_one_leaves_nothing_to_validate(source: Source) -> None:
    with pytest.raises(CnnbenchError, match=r"data\.limit"):
        prepare(source, DataConfig(name="synthetic", limit=1))


def test_limit_beyond_the_data_changes_nothing(source: Source) -> None:
    dataset = prepare(source, DataConfig(name="synthetic", limit=10_000))
    assert len(dataset.train) + len(dataset.val) == 200


def test_classes_in_the_order_asked_for(source: Source) -> None:
    dataset = prepare(source, DataConfig(name="synthetic", classes=["pattern 3", "pattern 1"]))
    assert dataset.classes == ("pattern 3", "pattern 1")
    assert dataset.num_classes == 2
    assert len(dataset.train) + len(dataset.val) == 100
    assert torch.equal(
        dataset.train.images[dataset.train.targets == 0], source.train_images[source.train_targets == 3]
    )
    assert torch.equal(
        dataset.test.images[dataset.test.targets == 1], source.test_images[source.test_targets == 1]
    )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        pytest.param(["pattern 1", "patern 2"], "did you mean 'pattern 2'", id="nearest"),
        pytest.param(["pattern 1", "zebra"], "it has pattern 0, pattern 1", id="nothing-near"),
        pytest.param(["pattern 1", "pattern 1"], "twice", id="twice"),
    ],
)
def test_wrong_classes(source: Source, classes: list[str], message: str) -> None:
    with pytest.raises(CnnbenchError, match=message):
        prepare(source, DataConfig(name="synthetic", classes=classes))


def test_image_size(source: Source) -> None:
    dataset = prepare(source, DataConfig(name="synthetic", image_size=8))
    assert dataset.in_shape == (3, 8, 8)
    assert dataset.test.images.shape == (50, 3, 8, 8)
    assert dataset.train.images.dtype == torch.uint8


def test_resize_is_torchvisions_antialiased_one() -> None:
    from torchvision.transforms.v2.functional import resize as reference

    images = torch.randint(
        0, 256, (5, 3, 30, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    expected = reference(images.to(torch.float32), [9, 9], antialias=True).round()
    assert torch.equal(resize(images, 9).to(torch.float32), expected)


def test_resize_by_half_averages_by_hand() -> None:
    # antialiased by 2: a triangle of width 4 around each center; in the middle weights 1/8, 3/8, 3/8, 1/8
    image = torch.tensor([0, 0, 0, 80, 160, 0, 0, 0], dtype=torch.uint8).repeat(8, 1)
    row = resize(image[None, None], 4)[0, 0, 0]
    assert row.tolist() == [0, 50, 70, 0]


def masked(num_images: int = 12, groups: list[int] | None = None) -> Source:
    """Images of one value each, which their masks repeat modulo 2."""
    values = torch.arange(num_images, dtype=torch.uint8)
    images = values.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone()
    named = None if groups is None else torch.tensor(groups)
    return Source(
        images, images[:, 0] % 2, images[:3], images[:3, 0] % 2, ("off", "on"), train_groups=named,
        notes=("a note",),
    )  # fmt: skip


def test_masks_go_with_their_images() -> None:
    dataset = prepare(masked(), DataConfig(name="lunar", limit=10, val_size=4))
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (6, 4, 3)
    for split in (dataset.train, dataset.val, dataset.test):
        images, masks = split.gather(torch.arange(len(split)))
        assert torch.equal(images[:, 0] % 2, masks)
    assert len(dataset.train.images) == 10
    assert dataset.notes == ("a note",)


def test_groups_of_images_with_masks_stay_together() -> None:
    groups = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    dataset = prepare(masked(12, groups), DataConfig(name="lunar", val_size=3))
    train, val = dataset.train.all_groups(), dataset.val.all_groups()
    assert train is not None
    assert val is not None
    assert not set(train.tolist()) & set(val.tolist())
    assert 1 <= len(val) <= 3


@pytest.mark.parametrize(("value", "absent"), [(0, "on"), (1, "off")])
def test_masks_of_one_class_alone_are_told(value: int, absent: str) -> None:
    source = masked()
    source.test_targets.fill_(value)
    found = prepare(source, DataConfig(name="lunar", val_size=2)).notes
    assert found[0] == "a note"
    assert (
        f"no pixel of {absent} is in the test masks (3 in all), so the test measures say nothing" in found[1]
    )
    assert ("IoU counts as 100 %" in found[1]) == (value == 0)
    source.train_targets.fill_(value)
    _, train, val, _ = prepare(source, DataConfig(name="lunar", val_size=2)).notes
    assert (
        f"no pixel of {absent} is in the training masks (10 in all), so it cannot be learned: take" in train
    )
    assert "validation masks (2 in all), so the best epoch and the threshold are chosen blindly" in val


def test_a_class_without_a_training_image_is_told() -> None:
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    targets = torch.tensor([0, 0, 0, 0, 1])
    source = Source(images, targets, images, targets, ("cat", "dog", "horse"))
    (note,) = prepare(source, DataConfig(name="folder", val_size=1)).notes
    assert note.startswith(
        "folder: no training image is left of 'horse' (of 3 classes), which cannot be learned"
    )
    pair = Source(images[3:], targets[3:], images, targets, ("cat", "dog"))
    (note,) = prepare(pair, DataConfig(name="folder", limit=2)).notes
    assert "is left of 'cat' (of 2 classes)" in note
    assert note.endswith(
        "which cannot be learned: take more images, raise data.limit or lower data.val_fraction"
    )


def test_odd_targets_of_a_plugin_say_nothing_of_classes() -> None:
    source = masked()
    source.test_targets.fill_(255)
    config = DataConfig(name="mine", val_size=4)
    assert len(prepare(source, config).notes) == 1
    empty = replace(source, test_images=source.test_images[:0], test_targets=source.test_targets[:0])
    assert len(prepare(empty, config).notes) == 1
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    beyond = Source(images, torch.tensor([0, 0, 7, 7]), images, torch.zeros(4, dtype=torch.int64), ("a", "b"))
    (note,) = prepare(beyond, DataConfig(name="mine", val_size=1)).notes
    assert "is left of 'b' (of 2 classes)" in note
    assert note.endswith("lower data.val_size")


def test_masks_are_resized_to_the_nearest_pixel() -> None:
    masks = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]], dtype=torch.uint8)
    assert resize_masks(masks, 2).tolist() == [[[0, 1], [1, 0]]]
    dataset = prepare(masked(), DataConfig(name="lunar", image_size=8))
    assert dataset.train.images.shape[2:] == dataset.train.targets.shape[1:] == (8, 8)


def test_pixels_have_no_classes_to_choose_from() -> None:
    with pytest.raises(CnnbenchError, match="lunar has masks: leave it out"):
        prepare(masked(), DataConfig(name="lunar", classes=["off", "on"]))
