"""Receptive fields against published ones, hand calculation, and the support of gradients."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnbench.models.custom import LpPool2d, ScaledConv2d, SqueezeExcitation, SwishLeaky
from cnnbench.models.index_ranges import Range
from cnnbench.models.receptive_field import (
    LayerField,
    last_feature_layer,
    receptive_fields,
    receptive_fields_of,
)
from cnnbench.recipe.config import Named


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


class Branches(nn.Module):
    """Parallel branches, cut to one size, then added or concatenated."""

    def __init__(self, *branches: nn.Module, concatenated: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.concatenated = concatenated

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = [branch(inputs) for branch in self.branches]
        height, width = (min(output.shape[dim] for output in outputs) for dim in (2, 3))
        outputs = [output[:, :, :height, :width] for output in outputs]
        return torch.cat(outputs, 1) if self.concatenated else torch.stack(outputs).sum(0)


def conv(kernel_size: int | tuple[int, int], stride: int = 1, padding: Any = 0, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(2, 2, kernel_size, stride, padding, **options)


def last_of(*layers: nn.Module, size: int = 32) -> LayerField:
    """The row of the last layer, for images (2, size, size + 2)."""
    return receptive_fields(nn.Sequential(*layers), (2, size, size + 2))[-1]


@pytest.mark.parametrize(
    ("name", "in_size", "size", "options"),
    [
        # Araujo, Norris & Sim (2019), table of networks
        pytest.param("alexnet", 224, 195, {}, id="AlexNet"),
        pytest.param("vgg16", 224, 212, {"init_weights": False}, id="VGG16"),
        pytest.param("inception_v3", 299, 1311, {"init_weights": False}, id="Inception v3"),
        # with the stride in the first block's 3×3: 7×7, pool, then by hand 3, 4, 6 and 3 blocks
        pytest.param("resnet18", 224, 435, {}, id="ResNet-18"),
        pytest.param("resnet50", 224, 427, {}, id="ResNet-50"),
        pytest.param("mobilenet_v2", 224, 491, {}, id="MobileNet v2"),
    ],
)
def test_published_networks(name: str, in_size: int, size: int, options: dict[str, Any]) -> None:
    from torchvision import models

    layers = receptive_fields(getattr(models, name)(weights=None, **options), (3, in_size, in_size))
    last = last_feature_layer(layers)
    assert last is not None
    assert last.size == (size, size)
    assert last.stride == (32, 32)
    assert not any(layer.problem for layer in layers)
    assert not last.whole_image
    assert layers[-1].whole_image  # the linear layer
    assert layers[-1].size is None


def test_alexnet_layer_by_layer() -> None:
    from torchvision import models

    layers = receptive_fields(models.alexnet(weights=None), (3, 224, 224))
    found = [
        (layer.kind, layer.size, layer.stride, layer.output_shape[1:])
        for layer in layers
        if layer.kind in ("Conv2d", "MaxPool2d")
    ]
    # the article's library lists the same end points: 11, 19, 51, 99, 131, 163, 195
    assert found == [
        ("Conv2d", (11, 11), (4, 4), (55, 55)),
        ("MaxPool2d", (19, 19), (8, 8), (27, 27)),
        ("Conv2d", (51, 51), (8, 8), (27, 27)),
        ("MaxPool2d", (67, 67), (16, 16), (13, 13)),
        ("Conv2d", (99, 99), (16, 16), (13, 13)),
        ("Conv2d", (131, 131), (16, 16), (13, 13)),
        ("Conv2d", (163, 163), (16, 16), (13, 13)),
        ("MaxPool2d", (195, 195), (32, 32), (6, 6)),
    ]


@pytest.mark.parametrize(
    ("layers", "size", "stride"),
    [
        pytest.param([conv(3), conv(3)], (5, 5), (1, 1), id="two 3×3 are a 5×5"),
        pytest.param([conv((3, 5)), conv((1, 7))], (3, 11), (1, 1), id="height is not width"),
        pytest.param([conv(3, 2), conv(3, 2), conv(3)], (15, 15), (4, 4), id="strides"),
        pytest.param([conv(3, dilation=d, padding=d) for d in (1, 2, 4)], (15, 15), (1, 1), id="dilations"),
        pytest.param([conv(3, padding="same", dilation=3)], (7, 7), (1, 1), id="same"),
        pytest.param([conv(3), nn.MaxPool2d(2), conv(3)], (8, 8), (2, 2), id="max pool"),
        pytest.param([nn.AvgPool2d(3, 1, 1), nn.LPPool2d(2, 2)], (4, 4), (2, 2), id="avg and Lp pool"),
        pytest.param([conv(3, groups=2), conv(1)], (3, 3), (1, 1), id="depthwise and pointwise"),
        pytest.param([nn.AdaptiveAvgPool2d((16, 17))], (2, 2), (2, 2), id="adaptive pool"),
        pytest.param([conv(4, 2), nn.Upsample(scale_factor=2)], (4, 4), (1, 1), id="down and up"),
        pytest.param([conv(4, 2), nn.ConvTranspose2d(2, 2, 2, 2)], (4, 4), (1, 1), id="transposed"),
        pytest.param([conv(4, 4), nn.Conv2d(2, 8, 1), nn.PixelShuffle(2)], (4, 4), (2, 2), id="shuffle"),
        pytest.param([nn.PixelUnshuffle(2), nn.Conv2d(8, 2, 3)], (6, 6), (2, 2), id="unshuffle"),
        pytest.param([Branches(conv(3, 1, 1), nn.Identity())], (3, 3), (1, 1), id="residual"),
        pytest.param(
            [Branches(conv(1), conv(3, 1, 1), conv(5, 1, 2), nn.MaxPool2d(3, 1, 1), concatenated=True)],
            (5, 5),
            (1, 1),
            id="Inception",
        ),
        # rows i to i + 2, and i - 4 to i: seven together
        pytest.param([Branches(conv(3), conv(5, 1, 4))], (7, 7), (1, 1), id="branches beside each other"),
        pytest.param([Branches(conv(1, 2), conv(3, 2, 1))], (3, 3), (2, 2), id="shortcut with stride"),
        pytest.param(
            [ScaledConv2d(2, 2, 3), SwishLeaky(), LpPool2d(2), ScaledConv2d(2, 2, 3)],
            (8, 8),
            (2, 2),
            id="hand-written",
        ),
        pytest.param([nn.Flatten(2), nn.Unflatten(2, (32, 34)), conv(3)], (3, 3), (1, 1), id="flat and back"),
        pytest.param([Of(lambda x: x[:, :, 3:29:2].flip(1)), conv(2)], (3, 2), (2, 1), id="slice"),
        pytest.param([Of(lambda x: F.unfold(x, 5)[:, 3:7])], (5, 5), None, id="unfold"),
    ],
)
def test_by_hand(layers: list[nn.Module], size: tuple[int, int], stride: tuple[int, int] | None) -> None:
    row = last_of(*layers)
    assert (row.problem, row.size, row.stride, row.whole_image) == ("", size, stride, False)


@pytest.mark.parametrize(
    ("layers", "size"),
    [
        pytest.param([conv(3), nn.AdaptiveAvgPool2d(1)], None, id="global average pooling"),
        pytest.param([conv(3, 1, 1), Of(lambda x: x.mean((2, 3)))], None, id="mean"),
        pytest.param([conv(3, 1, 1), Of(lambda x: x.amax((2, 3), keepdim=True))], None, id="max"),
        pytest.param([conv(3, 1, 1), nn.Flatten(), nn.Linear(2 * 32 * 34, 3)], None, id="linear"),
        pytest.param([conv(3, 1, 1), SqueezeExcitation(2)], (3, 3), id="squeeze-and-excitation"),
        pytest.param([SqueezeExcitation(2), conv(3), conv(3)], (5, 5), id="layers behind its gate"),
        pytest.param([conv(3, 1, 1), nn.GroupNorm(1, 2)], (3, 3), id="a norm over the image"),
        pytest.param([conv(3, 1, 1), nn.InstanceNorm2d(2)], (3, 3), id="a norm of each channel"),
        pytest.param(
            [Of(lambda x: x.flatten(2).softmax(2)), nn.Unflatten(2, (32, 34))], (1, 1), id="softmax"
        ),
    ],
)
def test_the_whole_image(layers: list[nn.Module], size: tuple[int, int] | None) -> None:
    row = last_of(*layers)
    assert (row.problem, row.size, row.whole_image) == ("", size, True)


def test_what_is_cut_off_before_a_mean_is_not_seen() -> None:
    row = last_of(conv(2, 2), Of(lambda x: x[:, :, 1:3, 4:8].mean((2, 3))))
    assert [axis.everywhere for axis in row.axes] == [Range(2, 5), Range(8, 15)]
    assert not row.whole_image


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        pytest.param(lambda x: x.roll(1, 2), "roll", id="roll"),
        pytest.param(lambda x: x.cumsum(3), "cumsum", id="cumsum"),
        pytest.param(lambda x: torch.fft.fft2(x).real, "_fft", id="Fourier"),
        pytest.param(lambda x: torch.cat([x, x], 3), "cat", id="concatenated along the width"),
        pytest.param(
            lambda x: x + x.transpose(2, 3)[:, :, :1], "add of tensors that lie differently", id="transposed"
        ),
        pytest.param(
            lambda x: x[:, :, ::2] + x[:, :, :16], "add of branches with different strides", id="strides"
        ),
        pytest.param(
            lambda x: F.interpolate(x, scale_factor=1.3), "upsample_nearest2d by a factor", id="crooked"
        ),
        pytest.param(
            lambda x: F.conv2d(x, x[:, :, :3, :3]), "convolution with weights that vary", id="weights"
        ),
    ],
)
def test_what_is_not_known_is_unknown_from_there_on(
    function: Callable[[Tensor], Tensor], problem: str
) -> None:
    rows = receptive_fields(nn.Sequential(conv(3, padding=1), Of(function), nn.ReLU()), (2, 32, 32))
    assert [bool(row.problem) for row in rows] == [False, True, True]
    assert rows[1].problem.startswith(problem)
    assert (rows[1].size, rows[1].stride, rows[1].whole_image) == (None, None, False)
    last = last_feature_layer(rows)
    assert last is not None
    assert last.name == "0"


def test_writing_through_a_view_is_noticed() -> None:
    def shift(inputs: Tensor) -> Tensor:
        shifted = torch.zeros_like(inputs)
        shifted[:, :, 1:] = inputs[:, :, :-1]
        return shifted

    row = last_of(Of(shift))
    assert row.problem == "a tensor that was written to through another one"

    def residual(inputs: Tensor) -> Tensor:
        outputs = F.avg_pool2d(inputs, 3, 1, 1)
        outputs += inputs
        return F.relu_(outputs)

    assert last_of(Of(residual)).size == (3, 3)


def test_names_calls_and_rows() -> None:
    shared = nn.ReLU(inplace=True)
    block = Branches(nn.Sequential(conv(3, padding=1), shared, conv(3, padding=1)), nn.Identity())
    rows = receptive_fields(nn.Sequential(block, shared, nn.Flatten(), nn.Linear(72, 3)), (2, 6, 6))
    assert [(row.name, row.kind, row.call, row.output_shape, row.mixes) for row in rows] == [
        ("0.branches.0.0", "Conv2d", 0, (2, 6, 6), True),
        ("0.branches.0.1", "ReLU", 0, (2, 6, 6), False),
        ("0.branches.0.2", "Conv2d", 0, (2, 6, 6), True),
        ("0", "Branches", 0, (2, 6, 6), True),
        ("0.branches.0.1", "ReLU", 1, (2, 6, 6), False),
        ("2", "Flatten", 0, (72,), False),
        ("3", "Linear", 0, (3,), True),
    ]
    assert [row.size for row in rows] == [(3, 3), (3, 3), (5, 5), (5, 5), (5, 5), (5, 5), None]
    last = last_feature_layer(rows)
    assert last is not None
    assert (last.name, last.call) == ("0.branches.0.1", 1)


def test_a_map_of_one_position_is_passed_over_where_there_is_a_larger_one() -> None:
    rows = receptive_fields(nn.Sequential(conv(3), nn.MaxPool2d(2), nn.MaxPool2d(15)), (2, 32, 32))
    last = last_feature_layer(rows)
    assert last is not None
    assert last.size == (4, 4)
    (only,) = receptive_fields(nn.Sequential(conv(32)), (2, 32, 32))
    assert last_feature_layer([only]) == only
    assert (
        last_feature_layer(receptive_fields(nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), (2, 2, 2))) is None
    )


@pytest.mark.parametrize(
    ("config", "size", "stride", "whole_image"),
    [
        # 1 + 2 + 1 up to the first pool, then + 4 + 2; with two 7×7: 1 + 12 + 1 + 24 + 2
        pytest.param(Named(name="cnn"), 10, 4, False, id="cnn"),
        pytest.param(Named(name="cnn", kernel_size=7, convs=2), 40, 4, False, id="cnn 7×7"),
        pytest.param(Named(name="cnn", attention="se", pool="lp"), 10, 4, True, id="cnn with a gate"),
        # a 3×3 adds twice the stride before it: 1 + 2 · (1 + 6 + 1), + 2 · (5 · 2 + 2), + 2 · 5 · 4
        pytest.param(Named(name="resnet"), 81, 4, False, id="ResNet-20"),
        pytest.param(Named(name="wide_resnet"), 53, 4, False, id="WRN-16-4"),
    ],
)
def test_models_of_recipes(config: Named, size: int, stride: int, whole_image: bool) -> None:
    last = last_feature_layer(receptive_fields_of(config, (3, 32, 32), 10))
    assert last is not None
    assert (last.size, last.stride, last.whole_image) == ((size, size), (stride, stride), whole_image)


def test_a_model_without_maps() -> None:
    rows = receptive_fields_of(Named(name="mlp"), (1, 28, 28), 10)
    assert all(row.whole_image for row in rows if row.kind == "Linear")
    assert last_feature_layer(rows) is None


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = nn.Sequential(conv(3), nn.BatchNorm2d(2), nn.ReLU(inplace=True)).double().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = (receptive_fields(model.to(memory_format=torch.channels_last), (2, 8, 8)) for _ in "ab")
    assert first == second
    assert model.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(RuntimeError):
        receptive_fields(model, (3, 8, 8))
    assert not model[0]._forward_hooks


def random_layer(rng: random.Random, depth: int = 0) -> nn.Module:
    """A layer on two channels that reads by addition and multiplication alone."""
    kernel_size, stride, padding = rng.randint(1, 4), rng.randint(1, 2), rng.randint(0, 1)
    kinds: Sequence[Callable[[], nn.Module]] = [
        lambda: conv((kernel_size, 3), stride, (padding, 0), bias=False),
        lambda: conv((2, kernel_size), 1, "same", dilation=rng.randint(1, 2), bias=False),
        lambda: nn.ConvTranspose2d(2, 2, (max(kernel_size, stride), 2), stride, bias=False),
        lambda: nn.AvgPool2d((kernel_size, 2), stride),
        lambda: nn.Upsample(scale_factor=rng.randint(2, 3)),
        lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=rng.random() < 0.5),
        lambda: Of(lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] * 2 // 3, x.shape[3] // 2))),
        lambda: LpPool2d(rng.randint(2, 3), stride),
        lambda: nn.Sequential(nn.Conv2d(2, 8, 1), nn.PixelShuffle(2)),
        lambda: Branches(random_layer(rng, 3), conv(kernel_size, 1, kernel_size // 2, bias=False)),
        lambda: Branches(nn.Identity(), conv(3, 1, 2, dilation=2, bias=False)),
    ]
    chosen = rng.choice(kinds if depth == 0 else kinds[1:2])()
    return chosen


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch may copy, which is well here
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_support_of_the_gradient(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    layers = [random_layer(rng) for _ in range(4)]
    model = nn.Sequential(conv(1, bias=False), *layers).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.abs_().add_(0.1)
    height, width = 71, 64
    row = receptive_fields(model, (2, height, width))[-1]
    image = (torch.rand(1, 2, height, width, dtype=torch.float64) + 0.5).requires_grad_()
    outputs = model(image)
    assert row.output_shape == outputs.shape[1:]
    center = outputs.shape[2] // 2, outputs.shape[3] // 2
    for i, j in (center, (center[0] + 1, center[1] - 1)):
        (gradient,) = torch.autograd.grad(outputs[0, :, i, j].sum(), image, retain_graph=True)
        used = gradient[0].abs().sum(0) > 0
        rows, columns = used.any(1).nonzero(), used.any(0).nonzero()
        found = Range(int(rows.min()), int(rows.max())), Range(int(columns.min()), int(columns.max()))
        assert found[0].low > 0
        assert found[0].high < height - 1
        assert row.region(i, j) == found
