"""Against PyTorch's own batch norm, and against numerical derivatives."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnbench.models import batch_norm, layers
from cnnbench.models.batch_norm import BatchNorm2d, leaves_channels_over


def images(*shape: int, dtype: torch.dtype = torch.float64, mean: float = 3.0) -> Tensor:
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + mean
    return found.to(dtype).to(memory_format=torch.channels_last)


def pair(channels: int, dtype: torch.dtype) -> tuple[BatchNorm2d, nn.BatchNorm2d]:
    ours, theirs = BatchNorm2d(channels), nn.BatchNorm2d(channels)
    with torch.no_grad():
        ours.weight.copy_(torch.linspace(-1, 2, channels))
        ours.bias.copy_(torch.linspace(2, -1, channels))
    theirs.load_state_dict(ours.state_dict())
    return ours.to(dtype), theirs.to(dtype)


@pytest.mark.parametrize("channels", [1, 3, 18, 20, 24, 36])
@pytest.mark.parametrize("steps", [1, 3])
def test_it_is_pytorchs(channels: int, steps: int) -> None:
    ours, theirs = pair(channels, torch.float64)
    for step in range(steps):
        inputs = images(4, channels, 64, 64, mean=step + 1.0)
        assert leaves_channels_over(inputs)
        grad = torch.cos(inputs * 3)
        found = []
        for module in (ours, theirs):
            given = inputs.clone().requires_grad_()
            output = module(given)
            output.backward(grad)
            found.append(
                [output, given.grad, *(each.grad for each in module.parameters()), *module.buffers()]
            )
            module.zero_grad()
        assert found[0][0].is_contiguous(memory_format=torch.channels_last)
        for mine, its in zip(*found, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.eval()(inputs), theirs.eval()(inputs))


def test_its_derivatives_are_right() -> None:
    def function(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mean, var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        given = inputs.to(memory_format=torch.channels_last)
        output: Tensor = batch_norm._InRows.apply(given, weight, bias, mean, var, 0.1, 1e-5)
        return output

    inputs = images(2, 3, 4, 4).requires_grad_()
    weight = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (inputs, weight, bias))


def test_without_gradients_of_the_inputs() -> None:
    ours, theirs = pair(18, torch.float64)
    inputs = images(4, 18, 64, 64)
    assert leaves_channels_over(inputs)
    for module in (ours, theirs):
        (module(inputs) ** 2).sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


@pytest.mark.parametrize("channels", [18, 36])
def test_in_bf16_it_is_as_near_to_the_truth_as_pytorchs(channels: int) -> None:
    """With weights and statistics in fp32, as autocast has them."""
    ours, theirs = pair(channels, torch.float32)
    truth = copy.deepcopy(theirs).double()
    inputs = images(4, channels, 64, 64, dtype=torch.bfloat16)
    assert leaves_channels_over(inputs)
    grad = torch.cos(inputs.double() * 3).to(torch.bfloat16)
    outputs, grads = [], []
    for module in (ours, theirs, truth):
        dtype = torch.float64 if module is truth else torch.bfloat16
        given = inputs.detach().clone().to(dtype).requires_grad_()
        output = module(given)
        assert output.dtype == dtype
        output.backward(grad.to(dtype))
        outputs.append(output.detach().double())
        assert given.grad is not None
        grads.append(given.grad.double())
    for mine, its, true in (outputs, grads):
        assert (mine - true).abs().mean() < 1.5 * (its - true).abs().mean()
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-4, atol=1e-4)
    assert ours.weight.grad is not None
    assert truth.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad.double(), truth.weight.grad, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(images(4, 16, 64, 64), id="whole vectors"),
        pytest.param(images(4, 42, 64, 64), id="many channels"),
        pytest.param(images(4, 18, 63, 64), id="few pixels"),
        pytest.param(images(4, 18, 64, 64).contiguous(), id="channels first"),
        pytest.param(images(5, 18, 63, 63), id="pixels that make up no whole rows"),
        pytest.param(images(4, 18, 64, 64).to("meta"), id="no CPU"),
    ],
)
def test_else_it_is_left_to_pytorch(inputs: Tensor) -> None:
    assert not leaves_channels_over(inputs)
    assert BatchNorm2d(inputs.shape[1]).to(inputs.device).double()(inputs).shape == inputs.shape


def test_options_that_recipes_do_not_have_are_left_to_pytorch() -> None:
    inputs = images(4, 18, 64, 64)
    for options in ({"affine": False}, {"track_running_stats": False}, {"momentum": None}):
        found = BatchNorm2d(18, **options).double()(inputs)  # type: ignore[arg-type]
        torch.testing.assert_close(found, F.batch_norm(inputs, None, None, training=True))


def test_models_have_it() -> None:
    module = layers.norm("batch", 18)
    assert isinstance(module, BatchNorm2d)
    assert type(module(images(4, 18, 64, 64, dtype=torch.float32)).grad_fn).__name__ == "_InRowsBackward"
