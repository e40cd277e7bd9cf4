"""The plain convolutional network's shape and size, and settings that cannot be."""

from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.errors import CnnbenchError
from cnnbench.models.cnn import CNN, ResidualPair


def num_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # 1×9×32 + 32, 32×9×64 + 64; 64×7×7×128 + 128, 128×10 + 10
        pytest.param({}, 421_642, id="defaults"),
        # the convolutions lose their 96 biases and win 192 scales and shifts
        pytest.param({"norm": "batch"}, 421_642 + 96, id="batch norm"),
        pytest.param({"norm": "group"}, 421_642 + 192, id="group norm"),
        # two more convolutions: 32×9×32 + 32 and 64×9×64 + 64
        pytest.param({"convs": 2}, 421_642 + 9_248 + 36_928, id="convs"),
        # 25 instead of 9 weights
        pytest.param({"kernel_size": 5}, 421_642 + 16 * (32 + 32 * 64), id="kernel_size"),
        # the head sees 64 features: 64×128 + 128, 128×10 + 10
        pytest.param({"global_pool": True}, 320 + 18_496 + 8_320 + 1_290, id="global_pool"),
        # straight from 64×7×7 to the classes
        pytest.param({"head": []}, 320 + 18_496 + 31_370, id="no head"),
        # 64×28×28 features
        pytest.param({"pool": "none"}, 320 + 18_496 + 64 * 784 * 128 + 128 + 1_290, id="no pool"),
        pytest.param({"pool": "avg"}, 421_642, id="average pool"),
        # an exponent for each of two pools
        pytest.param({"pool": "lp"}, 421_642 + 2, id="lp pool"),
        # a scale for each channel
        pytest.param({"conv": "scaled"}, 421_642 + 32 + 64, id="scaled convolutions"),
        # 2 and 4 hidden units: 2×32×2 + 32 + 2 and 2×64×4 + 64 + 4
        pytest.param({"attention": "se"}, 421_642 + 162 + 580, id="attention"),
        # a mix for each of two stages and the hidden layer
        pytest.param({"activation": "swish_leaky"}, 421_642 + 3, id="swish_leaky"),
        # three more in the second stage: 3 × (64×9×64 + 64)
        pytest.param({"convs": [1, 4]}, 421_642 + 3 * 36_928, id="convs by stage"),
        # 1×1 and 3×3: 1×32 + 32, 32×9×32 + 32, 32×64 + 64, 64×9×64 + 64
        pytest.param(
            {"kernel_size": [1, 3], "convs": 2},
            421_642 - 320 - 18_496 + 64 + 9_248 + 2_112 + 36_928,
            id="kernel_size in turn",
        ),
        # two more convolutions, and shortcuts: 1×32 + 32 and 32×64 + 64
        pytest.param({"convs": 2, "residual": True}, 421_642 + 9_248 + 36_928 + 64 + 2_112, id="residual"),
        # the shortcuts' biases give way to scales and shifts
        pytest.param(
            {"convs": 2, "residual": True, "norm": "batch"},
            421_642 + 9_248 + 36_928 - 32 - 32 - 64 - 64 + 4 * 96 + 32 + 2 * 32 + 2_048 + 2 * 64,
            id="residual, batch norm",
        ),
    ],
)
def test_num_params_on_mnist(options: dict[str, Any], expected: int) -> None:
    model = CNN((1, 28, 28), 10, **options)
    assert num_params(model) == expected
    assert model.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("size", "options", "features"),
    [
        pytest.param((32, 32), {"pool": "max"}, (6, 8, 8), id="max"),
        pytest.param((9, 7), {"pool": "max"}, (6, 2, 1), id="odd sizes round down"),
        pytest.param((9, 7), {"pool": "none"}, (6, 9, 7), id="none keeps the size"),
        pytest.param((8, 8), {"kernel_size": 5}, (6, 2, 2), id="kernel keeps the size"),
        pytest.param((8, 8), {"kernel_size": 7, "convs": 3}, (6, 2, 2), id="kernel of nearly the image"),
    ],
)
def test_stages(size: tuple[int, int], options: dict[str, Any], features: tuple[int, int, int]) -> None:
    model = CNN((3, *size), 10, widths=[4, 6], **options)
    assert model.stages(torch.zeros(1, 3, *size)).shape == (1, *features)


def test_global_pool_is_the_mean_of_each_channel() -> None:
    torch.manual_seed(0)
    model = CNN((3, 8, 8), 5, widths=[4], head=[], global_pool=True)
    images = torch.randn(2, 3, 8, 8)
    (linear,) = model.head
    expected = linear(model.stages(images).flatten(2).mean(2))
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("global_pool", [False, True], ids=["flatten", "global_pool"])
@pytest.mark.parametrize("pool", ["max", "avg"])
def test_too_many_stages_say_so(pool: Any, global_pool: bool) -> None:
    with pytest.raises(CnnbenchError, match=r"'cnn': 4 stages .* 8×12 to nothing; use fewer widths or pool"):
        CNN((1, 8, 12), 10, widths=[4, 4, 4, 4], pool=pool, global_pool=global_pool)


def test_as_many_stages_as_fit() -> None:
    assert CNN((1, 8, 12), 10, widths=[4, 4, 4])(torch.zeros(1, 1, 8, 12)).shape == (1, 10)
    assert CNN((1, 8, 8), 10, widths=[4] * 5, pool="none")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(
    ("convs", "kernel_size", "expected"),
    [
        pytest.param(2, [1, 3], [[1, 3], [1, 3]], id="in turn"),
        pytest.param([1, 5], [1, 3, 5], [[1], [1, 3, 5, 1, 3]], id="from the start in each stage"),
        pytest.param([2, 1], 5, [[5, 5], [5]], id="one for all"),
    ],
)
def test_kernel_sizes(convs: Any, kernel_size: Any, expected: list[list[int]]) -> None:
    model = CNN((3, 8, 8), 10, widths=[4, 6], convs=convs, kernel_size=kernel_size)
    assert [[conv.kernel_size[0] for conv in convolutions(stage)] for stage in model.stages] == expected


def test_attention_stands_between_the_last_activation_and_the_pool() -> None:
    model = CNN((3, 8, 8), 10, widths=[16], convs=2, attention="se", pool="lp", norm="batch", dropout=0.1)
    kinds = [type(layer).__name__ for layer in model.stages[0]]  # type: ignore[arg-type]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds == [*block, *block, "SqueezeExcitation", "LpPool2d", "Dropout"]


def test_names_of_weights_are_those_of_finished_runs() -> None:
    names = list(CNN((3, 8, 8), 10, widths=[4, 6], convs=2, norm="group").state_dict())
    stages = [f"stages.{stage}.{index}" for stage in (0, 1) for index in (0, 1, 3, 4)]
    layers = [*stages, "head.0", "head.3"]
    assert names == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


PLAIN_AND_RESIDUAL: list[Any] = [
    pytest.param({"widths": [16], "convs": 2}, id="2 convolutions"),
    pytest.param({"widths": [16, 24], "convs": 2}, id="4 convolutions"),
    pytest.param({"widths": [16, 24], "convs": [2, 4], "norm": "batch"}, id="6 convolutions"),
    pytest.param({"widths": [16, 24, 24], "convs": [2, 4, 2], "attention": "se"}, id="8 convolutions"),
]


@pytest.mark.parametrize("options", PLAIN_AND_RESIDUAL)
def test_the_plain_net_and_the_residual_one_differ_by_the_shortcuts_alone(options: dict[str, Any]) -> None:
    def make(residual: bool) -> CNN:
        torch.manual_seed(3)
        return CNN((3, 16, 16), 10, residual=residual, **options).eval()

    plain, joined = make(False), make(True)
    pairs = [module for module in joined.modules() if isinstance(module, ResidualPair)]
    shortcuts = {id(p) for pair in pairs for p in pair.shortcut.parameters()}
    others = [parameter for parameter in joined.parameters() if id(parameter) not in shortcuts]
    assert len(convolutions(plain)) == 2 * len(pairs)
    assert len(others) == len(list(plain.parameters()))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(others, plain.parameters(), strict=True))
    images = torch.randn(2, 3, 16, 16)
    expected = plain(images)
    assert not torch.allclose(joined(images), expected)
    for pair in pairs:  # without what the shortcuts add, the two are one net
        pair.shortcut = Nothing()
    torch.testing.assert_close(joined(images), expected)


class Nothing(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.zeros(())


def test_shortcuts_are_the_identity_where_the_channels_stay() -> None:
    model = CNN((4, 8, 8), 10, widths=[4, 6], convs=4, residual=True, norm="batch")
    kinds = [
        [type(layer).__name__ for layer in pair.shortcut.modules()][-2:]
        for pair in model.modules()
        if isinstance(pair, ResidualPair)
    ]
    assert kinds == [["Identity"], ["Identity"], ["Conv2d", "BatchNorm2d"], ["Identity"]]


def test_a_pair_adds_its_inputs_before_the_last_activation() -> None:
    model = CNN((4, 8, 8), 10, widths=[4], convs=2, residual=True)
    pair = model.stages[0][0]  # type: ignore[index]
    images = torch.randn(2, 4, 8, 8)
    first, second = convolutions(pair)
    expected = (second(first(images).relu()) + images).relu()
    torch.testing.assert_close(pair(images), expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(
            {"convs": [1, 2, 3]}, "widths has 2 entries and convs has 3; give each stage one", id="convs"
        ),
        pytest.param(
            {"convs": 2, "kernel_size": [1, 3, 5]},
            "kernel_size has 3 entries, but no stage has more than 2 convolutions; shorten",
            id="kernel_size",
        ),
        pytest.param({"residual": True}, r"pairs, but convs = \[1, 1\] leaves one over; give", id="one"),
        pytest.param({"residual": True, "convs": [2, 3]}, r"convs = \[2, 3\] leaves", id="an odd stage"),
    ],
)
def test_lists_that_do_not_fit(options: dict[str, Any], said: str) -> None:
    with pytest.raises(CnnbenchError, match=rf"model 'cnn': .*{said}"):
        CNN((3, 8, 8), 10, widths=[4, 6], **options)
