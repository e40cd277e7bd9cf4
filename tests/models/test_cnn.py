"""The plain convolutional network's shape and size, and settings that cannot be."""

from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.errors import CnnbenchError
from cnnbench.models.cnn import CNN


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
