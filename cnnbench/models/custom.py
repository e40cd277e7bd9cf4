"""Layers with forward and backward passes written by hand, each one a `torch.autograd.Function`.

Each formula stands with its function. Where fp16 or bf16 would spoil a sum or a power, it is computed in fp32
inside; outputs have the dtype of the inputs, or for a convolution that of autocast.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from cnnbench.errors import CnnbenchError
from cnnbench.models.pointwise import is_unsafe

Gradients = tuple[Tensor | None, ...]

LEAKY_SLOPE = 0.01


class ScaledConv2d(nn.Conv2d):
    """A convolution whose output, bias included, is multiplied by a learned scale for each channel."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | Literal["same"] = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.scale = nn.Parameter(torch.ones(out_channels))

    def forward(self, inputs: Tensor) -> Tensor:
        padding: Any = self.padding
        if padding == "same":  # needed in numbers: an even kernel wants one more at the end than at the start
            half, rest = divmod(self.kernel_size[0] - 1, 2)
            padding = (half, half)
            inputs = F.pad(inputs, (0, rest, 0, rest)) if rest else inputs
        stride: tuple[int, ...] = self.stride
        if is_unsafe(self.kernel_size[0], stride[0], padding[0], self.in_channels):
            inputs, stride = inputs[:, :, :: stride[0], :: stride[1]], (1, 1)
        outputs = _ScaledConv2d.apply(inputs, self.weight, self.bias, self.scale, stride, padding)
        return cast("Tensor", outputs)


class _ScaledConv2d(Function):
    """y = s (w * x + b), computed as (s w) * x + s b, which is the same: the output is never read again.

    With v = s w and c = s b the plain convolution's gradients are dL/dv and dL/dc, and by the chain rule
    dL/dw = s dL/dv, dL/db = s dL/dc and dL/ds = <w, dL/dv> + b dL/dc for each output channel.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: Tensor,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> Tensor:
        dtype = _autocast_dtype(inputs)
        used = inputs.to(dtype)
        scaled = (weight * scale[:, None, None, None]).to(dtype)
        scaled_bias = None if bias is None else (bias * scale).to(dtype)
        ctx.save_for_backward(used, scaled, weight, bias, scale)
        ctx.geometry = stride, padding
        ctx.dtype = inputs.dtype
        return F.conv2d(used, scaled, scaled_bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> Gradients:
        inputs, scaled, weight, bias, scale = ctx.saved_tensors
        needs_inputs, needs_weight, needs_bias, needs_scale, *_ = ctx.needs_input_grad
        mask = needs_inputs, needs_weight or needs_scale, bias is not None and (needs_bias or needs_scale)
        grad_inputs, grad_scaled, grad_scaled_bias = torch.ops.aten.convolution_backward(
            grad_outputs, inputs, scaled, [len(scale)], *ctx.geometry, (1, 1), False, (0, 0), 1, mask
        )
        grad_weight = grad_bias = grad_scale = None
        if mask[1]:
            grad_scaled = grad_scaled.to(weight.dtype)
            grad_weight = grad_scaled * scale[:, None, None, None]
        if mask[2]:
            grad_scaled_bias = grad_scaled_bias.to(weight.dtype)
            grad_bias = grad_scaled_bias * scale
        if needs_scale:
            grad_scale = (grad_scaled * weight).sum((1, 2, 3))
            grad_scale = grad_scale if bias is None else grad_scale + grad_scaled_bias * bias
        grad_inputs = grad_inputs.to(ctx.dtype) if needs_inputs else None
        return grad_inputs, grad_weight, grad_bias, grad_scale, None, None


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what the whole image holds (Hu et al. 2018): (N, C, H, W) of the same shape.

    The gate is sigmoid(linear(relu(linear(mean over the image)))), with channels / reduction hidden units.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = _SqueezeExcitation.apply(
            inputs, self.squeeze.weight, self.squeeze.bias, self.excite.weight, self.excite.bias
        )
        return cast("Tensor", outputs)


class _SqueezeExcitation(Function):
    """y = x g with z = mean(x), h = relu(W1 z + b1), g = sigmoid(W2 h + b2), for each image.

    x has two ways into y: dL/dx = g dL/dy + dL/dz / (H W). dL/dg is the sum of x dL/dy over the image; from
    there it goes back through both linear layers to dL/dz.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
    ) -> Tensor:
        dtype = _wide(inputs.dtype)
        with _without_autocast(inputs):
            mean = inputs.mean((2, 3), dtype=dtype)  # (N, C)
            hidden = F.linear(mean, weight1.to(dtype), bias1.to(dtype)).relu_()
            gate = F.linear(hidden, weight2.to(dtype), bias2.to(dtype)).sigmoid_()
        ctx.save_for_backward(inputs, weight1, weight2, mean, hidden, gate)
        return inputs * gate.to(inputs.dtype)[:, :, None, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> Gradients:
        inputs, weight1, weight2, mean, hidden, gate = ctx.saved_tensors
        with _without_autocast(inputs):
            grad_gate = (grad_outputs.to(gate.dtype) * inputs).sum((2, 3))
            grad_excited = grad_gate * gate * (1 - gate)  # before the sigmoid
            grad_squeezed = (grad_excited @ weight2.to(gate.dtype)) * (hidden > 0)  # before the ReLU
            grad_mean = grad_squeezed @ weight1.to(gate.dtype)
            grad_weight1, grad_weight2 = grad_squeezed.T @ mean, grad_excited.T @ hidden
        grad_inputs = None
        if ctx.needs_input_grad[0]:
            share = grad_mean / (inputs.shape[2] * inputs.shape[3])
            share, gate = share.to(inputs.dtype), gate.to(inputs.dtype)
            grad_inputs = torch.addcmul(share[:, :, None, None], grad_outputs, gate[:, :, None, None])
        dtype = weight1.dtype
        return (
            grad_inputs,
            grad_weight1.to(dtype),
            grad_squeezed.sum(0).to(dtype),
            grad_weight2.to(dtype),
            grad_excited.sum(0).to(dtype),
        )


class SwishLeaky(nn.Module):
    """m x sigmoid(x) + (1 - m) leaky_relu(x): Swish and LeakyReLU (slope 0.01), their share m is learned.

    m is the sigmoid of `raw_mix`, so it stays between 0 and 1; `mix` is where it starts.
    """

    def __init__(self, mix: float = 0.5) -> None:
        super().__init__()
        if not 0 < mix < 1:
            raise CnnbenchError(f"SwishLeaky: mix = {mix} is not between 0 and 1; use 0.5 for equal shares")
        self.raw_mix = nn.Parameter(torch.tensor(math.log(mix / (1 - mix))))

    @property
    def mix(self) -> float:
        """The share of Swish now."""
        return self.raw_mix.detach().sigmoid().item()

    def forward(self, inputs: Tensor) -> Tensor:
        return cast("Tensor", _SwishLeaky.apply(inputs, self.raw_mix))

    def extra_repr(self) -> str:
        return "" if self.raw_mix.is_meta else f"mix={self.mix:.3g}"


class _SwishLeaky(Function):
    """y = m x s + (1 - m) x k, with s = sigmoid(x), k = 1 or the slope, m = sigmoid(r). Only x is saved.

    dy/dx = k + m (s - k + x s (1 - s)), dy/dr = m (1 - m) x (s - k).
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, raw_mix: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, raw_mix)
        wide = inputs.to(_wide(inputs.dtype))
        mix = raw_mix.to(wide.dtype).sigmoid()
        return torch.lerp(F.leaky_relu(wide, LEAKY_SLOPE), F.silu(wide), mix).to(inputs.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> Gradients:
        inputs, raw_mix = ctx.saved_tensors
        x = inputs.to(_wide(inputs.dtype))
        grad = grad_outputs.to(x.dtype)
        mix = raw_mix.to(x.dtype).sigmoid()
        sigmoid = x.sigmoid()
        slope = (x > 0).to(x.dtype).clamp_min_(LEAKY_SLOPE)
        difference = sigmoid - slope
        grad_inputs = grad_raw_mix = None
        if ctx.needs_input_grad[1]:
            grad_raw_mix = (grad * x).mul_(difference).sum() * mix * (1 - mix)
            grad_raw_mix = grad_raw_mix.to(raw_mix.dtype)
        if ctx.needs_input_grad[0]:
            bend = (1 - sigmoid).mul_(sigmoid).mul_(x)
            grad_inputs = slope.add_(bend.add_(difference).mul_(mix)).mul_(grad).to(inputs.dtype)
        return grad_inputs, grad_raw_mix


class LpPool2d(nn.Module):
    """(sum of |x|^p)^(1/p) over each window, p >= 1 learned or fixed; rows that fill no window are left out.

    p = 1 is the window's size times average pooling of |x|; towards infinity it becomes max pooling of |x|.
    Signs are dropped: only so is it a norm for every p, and odd powers of both signs would cancel each other.
    A learned p is 1 + softplus(`raw_p`), which never falls to 1.
    """

    def __init__(
        self, kernel_size: int, stride: int | None = None, p: float = 2.0, learnable: bool = True
    ) -> None:
        super().__init__()
        if not 1 <= p < math.inf or (learnable and p == 1):
            least = "greater than 1 where it is learned" if learnable else "of at least 1"
            raise CnnbenchError(
                f"LpPool2d: p = {p} is not a finite number {least}; use 2 for the Euclidean norm"
            )
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.fixed_p = None if learnable else p
        # the inverse of softplus, in the form that does not overflow
        raw_p = torch.tensor(p - 1 + math.log(-math.expm1(1 - p))) if learnable else None
        self.raw_p = None if raw_p is None else nn.Parameter(raw_p)

    @property
    def p(self) -> float:
        """The exponent now."""
        return float(_exponent(None if self.raw_p is None else self.raw_p.detach(), self.fixed_p))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = _LpPool2d.apply(inputs, self.raw_p, self.fixed_p, self.kernel_size, self.stride)
        return cast("Tensor", outputs)

    def extra_repr(self) -> str:
        now = "" if self.raw_p is not None and self.raw_p.is_meta else f", p={self.p:.3g}"
        return f"kernel_size={self.kernel_size}, stride={self.stride}{now}"


class _LpPool2d(Function):
    """y = M (sum of (|x| / M)^p)^(1/p), where M is the window's maximum: no power is larger than 1.

    With q = |x| / y: dy/dx = sign(x) q^(p-1) and dy/dp = y / p sum of q^p ln q, both 0 in a window of zeros.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, raw_p: Tensor | None, fixed_p: float | None, kernel_size: int, stride: int
    ) -> Tensor:
        dtype = _wide(inputs.dtype)
        p = _exponent(None if raw_p is None else raw_p.to(dtype), fixed_p)
        sizes = [part.abs().to(dtype) for part in _parts(inputs, kernel_size, stride)]
        largest = sizes[0]
        for size in sizes[1:]:
            largest = torch.maximum(largest, size)
        divisor = torch.where(largest > 0, largest, 1)
        total = torch.zeros_like(largest)
        for size in sizes:
            # a power of a number up to 1 by its logarithm, several times as fast; log(0) rightly ends as 0
            total += (size / divisor).log_().mul_(p).exp_()
        outputs = total.log_().div_(p).exp_().mul_(largest)
        ctx.save_for_backward(inputs, raw_p, outputs)
        ctx.options = fixed_p, kernel_size, stride
        return outputs.to(inputs.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> Gradients:
        inputs, raw_p, outputs = ctx.saved_tensors
        fixed_p, kernel_size, stride = ctx.options
        p = _exponent(None if raw_p is None else raw_p.to(outputs.dtype), fixed_p)
        grad = grad_outputs.to(outputs.dtype)
        divisor = torch.where(outputs > 0, outputs, 1)
        tiny = torch.finfo(outputs.dtype).tiny  # for log(0): that term is multiplied by 0 below
        grad_inputs = torch.zeros_like(inputs, dtype=outputs.dtype)
        entropy = torch.zeros_like(outputs)
        parts = zip(
            _parts(inputs, kernel_size, stride), _parts(grad_inputs, kernel_size, stride), strict=True
        )
        for part, grad_part in parts:
            share = part.abs().to(outputs.dtype).div_(divisor)
            log_share = share.clamp_min(tiny).log_()
            power = (log_share * (p - 1)).exp_()
            grad_part.addcmul_(power * grad, part.sign().to(outputs.dtype))
            if raw_p is not None:
                entropy.addcmul_(power.mul_(share), log_share)
        grad_raw_p = None
        if raw_p is not None:
            grad_p = entropy.mul_(outputs).mul_(grad).sum() / p
            grad_raw_p = (grad_p * raw_p.to(grad_p.dtype).sigmoid()).to(raw_p.dtype)
        return grad_inputs.to(inputs.dtype), grad_raw_p, None, None, None


def _exponent(raw_p: Tensor | None, fixed_p: float | None) -> Any:
    return fixed_p if raw_p is None else 1 + F.softplus(raw_p)


def _parts(images: Tensor, kernel_size: int, stride: int) -> list[Tensor]:
    """For each place in a window the pixels that stand there, all windows at once: views (N, C, H', W')."""
    height = (images.shape[2] - kernel_size) // stride + 1
    width = (images.shape[3] - kernel_size) // stride + 1
    if min(height, width) < 1:
        raise CnnbenchError(
            f"LpPool2d: an image of {images.shape[2]}×{images.shape[3]} has no window of "
            f"{kernel_size}×{kernel_size}; use a smaller kernel_size"
        )
    rows = [slice(top, top + stride * (height - 1) + 1, stride) for top in range(kernel_size)]
    columns = [slice(left, left + stride * (width - 1) + 1, stride) for left in range(kernel_size)]
    return [images[:, :, row, column] for row in rows for column in columns]


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype to compute in: fp32 for fp16 and bf16."""
    return torch.promote_types(dtype, torch.float32)


def _autocast_dtype(inputs: Tensor) -> torch.dtype:
    """The dtype autocast would give the inputs of a convolution, were they its own."""
    kind = inputs.device.type
    if inputs.dtype == torch.float64 or not _has_autocast(kind) or not torch.is_autocast_enabled(kind):
        return inputs.dtype
    return torch.get_autocast_dtype(kind)


def _without_autocast(inputs: Tensor) -> AbstractContextManager[Any]:
    """Keeps matrix products in the dtype of their operands, in forward and backward alike.

    torch.amp.custom_fwd and custom_bwd would do so for the one device type that they are given.
    """
    kind = inputs.device.type
    return torch.autocast(kind, enabled=False) if _has_autocast(kind) else nullcontext()


def _has_autocast(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type)
