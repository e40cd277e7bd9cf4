"""U-Net (Ronneberger et al. 2015, "U-Net: Convolutional networks for biomedical image segmentation").

Unlike there, convolutions are padded, so that the mask has the size of the image, and normalized.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.models.encoders import Adapter, Encoder, stages_for
from cnnbench.models.tuning import Backboned, Tuning
from cnnbench.options import Activation, Counts, Down, DropRate, Norm


class DoubleConv(nn.Module):
    """Twice 3x3 convolution, norm, activation; the first one may have a stride."""

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm, activation: Activation, stride: int = 1
    ) -> None:
        super().__init__()
        bias = norm != "batch"
        self.conv1 = layers.conv("standard", in_channels, out_channels, 3, stride, padding=1, bias=bias)
        self.norm1 = layers.norm(norm, out_channels)
        self.conv2 = layers.conv("standard", out_channels, out_channels, 3, padding=1, bias=bias)
        self.norm2 = layers.norm(norm, out_channels)
        self.activation = layers.activation(activation)

    def forward(self, inputs: Tensor) -> Tensor:
        out = self.activation(self.norm1(self.conv1(inputs)))
        result: Tensor = self.activation(self.norm2(self.conv2(out)))
        return result


class Up(nn.Module):
    """Twice the size by a transposed convolution, joined with the skip of that size, and a DoubleConv."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.convs = DoubleConv(2 * out_channels, out_channels, norm, activation)

    def forward(self, inputs: Tensor, skip: Tensor) -> Tensor:
        outputs: Tensor = self.convs(torch.cat([skip, self.up(inputs)], dim=1))
        return outputs


class UNet(Backboned):
    """One level for each width, each after the first at half the size; as many up again, with skips.

    Down by 2x2 max pooling, or by a stride of 2 in the level's first convolution (`down`). Of two classes
    the net puts out one channel, the log-odds of class 1; of more, one channel each. `dropout` stands at the
    lowest level.

    Another network as `encoder` takes the place of the way down. Each level has the stage whose features are
    nearest to it in size, 1x1 convolved to the level's width and interpolated to its size where these differ;
    stages after the last one used are taken away.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        widths: Counts = [18, 36, 72, 144, 288],  # noqa: B006
        down: Down = "max",
        norm: Norm = "batch",
        activation: Activation = "relu",
        dropout: DropRate = 0.0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(Tuning() if encoder is None else encoder.tuning)
        check_size(in_shape, len(widths))
        self.sources: list[int] = []  # the stage of the encoder for each level
        self.adapters = nn.ModuleList()
        if encoder is None:
            self.encoder: nn.Module = UNetEncoder(in_shape[0], widths, down, norm, activation)
        else:
            check_down(down)
            self._take(encoder, in_shape, widths)
        self.dropout = layers.dropout(dropout)
        self.decoder = nn.ModuleList(
            Up(below, above, norm, activation) for below, above in pairwise(widths[::-1])
        )
        if encoder is None:
            layers.init_he(self.encoder)
        layers.init_he(self.decoder)
        # by PyTorch's own rule: with a fan-out of 1, He's would begin with logits far from 0
        self.head = nn.Conv2d(widths[0], 1 if num_classes == 2 else num_classes, 1)

    def _take(self, encoder: Encoder, in_shape: tuple[int, int, int], widths: list[int]) -> None:
        sizes = [(in_shape[1] >> level, in_shape[2] >> level) for level in range(len(widths))]
        self.sources = stages_for(encoder, sizes)
        encoder.keep(max(self.sources) + 1)
        self.encoder = encoder
        for stage, width in zip(self.sources, widths, strict=True):
            self.adapters.append(Adapter(encoder.shapes[stage][0], width))

    def backbone(self) -> list[nn.Module]:
        """The encoder where it is another network; its adapters are the decoder's."""
        return list(self.encoder.modules()) if self.sources else []

    def levels(self, inputs: Tensor) -> list[Tensor]:
        """What the way down hands to each level, the largest first."""
        features: list[Tensor] = self.encoder(inputs)
        if not self.sources:
            return features
        height, width = inputs.shape[2:]
        return [
            adapter(features[stage], (height >> level, width >> level))
            for level, (stage, adapter) in enumerate(zip(self.sources, self.adapters, strict=True))
        ]

    def forward(self, inputs: Tensor) -> Tensor:
        *skips, outputs = self.levels(inputs)
        outputs = self.dropout(outputs)
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            outputs = up(outputs, skip)
        logits: Tensor = self.head(outputs)  # (N, 1, H, W)
        return logits


class UNetEncoder(nn.Module):
    """The way down; puts out the features of every level, the largest first."""

    def __init__(
        self, in_channels: int, widths: list[int], down: Down, norm: Norm, activation: Activation
    ) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if down == "max" else nn.Identity()
        stride = 1 if down == "max" else 2
        self.levels = nn.ModuleList(
            DoubleConv(before, after, norm, activation, stride if index else 1)
            for index, (before, after) in enumerate(pairwise([in_channels, *widths]))
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = [self.levels[0](inputs)]
        for level in self.levels[1:]:
            features.append(level(self.pool(features[-1])))
        return features


def check_down(down: Down) -> None:
    """Raises CnnbenchError for an option of the net's own way down, which another network replaces."""
    if down != "max":
        raise CnnbenchError(
            f"model 'unet': down = '{down}' is of its own way down, in whose place the encoder stands: "
            "leave it out"
        ).about("down")


def check_size(in_shape: tuple[int, int, int], num_levels: int) -> None:
    """Raises CnnbenchError where an image cannot be halved often enough."""
    divisor = 2 ** (num_levels - 1)
    if any(size % divisor for size in in_shape[1:]):
        raise CnnbenchError(
            f"model 'unet': {num_levels} levels halve an image {num_levels - 1} times, but {in_shape[1]}×"
            f"{in_shape[2]} is no multiple of {divisor}: set data.image_size, or give fewer widths"
        ).about("widths")
