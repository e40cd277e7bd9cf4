"""A plain convolutional network: stages of convolutions, each stage ended by pooling."""

from itertools import cycle, islice, pairwise

from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.options import (
    Activation,
    Attention,
    Conv,
    Count,
    Counts,
    DropRate,
    Norm,
    Pool,
    StageCounts,
    Widths,
)


class ResidualPair(nn.Module):
    """Twice convolution, norm, activation; the shortcut around them joins before the last activation."""

    def __init__(self, steps: list[nn.Module]) -> None:
        super().__init__()
        *body, self.activation = steps
        self.body = nn.Sequential(*body)
        self.shortcut: nn.Module = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.activation(self.body(inputs) + self.shortcut(inputs))
        return outputs


class CNN(nn.Module):
    """One stage for each width: `convs` times (convolution, norm, activation), then 2x2 pooling and dropout.

    `convs` may be a list with an entry for each stage. A list as `kernel_size` is given in turn to the
    convolutions of a stage. `attention` stands after a stage's last activation, before its pooling. With
    `residual`, a shortcut leads around every two convolutions of a stage: the identity, or a 1x1 convolution
    and norm where the channels change. From the same seed all other weights start as those of the plain net.

    The head flattens (or averages over the image with global_pool), then has hidden layers of the
    widths in `head`, each with activation and dropout, and a linear layer to the classes.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        widths: StageCounts = [32, 64],  # noqa: B006
        convs: Count | StageCounts = 1,
        kernel_size: Count | Counts = 3,
        conv: Conv = "standard",
        norm: Norm = "none",
        activation: Activation = "relu",
        residual: bool = False,
        attention: Attention = "none",
        pool: Pool = "max",
        dropout: DropRate = 0.0,
        head: Widths = [128],  # noqa: B006
        global_pool: bool = False,
    ) -> None:
        super().__init__()
        convs = [convs] * len(widths) if isinstance(convs, int) else convs
        kernel_sizes = [kernel_size] if isinstance(kernel_size, int) else kernel_size
        check_stages(widths, convs, kernel_sizes, residual)
        channels, height, width = in_shape
        bias = norm != "batch"
        stages: list[nn.Module] = []
        changing: list[tuple[ResidualPair, int, int]] = []
        for out_channels, num_convs in zip(widths, convs, strict=True):
            stage: list[nn.Module] = []
            in_channels = channels
            for size in islice(cycle(kernel_sizes), num_convs):
                stage += [
                    layers.conv(conv, channels, out_channels, size, padding="same", bias=bias),
                    layers.norm(norm, out_channels),
                    layers.activation(activation),
                ]
                channels = out_channels
            if residual:
                pairs = [ResidualPair(stage[start : start + 6]) for start in range(0, len(stage), 6)]
                if in_channels != out_channels:
                    changing.append((pairs[0], in_channels, out_channels))
                stage = [*pairs]
            if attention != "none":
                stage.append(layers.attention(attention, out_channels))
            if pool != "none":
                height, width = height // 2, width // 2
            stages.append(nn.Sequential(*stage, layers.pool(pool), layers.dropout(dropout)))
        if min(height, width) < 1:
            raise CnnbenchError(
                f"model 'cnn': {len(widths)} stages with pooling shrink an image of "
                f'{in_shape[1]}×{in_shape[2]} to nothing; use fewer widths or pool = "none"'
            ).about("widths")
        self.stages = nn.Sequential(*stages)
        self.global_pool = global_pool
        features = [channels if global_pool else channels * height * width, *head]
        hidden: list[nn.Module] = []
        for in_features, out_features in pairwise(features):
            hidden += [
                nn.Linear(in_features, out_features),
                layers.activation(activation),
                layers.dropout(dropout),
            ]
        self.head = nn.Sequential(*hidden, nn.Linear(features[-1], num_classes))
        # Drawn last: the random numbers before them go to the same weights as in the plain net.
        for pair, in_channels, out_channels in changing:
            pair.shortcut = nn.Sequential(
                layers.conv(conv, in_channels, out_channels, 1, bias=bias), layers.norm(norm, out_channels)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.stages(inputs)
        features = features.mean(dim=(2, 3)) if self.global_pool else layers.flatten(features)
        logits: Tensor = self.head(features)
        return logits


def check_stages(widths: list[int], convs: list[int], kernel_sizes: list[int], residual: bool) -> None:
    """Raises CnnbenchError where the lists do not fit each other."""
    if len(widths) != len(convs):
        raise CnnbenchError(
            f"model 'cnn': widths has {len(widths)} entries and convs has {len(convs)}; "
            "give each stage one of both"
        ).about("widths")
    if len(kernel_sizes) > max(convs):
        raise CnnbenchError(
            f"model 'cnn': kernel_size has {len(kernel_sizes)} entries, but no stage has more than "
            f"{max(convs)} convolutions; shorten kernel_size or raise convs"
        ).about("kernel_size")
    if residual and any(num % 2 for num in convs):
        raise CnnbenchError(
            f"model 'cnn': residual = true joins convolutions in pairs, but convs = {convs} leaves one over; "
            "give every stage an even number"
        ).about("residual")
