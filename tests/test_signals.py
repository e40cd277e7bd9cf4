"""Signals and gradients of freshly initialized networks, against sums written out and He's predictions."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.errors import CnnbenchError
from cnnbench.models.conv_stack import ConvStack
from cnnbench.recipe.config import Named
from cnnbench.signals import draw_signals, measure_signals

STACK = {"widths": [8, 8, 8], "stride": [2, 1, 1]}


def rms(tensor: torch.Tensor) -> float:
    return tensor.detach().double().square().mean().sqrt().item()


def test_two_linear_layers_by_hand() -> None:
    """y = 3 · 2 · x, loss y²: the gradients are 2y · 2x = 24 x² (of the 3) and 2y · 3x = 36 x² (of the 2)."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(2)
        model[1].weight.fill_(3)
    first, last = measure_signals(model, torch.tensor([[0.5]]))
    assert (first.gradient_norm, last.gradient_norm) == (9.0, 6.0)
    assert (first.forward_gain, last.forward_gain) == (2.0, 3.0)
    assert (first.backward_gain, last.backward_gain) == (2.0, 3.0)
    assert (first.error_rms, last.error_rms) == (18.0, 6.0)  # 2y · 3, 2y
    assert (first.alignment, last.alignment) == (1.0, 1.0)
    assert (first.between, last.between) == ("nothing", "nothing")


def test_against_autograd_written_out() -> None:
    torch.manual_seed(0)
    model = ConvStack((3, 8, 8), 5, **STACK)
    images = torch.randn(4, 3, 8, 8)
    signals = measure_signals(model, images, "features")
    assert [layer.name for layer in signals] == ["layer1", "layer2", "layer3"]
    x1 = images.clone().requires_grad_()
    y1 = model.layer1(x1)
    x2 = y1.relu()
    y2 = model.layer2(x2)
    x3 = y2.relu()
    y3 = model.layer3(x3)
    out = y3.relu()
    tensors = [x1, x2, x3, out, y1, y2, y3]
    gradients = torch.autograd.grad(
        out.square().mean(), [*tensors, *(getattr(model, f"layer{n}").weight for n in (1, 2, 3))]
    )
    for index, layer in enumerate(signals):
        assert layer.input_rms == pytest.approx(rms(tensors[index]), rel=1e-5)
        assert layer.after_rms == pytest.approx(rms(tensors[index + 1]), rel=1e-5)
        assert layer.input_gradient_rms == pytest.approx(rms(gradients[index]), rel=1e-5)
        assert layer.after_gradient_rms == pytest.approx(rms(gradients[index + 1]), rel=1e-5)
        assert layer.error_rms == pytest.approx(rms(gradients[4 + index]), rel=1e-5)
        assert layer.gradient_norm == pytest.approx(gradients[7 + index].norm().item(), rel=1e-5)
        assert layer.num_uses == 4 * 4 * 4  # images × places of the strided output
        product = layer.error_rms * layer.input_rms * math.sqrt(layer.num_uses) * layer.alignment
        assert product == pytest.approx(layer.gradient_rms, rel=1e-6)
    assert (signals[0].stride, signals[1].stride) == (2, 1)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "between"),
    [
        pytest.param(
            {"name": "conv_stack", "widths": [4, 4], "global_pool": True},
            ["relu", "other", "nothing"],
            id="pooled for the head",
        ),
        pytest.param({"name": "mlp", "widths": [8]}, ["relu", "nothing"], id="flattened or not"),
        pytest.param({"name": "mlp", "widths": [8], "activation": "tanh"}, ["other", "nothing"], id="tanh"),
        pytest.param(
            {"name": "resnet", "widths": [4], "blocks": [1]},
            ["other"] * 3 + ["nothing"],
            id="norms, shortcut",
        ),
    ],
)
def test_what_stands_between_layers(model: dict[str, Any], between: list[str]) -> None:
    (layers,) = draw_signals(Named(**model), (3, 8, 8), 5, draws=1)
    assert [layer.between for layer in layers] == between


def test_he_keeps_the_forward_signal() -> None:
    """Second moments halve at a ReLU, and He's variance doubles them; without padding nothing else counts."""
    config = Named(name="conv_stack", widths=[64, 64], padding=0, init="he")
    drawn = list(draw_signals(config, (8, 8, 8), 10, draws=60, output="features"))
    for index in (0, 1):
        squares = torch.tensor([layers[index].forward_gain ** 2 for layers in drawn])
        error = squares.std().item() / math.sqrt(len(squares))
        assert error < 0.05
        assert squares.mean().item() == pytest.approx(1, abs=3 * error)


def test_scaling_all_layers_leaves_the_ratio_of_gradients() -> None:
    """Without biases a network is homogeneous: one factor for all weights is one for all gradients."""
    ratios = []
    for scale in (1.0, 0.25):
        config = Named(name="conv_stack", **STACK, init={"scheme": "he", "scale": scale})
        (layers,) = draw_signals(config, (3, 8, 8), 5, draws=1, output="features")
        ratios.append(layers[0].gradient_norm / layers[-1].gradient_norm)
        sizes = [layer.gradient_norm for layer in layers]
        assert sizes[0] > 0
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-4)


def test_draws_are_the_same_in_every_call_and_differ_from_each_other() -> None:
    def norms(draws: int) -> list[float]:
        found = draw_signals(Named(name="conv_stack", **STACK), (3, 8, 8), 5, draws=draws)
        return [layers[0].gradient_norm for layers in found]

    state = torch.get_rng_state()
    assert norms(3)[:2] == norms(2)
    assert len(set(norms(3))) == 3
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers are used up


def test_unknown_output_is_said() -> None:
    with pytest.raises(CnnbenchError, match="no module 'featurs'; did you mean 'features'"):
        next(draw_signals(Named(name="conv_stack", **STACK), (3, 8, 8), 5, draws=1, output="featurs"))


def test_layers_of_other_models_come_in_the_order_of_their_calls() -> None:
    (layers,) = draw_signals(Named(name="resnet", widths=[4, 8], blocks=[1, 1]), (3, 8, 8), 5, draws=1)
    assert "conv" in layers[0].name or "stem" in layers[0].name
    assert all(math.isfinite(layer.gradient_norm) for layer in layers)


def test_what_is_never_trained_has_no_gradient_and_is_passed_over() -> None:
    (layers,) = draw_signals(Named(name="whitened_cnn", widths=[4]), (3, 8, 8), 5, draws=1)
    assert [layer.name for layer in layers] == ["body.0.0", "body.0.4", "head"]
    assert all(layer.gradient_norm > 0 for layer in layers)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_weight_of_a_transposed_convolution_is_used_at_each_place_of_its_input(stride: int) -> None:
    model = nn.Sequential(nn.ConvTranspose2d(6, 4, 2, stride=stride, bias=False))
    (layer,) = measure_signals(model, torch.randn(8, 6, 5, 3))
    assert layer.num_uses == 8 * 5 * 3
