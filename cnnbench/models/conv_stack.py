"""Convolutions and activations in turn and nothing else: a network whose every layer can be named and set."""

from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.options import Activation, Conv, Count, Counts, NonNegativeInt


class Features(nn.Module):
    """What the convolutions make of an image, (N, C, H, W), or averaged over the image, (N, C, 1, 1)."""

    def __init__(self, average: bool) -> None:
        super().__init__()
        self.average = average

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean(dim=(2, 3), keepdim=True) if self.average else inputs.clone()


class ConvStack(nn.Module):
    """A convolution for each width, each followed by the activation: layer1, activation1, layer2 and so on.

    `kernel_size`, `stride` and `padding` are one number for all layers or a list with one for each; without
    `padding` it is half the kernel size. The module `features` puts out what the last activation does,
    averaged over the image with `global_pool`. `head` is a linear layer from there to the classes; without
    one the flattened features are the logits.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        widths: Counts = [32, 64, 64],  # noqa: B006 (read as an option's default, never changed)
        kernel_size: Count | Counts = 3,
        stride: Count | Counts = 1,
        padding: NonNegativeInt | list[NonNegativeInt] | None = None,
        conv: Conv = "standard",
        activation: Activation = "relu",
        bias: bool = True,
        global_pool: bool = False,
        head: bool = True,
    ) -> None:
        super().__init__()
        kernel_sizes = _for_each("kernel_size", kernel_size, len(widths))
        strides = _for_each("stride", stride, len(widths))
        paddings = [size // 2 for size in kernel_sizes]
        if padding is not None:
            paddings = _for_each("padding", padding, len(widths))
        channels, *sizes = in_shape
        self.num_layers = len(widths)
        options = zip(widths, kernel_sizes, strides, paddings, strict=True)
        for number, (width, kernel, step, margin) in enumerate(options, start=1):
            before = "×".join(map(str, sizes))
            sizes = [(size + 2 * margin - kernel) // step + 1 for size in sizes]
            if min(sizes) < 1:
                raise CnnbenchError(
                    f"model 'conv_stack': layer{number} has a kernel of {kernel}×{kernel}, which does not "
                    f"fit its input of {before} with padding {margin}; use less stride before it, or more "
                    "padding"
                )
            setattr(self, f"layer{number}", layers.conv(conv, channels, width, kernel, step, margin, bias))
            setattr(self, f"activation{number}", layers.activation(activation))
            channels = width
        self.features = Features(global_pool)
        height, breadth = (1, 1) if global_pool else sizes
        num_features = channels * height * breadth
        if not head and num_features != num_classes:
            raise CnnbenchError(
                f"model 'conv_stack': without a head the {num_features} features "
                f"({channels}×{height}×{breadth})"
                f" would be the logits of {num_classes} classes; end in {num_classes} of them, or leave "
                "head = true"
            )
        self.head = nn.Linear(num_features, num_classes) if head else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        for number in range(1, self.num_layers + 1):
            inputs = getattr(self, f"layer{number}")(inputs)
            inputs = getattr(self, f"activation{number}")(inputs)
        logits: Tensor = self.head(layers.flatten(self.features(inputs)))
        return logits


def _for_each(name: str, value: int | list[int], num_layers: int) -> list[int]:
    """One number for each layer."""
    numbers = [value] * num_layers if isinstance(value, int) else value
    if len(numbers) != num_layers:
        raise CnnbenchError(
            f"model 'conv_stack': {name} has {len(numbers)} entries for {num_layers} widths; give each layer "
            "one, or one number for all"
        ).about(name)
    return numbers
