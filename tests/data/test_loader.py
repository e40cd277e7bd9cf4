from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnbench.data import load_dataset
from cnnbench.data.base import Dataset, Split
from cnnbench.data.loader import Loader
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import DataConfig, Named

CPU = torch.device("cpu")
CROP_FLIP = [
    Named(name="PadIfNeeded", min_height=12, min_width=12),
    Named(name="RandomCrop", height=8, width=8),
    Named(name="HorizontalFlip"),
]


def config(**options: Any) -> DataConfig:
    return DataConfig(
        **{"name": "synthetic", "height": 8, "width": 8, "num_images": 250, "batch_size": 16} | options
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(config(), Path())  # 225 train, 25 val, 62 test


def test_a_batch_depends_on_seed_epoch_and_step_alone(dataset: Dataset) -> None:
    settings = config(augment=CROP_FLIP)
    straight = Loader(dataset, settings, CPU)
    for epoch in range(3):
        for _ in straight.train_batches(1, epoch):
            torch.rand(1)
    expected = list(islice(straight.train_batches(1, 3), 6))[5]
    torch.manual_seed(99)
    resumed = list(islice(Loader(dataset, settings, CPU).train_batches(1, 3), 6))[5]
    assert torch.equal(expected[0], resumed[0])
    assert torch.equal(expected[1], resumed[1])


@pytest.mark.parametrize("size", [None, 6])
def test_batches_made_ahead_are_those_made_singly(
    dataset: Dataset, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader(dataset, config(batch_size=20), CPU, torch.bfloat16)
    made = list(loader.train_batches(1, 3, size))
    assert [len(targets) for _, targets in made] == [20] * 11
    assert len({inputs.untyped_storage().data_ptr() for inputs, _ in made}) == 1  # all at once
    for at_a_time, num_storages in ((1, 11), (3, 4)):
        monkeypatch.setattr(
            "cnnbench.data.loader.AHEAD_BYTES", at_a_time * 20 * dataset.train.images[0].nbytes
        )
        others = list(loader.train_batches(1, 3, size))
        assert len({inputs.untyped_storage().data_ptr() for inputs, _ in others}) == num_storages
        for (inputs, targets), (other_inputs, other_targets) in zip(made, others, strict=True):
            assert torch.equal(inputs, other_inputs)
            assert torch.equal(targets, other_targets)
            assert inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("seed", "epoch"), [(2, 3), (1, 4), (3, 1)])
def test_other_seeds_and_epochs_differ(dataset: Dataset, seed: int, epoch: int) -> None:
    loader = Loader(dataset, config(), CPU)
    assert not torch.equal(next(loader.train_batches(1, 3))[0], next(loader.train_batches(seed, epoch))[0])


def test_steps_augment_differently(dataset: Dataset) -> None:
    loader = Loader(dataset, config(augment=CROP_FLIP, batch_size=250), CPU)
    assert loader.num_train_steps == 1
    plain = Loader(dataset, config(batch_size=250), CPU)
    (augmented, targets), (original, same_targets) = (
        next(loader.train_batches(0, 0)),
        next(plain.train_batches(0, 0)),
    )
    assert torch.equal(targets, same_targets)
    assert not torch.equal(augmented, original)


def test_smaller_images_are_those_of_torchvision_s_resize(dataset: Dataset) -> None:
    from torchvision.transforms.v2 import functional as transforms

    loader = Loader(dataset, config(augment=CROP_FLIP), CPU)
    small, targets = next(loader.train_batches(0, 1, size=6))
    inputs, same_targets = next(loader.train_batches(0, 1))
    assert torch.equal(targets, same_targets)
    assert small.shape == (16, 3, 6, 6)
    assert small.is_contiguous(memory_format=torch.channels_last)
    expected = transforms.resize(inputs, [6, 6], antialias=True)
    torch.testing.assert_close(small, expected, atol=1e-5, rtol=1e-5)
    bf16 = Loader(dataset, config(augment=CROP_FLIP), CPU, torch.bfloat16)
    assert next(bf16.train_batches(0, 1, size=6))[0].dtype == torch.bfloat16


def test_alternating_flips_follow_the_image_from_epoch_to_epoch(dataset: Dataset) -> None:
    settings = config(augment=[Named(name="AlternatingFlip")], batch_size=250)  # an epoch is one batch
    loader, plain = Loader(dataset, settings, CPU), Loader(dataset, config(batch_size=250), CPU)

    def flips(seed: int, epoch: int) -> dict[bytes, bool]:
        """Which images are mirrored, by their pixels."""
        (moved, _), (images, _) = (
            next(loader.train_batches(seed, epoch)),
            next(plain.train_batches(seed, epoch)),
        )
        found = {}
        for image, original in zip(moved, images, strict=True):
            is_mirrored = torch.equal(image, original.flip(2))
            assert is_mirrored != torch.equal(image, original)
            found[original.numpy().tobytes()] = is_mirrored
        return found

    first = flips(0, 1)
    assert len(first) == 225
    assert 80 < sum(first.values()) < 145  # four standard deviations about a half
    assert flips(0, 2) == {image: not is_mirrored for image, is_mirrored in first.items()}
    assert flips(0, 5) == first
    assert flips(1, 1) != first


def test_an_epoch_takes_each_image_once_and_drops_the_rest(dataset: Dataset) -> None:
    loader = Loader(dataset, config(normalize=False), CPU)
    batches = list(loader.train_batches(0, 0))
    assert loader.num_train_steps == len(batches) == 225 // 16
    assert {len(targets) for _, targets in batches} == {16}
    images = torch.cat([inputs for inputs, _ in batches]).mul(255).round().to(torch.uint8)
    assert len(images.flatten(1).unique(dim=0)) == len(images)


def test_a_batch_larger_than_the_split_takes_all_of_it(dataset: Dataset) -> None:
    loader = Loader(dataset, config(batch_size=1000), CPU)
    assert loader.num_train_steps == 1
    ((inputs, targets),) = loader.train_batches(0, 0)
    assert len(inputs) == len(targets) == 225


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_evaluation_keeps_order_and_every_image(dataset: Dataset, split: str) -> None:
    loader = Loader(dataset, config(augment=CROP_FLIP, normalize=False), CPU)
    rows = getattr(dataset, split)
    batches = list(loader.eval_batches(rows, 10))
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert torch.equal(targets, rows.all_targets())
    torch.testing.assert_close(inputs, rows.images[rows.rows].to(torch.float32) / 255)


@pytest.mark.parametrize(
    ("batch_size", "as_bytes", "expected"), [(8, False, 32), (200, False, 512), (8, True, 8)]
)
def test_smaller_batches_mean_smaller_ones_of_evaluation(
    dataset: Dataset, batch_size: int, as_bytes: bool, expected: int
) -> None:
    """So that less memory is needed everywhere: 4 times the training batch, but 512 at most."""
    loader = Loader(dataset, config(batch_size=batch_size), CPU, as_bytes=as_bytes)
    assert loader.eval_batch_size == expected
    inputs, _ = next(iter(loader.eval_batches(dataset.train)))
    assert len(inputs) == min(expected, len(dataset.train))


def test_normalized_train_split_has_mean_0_and_deviation_1(dataset: Dataset) -> None:
    inputs = torch.cat([inputs for inputs, _ in Loader(dataset, config(), CPU).eval_batches(dataset.train)])
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layout_and_type(channels: int, channels_last: bool, dtype: torch.dtype) -> None:
    settings = config(channels=channels, augment=CROP_FLIP)
    dataset = load_dataset(settings, Path())
    loader = Loader(dataset, settings, CPU, dtype, channels_last)
    exact = next(Loader(dataset, settings, CPU).train_batches(0, 0))[0]
    inputs, _ = next(loader.train_batches(0, 0))
    assert inputs.dtype == dtype
    assert inputs.shape == (16, channels, 8, 8)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert inputs.is_contiguous(memory_format=layout)
    assert torch.equal(inputs, exact.to(dtype))


def test_a_channel_that_never_changes_is_no_division_by_zero() -> None:
    dataset = load_dataset(config(), Path())
    dataset.train.images[:, 1] = 40
    flat = Dataset(**{**vars(dataset), "mean": (0.5, 40 / 255, 0.5), "std": (0.2, 0.0, 0.2)})
    inputs, _ = next(Loader(flat, config(), CPU).train_batches(0, 0))
    torch.testing.assert_close(inputs[:, 1], torch.zeros(16, 8, 8), atol=1e-6, rtol=0)


def test_augmentation_that_changes_the_size_is_refused_before_training(dataset: Dataset) -> None:
    with pytest.raises(CnnbenchError, match=r"\(3, 8, 8\) into \(3, 12, 12\)"):
        Loader(dataset, config(augment=CROP_FLIP[:1]), CPU)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "FDA"}, "augment FDA"),
        ({"name": "RandomScale", "scale_limit": [0.5, 0.5]}, "stay as they are"),
    ],
    ids=["fails", "resizes"],
)
def test_what_seldom_happens_is_tried_before_training(
    dataset: Dataset, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(CnnbenchError, match=said):
        Loader(dataset, config(augment=[Named(**options, p=1e-6)]), CPU)


def test_images_spread_over_a_split_in_the_order_of_its_classes(dataset: Dataset) -> None:
    order = dataset.val.targets[dataset.val.rows].argsort()
    ordered = Split(dataset.val.images, dataset.val.targets, dataset.val.rows[order])
    loader = Loader(dataset, config(), CPU)
    expected = loader.normalize(ordered.gather(torch.tensor([0, 12, 24]))[0])  # first, middle and last of 25
    assert torch.equal(loader.spread_over(ordered, 3), expected)
    assert len(loader.spread_over(ordered, 100)) == 25
