"""Features of a frozen backbone, computed once: the same weights as without, bit for bit, and when not."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnbench import features
from cnnbench.data import load_dataset
from cnnbench.data.base import Dataset
from cnnbench.data.loader import Loader
from cnnbench.features import FeatureSplit, reused_features
from cnnbench.job import train_run
from cnnbench.models.pretrained import Pretrained
from cnnbench.models.tuning import Headed, Tuning
from cnnbench.precision import Precision
from cnnbench.recipe.config import DataConfig, Named, RunConfig, TrainConfig
from cnnbench.runs import Run
from cnnbench.training import Epoch, Remark, TrainingState, fit

CPU = torch.device("cpu")
FP32 = Precision("fp32", "cpu")
BF16 = Precision("bf16", "cpu")
DATA = DataConfig(name="synthetic", height=32, width=32, num_images=60, batch_size=16)
SQUEEZENET = "torchvision/squeezenet1_1"
TIMED = ("train_seconds", "val_seconds", "wall_seconds", "images_per_second", "peak_memory_mib")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DATA, Path())  # 54 train, 6 val


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a SqueezeNet whose features differ from image to image."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(Pretrained(SQUEEZENET, (3, 32, 32), 1000, head="imagenet").network.state_dict(), path)
    return path


def pretrained(name: str = SQUEEZENET, **options: Any) -> Pretrained:
    """Frozen; random weights do, and no file of them is read."""
    return Pretrained(
        name, (3, 32, 32), 10, **({"freeze": True, "weights": "not read", "image_size": 64} | options)
    )


def trained(
    dataset: Dataset, config: TrainConfig, precision: Precision = FP32, model: nn.Module | None = None
) -> tuple[TrainingState, list[str]]:
    """The state after training, and what was said."""
    torch.manual_seed(0)
    model = pretrained() if model is None else model
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = TrainingState(model, config, precision)
    loader = Loader(dataset, DATA, CPU, precision.dtype, as_bytes=True)
    events = fit(state, loader, config, precision, seed=3)
    return state, [event.text for event in events if isinstance(event, Remark)]


def assert_same(first: TrainingState, second: TrainingState) -> None:
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    timeless: list[list[Epoch]] = [
        [replace(row, **dict.fromkeys(TIMED, 0.0)) for row in state.rows] for state in (first, second)
    ]
    assert timeless[0] == timeless[1]
    assert first.probes == second.probes


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(SQUEEZENET, FP32, id="a convolution as head, behind dropout, before the pooling"),
        pytest.param(SQUEEZENET, BF16, id="the same in bf16"),
        pytest.param("torchvision/mobilenet_v3_small", FP32, id="dropout before the last layer"),
        pytest.param("timm/resnet18", FP32, id="timm"),
    ],
)
def test_weights_are_those_of_training_on_images(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, name: str, precision: Precision
) -> None:
    config = TrainConfig(epochs=3, lr=1e-3)
    torch.manual_seed(0)
    model = pretrained(name)
    reused, said = trained(dataset, config, precision, copy.deepcopy(model))
    assert len(said) == 1
    assert "computed once" in said[0]
    monkeypatch.setattr(features, "MEMORY_SHARE", 0.0)
    anew, said = trained(dataset, config, precision, model)
    assert "computed anew in every epoch" in said[0]
    assert_same(reused, anew)
    assert len({row.train_loss for row in reused.rows}) == 4  # it learns


@contextmanager
def counting(model: Pretrained) -> Iterator[list[int]]:
    """How many images go through the first layer, call by call."""
    seen: list[int] = []
    first = next(module for module in model.network.modules() if isinstance(module, nn.Conv2d))
    handle = first.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    yield seen
    handle.remove()


def test_the_backbone_sees_each_image_once(dataset: Dataset) -> None:
    model = pretrained()
    with counting(model) as seen:
        trained(dataset, TrainConfig(epochs=5), model=model)
    row_0 = 6 + 16  # val, and the batch that gradients are probed on
    tried = 2 + 2  # two images, as features and as logits
    assert sum(seen) == row_0 + tried + 4 * 16 + 6


def test_the_time_of_the_features_is_that_of_the_first_epoch(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that only the backbone moves: a second for each image, and next to nothing otherwise."""
    clock = [0.0]

    def tick() -> float:
        clock[0] += 1e-6
        return clock[0]

    monkeypatch.setattr("cnnbench.training.perf_counter", tick)
    model = pretrained()
    features_of = model.features

    def slow(inputs: Tensor) -> Tensor:
        clock[0] += len(inputs)
        return features_of(inputs)

    monkeypatch.setattr(model, "features", slow)
    state, _ = trained(dataset, TrainConfig(epochs=3), model=model)
    # 54 images in batches of 16, the last of which is filled up with images of the one before
    assert [round(row.train_seconds) for row in state.rows] == [0, 4 * 16, 0, 0]
    assert [round(row.val_seconds) for row in state.rows] == [0, 6, 0, 0]


def test_batches_of_features_are_those_of_the_images(dataset: Dataset) -> None:
    model = pretrained().eval()
    loader = Loader(dataset, DATA, CPU, as_bytes=True)
    with reused_features(model, loader, FP32) as (batches, _):
        assert batches.num_train_steps == loader.num_train_steps == 3
        for (given, targets), (images, expected) in zip(
            batches.train_batches(7, 2), loader.train_batches(7, 2), strict=True
        ):
            assert torch.equal(targets, expected)
            with torch.no_grad():
                assert torch.equal(given, model.features(images))
            assert given.is_contiguous(memory_format=torch.channels_last)
        assert isinstance(batches.dataset.val, FeatureSplit)
        assert torch.equal(batches.dataset.val.all_targets(), dataset.val.all_targets())
        assert batches.dataset.test is loader.dataset.test
    assert not model.on_features


def test_features_are_counted_where_batches_are_made_ahead(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of few bytes may have features of many."""
    with reused_features(pretrained().eval(), Loader(dataset, DATA, CPU, as_bytes=True), FP32) as (
        batches,
        _,
    ):
        one = next(batches.train_batches(7, 2))[0]
        monkeypatch.setattr("cnnbench.data.loader.AHEAD_BYTES", 2 * one.nbytes)
        storages = [inputs.untyped_storage().nbytes() for inputs, _ in batches.train_batches(7, 2)]
        assert storages == [2 * one.nbytes, 2 * one.nbytes, one.nbytes]


def test_dropout_before_the_new_layer_stays_random(dataset: Dataset) -> None:
    model = pretrained()
    model.begin_epoch(1)
    model.train()
    given = torch.rand(4, 512, 3, 3)
    torch.manual_seed(0)
    first, second = model.logits_of(given), model.logits_of(given)
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model.logits_of(given), model.logits_of(given))


def run_config(weights: Path, **options: Any) -> RunConfig:
    return RunConfig(
        recipe="r",
        variant="v",
        seed=3,
        data=DATA,
        model=Named(
            name=SQUEEZENET, **({"freeze": True, "weights": str(weights), "image_size": 64} | options)
        ),
        train=TrainConfig(epochs=3, lr=1e-3, precision="fp32"),
    )


def test_a_run_that_was_killed_ends_the_same(dataset: Dataset, weights: Path, tmp_path: Path) -> None:
    config = run_config(weights)
    straight, killed = Run(tmp_path / "straight" / "v" / "seed3"), Run(tmp_path / "killed" / "v" / "seed3")
    list(train_run(straight, config, dataset, CPU))
    for event in train_run(killed, config, dataset, CPU):
        if isinstance(event, Epoch) and event.epoch == 2:
            break
    list(train_run(killed, config, dataset, CPU))
    for name in ("best.safetensors", "probes.jsonl"):
        assert (straight.path / name).read_bytes() == (killed.path / name).read_bytes()
    results = [run.result() or {} for run in (straight, killed)]
    assert results[0]["metrics"] == results[1]["metrics"]
    histories = [
        [{key: value for key, value in row.items() if key not in TIMED} for row in run.history()]
        for run in (straight, killed)
    ]
    assert histories[0] == histories[1]
    # What is frozen is as it was in the file, after all.
    kept, brought = straight.weights(), torch.load(weights, weights_only=True)
    assert all(torch.equal(kept[f"network.{name}"], brought[name]) for name in brought if name[0] == "f")


# When features are not reused


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: pretrained(freeze=False, unfreeze_epoch=2), id="frozen for a while"),
        pytest.param(lambda: pretrained(freeze=False), id="trained"),
        pytest.param(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)), id="no backbone"),
    ],
)
def test_what_is_trained_sees_images(dataset: Dataset, model: Any) -> None:
    loader = Loader(dataset, DATA, CPU, as_bytes=True)
    with reused_features(model(), loader, FP32) as (batches, said):
        assert batches is loader
        assert said is None


def test_augmented_images_have_other_features_each_time(dataset: Dataset) -> None:
    config = DATA.model_copy(update={"augment": [Named(name="HorizontalFlip")]})
    loader = Loader(dataset, config, CPU, as_bytes=True)
    with reused_features(pretrained(), loader, FP32) as (batches, said):
        assert batches is loader
        assert said is None


class Twice(Headed):
    """Its logits are those of the head, and something more of the image."""

    def __init__(self) -> None:
        super().__init__(Tuning(freeze=True))
        self.head = nn.Linear(3, 10)

    def features(self, inputs: Tensor) -> Tensor:
        return inputs.float().mean((2, 3))

    def logits_of(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits_of(self.features(inputs)) + inputs.float().amax((1, 2, 3))[:, None]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Twice, id="a way round the head"),
        pytest.param(
            lambda: pretrained("timm/deit_tiny_distilled_patch16_224", image_size=224), id="two heads"
        ),
    ],
)
def test_a_head_that_is_not_all_that_follows(dataset: Dataset, model: Any) -> None:
    made = model()
    loader = Loader(dataset, DATA, CPU, as_bytes=True)
    with reused_features(made, loader, FP32) as (batches, said):
        assert batches is loader
        assert said is not None
        assert "cannot be run by itself" in said
        assert not made.on_features


def test_features_that_would_not_fit_are_said_in_numbers(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 images of 512 maps of 3×3 in 4 bytes are 1,105,920 bytes, a quarter of 4,423,680."""
    loader = Loader(dataset, DATA, CPU, as_bytes=True)
    model = pretrained()
    monkeypatch.setattr("cnnbench.memory.available_bytes", lambda device: 4_423_680)
    with reused_features(model, loader, FP32) as (batches, _):
        assert batches is not loader
    monkeypatch.setattr("cnnbench.memory.available_bytes", lambda device: 4_423_679)
    with reused_features(model, loader, FP32) as (batches, said):
        assert batches is loader
        assert said == (
            "the features of the frozen backbone would take 1 MiB, more than 25% of the 4 MiB that are "
            "available, so they are computed anew in every epoch"
        )
