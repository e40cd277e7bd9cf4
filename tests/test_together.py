"""Seeds as one batched model come out as they do one by one."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnbench.data import load_dataset
from cnnbench.data.base import Dataset
from cnnbench.data.loader import Loader
from cnnbench.models.batch_norm import BatchNorm2d, leaves_channels_over
from cnnbench.models.cnn import CNN
from cnnbench.models.mlp import MLP
from cnnbench.models.resnet import ResNet
from cnnbench.precision import Precision
from cnnbench.recipe.config import DataConfig, EarlyStopping, Named, TrainConfig
from cnnbench.together import Seed, Stacked, clip_each, fit_together, why_apart
from cnnbench.training import DivergedError, Epoch, TrainingState, fit

CPU = torch.device("cpu")
FP32 = Precision("fp32", "cpu")
SHAPE = (3, 8, 8)
DATA = DataConfig(  # type: ignore[call-arg]
    name="synthetic",
    height=8,
    width=8,
    num_images=160,
    batch_size=32,
    augment=[Named(name="HorizontalFlip")],
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DATA, Path())


def normed() -> nn.Module:
    return CNN(SHAPE, 10, widths=[4, 8], norm="batch")


def begin(
    dataset: Dataset,
    config: TrainConfig,
    make: Callable[[], nn.Module] = normed,
    seeds: Sequence[int] = (0, 1, 2),
) -> list[Seed]:
    begun = []
    for seed in seeds:
        torch.manual_seed(seed)
        begun.append(Seed(seed, TrainingState(make(), config, FP32), Loader(dataset, DATA, CPU)))
    return begun


def alone(seeds: Sequence[Seed], config: TrainConfig) -> None:
    for each in seeds:
        for _ in fit(each.state, each.loader, config, FP32, seed=each.seed):
            pass


def assert_alike(one: Seed, other: Seed) -> None:
    for (name, value), (_, expected) in zip(
        one.state.model.state_dict().items(), other.state.model.state_dict().items(), strict=True
    ):
        assert torch.allclose(value, expected, rtol=1e-3, atol=2e-5), name
    for row, expected_row in zip(one.state.rows, other.state.rows, strict=True):
        assert row.val_loss == pytest.approx(expected_row.val_loss, rel=1e-3)
        assert (row.train_loss or 0) == pytest.approx(expected_row.train_loss or 0, rel=1e-3)
        assert (row.epoch, row.step, row.lr, row.num_images) == (
            expected_row.epoch, expected_row.step, expected_row.lr, expected_row.num_images,
        )  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_seeds_come_out_as_one_by_one(dataset: Dataset, optimizer: str) -> None:
    config = TrainConfig(
        epochs=2, optimizer=Named(name=optimizer), lr=1e-2 if optimizer == "sgd" else 1e-3, grad_clip=0.5,
        weight_decay=1e-2, label_smoothing=0.1, schedule=Named(name="cosine"),
    )  # fmt: skip
    together, one_by_one = begin(dataset, config), begin(dataset, config)
    rows = [index for index, event in fit_together(together, config, FP32) if isinstance(event, Epoch)]
    assert rows == [0, 1, 2] * 3
    alone(one_by_one, config)
    for one, other in zip(together, one_by_one, strict=True):
        assert_alike(one, other)
    weights = [each.state.model.state_dict()["head.0.weight"] for each in together]
    assert not torch.allclose(weights[0], weights[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(SHAPE, 10, widths=[16]),
        lambda: ResNet(SHAPE, 10, widths=[4, 8], blocks=[1, 1]),
        lambda: CNN(SHAPE, 10, widths=[4], convs=2, activation="gelu", pool="avg", residual=True),
    ],
    ids=["mlp", "resnet", "residual"],
)
def test_models_of_every_kind(dataset: Dataset, make: Callable[[], nn.Module]) -> None:
    config = TrainConfig(epochs=1, optimizer=Named(name="adam"), lr=1e-3)
    together, one_by_one = begin(dataset, config, make, [3, 4]), begin(dataset, config, make, [3, 4])
    for _ in fit_together(together, config, FP32):
        pass
    alone(one_by_one, config)
    for one, other in zip(together, one_by_one, strict=True):
        assert_alike(one, other)


def test_batch_norms_of_few_channels_are_batched_too() -> None:
    """One alone takes several pixels of such images as one (`leaves_channels_over`), which vmap cannot."""
    torch.manual_seed(0)
    models = [
        nn.Sequential(nn.Conv2d(3, 18, 3, padding=1), BatchNorm2d(18)).to(memory_format=torch.channels_last)
        for _ in range(2)
    ]
    images = torch.randn(8, 3, 64, 64).to(memory_format=torch.channels_last)
    assert leaves_channels_over(models[0][0](images))
    alone = [copy.deepcopy(model) for model in models]
    together = Stacked(models, FP32)
    outputs = together(torch.stack([images, images]))
    together.hand_back()
    for output, model, own in zip(outputs, models, alone, strict=True):
        torch.testing.assert_close(output, own(images), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model[1].running_var, own[1].running_var, rtol=1e-4, atol=1e-6)


def test_a_state_of_an_epoch_goes_on_alone_or_together(dataset: Dataset) -> None:
    config = TrainConfig(epochs=3, optimizer=Named(name="adam"), lr=1e-3)
    whole, broken = begin(dataset, config), begin(dataset, config)
    alone(whole, config)
    events = fit_together(broken, config, FP32)
    while len(broken[-1].state.rows) < 3:  # two epochs of each
        next(events)
    saved = [copy.deepcopy(each.state.state_dict()) for each in broken]
    again = begin(dataset, config)
    for each, state in zip(again, saved, strict=True):
        each.state.load_state_dict(state)
    alone(again[:1], config)
    for _ in fit_together(again[1:], config, FP32):
        pass
    for one, other in zip(again, whole, strict=True):
        assert_alike(one, other)


def test_those_that_are_behind_catch_up(dataset: Dataset) -> None:
    config = TrainConfig(epochs=3, optimizer=Named(name="adam"), lr=1e-3)
    together, one_by_one = begin(dataset, config), begin(dataset, config)
    alone(one_by_one, config)
    events = fit(together[0].state, together[0].loader, config, FP32, seed=0)
    while len(together[0].state.rows) < 3:
        next(events)
    followed = [index for index, event in fit_together(together, config, FP32) if isinstance(event, Epoch)]
    assert followed == [1, 2, 1, 2, 1, 2, 0, 1, 2]
    for one, other in zip(together, one_by_one, strict=True):
        assert_alike(one, other)


def test_a_seed_that_diverges_leaves_the_others_as_they_are(dataset: Dataset) -> None:
    config = TrainConfig(epochs=2, optimizer=Named(name="sgd"), lr=1e-2)
    together, one_by_one = begin(dataset, config), begin(dataset, config)
    with torch.no_grad():
        next(together[1].state.model.parameters()).fill_(math.nan)
    events = list(fit_together(together, config, FP32))
    (error,) = (event for index, event in events if index == 1 and isinstance(event, DivergedError))
    assert "step 1 (epoch 1)" in str(error)
    assert [index for index, event in events if isinstance(event, Epoch)] == [0, 1, 2, 0, 2, 0, 2]
    assert [index for index, event in events if event is None] == [0, 2]
    alone([one_by_one[0], one_by_one[2]], config)
    assert_alike(together[0], one_by_one[0])
    assert_alike(together[2], one_by_one[2])


def test_each_seed_stops_when_it_would_alone(dataset: Dataset) -> None:
    config = TrainConfig(
        epochs=8,
        optimizer=Named(name="sgd"),
        lr=0.1,
        early_stopping=EarlyStopping(patience=1, min_delta=0.02),
    )
    together, one_by_one = begin(dataset, config), begin(dataset, config)
    for _ in fit_together(together, config, FP32):
        pass
    alone(one_by_one, config)
    epochs = [len(each.state.rows) for each in together]
    assert epochs == [len(each.state.rows) for each in one_by_one]
    assert len(set(epochs)) > 1


def test_gradients_are_clipped_for_each_model_by_itself() -> None:
    torch.manual_seed(0)
    stacked = [nn.Parameter(torch.zeros(2, 3, 4)), nn.Parameter(torch.zeros(2, 5))]
    for parameter in stacked:
        parameter.grad = torch.randn_like(parameter) * torch.tensor([0.01, 10.0]).view(
            2, *[1] * (parameter.dim() - 1)
        )
    expected = []
    for index in range(2):
        own = [nn.Parameter(parameter[index].detach().clone()) for parameter in stacked]
        for parameter, of_all in zip(own, stacked, strict=True):
            assert of_all.grad is not None
            parameter.grad = of_all.grad[index].clone()
        nn.utils.clip_grad_norm_(own, 1.0)
        expected.append([parameter.grad for parameter in own])
    clip_each(stacked, 1.0)
    for place, parameter in enumerate(stacked):
        for index in range(2):
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad[index], expected[index][place])


class OwnGradient(torch.autograd.Function):
    """In the older form, which PyTorch cannot batch."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs * 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * 2


class Unusual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        doubled: Tensor = OwnGradient.apply(self.linear(inputs.flatten(1)))
        return doubled


class OwnTensor(nn.Module):
    """Each has random numbers that are neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 10)
        self.offset = torch.randn(10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.linear(inputs.flatten(1)) + self.offset
        return logits


class OwnStatistic(nn.Module):
    """A buffer that is replaced, and not written to."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 10)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + inputs.mean()
        logits: Tensor = self.linear(inputs.flatten(1))
        return logits


class Silent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        if torch._C._functorch.is_batchedtensor(inputs):
            raise AssertionError
        logits: Tensor = self.linear(inputs.flatten(1))
        return logits


@pytest.mark.parametrize(
    ("make", "train", "precision", "reason"),
    [
        (normed, {}, FP32, None),
        (normed, {}, Precision("bf16", "cpu"), None),
        (normed, {"optimizer": Named(name="muon")}, FP32, "the optimizer muon"),
        (normed, {"compile": True}, FP32, "compiled"),
        (normed, {}, Precision("fp16", "cpu"), "fp16"),
        (lambda: CNN(SHAPE, 10, widths=[4], dropout=0.1), {}, FP32, "dropout"),
        (Unusual, {}, FP32, "PyTorch cannot batch this model (In order to use an autograd.Function"),
        (OwnTensor, {}, FP32, "it comes out otherwise when batched"),
        (OwnStatistic, {}, FP32, "it comes out otherwise when batched"),
        (Silent, {}, FP32, "PyTorch cannot batch this model (AssertionError)"),
    ],
    ids=[
        "plain",
        "bf16",
        "muon",
        "compile",
        "fp16",
        "dropout",
        "own gradient",
        "own tensor",
        "own statistic",
        "no message",
    ],
)
def test_why_seeds_are_trained_one_by_one(
    dataset: Dataset,
    make: Callable[[], nn.Module],
    train: dict[str, Any],
    precision: Precision,
    reason: str | None,
) -> None:
    loader = Loader(dataset, DATA, CPU, precision.dtype)
    models = [make(), make()]
    before = copy.deepcopy(models[0].state_dict())
    found = why_apart(models, TrainConfig(**train), precision, loader)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found
    assert all(torch.equal(value, before[name]) for name, value in models[0].state_dict().items())


def test_in_bf16_activations_are_of_the_kind_that_one_alone_has(dataset: Dataset) -> None:
    """Norms give bf16 on, as autocast has it: else what is added to a shortcut would be more exact."""
    bf16 = Precision("bf16", "cpu")
    torch.manual_seed(0)
    models = [ResNet(SHAPE, 10, widths=[4, 8], blocks=[1, 1]).train() for _ in range(2)]
    kinds: list[set[torch.dtype]] = []
    for batched in (False, True):
        seen: set[torch.dtype] = set()
        stacked = Stacked([copy.deepcopy(model) for model in models], bf16)
        model = stacked._structure if batched else copy.deepcopy(models[0])
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.ReLU | nn.Conv2d):
                module.register_forward_hook(lambda _, given, output, seen=seen: seen.add(output.dtype))
        inputs = torch.randn(4, *SHAPE).bfloat16()
        with bf16.autocast():
            stacked(torch.stack([inputs, inputs])) if batched else model(inputs)
        kinds.append(seen)
    assert kinds[0] == kinds[1] == {torch.bfloat16}


def test_a_stack_hands_its_weights_back() -> None:
    torch.manual_seed(0)
    models = [normed(), normed()]
    stacked = Stacked(models, FP32)
    expected = [model(torch.ones(2, *SHAPE)) for model in models]
    models = [copy.deepcopy(model) for model in models]
    with torch.no_grad():
        stacked.stacked["head.0.bias"].add_(torch.tensor([[1.0], [2.0]]))
    stacked.hand_back()
    biases = [dict(model.named_parameters())["head.0.bias"] for model in stacked.models]
    before = [dict(model.named_parameters())["head.0.bias"] for model in models]
    assert torch.allclose(biases[0], before[0] + 1)
    assert torch.allclose(biases[1], before[1] + 2)
    assert expected[0].shape == (2, 10)
