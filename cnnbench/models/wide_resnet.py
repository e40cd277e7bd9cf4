"""Wide residual networks, WRN-depth-widen_factor (Zagoruyko & Komodakis 2016)."""

from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.options import Activation, Attention, Conv, Count, DropRate, Norm


class PreActivationBlock(nn.Module):
    """Norm-activation-conv twice, with dropout; a 1x1 shortcut starts after the first activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: Norm,
        activation: Activation,
        dropout: float,
        conv: Conv,
        attention: Attention,
    ) -> None:
        super().__init__()
        self.norm1 = layers.norm(norm, in_channels)
        self.conv1 = layers.conv(conv, in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm2 = layers.norm(norm, out_channels)
        self.dropout = layers.dropout(dropout)
        self.conv2 = layers.conv(conv, out_channels, out_channels, 3, padding=1, bias=False)
        self.attention = layers.attention(attention, out_channels)
        self.activation = layers.activation(activation)
        self.shortcut = (
            None
            if in_channels == out_channels and stride == 1
            else layers.conv(conv, in_channels, out_channels, 1, stride, bias=False)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        normed = self.norm1(inputs)
        # Activations work in place, and without a norm it would be on what the shortcut needs.
        activated = self.activation(normed.clone() if normed is inputs else normed)
        residual = inputs if self.shortcut is None else self.shortcut(activated)
        out = self.dropout(self.activation(self.norm2(self.conv1(activated))))
        result: Tensor = self.attention(self.conv2(out)) + residual
        return result


class WideResNet(nn.Module):
    """Three stages of (depth - 4) / 6 blocks with 16, 32, 64 times widen_factor channels.

    `conv` is the kind of all convolutions, shortcuts and stem included; `attention` stands at the end of each
    block's residual branch, before the addition.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        depth: Count = 16,
        widen_factor: Count = 4,
        conv: Conv = "standard",
        norm: Norm = "batch",
        activation: Activation = "relu",
        attention: Attention = "none",
        dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise CnnbenchError(
                f"model 'wide_resnet': depth = {depth} is not 6n + 4; use 10, 16, 22, 28, 34 or 40"
            ).about("depth")
        num_blocks = (depth - 4) // 6
        channels = 16
        self.stem = layers.conv(conv, in_shape[0], channels, 3, padding=1, bias=False)
        stages = []
        for width, first_stride in ((16, 1), (32, 2), (64, 2)):
            stage = []
            for position in range(num_blocks):
                stride = first_stride if position == 0 else 1
                block = PreActivationBlock(
                    channels, width * widen_factor, stride, norm, activation, dropout, conv, attention
                )
                stage.append(block)
                channels = width * widen_factor
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.norm = layers.norm(norm, channels)
        self.activation = layers.activation(activation)
        self.head = layers.GlobalHead(channels, num_classes)
        layers.init_he(self)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.activation(self.norm(self.stages(self.stem(inputs))))
        logits: Tensor = self.head(features)
        return logits
