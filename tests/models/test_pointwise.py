"""Strided 1x1 convolutions of few channels against PyTorch's own in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnnbench.models import layers
from cnnbench.models.custom import ScaledConv2d
from cnnbench.models.pointwise import StridedPointwise


@pytest.mark.parametrize("kind", ["standard", "scaled"])
@pytest.mark.parametrize(("channels", "size", "stride"), [(4, 16, 2), (2, 15, 2), (7, 16, 3)])
def test_it_is_the_plain_convolution(kind: layers.Conv, channels: int, size: int, stride: int) -> None:
    """Over and over, since memory that was written beyond is noticed late.

    That PyTorch's own layer would fail here holds of processors without AVX-512.
    """
    torch.manual_seed(0)
    conv = layers.conv(kind, channels, 6, 1, stride).to(memory_format=torch.channels_last)
    images = torch.randn(5, channels, size, size, requires_grad=True)
    scale = conv.scale.detach() if isinstance(conv, ScaledConv2d) else torch.ones(6)
    weight = (conv.weight.detach() * scale[:, None, None, None]).double().requires_grad_()
    doubles = images.detach().double().requires_grad_()  # whose kernels are others
    expected = F.conv2d(doubles, weight, conv.bias.detach().double(), stride)
    wanted = torch.autograd.grad(expected.square().sum(), [doubles, weight])
    for _ in range(50):
        found = conv(images.to(memory_format=torch.channels_last))
        got = torch.autograd.grad(found.square().sum(), [images, conv.weight])
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def test_it_stands_where_it_is_needed_alone() -> None:
    assert type(layers.conv("standard", 7, 8, 1, 2)) is StridedPointwise
    for plain in ((8, 8, 1, 2), (7, 8, 1, 1), (7, 8, 3, 2), (7, 8, 1, 2, 1)):
        assert type(layers.conv("standard", *plain)) is nn.Conv2d
