"""The layers a recipe can name, by that name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import custom
from cnnbench.models.batch_norm import BatchNorm2d
from cnnbench.models.pointwise import StridedPointwise, is_unsafe
from cnnbench.options import Activation, Attention, Conv, Norm, Pool

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(inplace=True),
    "elu": lambda: nn.ELU(inplace=True),
    "gelu": nn.GELU,
    "silu": lambda: nn.SiLU(inplace=True),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "mish": lambda: nn.Mish(inplace=True),
    "swish_leaky": custom.SwishLeaky,
}
CONVS: dict[str, type[nn.Conv2d]] = {"standard": nn.Conv2d, "scaled": custom.ScaledConv2d}
POOLS: dict[str, Callable[[int], nn.Module]] = {
    "max": nn.MaxPool2d,
    "avg": nn.AvgPool2d,
    "lp": custom.LpPool2d,
    "none": lambda kernel_size: nn.Identity(),
}
ATTENTIONS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "se": custom.SqueezeExcitation,
}


class ChannelLayerNorm(nn.Module):
    """Layer normalization over the channels of each position, for (N, C, H, W) and (N, C)."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        normed: Tensor = self.norm(inputs.movedim(1, -1))
        return normed.movedim(-1, 1)


def activation(name: Activation) -> nn.Module:
    return ACTIVATIONS[name]()


def conv(
    name: Conv,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    padding: int | str = 0,
    bias: bool = True,
) -> nn.Conv2d:
    """A convolution; of equal random state all kinds start as the same function."""
    kind = CONVS[name]
    if kind is nn.Conv2d and is_unsafe(kernel_size, stride, padding, in_channels):
        kind = StridedPointwise
    return kind(in_channels, out_channels, kernel_size, stride, padding, bias=bias)


class GroupNorm(nn.GroupNorm):
    """PyTorch's, which says so where a group is too small to normalize: of two values only signs are left."""

    def forward(self, inputs: Tensor) -> Tensor:
        values = inputs[0].numel() // self.num_groups
        if values < 3:
            raise CnnbenchError(
                f"norm 'group' cannot normalize groups of {values} value{'s' * (values > 1)}: "
                f"{self.num_channels} channels in {self.num_groups} groups, where the image has become "
                f"{'×'.join(map(str, inputs.shape[2:])) or 'a vector'}; take another norm, or larger maps"
            ).about("norm")
        return super().forward(inputs)


def norm(name: Norm, num_channels: int, dimensions: int = 2) -> nn.Module:
    """The normalization for (N, C, H, W) inputs, or for (N, C) with dimensions = 0."""
    if name == "batch":
        return BatchNorm2d(num_channels) if dimensions == 2 else nn.BatchNorm1d(num_channels)
    if name == "group":
        # 32 groups as in Wu & He (2018), or the largest smaller number that divides the channels. A vector's
        # groups have at least their 16 channels too, for it has no places to take a mean over.
        most = min(32, num_channels if dimensions else max(1, num_channels // 16))
        return GroupNorm(next(g for g in range(most, 0, -1) if num_channels % g == 0), num_channels)
    if name == "layer":
        return ChannelLayerNorm(num_channels)
    return nn.Identity()


def pool(name: Pool, kernel_size: int = 2) -> nn.Module:
    """Pooling with a stride equal to its window."""
    return POOLS[name](kernel_size)


def attention(name: Attention, channels: int) -> nn.Module:
    """What weighs the channels of (N, C, H, W), or the identity."""
    return ATTENTIONS[name](channels)


def dropout(rate: float) -> nn.Module:
    return nn.Dropout(rate) if rate > 0 else nn.Identity()


def init_he(model: nn.Module) -> None:
    """Normal weights with variance 2 / fan_out for every convolution (He et al. 2015)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class GlobalHead(nn.Module):
    """Global average pooling, then one linear layer: (N, C, H, W) -> (N, num_classes)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.linear(inputs.mean(dim=(2, 3)))
        return logits


def flatten(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C H W).

    On a CPU the gradient comes back in channels_last if the features are: in the order of the flat ones, the
    layers before would take a slower way (two convolutions on MNIST: 18.7 instead of 17.7 ms a step).
    """
    in_channels_last = features.stride(1) == 1  # vmap does not tell whether memory is contiguous
    eager_on_cpu = features.device.type == "cpu" and not torch.compiler.is_compiling()
    if in_channels_last and features.requires_grad and eager_on_cpu:
        features.register_hook(_in_channels_last)  # type: ignore[no-untyped-call]  # PyTorch's own has no types
    return features.flatten(1)


def _in_channels_last(gradient: Tensor) -> Tensor:
    return gradient.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
