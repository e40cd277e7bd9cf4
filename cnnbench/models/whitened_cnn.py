"""A network made to be trained soon: a whitening convolution first, little else (Jordan 2024, "94% on
CIFAR-10 in 3.29 seconds on a single GPU"; the whitening is Page's, 2018, "How to train your ResNet").
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.options import Activation, Count, NonNegativeInt, Norm, Positive, StageCounts

# Added to every variance, so that directions without any are not blown up to noise.
WHITENING_EPS = 5e-4


class Whitening(nn.Conv2d):
    """A convolution with computed weights, whose outputs are uncorrelated and of variance 1.

    Its filters are the principal components of the patches of the images it was fitted to, each divided by
    its standard deviation, and the same negated, so that an activation behind them loses nothing. Nothing of
    it is trained, so that no gradient has to be computed for the largest images.
    """

    def __init__(self, in_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, 2 * in_channels * kernel_size**2, kernel_size, bias=False)
        self.weight.requires_grad = False

    @torch.no_grad()
    def fit(self, inputs: Tensor) -> None:
        """Takes the filters from images (N, C, H, W)."""
        size = cast("tuple[int, int]", self.kernel_size)
        patches = F.unfold(inputs.float().contiguous(), size)  # (N, C * k * k, places)
        covariance = torch.cov(patches.transpose(0, 1).flatten(1)).reshape(patches.shape[1], -1)
        variances, components = torch.linalg.eigh(covariance.double())  # ascending, in columns
        filters = (components / (variances + WHITENING_EPS).sqrt()).T.flip(0)
        self.weight.copy_(torch.cat([filters, -filters]).view(self.weight.shape))


class WhitenedCNN(nn.Module):
    """A whitening convolution and activation, then for each width a stage that halves the image.

    A stage is a 3x3 convolution, 2x2 pooling, norm and activation, then `convs - 1` times convolution, norm
    and activation. Behind the last one the largest value of each channel goes through a linear layer, whose
    logits are multiplied by `head_scale`. Convolutions start by handing on their input channels (Dirac's
    delta), as far as there are outputs. With `mirror` the logits of an image, outside of training, are the
    mean of its own and its mirror image's: that costs twice the multiply-adds, which the table counts. With
    `shift` they are the mean of those and of two more: the mean of the logits of the image moved by so many
    pixels to the upper left, and to the lower right. That costs three times as many.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        widths: StageCounts = [64, 256, 256],  # noqa: B006
        convs: Count = 2,
        whitening: Count = 2,
        norm: Norm = "batch",
        activation: Activation = "gelu",
        head_scale: Positive = 0.111,
        mirror: bool = False,
        shift: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        channels, height, width = in_shape
        smallest = min(height, width) - whitening + 1
        if smallest < 1 or smallest >> len(widths) < 1:
            raise CnnbenchError(
                f"model 'whitened_cnn': a whitening of {whitening}×{whitening} and {len(widths)} stages with "
                f"pooling shrink an image of {height}×{width} to nothing; use fewer widths"
            ).about("widths")
        if shift >= min(height, width):
            raise CnnbenchError(
                f"model 'whitened_cnn': a shift of {shift} pixels moves an image of {height}×{width} out of "
                "sight; take a smaller one"
            ).about("shift")
        self.whitening = Whitening(channels, whitening)
        self.activation = layers.activation(activation)
        channels = self.whitening.out_channels
        stages = []
        for out_channels in widths:
            stage: list[nn.Module] = []
            for number in range(convs):
                conv = nn.Conv2d(channels, out_channels, 3, padding="same", bias=norm != "batch")
                with torch.no_grad():
                    nn.init.dirac_(conv.weight[: min(channels, out_channels)])
                stage += [
                    conv,
                    *([nn.MaxPool2d(2)] if number == 0 else []),
                    layers.norm(norm, out_channels),
                    layers.activation(activation),
                ]
                channels = out_channels
            stages.append(nn.Sequential(*stage))
        self.body = nn.Sequential(*stages)  # not `stages`: no encoder can be made of it without the whitening
        self.head = nn.Linear(channels, num_classes, bias=False)
        self.head_scale, self.mirror, self.shift = head_scale, mirror, shift

    def fit_to(self, inputs: Tensor) -> None:
        """Computes the whitening from inputs (N, C, H, W) as training feeds them."""
        self.whitening.fit(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            return self.logits(inputs)
        if not self.shift:
            return self.of_both_sides(inputs)
        height, width = inputs.shape[2:]
        padded = F.pad(inputs, (self.shift,) * 4, mode="reflect")
        end = 2 * self.shift
        left, right = padded[:, :, end:, end:], padded[:, :, :height, :width]
        moved = (self.of_both_sides(left) + self.of_both_sides(right)) / 2
        return (self.of_both_sides(inputs) + moved) / 2

    def of_both_sides(self, inputs: Tensor) -> Tensor:
        """Logits (N, num_classes), the mean of the image's and its mirror image's where that is asked for."""
        if not self.mirror:
            return self.logits(inputs)
        own, mirrored = self.logits(torch.cat([inputs, inputs.flip(3)])).chunk(2)
        return (own + mirrored) / 2

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (N, num_classes) of the images as they are."""
        features = self.body(self.activation(self.whitening(inputs)))  # (N, C, h, w)
        logits: Tensor = self.head(features.amax(dim=(2, 3))) * self.head_scale
        return logits
