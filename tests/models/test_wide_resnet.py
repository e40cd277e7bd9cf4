"""Wide residual networks: published sizes, structure, and depths that cannot be."""

from typing import Any, get_args

import pytest
import torch
from torch import nn

from cnnbench.errors import CnnbenchError
from cnnbench.models.wide_resnet import WideResNet
from cnnbench.options import Norm


@pytest.mark.parametrize(
    ("depth", "widen_factor", "num_classes", "expected"),
    [
        pytest.param(16, 4, 10, 2_748_890, id="WRN-16-4"),
        pytest.param(28, 10, 10, 36_479_194, id="WRN-28-10"),
        pytest.param(28, 10, 100, 36_536_884, id="WRN-28-10, CIFAR-100"),
        pytest.param(40, 2, 10, 2_243_546, id="WRN-40-2"),
        pytest.param(10, 1, 10, 77_850, id="the smallest"),
    ],
)
def test_num_params(depth: int, widen_factor: int, num_classes: int, expected: int) -> None:
    with torch.device("meta"):
        model = WideResNet((3, 32, 32), num_classes, depth=depth, widen_factor=widen_factor)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize("depth", [10, 16, 28])
def test_depth_counts_the_convolutions_on_the_long_way_and_the_head(depth: int) -> None:
    with torch.device("meta"):
        model = WideResNet((3, 32, 32), 10, depth=depth, widen_factor=2)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    shortcuts = [m for m in convolutions if m.kernel_size == (1, 1)]
    assert len(shortcuts) == 3
    # the paper's depth counts the three shortcuts too: stem, 6n convolutions, 3 shortcuts
    assert len(convolutions) == depth


def test_shapes() -> None:
    model = WideResNet((1, 32, 24), 7, depth=10, widen_factor=2).eval()
    images = torch.zeros(2, 1, 32, 24)
    assert model.stages(model.stem(images)).shape == (2, 128, 8, 6)
    assert model(images).shape == (2, 7)


@pytest.mark.parametrize("norm", get_args(Norm))
def test_a_block_without_its_last_convolution_is_the_identity(norm: Norm) -> None:
    model = WideResNet((3, 8, 8), 10, depth=16, widen_factor=1, norm=norm).eval()
    block = model.stages[0][1]  # type: ignore[index]
    nn.init.zeros_(block.conv2.weight)
    inputs = torch.randn(2, 16, 8, 8)
    before = inputs.clone()
    assert torch.equal(block(inputs), before)
    assert torch.equal(inputs, before)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"norm": "group"}, 2_748_890, id="group norm"),
        # a scale and a shift less for every channel of 13 norms
        pytest.param({"norm": "none"}, 2_748_890 - 2 * (16 + 4 * (64 + 128 + 256)), id="no norm"),
        # a mix for each of 6 blocks and the end
        pytest.param({"activation": "swish_leaky"}, 2_748_890 + 7, id="swish_leaky"),
        # a scale for each output channel of all 16 convolutions
        pytest.param({"conv": "scaled"}, 2_748_890 + 16 + 5 * (64 + 128 + 256), id="scaled convolutions"),
        # two linear layers, c to c / 16 and back, at the end of 2 blocks of each width
        pytest.param(
            {"attention": "se"},
            2_748_890 + 2 * sum(2 * c * (c // 16) + c // 16 + c for c in (64, 128, 256)),
            id="squeeze and excitation",
        ),
    ],
)
def test_num_params_with_options(options: dict[str, Any], expected: int) -> None:
    with torch.device("meta"):
        model = WideResNet((3, 32, 32), 10, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize("depth", [1, 4, 9, 15, 17, 20])
def test_depth_that_is_not_6n_plus_4(depth: int) -> None:
    with pytest.raises(CnnbenchError, match=rf"'wide_resnet': depth = {depth} is not 6n \+ 4; use 10, 16"):
        WideResNet((3, 32, 32), 10, depth=depth)
