"""Layers found and outputs taken, against models whose layers are known and against their own parts."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from cnnbench.analyses.capture import Call, Layer, capture, convolutions, find_layer, first_weighted
from cnnbench.errors import CnnbenchError
from cnnbench.models.cnn import CNN
from cnnbench.models.mlp import MLP
from cnnbench.models.resnet import ResNet
from cnnbench.models.wide_resnet import WideResNet

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SHAPE = (3, 16, 16)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


class Odd(nn.Module):
    """A convolution, and `work` done on its output before the activation that works in place."""

    def __init__(self, work: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.activation = nn.ReLU(inplace=True)
        self.work = work

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.activation(self.work(self.norm(self.conv(inputs))))
        return outputs


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        raise ValueError(str(self.conv(inputs).shape))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(
            CNN(SHAPE, 10, widths=[4, 8], norm="batch"),
            ["stages.0.0, after BatchNorm2d and ReLU", "stages.1.0, after BatchNorm2d and ReLU"],
            id="cnn",
        ),
        pytest.param(
            CNN(SHAPE, 10, widths=[4], norm="layer", activation="gelu", dropout=0.5),
            ["stages.0.0, after ChannelLayerNorm and GELU"],
            id="layer norm",
        ),
        pytest.param(
            CNN(SHAPE, 10, widths=[4], activation="swish_leaky"), ["stages.0.0, after SwishLeaky"], id="own"
        ),
        pytest.param(
            ResNet(SHAPE, 10, widths=[4, 8], blocks=[1, 1]),
            [
                "stem.0, after BatchNorm2d and ReLU",
                "stages.0.0.conv1, after BatchNorm2d and ReLU",
                "stages.0.0.conv2, after BatchNorm2d, addition and ReLU",
                "stages.1.0.conv1, after BatchNorm2d and ReLU",
                # the shortcut's convolution ends in the same sum, and has fewer weights
                "stages.1.0.conv2, after BatchNorm2d, addition and ReLU",
            ],
            id="resnet",
        ),
        pytest.param(
            ResNet(SHAPE, 10, widths=[4], blocks=[1], attention="se"),
            [
                "stem.0, after BatchNorm2d and ReLU",
                "stages.0.0.conv1, after BatchNorm2d and ReLU",
                "stages.0.0.conv2, after BatchNorm2d, SqueezeExcitation, addition and ReLU",
            ],
            id="squeeze and excitation",
        ),
        pytest.param(
            WideResNet(SHAPE, 10, depth=10, widen_factor=1),
            [
                "stem, after BatchNorm2d and ReLU",  # those of the first block, which come first there
                "stages.0.0.conv1, after BatchNorm2d and ReLU",
                "stages.0.0.conv2, after addition, BatchNorm2d and ReLU",
                "stages.1.0.conv1, after BatchNorm2d and ReLU",
                "stages.1.0.conv2, after addition, BatchNorm2d and ReLU",
                "stages.2.0.conv1, after BatchNorm2d and ReLU",
                "stages.2.0.conv2, after addition, BatchNorm2d and ReLU",
            ],
            id="pre-activation",
        ),
        pytest.param(MLP(SHAPE, 10, widths=[4]), [], id="mlp"),
    ],
)
def test_convolutions_and_what_follows_them(model: nn.Module, expected: list[str]) -> None:
    assert [str(layer) for layer in convolutions(model.eval(), IMAGES)] == expected


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda x: x, "conv, after BatchNorm2d and ReLU"),
        (lambda x: x.add_(1), "conv, after BatchNorm2d, addition and ReLU"),
        (lambda x: x.mul_(2), "conv, after BatchNorm2d"),  # the same tensor, but no longer the norm's output
        (lambda x: x * 2, "conv, after BatchNorm2d"),
        (F.relu, "conv, after BatchNorm2d"),
    ],
    ids=["nothing", "sum in place", "product in place", "product", "function"],
)
def test_only_what_truly_follows_is_said_to(work: Callable[[Tensor], Tensor], expected: str) -> None:
    (layer,) = convolutions(Odd(work).eval(), IMAGES)
    assert str(layer) == expected


def test_torchvisions_resnet_18() -> None:
    model = torchvision.models.resnet18(num_classes=10).eval()
    found = convolutions(model, torch.zeros(1, 3, 32, 32))
    assert len(found) == 17  # its 20 less the three of shortcuts
    assert found[0] == Layer("conv1", Call("relu"), ("BatchNorm2d", "ReLU"))
    # one ReLU module serves twice in a block
    assert [layer.output for layer in found[1:3]] == [Call("layer1.0.relu", 0), Call("layer1.0.relu", 1)]


def test_outputs_are_those_of_the_parts() -> None:
    model = ResNet(SHAPE, 10, widths=[4, 8], blocks=[1, 1]).eval()
    found = convolutions(model, IMAGES)
    outputs = capture(model, IMAGES, [found[0].output, found[2].output])
    with torch.no_grad():
        stem = model.stem(IMAGES)
        torch.testing.assert_close(outputs[found[0].output], stem)
        torch.testing.assert_close(outputs[found[2].output], model.stages[0](stem))


def test_a_convolution_is_seen_before_an_activation_in_place() -> None:
    model = CNN(SHAPE, 10, widths=[4]).eval()  # convolution, no norm, ReLU in place
    raw = capture(model, IMAGES, [Call("stages.0.0")])[Call("stages.0.0")]
    torch.testing.assert_close(raw, model.stages[0][0](IMAGES))  # type: ignore[index]
    assert raw.min() < 0


def test_a_named_layer_is_taken_at_its_last_call() -> None:
    model = ResNet(SHAPE, 10, widths=[4], blocks=[1]).eval()
    layer = find_layer(model, IMAGES, "stages.0.0.activation")
    assert layer.output == Call("stages.0.0.activation", 1)
    with torch.no_grad():
        expected = model.stages(model.stem(IMAGES))
    torch.testing.assert_close(capture(model, IMAGES, [layer.output])[layer.output], expected)


def test_a_wrong_name_is_told_with_the_nearest_and_all_there_are() -> None:
    model = CNN(SHAPE, 10, widths=[4], head=[])
    with pytest.raises(
        CnnbenchError, match=r"no layer 'stages\.0\.o' in it; did you mean 'stages\.0\."
    ) as told:
        find_layer(model, IMAGES, "stages.0.o")
    assert "stages.0.2" in str(told.value)
    assert "head.0" in str(told.value)


@pytest.mark.parametrize(
    "function", [convolutions, lambda m, x: capture(m, x, [Call("conv")])], ids=["all", "one"]
)
def test_hooks_are_gone_after_an_error(function: Callable[[nn.Module, Tensor], object]) -> None:
    model = Failing()
    with pytest.raises(ValueError, match="Size"):
        function(model, IMAGES)
    assert hooks_of(model) == 0


def test_a_model_is_left_as_it_was() -> None:
    model = ResNet(SHAPE, 10, widths=[4], blocks=[1]).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    layers = convolutions(model, IMAGES)
    outputs = capture(model, IMAGES, [layer.output for layer in layers])
    assert hooks_of(model) == 0
    assert not any(output.requires_grad for output in outputs.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_call_that_does_not_happen() -> None:
    with pytest.raises(CnnbenchError, match=r"'stages\.0\.0' has no call 2"):
        capture(CNN(SHAPE, 10, widths=[4]), IMAGES, [Call("stages.0.0", 1)])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (CNN(SHAPE, 10), "stages.0.0"),
        (MLP(SHAPE, 10), "hidden.0"),
        (WideResNet(SHAPE, 10, depth=10, widen_factor=1), "stem"),
        (nn.Flatten(), None),
    ],
    ids=["cnn", "mlp", "wide_resnet", "none"],
)
def test_the_first_layer_with_weights(model: nn.Module, name: str | None) -> None:
    assert first_weighted(model.eval(), IMAGES) == name
