"""The layers a recipe can name compute, and differentiate, what their names say."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.options import Activation, Attention, Conv, Norm, Pool

REFERENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: torch.where(x > 0, x, 0),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
    "mish": lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))),
    "swish_leaky": lambda x: (x / (1 + torch.exp(-x)) + torch.where(x > 0, x, 0.01 * x)) / 2,
}


@pytest.mark.parametrize("name", get_args(Activation))
def test_activation_and_its_gradient_follow_the_formula(name: Activation) -> None:
    points = torch.linspace(-3, 3, 20, dtype=torch.float64, requires_grad=True)  # without 0: kinks
    # in place on a result, as after a convolution, and not on the leaf
    values = layers.activation(name)(points * 1)
    expected = REFERENCES[name](points)
    torch.testing.assert_close(values, expected)
    (gradient,) = torch.autograd.grad(values.sum(), points)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), points)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize(
    ("name", "shape", "grouped", "axes"),
    [
        pytest.param("batch", (4, 6, 5, 3), (4, 6, 5, 3), (0, 2, 3), id="batch-image"),
        pytest.param("batch", (9, 6), (9, 6), (0,), id="batch-vector"),
        pytest.param("layer", (4, 6, 5, 3), (4, 6, 5, 3), (1,), id="layer-image"),
        pytest.param("layer", (9, 6), (9, 6), (1,), id="layer-vector"),
        pytest.param("group", (4, 64, 5, 3), (4, 32, 2, 5, 3), (2, 3, 4), id="group-image"),
        pytest.param("group", (4, 256), (4, 16, 16), (2,), id="group-vector"),
    ],
)
def test_norm_gives_zero_mean_and_unit_variance_over_its_axes(
    name: Norm, shape: tuple[int, ...], grouped: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    outputs = layers.norm(name, shape[1], dimensions=len(shape) - 2)(3 + 2 * torch.randn(shape))
    outputs = outputs.view(grouped) if outputs.is_contiguous() else outputs
    mean, variance = outputs.mean(axes), outputs.var(axes, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    # eps = 1e-5 in the denominator takes a little from small variances
    torch.testing.assert_close(variance, torch.ones_like(variance), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (48, 24), (16, 16), (33, 11), (37, 1)], ids=lambda value: str(value)
)
def test_group_norm_takes_the_largest_number_of_groups_up_to_32(channels: int, groups: int) -> None:
    module = layers.norm("group", channels)
    assert isinstance(module, nn.GroupNorm)
    assert module.num_groups == groups


@pytest.mark.parametrize("dimensions", [0, 2], ids=["vector", "image"])
def test_norm_none_changes_nothing(dimensions: int) -> None:
    inputs = torch.rand((2, 3, 4, 4)[: 2 + dimensions])
    assert layers.norm("none", 3, dimensions)(inputs) is inputs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max", [[6.0, 8.0]]),
        ("avg", [[3.5, 5.5]]),
        # sqrt(1 + 4 + 25 + 36) and sqrt(9 + 16 + 49 + 64)
        ("lp", [[66**0.5, 138**0.5]]),
        ("none", [[1.0, 2, 3, 4], [5, 6, 7, 8]]),
    ],
    ids=get_args(Pool),
)
def test_pool(name: Pool, expected: list[list[float]]) -> None:
    image = torch.tensor([[[[1.0, 2, 3, 4], [5, 6, 7, 8]]]])
    torch.testing.assert_close(layers.pool(name)(image), torch.tensor([[expected]]))


@pytest.mark.parametrize("name", get_args(Conv))
def test_every_conv_starts_as_the_same_function(name: Conv) -> None:
    torch.manual_seed(1)
    expected = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    torch.manual_seed(1)
    made = layers.conv(name, 3, 5, 3, stride=2, padding=1)
    images = torch.randn(2, 3, 7, 6)
    assert isinstance(made, nn.Conv2d)  # so that init_he and analyses find it
    assert torch.equal(made(images), expected(images))
    assert sum(p.numel() for p in made.parameters()) == 3 * 5 * 9 + 5 + (5 if name == "scaled" else 0)
    assert layers.conv(name, 3, 5, 3, bias=False).bias is None


@pytest.mark.parametrize(
    ("name", "num_params"), [("none", 0), ("se", 2 * 32 * 2 + 32 + 2)], ids=get_args(Attention)
)
def test_attention(name: Attention, num_params: int) -> None:
    module = layers.attention(name, 32)
    assert sum(parameter.numel() for parameter in module.parameters()) == num_params
    images = torch.rand(2, 32, 4, 4)
    gates = module(images) / images  # one number between 0 and 1 for each channel
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))
    assert (gates.min() == 1) if name == "none" else (0 < gates.min() < gates.max() < 1)


def test_dropout_of_nothing_is_no_layer() -> None:
    assert isinstance(layers.dropout(0.0), nn.Identity)


def test_dropout_drops_its_share_and_scales_the_rest() -> None:
    torch.manual_seed(0)
    outputs = layers.dropout(0.25)(torch.ones(40_000))
    assert sorted(outputs.unique().tolist()) == pytest.approx([0, 4 / 3])
    # standard deviation of the share: sqrt(0.25 * 0.75 / 40,000) = 0.0022
    assert (outputs == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("name", get_args(Conv))
def test_init_he_has_variance_two_by_fan_out(name: Conv) -> None:
    torch.manual_seed(0)
    conv = layers.conv(name, 32, 128, 3)
    layers.init_he(nn.Sequential(conv))
    assert conv.weight.var().item() == pytest.approx(2 / (128 * 9), rel=0.05)


def test_global_head_is_linear_of_the_mean() -> None:
    head = layers.GlobalHead(3, 2)
    inputs = torch.rand(4, 3, 5, 5)
    expected = F.linear(inputs.flatten(2).mean(2), head.linear.weight, head.linear.bias)
    torch.testing.assert_close(head(inputs), expected)


@pytest.mark.parametrize(("channels", "groups"), [(64, 4), (48, 3), (31, 1), (512, 32), (7, 1)], ids=str)
def test_groups_of_a_vector_have_sixteen_values(channels: int, groups: int) -> None:
    assert layers.norm("group", channels, dimensions=0).num_groups == groups


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 8, 1, 1), "1 value: 8 channels in 8 groups, where the image has become 1×1"),
        ((2, 8, 1, 2), "2 values: 8 channels in 8 groups, where the image has become 1×2"),
        ((2, 64, 1, 1), "2 values: 64 channels in 32 groups"),
    ],
    ids=str,
)
def test_groups_too_small_to_normalize(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(CnnbenchError, match=said):
        layers.norm("group", shape[1])(torch.rand(shape))
    with pytest.raises(CnnbenchError, match=r"2 values.*a vector"):
        layers.norm("group", 2, dimensions=0)(torch.rand(4, 2))


def test_flatten_gives_its_gradient_back_in_the_order_of_the_features() -> None:
    features = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    found: list[Tensor] = []
    before = features * 1
    before.register_hook(found.append)
    flat = layers.flatten(before * 1)
    weights = torch.randn(2, 60)
    (flat * weights).sum().backward()
    assert flat.tolist() == features.flatten(1).tolist()
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert features.grad is not None
    assert features.grad.tolist() == weights.view(2, 3, 4, 5).tolist()
