"""The stack of convolutions: shapes of requirements E1 and E2, names, order, parameters, mistakes."""

from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.errors import CnnbenchError
from cnnbench.models.conv_stack import ConvStack
from cnnbench.models.summary import summarize

E1 = {"widths": [64, 64, 64, 64, 512], "stride": [2, 2, 1, 1, 2], "global_pool": True}
E2 = {"widths": [32, 64, 64, 64, 64, 64], "stride": [2, 2, 1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        pytest.param(E1, (512, 1, 1), id="E1"),
        pytest.param(E2, (64, 8, 8), id="E2"),
        pytest.param({"widths": [8], "kernel_size": 5}, (8, 32, 32), id="padding of half the kernel"),
        pytest.param({"widths": [8], "kernel_size": 5, "padding": 0}, (8, 28, 28), id="no padding"),
        pytest.param({"widths": [4, 8], "kernel_size": [3, 1], "padding": [2, 0]}, (8, 34, 34), id="lists"),
    ],
)
def test_output_of_the_features(options: dict[str, Any], shape: tuple[int, int, int]) -> None:
    model = ConvStack((3, 32, 32), 10, **options)
    found = {}
    model.features.register_forward_hook(lambda module, inputs, output: found.update(shape=output.shape))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert found["shape"] == (2, *shape)
    (row,) = [layer for layer in summarize(model, (3, 32, 32)).layers if layer.name == "features"]
    assert row.output_shape == shape


def test_layers_have_plain_names_and_alternate() -> None:
    model = ConvStack((3, 32, 32), 10, **E2)
    names = [name for name, _ in model.named_children()]
    pairs = [name for number in range(1, 7) for name in (f"layer{number}", f"activation{number}")]
    assert names == [*pairs, "features", "head"]
    kinds = [type(module) for _, module in model.named_children()]
    assert kinds[:12] == [nn.Conv2d, nn.ReLU] * 6


def test_num_params_by_hand() -> None:
    model = ConvStack((3, 8, 8), 10, widths=[4, 6], kernel_size=[3, 1], global_pool=True)
    expected = (3 * 4 * 9 + 4) + (4 * 6 + 6) + (6 * 10 + 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_forward_is_the_written_out_composition() -> None:
    torch.manual_seed(0)
    model = ConvStack((2, 6, 6), 3, widths=[4, 5], activation="tanh", bias=False)
    images = torch.randn(3, 2, 6, 6)
    hidden = images
    for layer in (model.layer1, model.layer2):
        hidden = torch.conv2d(hidden, layer.weight, padding=1).tanh()  # type: ignore[arg-type]
    expected = hidden.flatten(1) @ model.head.weight.T + model.head.bias  # type: ignore[operator]
    torch.testing.assert_close(model(images), expected)


def test_without_a_head_the_features_are_the_logits() -> None:
    model = ConvStack((3, 8, 8), 10, widths=[4, 10], global_pool=True, head=False)
    images = torch.randn(2, 3, 8, 8)
    expected = model.activation2(model.layer2(model.activation1(model.layer1(images)))).mean((2, 3))  # type: ignore[operator]
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"widths": [4, 4], "stride": [1]}, "stride has 1 entries for 2 widths"),
        (
            {"widths": [4] * 3, "kernel_size": 5, "padding": 0},
            "layer2 has a kernel of 5×5, which does not fit its input of 4×4",
        ),
        ({"widths": [4, 8], "head": False}, "512 features (8×8×8) would be the logits of 10 classes"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(CnnbenchError) as caught:
        ConvStack((3, 8, 8), 10, **options)
    assert said in str(caught.value)
