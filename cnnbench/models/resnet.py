"""Residual networks with basic and bottleneck blocks (He et al. 2016, "Deep residual learning").

Shortcuts are option B: the identity, or a 1x1 convolution with norm where shapes differ.
"""

from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.options import Activation, Attention, Block, Conv, DropRate, Norm, StageCounts, Stem


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the shortcut."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        norm: Norm,
        activation: Activation,
        conv: Conv,
        attention: Attention,
    ) -> None:
        super().__init__()
        self.conv1 = layers.conv(conv, in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = layers.norm(norm, width)
        self.conv2 = layers.conv(conv, width, width, 3, padding=1, bias=False)
        self.norm2 = layers.norm(norm, width)
        self.attention = layers.attention(attention, width)
        self.shortcut = shortcut(in_channels, width, stride, norm, conv)
        self.activation = layers.activation(activation)

    def forward(self, inputs: Tensor) -> Tensor:
        out = self.activation(self.norm1(self.conv1(inputs)))
        out = self.attention(self.norm2(self.conv2(out)))
        result: Tensor = self.activation(out + self.shortcut(inputs))
        return result


class BottleneckBlock(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the width; the stride sits in the 3x3, as torchvision has it."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        norm: Norm,
        activation: Activation,
        conv: Conv,
        attention: Attention,
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = layers.conv(conv, in_channels, width, 1, bias=False)
        self.norm1 = layers.norm(norm, width)
        self.conv2 = layers.conv(conv, width, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = layers.norm(norm, width)
        self.conv3 = layers.conv(conv, width, out_channels, 1, bias=False)
        self.norm3 = layers.norm(norm, out_channels)
        self.attention = layers.attention(attention, out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride, norm, conv)
        self.activation = layers.activation(activation)

    def forward(self, inputs: Tensor) -> Tensor:
        out = self.activation(self.norm1(self.conv1(inputs)))
        out = self.activation(self.norm2(self.conv2(out)))
        out = self.attention(self.norm3(self.conv3(out)))
        result: Tensor = self.activation(out + self.shortcut(inputs))
        return result


BLOCKS: dict[Block, type[BasicBlock | BottleneckBlock]] = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


def shortcut(in_channels: int, out_channels: int, stride: int, norm: Norm, conv: Conv) -> nn.Module:
    """The identity, or 1x1 convolution and norm where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        layers.conv(conv, in_channels, out_channels, 1, stride, bias=False), layers.norm(norm, out_channels)
    )


class ResNet(nn.Module):
    """Stem, one stage for each width (all but the first start with stride 2), global average pooling, linear.

    `blocks` counts the blocks of each stage. The stem "3x3" keeps the size, "7x7" halves it, and so does
    "deep": three 3x3 convolutions for the 7x7 one (ResNet-C of He, T. et al. 2019). `stem_pool` adds a 3x3
    max pool with stride 2. `conv` is the kind of all convolutions, shortcuts and stem included; `attention`
    stands at the end of each block's residual branch, before the addition (Hu et al. 2018).
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        block: Block = "basic",
        widths: StageCounts = [16, 32, 64],  # noqa: B006
        blocks: StageCounts = [3, 3, 3],  # noqa: B006
        stem: Stem = "3x3",
        stem_pool: bool = False,
        conv: Conv = "standard",
        norm: Norm = "batch",
        activation: Activation = "relu",
        attention: Attention = "none",
        dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks):
            raise CnnbenchError(
                f"model 'resnet': widths has {len(widths)} entries and blocks has {len(blocks)}; "
                "give each stage one of both"
            ).about("widths")
        channels = widths[0]
        half = max(1, channels // 2)
        self.stem = nn.Sequential()
        in_channels = in_shape[0]
        for out_channels, kernel_size, stride in {
            "3x3": [(channels, 3, 1)],
            "7x7": [(channels, 7, 2)],
            "deep": [(half, 3, 2), (half, 3, 1), (channels, 3, 1)],
        }[stem]:
            self.stem.extend(
                [
                    layers.conv(
                        conv, in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
                    ),
                    layers.norm(norm, out_channels),
                    layers.activation(activation),
                ]
            )
            in_channels = out_channels
        self.stem.append(nn.MaxPool2d(3, stride=2, padding=1) if stem_pool else nn.Identity())
        make_block = BLOCKS[block]
        stages = []
        for index, (width, num_blocks) in enumerate(zip(widths, blocks, strict=True)):
            stage: list[nn.Module] = []
            for position in range(num_blocks):
                stride = 2 if index > 0 and position == 0 else 1
                stage.append(make_block(channels, width, stride, norm, activation, conv, attention))
                channels = width * make_block.expansion
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.dropout = layers.dropout(dropout)
        self.head = layers.GlobalHead(channels, num_classes)
        layers.init_he(self)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.stages(self.stem(inputs))))
        return logits
