"""1x1 convolutions with a stride that are safe on every processor.

On processors without AVX-512, PyTorch's (2.15) weight gradient of one with a stride writes beyond its memory
where images are in channels_last and have fewer than 8 channels. One of stride 1 over every so manieth pixel
has the same sums.
"""

from torch import Tensor, nn
from torch.nn import functional as F

SAFE_CHANNELS = 8


def is_unsafe(kernel_size: int, stride: int, padding: int | str, in_channels: int) -> bool:
    """Whether a convolution with these settings is one of those."""
    return kernel_size == 1 and stride > 1 and padding == 0 and in_channels < SAFE_CHANNELS


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride and without padding."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / stride, W / stride), rounded up."""
        rows, columns = self.stride
        return F.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias)
