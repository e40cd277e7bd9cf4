"""Batch normalization that is fast on a CPU for few channels too.

PyTorch's kernels go through an image in channels_last a pixel at a time, in vectors of 16 or 32 channels: of
18 channels two are left over, and those cost more than all others. Here several pixels in a row are taken as
one with so many times the channels, none left over, by the same kernels.

In bf16 the two parts of the gradient are rounded before they are added. They nearly cancel where all
gradients of a channel are alike: of a mean of one standard deviation twice PyTorch's error is left, of ten
2 %. The first step of a U-Net shows no difference (median error of its gradients 20.2 and 20.1 %).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

KERNELS = torch.ops.aten
VECTOR = 32  # bf16 numbers in a vector of 512 bits
# As measured forward and back, with two threads, in bf16 and fp32: from 40 channels on, and on fewer pixels,
# what is called here (0.4 ms) costs more than what is left over.
MANY_CHANNELS = 40
FEW_PIXELS = 64 * 16 * 16


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d; in training on a CPU two to four times as fast for 18 channels of large maps."""

    in_rows = True  # or leave it to PyTorch in any case, as where vmap is at work

    def forward(self, input: Tensor) -> Tensor:
        """Normalizes (N, C, H, W)."""
        if (
            self.training
            and self.in_rows
            and self.weight is not None
            and self.num_batches_tracked is not None
            and self.momentum is not None
            and leaves_channels_over(input)
        ):
            self.num_batches_tracked.add_(1)
            output: Tensor = _InRows.apply(
                input, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
            )
            return output
        return super().forward(input)


def leaves_channels_over(inputs: Tensor) -> bool:
    """Whether PyTorch's kernel would be slow, and pixels can be taken together so that it is not."""
    if inputs.dim() != 4 or inputs.device.type != "cpu":
        return False
    num_images, channels, height, width = inputs.shape
    num_pixels = num_images * height * width
    return (
        channels < MANY_CHANNELS
        and channels % (VECTOR // 2) != 0
        and num_pixels >= FEW_PIXELS
        and num_pixels % _pixels(channels) == 0
        and inputs.is_contiguous(memory_format=torch.channels_last)
    )


def _pixels(channels: int) -> int:
    """How many pixels together fill whole vectors."""
    return VECTOR // math.gcd(channels, VECTOR)


def _rows(images: Tensor, pixels: int) -> Tensor:
    """(N, C, H, W) in channels_last -> (N H W / pixels, pixels C), the same memory."""
    return images.permute(0, 2, 3, 1).view(-1, pixels * images.shape[1])


class _InRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        channels = inputs.shape[1]
        pixels = _pixels(channels)
        count = inputs.numel() // channels
        rows = _rows(inputs, pixels)
        zeros, ones = weight.new_zeros(rows.shape[1]), weight.new_ones(rows.shape[1])
        # of each of the `pixels` groups by itself, which are of equal size: (pixels, C)
        means, variances = (
            found.view(pixels, channels) for found in KERNELS.batch_norm_update_stats(rows, zeros, ones, 0.0)
        )
        mean = means.mean(0)
        var = variances.mean(0) + means.var(0, unbiased=False)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (count / (count - 1)), momentum)
        normed = torch.empty_like(inputs)
        unused = weight.new_empty(0)
        KERNELS.native_batch_norm.out(
            rows,
            *(each.repeat(pixels) for each in (weight, bias, mean, var)),
            False,
            0.0,
            eps,
            out=_rows(normed, pixels),
            save_mean=unused,
            save_invstd=unused.clone(),
        )
        ctx.save_for_backward(inputs, weight, mean, var)
        ctx.eps = eps
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, mean, var = ctx.saved_tensors
        channels = inputs.shape[1]
        pixels = _pixels(channels)
        count = inputs.numel() // channels
        rows = _rows(inputs, pixels)
        needs_inputs = ctx.needs_input_grad[0]
        # as if mean and variance were given: what the inputs change of these comes after
        direct, by_weight, by_bias = KERNELS.native_batch_norm_backward(
            _rows(grad.contiguous(memory_format=torch.channels_last), pixels),
            rows,
            *(each.repeat(pixels) for each in (weight, mean, var)),
            None,
            None,
            False,
            ctx.eps,
            [needs_inputs, True, True],
        )
        grad_weight = by_weight.view(pixels, channels).sum(0)
        grad_bias = by_bias.view(pixels, channels).sum(0)
        if not needs_inputs:
            return None, grad_weight, grad_bias, None, None, None, None
        # dx = w / s (dy - mean(dy) - x̂ mean(dy x̂)) with s = sqrt(var + eps): Ioffe and Szegedy (2015)
        scale = weight * (var + ctx.eps).rsqrt() / count
        slope = -scale * grad_weight * (var + ctx.eps).rsqrt()
        offset = -scale * grad_bias
        ones = torch.ones_like(var).repeat(pixels)
        through_statistics = KERNELS.native_batch_norm(
            rows, *(each.repeat(pixels) for each in (slope, offset, mean)), ones, False, 0.0, 0.0
        )[0]
        num_images, _, height, width = inputs.shape
        summed = direct.add_(through_statistics).view(num_images, height, width, channels)
        grad_inputs = summed.permute(0, 3, 1, 2)
        return grad_inputs, grad_weight, grad_bias, None, None, None, None
