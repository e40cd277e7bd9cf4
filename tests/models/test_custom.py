"""The hand-written layers against numbers by hand, other implementations, and finite differences."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck

from cnnbench.errors import CnnbenchError
from cnnbench.models.custom import LpPool2d, ScaledConv2d, SqueezeExcitation, SwishLeaky
from cnnbench.models.summary import summarize

# each takes images of 4 channels
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "scaled_conv": lambda: ScaledConv2d(4, 6, 3, padding="same"),
    "squeeze_excitation": lambda: SqueezeExcitation(4, reduction=2),
    "swish_leaky": lambda: SwishLeaky(0.3),
    "lp_pool": lambda: LpPool2d(2, p=2.5),
}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


def moved(layer: nn.Module) -> nn.Module:
    """The layer with parameters away from where they start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return layer


def outputs_and_gradients(
    call: Callable[..., Tensor], tensors: list[Tensor], weights: Tensor | None = None
) -> list[Tensor]:
    """The outputs, and the gradients of their weighted sum by each tensor."""
    outputs = call(*tensors)
    if weights is None:
        weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1), dtype=outputs.dtype)
    return [outputs.detach(), *torch.autograd.grad(outputs, tensors, weights)]


def of_layer(layer: nn.Module, images: Tensor, weights: Tensor | None = None) -> list[Tensor]:
    """The same for a layer: by its images and parameters."""
    images = images.detach().requires_grad_()
    return outputs_and_gradients(
        lambda images, *parameters: layer(images), [images, *layer.parameters()], weights
    )


def assert_all_close(found: list[Tensor], expected: list[Tensor], **tolerance: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerance)  # type: ignore[arg-type]


# Each formula


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        *(pytest.param(make(), (2, 4, 3, 4), id=name) for name, make in LAYERS.items()),
        pytest.param(ScaledConv2d(2, 3, 2, padding="same", bias=False), (2, 2, 4, 3), id="even kernel"),
        pytest.param(ScaledConv2d(2, 3, 3, stride=2, padding=1), (1, 2, 6, 5), id="stride 2"),
        pytest.param(ScaledConv2d(4, 3, 1), (2, 4, 1, 1), id="conv, 1x1 images"),
        pytest.param(SqueezeExcitation(4), (1, 4, 1, 1), id="attention, one pixel of one image"),
        pytest.param(SwishLeaky(), (5, 7), id="activation of vectors"),
        pytest.param(LpPool2d(3, stride=2, p=1.3), (2, 2, 5, 6), id="overlapping windows"),
        pytest.param(LpPool2d(1, stride=2), (1, 2, 3, 3), id="windows with gaps"),
        pytest.param(LpPool2d(2, p=1, learnable=False), (2, 2, 4, 5), id="p = 1"),
        pytest.param(LpPool2d(2, p=7, learnable=False), (2, 2, 4, 5), id="p = 7"),
    ],
)
def test_gradients_agree_with_finite_differences(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer = moved(deepcopy(layer).double())
    images = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda images, *parameters: layer(images), (images, *layer.parameters()))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [(3, 1, "same"), (4, 1, "same"), (3, 2, 1), (5, 1, 0), (1, 1, 0)]
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_scaled_conv_is_a_convolution_times_its_scale(
    kernel_size: int, stride: int, padding: Any, bias: bool
) -> None:
    layer = moved(ScaledConv2d(4, 6, kernel_size, stride, padding, bias).double())
    assert isinstance(layer, ScaledConv2d)
    images = torch.randn(2, 4, 7, 8, dtype=torch.float64)

    def by_autograd(images: Tensor, *parameters: Tensor) -> Tensor:
        outputs = F.conv2d(images, layer.weight, layer.bias, stride, padding)
        return outputs * layer.scale.view(1, -1, 1, 1)

    images.requires_grad_()
    expected = outputs_and_gradients(by_autograd, [images, *layer.parameters()])
    assert_all_close(of_layer(layer, images), expected, rtol=1e-10, atol=1e-10)


def test_scaled_conv_starts_as_the_standard_one_from_the_same_seed() -> None:
    torch.manual_seed(5)
    standard = nn.Conv2d(3, 8, 3, padding="same")
    torch.manual_seed(5)
    scaled = ScaledConv2d(3, 8, 3, padding="same")
    images = torch.randn(2, 3, 6, 6)
    assert torch.equal(scaled(images), standard(images))


def test_a_scale_of_zero_has_the_gradient_that_lets_it_grow_again() -> None:
    layer = ScaledConv2d(1, 1, 1)
    with torch.no_grad():
        layer.weight.fill_(2)
        layer.bias.fill_(3)  # type: ignore[union-attr]
        layer.scale.fill_(0)
    outputs = layer(torch.tensor([[[[1.0, 4.0]]]]))
    outputs.sum().backward()
    assert outputs.tolist() == [[[[0, 0]]]]
    assert layer.scale.grad.tolist() == [(2 * 1 + 3) + (2 * 4 + 3)]  # type: ignore[union-attr]
    assert layer.weight.grad.tolist() == [[[[0]]]]  # type: ignore[union-attr]


@pytest.mark.parametrize("trained", ["weight", "bias", "scale", "images"])
def test_scaled_conv_with_all_but_one_frozen(trained: str) -> None:
    layer = moved(ScaledConv2d(4, 6, 3, padding=1))
    images = torch.randn(2, 4, 5, 5)
    names = ["outputs", "images", *(name for name, _ in layer.named_parameters())]
    expected = dict(zip(names, of_layer(layer, images, torch.ones(2, 6, 5, 5)), strict=True))[trained]
    layer.requires_grad_(False)
    tensors = {**dict(layer.named_parameters()), "images": images}
    layer(images.requires_grad_(trained == "images") if trained == "images" else images)
    tensors[trained].requires_grad_()
    layer(images).sum().backward()
    torch.testing.assert_close(tensors[trained].grad, expected)
    assert all(tensor.grad is None for name, tensor in tensors.items() if name != trained)


@pytest.mark.parametrize(("channels", "reduction"), [(32, 16), (8, 2), (3, 16)], ids=str)
def test_squeeze_excitation_equals_torchvision(channels: int, reduction: int) -> None:
    from torchvision.ops import SqueezeExcitation as Theirs

    ours = moved(SqueezeExcitation(channels, reduction).double())
    theirs = Theirs(channels, max(channels // reduction, 1)).double()
    values = list(ours.state_dict().values())
    theirs.load_state_dict(
        {
            name: value.view(old.shape)
            for (name, old), value in zip(theirs.state_dict().items(), values, strict=True)
        }
    )
    images = torch.randn(3, channels, 5, 4, dtype=torch.float64)
    expected = of_layer(theirs, images)
    found = zip(of_layer(ours, images), expected, strict=True)
    assert_all_close([tensor.view(other.shape) for tensor, other in found], expected)


def test_squeeze_excitation_by_hand() -> None:
    layer = SqueezeExcitation(2, reduction=1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.squeeze.weight[0, 0] = 1  # the first hidden unit is the mean of channel 0
        layer.excite.weight[1, 0] = math.log(3)  # which opens channel 1
    images = torch.tensor([[[[0.0, 2.0]], [[4.0, 8.0]]]])  # channel 0 has the mean 1
    # sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4
    torch.testing.assert_close(layer(images), torch.tensor([[[[0.0, 1.0]], [[3.0, 6.0]]]]))


@pytest.mark.parametrize(
    ("channels", "reduction", "expected"),
    [
        pytest.param(64, 16, 2 * 64 * 4 + 64 + 4, id="64 by 16"),
        pytest.param(8, 16, 2 * 8 + 8 + 1, id="at least one hidden unit"),
    ],
)
def test_num_params_of_squeeze_excitation(channels: int, reduction: int, expected: int) -> None:
    layer = SqueezeExcitation(channels, reduction)
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected


@pytest.mark.parametrize(
    ("mix", "swish_share"), [(0.5, 0.5), (0.25, 0.25), (1e-9, 0.0), (1 - 1e-9, 1.0)], ids=str
)
def test_swish_leaky_by_hand(mix: float, swish_share: float) -> None:
    log3 = math.log(3)  # sigmoid(± ln 3) is 3/4 and 1/4
    outputs = SwishLeaky(mix)(torch.tensor([-log3, 0.0, log3]))
    swish, leaky = torch.tensor([-log3 / 4, 0.0, log3 * 3 / 4]), torch.tensor([-0.01 * log3, 0.0, log3])
    torch.testing.assert_close(outputs, swish_share * swish + (1 - swish_share) * leaky)


def test_swish_leaky_equals_autograd() -> None:
    layer = SwishLeaky(0.7).double()
    images = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    images[0, 0, 0] = 0.0  # PyTorch's leaky_relu has the slope's gradient there
    images[0, 0, 1] = 800.0
    images[0, 0, 2] = -800.0

    def by_autograd(images: Tensor, raw_mix: Tensor) -> Tensor:
        mix = raw_mix.sigmoid()
        return mix * F.silu(images) + (1 - mix) * F.leaky_relu(images, 0.01)

    expected = outputs_and_gradients(by_autograd, [images.clone().requires_grad_(), layer.raw_mix])
    assert_all_close(of_layer(layer, images), expected, rtol=1e-10, atol=1e-12)


def test_swish_leaky_saves_its_inputs_only() -> None:
    layer, images, saved = SwishLeaky(), torch.randn(2, 3, 4, 4, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda nothing: nothing):
        layer(images)
    assert {tensor.data_ptr() for tensor in saved} == {images.data_ptr(), layer.raw_mix.data_ptr()}


@pytest.mark.parametrize(
    ("p", "window", "expected"),
    [
        pytest.param(2, [3.0, 4, 0, 0], 5, id="3² + 4² = 5²"),
        pytest.param(2, [-1.0, 2, -2, 4], 5, id="signs are dropped"),
        pytest.param(3, [3.0, 4, 5, 0], 6, id="3³ + 4³ + 5³ = 6³"),
        pytest.param(3, [-3.0, 4, -5, 0], 6, id="signs are dropped for odd p too"),
        pytest.param(1, [1.0, 2, -3, 4], 10, id="p = 1 is the sum"),
        pytest.param(1000, [1.0, 2, -7, 3], 7, id="large p is the maximum"),
    ],
)
def test_lp_pool_by_hand(p: float, window: list[float], expected: float) -> None:
    outputs = LpPool2d(2, p=p, learnable=False)(torch.tensor(window).view(1, 1, 2, 2))
    torch.testing.assert_close(outputs, torch.full((1, 1, 1, 1), float(expected)))


@pytest.mark.parametrize("learnable", [True, False], ids=["learnable", "fixed"])
@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "size"),
    [(2, None, (6, 8)), (2, None, (5, 7)), (3, 2, (7, 8)), (3, 1, (5, 5)), (2, 3, (8, 9))],
    ids=["2", "2, odd size", "3 by 2", "3 by 1", "2 by 3"],
)
def test_lp_pool_equals_pytorch_on_positive_images(
    kernel_size: int, stride: int | None, size: tuple[int, int], p: float, learnable: bool
) -> None:
    ours = LpPool2d(kernel_size, stride, p, learnable)
    theirs = nn.LPPool2d(p, kernel_size, stride)
    images = 0.1 + torch.rand(2, 3, *size)
    expected = of_layer(theirs, images)
    assert_all_close(of_layer(ours, images)[:2], expected, rtol=1e-5, atol=1e-5)


def test_lp_pool_lies_between_average_and_maximum() -> None:
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    sums = 4 * F.avg_pool2d(images.abs(), 2)
    torch.testing.assert_close(LpPool2d(2, p=1, learnable=False)(images), sums)
    largest = F.max_pool2d(images.abs(), 2)
    # at most 4^(1/p) times the maximum: 1.0014 for p = 1,000
    torch.testing.assert_close(LpPool2d(2, p=1000)(images), largest, rtol=0.0015, atol=0)
    torch.testing.assert_close(LpPool2d(2, p=1e6, learnable=False)(images), largest, rtol=2e-6, atol=0)


@pytest.mark.parametrize("p", [1.5, 2.0, 40.0])
def test_gradient_of_the_exponent_in_a_window_of_equal_values(p: float) -> None:
    layer = LpPool2d(2, p=p).double()
    layer(torch.full((1, 1, 2, 2), 3.0, dtype=torch.float64)).backward()
    # y = 3 · 4^(1/p), so dy/dp = -y ln 4 / p²; p = 1 + softplus(r), so dp/dr = 1 - e^(1-p)
    expected = -3 * 4 ** (1 / p) * math.log(4) / p**2 * (1 - math.exp(1 - p))
    assert layer.raw_p is not None
    assert layer.raw_p.grad is not None
    assert layer.raw_p.grad.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("p", "learnable"),
    [(1.0, False), *((p, learnable) for p in (1.0001, 2.0, 1e3, 1e4) for learnable in (True, False))],
    ids=lambda value: str(value) if isinstance(value, float) else ("fixed", "learnable")[value],
)
def test_lp_pool_is_safe_at_zero_and_at_the_ends_of_the_range(p: float, learnable: bool) -> None:
    layer = LpPool2d(2, p=p, learnable=learnable)
    images = torch.zeros(1, 1, 2, 8)
    images[..., 2:4] = torch.tensor([[1e-38, 0.0], [2e-38, 0.0]])  # the power would be 0
    images[..., 4:6] = torch.tensor([[-1e37, 3e36], [0.0, 2e37]])  # the power would be infinite
    images[..., 6:8] = 5.0
    images.requires_grad_()
    outputs = layer(images)
    outputs.sum().backward()
    assert images.grad is not None
    assert outputs[..., 0].item() == 0
    assert images.grad[..., :2].abs().max() == 0
    assert images.grad.isfinite().all()
    assert (images.grad.abs() <= 1.0001).all()  # no pixel moves the norm by more than itself
    assert all(parameter.grad.isfinite() for parameter in layer.parameters() if parameter.grad is not None)
    norms = [2e-38, 2e37, 5.0]
    four_equal = 4 ** (1 / p)
    for norm, found in zip(norms, outputs.flatten()[1:].tolist(), strict=True):
        assert norm * 0.9999 <= found <= norm * four_equal * 1.0001
    assert outputs.flatten()[3].item() == pytest.approx(5 * four_equal, rel=1e-4)


@pytest.mark.parametrize("p", [1.0001, 2.0, 1e3])
@pytest.mark.parametrize(
    ("dtype", "large"), [(torch.bfloat16, 2e37), (torch.float16, 3e4)], ids=["bf16", "fp16"]
)
def test_lp_pool_is_safe_in_16_bits(dtype: torch.dtype, large: float, p: float) -> None:
    """Zeros, and values whose power no 16 bits hold: L/2, L/4 and L/2 in one window."""
    layer = LpPool2d(2, p=p).to(dtype)
    images = torch.zeros(1, 1, 2, 4, dtype=dtype)
    images[..., 2:] = torch.tensor([[-large / 2, large / 4], [0.0, large / 2]], dtype=dtype)
    images.requires_grad_()
    outputs = layer(images)
    outputs.sum().backward()
    assert images.grad is not None
    assert outputs.dtype == dtype
    zero, norm = outputs.flatten().tolist()
    assert zero == 0
    assert large / 2 * 0.99 <= norm <= large / 2 * (2 + 0.5**p) ** (1 / p) * 1.01
    assert images.grad.isfinite().all()
    assert (images.grad.abs() <= 1.01).all()
    assert all(parameter.grad.isfinite() for parameter in layer.parameters() if parameter.grad is not None)


def test_equal_largest_values_share_the_gradient() -> None:
    images = torch.ones(1, 1, 2, 2, requires_grad=True)
    LpPool2d(2, p=1000, learnable=False)(images).backward()
    # 4^(1/p - 1) each
    torch.testing.assert_close(images.grad, torch.full((1, 1, 2, 2), 4 ** (0.001 - 1)), rtol=1e-3, atol=0)


def test_pixels_that_fill_no_window_have_no_gradient() -> None:
    images = torch.rand(1, 1, 5, 7, requires_grad=True)
    outputs = LpPool2d(2)(images)
    outputs.sum().backward()
    assert outputs.shape == F.max_pool2d(images, 2).shape == (1, 1, 2, 3)
    assert images.grad is not None
    assert (images.grad[..., :4, :6] > 0).all()
    assert images.grad[..., 4, :].abs().max() == images.grad[..., :, 6].abs().max() == 0


@pytest.mark.parametrize("p", [1.0001, 1.5, 2.0, 30.0, 1000.0])
def test_the_exponent_starts_where_it_is_asked_to(p: float) -> None:
    assert LpPool2d(2, p=p).p == pytest.approx(p, rel=1e-6)
    assert LpPool2d(2, p=p, learnable=False).p == p
    assert not list(LpPool2d(2, p=p, learnable=False).parameters())


@pytest.mark.parametrize("mix", [0.1, 0.5, 0.999])
def test_the_mix_starts_where_it_is_asked_to(mix: float) -> None:
    assert SwishLeaky(mix).mix == pytest.approx(mix)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda: SwishLeaky(0.0), r"mix = 0\.0 is not between 0 and 1", id="mix of 0"),
        pytest.param(lambda: SwishLeaky(1.5), r"mix = 1\.5 is not between 0 and 1", id="mix above 1"),
        pytest.param(lambda: LpPool2d(2, p=0.5), r"p = 0\.5 is not a finite number greater", id="p below 1"),
        pytest.param(lambda: LpPool2d(2, p=1), r"p = 1 is not .* where it is learned", id="learned p = 1"),
        pytest.param(
            lambda: LpPool2d(2, p=math.inf, learnable=False), r"p = inf is not .* at least 1", id="infinite p"
        ),
        pytest.param(lambda: LpPool2d(2, p=math.nan), "p = nan", id="p that is no number"),
        pytest.param(
            lambda: LpPool2d(3)(torch.zeros(1, 1, 4, 2)),
            r"image of 4×2 has no window of 3×3",
            id="small image",
        ),
    ],
)
def test_settings_that_cannot_be(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(CnnbenchError, match=said):
        make()


# What holds for every layer


@each_layer
def test_the_second_derivative_is_refused(make: Callable[[], nn.Module]) -> None:
    images = torch.randn(2, 4, 4, 4, requires_grad=True)
    layer = make()
    (gradient,) = torch.autograd.grad(layer(images).square().sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@each_layer
@pytest.mark.parametrize("inside", [False, True], ids=["backward outside", "backward inside"])
def test_autocast(make: Callable[[], nn.Module], inside: bool) -> None:
    """As everywhere under autocast: activations in bf16 or as they came, gradients of weights in fp32."""
    layer = moved(make())
    images = torch.randn(4, 4, 8, 8).bfloat16().float()
    weights = torch.randn(layer(images).shape).bfloat16().float()
    expected = of_layer(layer, images, weights)
    leaf = images.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = layer(leaf.bfloat16())
        if inside:
            outputs.backward(weights.bfloat16())
    if not inside:
        outputs.backward(weights.bfloat16())
    assert outputs.dtype == torch.bfloat16
    found = [outputs.float(), leaf.grad, *(parameter.grad for parameter in layer.parameters())]
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert one.dtype == torch.float32
        assert (one - other).norm() <= 0.006 * other.norm()  # 8 bits a number: 0.4 %


def test_autocast_makes_convolutions_compute_in_bf16() -> None:
    layer, images = ScaledConv2d(4, 6, 3), torch.randn(2, 4, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(images).dtype == torch.bfloat16
        assert layer.double()(images.double()).dtype == torch.float64  # as nn.Conv2d has it


@each_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_layer_of_16_bits(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    layer = moved(make())
    images, weights = torch.randn(2, 4, 6, 6), torch.ones(layer(torch.zeros(2, 4, 6, 6)).shape)
    expected = of_layer(layer, images, weights)
    found = of_layer(layer.to(dtype), images.to(dtype), weights.to(dtype))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert (one.float() - other).norm() <= 0.015 * other.norm()


@each_layer
def test_channels_last_stays_channels_last(make: Callable[[], nn.Module]) -> None:
    layer = moved(make())
    images = torch.randn(2, 4, 6, 8)
    weights = torch.randn(layer(images).shape)
    expected = of_layer(layer, images, weights)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = of_layer(
        layer,
        images.contiguous(memory_format=torch.channels_last),
        weights.contiguous(memory_format=torch.channels_last),
    )
    assert_all_close(found, expected, rtol=1e-4, atol=1e-5)
    for tensor in found[:2]:
        assert tensor.is_contiguous(memory_format=torch.channels_last)
        assert not tensor.is_contiguous()


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "strided": lambda images: torch.stack([images, images + 1], -1)[..., 0],
    "transposed": lambda images: images.transpose(2, 3).contiguous().transpose(2, 3),
    "narrowed": lambda images: F.pad(images, (1, 2, 3, 4))[:, :, 3:-4, 1:-2],
    "channel of many": lambda images: torch.cat([images, images], 1)[:, :4],
}


@each_layer
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_views(make: Callable[[], nn.Module], view: Callable[[Tensor], Tensor]) -> None:
    layer, images = moved(make()), torch.randn(2, 4, 6, 8)
    assert not view(images).is_contiguous()
    weights = torch.ones(()).expand(layer(images).shape)  # the gradient of a sum: one number, all strides 0
    assert_all_close(of_layer(layer, view(images), weights), of_layer(layer, images, weights.contiguous()))


@each_layer
def test_images_do_not_see_each_other_and_are_left_alone(make: Callable[[], nn.Module]) -> None:
    layer, images = moved(make()), torch.randn(3, 4, 6, 6)
    before = images.clone()
    together = layer(images)
    for index in range(3):
        torch.testing.assert_close(layer(images[index : index + 1])[0], together[index])
    assert torch.equal(images, before)


@each_layer
def test_train_eval_and_inference_mode_are_alike(make: Callable[[], nn.Module]) -> None:
    layer, images = moved(make()), torch.randn(2, 4, 6, 6)
    expected = layer.train()(images)
    with torch.inference_mode():
        assert torch.equal(layer.eval()(images), expected)


@each_layer
def test_state_dict_carries_all(make: Callable[[], nn.Module]) -> None:
    layer, other, images = moved(make()), make(), torch.randn(2, 4, 6, 6)
    assert not torch.equal(layer(images), other(images))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(images), other(images))
    assert torch.equal(deepcopy(layer)(images), other(images))


@each_layer
def test_the_meta_device_knows_the_shape(make: Callable[[], nn.Module]) -> None:
    expected = make()(torch.zeros(2, 4, 7, 9)).shape
    with torch.device("meta"):
        layer = make()
        assert layer(torch.empty(2, 4, 7, 9)).shape == expected
    assert "\n" in repr(layer) or type(layer).__name__ in repr(layer)  # reads no number of it


def net_of_all_four() -> nn.Sequential:
    return nn.Sequential(
        ScaledConv2d(3, 8, 3, padding="same"),
        SwishLeaky(),
        SqueezeExcitation(8, reduction=4),
        LpPool2d(2),
        nn.Flatten(),
    )


def test_multiply_adds_are_those_of_the_standard_layers() -> None:
    net = nn.Sequential(*net_of_all_four(), nn.Linear(8 * 9, 5))
    summary = summarize(net, (3, 6, 7))
    assert [(row.kind, row.output_shape, row.num_params, row.macs) for row in summary.layers] == [
        ("ScaledConv2d", (8, 6, 7), 3 * 8 * 9 + 8 + 8, 6 * 7 * 8 * 3 * 9),
        ("SwishLeaky", (8, 6, 7), 1, 0),
        ("SqueezeExcitation", (8, 6, 7), 2 * 8 * 2 + 8 + 2, 2 * 8 * 2),
        ("LpPool2d", (8, 3, 3), 1, 0),
        ("Flatten", (72,), 0, 0),
        ("Linear", (5,), 72 * 5 + 5, 72 * 5),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_a_net_of_all_four_compiles_whole(autocast: bool) -> None:
    torch.manual_seed(0)
    net = net_of_all_four()
    compiled = torch.compile(net, fullgraph=True)
    images = torch.randn(4, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        expected, found = net(images), compiled(images)
    assert found.dtype == expected.dtype
    tolerance = 0.02 if autocast else 1e-5
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    wanted = torch.autograd.grad(expected.float().square().sum(), list(net.parameters()))
    gradients = torch.autograd.grad(found.float().square().sum(), list(net.parameters()))
    for one, other in zip(gradients, wanted, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()
