"""Index arithmetic against what PyTorch's own layers read: the support of the gradient of each output."""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cnnbench.models.index_ranges import (
    Range,
    Ranges,
    Taps,
    bins,
    interpolation,
    transposed_window,
    window,
)

NUM = 12
ONES = torch.ones(1, 1, 4, dtype=torch.float64)


def read_by(layer: Callable[[Tensor], Tensor], num_inputs: int = NUM) -> list[Range]:
    """The inputs that each output of a layer on (1, 1, L) depends on."""
    inputs = torch.arange(1.0, num_inputs + 1, dtype=torch.float64, requires_grad=True)
    found = []
    for output in layer(inputs[None, None])[0, 0]:
        (gradient,) = torch.autograd.grad(output, inputs, retain_graph=True)
        used = gradient.nonzero()
        found.append(Range(int(used.min()), int(used.max())) if len(used) else Range(0, -1))
    return found


def resized(mode: str, num_outputs: int, align_corners: bool | None = None) -> Callable[[Tensor], Tensor]:
    if mode in ("bilinear", "bicubic"):  # which PyTorch has for images alone: a column of equal rows

        def resize(x: Tensor) -> Tensor:
            image = x[:, :, None].expand(-1, -1, 3, -1)
            return F.interpolate(image, (3, num_outputs), mode=mode, align_corners=align_corners)[:, :, 1]

        return resize
    return lambda x: F.interpolate(x, num_outputs, mode=mode, align_corners=align_corners)


@pytest.mark.parametrize(
    ("taps", "layer"),
    [
        pytest.param(window(3, padding=1), lambda x: F.conv1d(x, ONES[..., :3], padding=1), id="3 wide"),
        pytest.param(window(4, 3), lambda x: F.conv1d(x, ONES, stride=3), id="stride 3"),
        pytest.param(
            window(3, 2, 2, 2),
            lambda x: F.conv1d(x, ONES[..., :3], stride=2, padding=2, dilation=2),
            id="dilation 2",
        ),
        pytest.param(
            transposed_window(4, 2, 1, 1),
            lambda x: F.conv_transpose1d(x, ONES, stride=2, padding=1),
            id="transposed",
        ),
        pytest.param(
            transposed_window(4, 3, 0, 2),
            lambda x: F.conv_transpose1d(x, ONES, stride=3, dilation=2),
            id="transposed, dilation 2",
        ),
        pytest.param(bins(NUM, 3), lambda x: F.adaptive_avg_pool1d(x, 3), id="12 bins to 3"),
        pytest.param(bins(NUM, 5), lambda x: F.adaptive_avg_pool1d(x, 5), id="12 bins to 5"),
        pytest.param(bins(NUM, 30), lambda x: F.adaptive_avg_pool1d(x, 30), id="12 bins to 30"),
        *(
            pytest.param(interpolation(NUM, size, mode), resized(mode, size), id=f"{mode} to {size}")
            for mode in ("nearest", "nearest-exact")
            for size in (5, 12, 20, 24, 36)
        ),
        *(
            pytest.param(
                interpolation(NUM, size, "linear", corners),
                resized(mode, size, corners),
                id=f"{mode} to {size}{' by corners' if corners else ''}",
            )
            for mode in ("linear", "bilinear")
            for size in (5, 12, 23, 24, 36)
            for corners in (False, True)
        ),
        pytest.param(interpolation(NUM, 24, "cubic"), resized("bicubic", 24, False), id="bicubic to 24"),
    ],
)
def test_what_a_layer_reads(taps: Taps, layer: Callable[[Tensor], Tensor]) -> None:
    ranges = Ranges().through(taps)
    assert ranges is not None
    read = read_by(layer)
    # at the border padding hides a part
    inside = [i for i in range(len(read)) if ranges.at(i).low >= 0 and ranges.at(i).high < NUM]
    assert len(inside) > len(read) / 3
    assert [ranges.at(i) for i in inside] == [read[i] for i in inside]


def test_the_layers_of_alexnet_by_hand() -> None:
    ranges: Ranges | None = Ranges()
    sizes = []
    for kernel_size, stride in ((11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)):
        assert ranges is not None
        ranges = ranges.through(window(kernel_size, stride))
        assert ranges is not None
        sizes.append(ranges.size)
    assert sizes == [11, 19, 51, 67, 99, 131, 163, 195]
    assert ranges == Ranges((Range(0, 194),), 32)
    assert ranges.span(6) == Range(0, 5 * 32 + 194)


def test_upsampling_undoes_a_stride() -> None:
    halved = Ranges().through(window(2, 2))
    assert halved is not None
    doubled = halved.through(interpolation(4, 8, "nearest"))
    assert doubled == Ranges((Range(0, 1), Range(0, 1)), 2)
    assert doubled.stride == 1
    assert doubled.at(-1) == Range(-2, -1)
    # pairs again, and a pattern that returns at every position is said so
    assert doubled.through(window(2, 2)) == halved
    assert doubled.through(window(1, 2, -1)) == halved


def test_union_is_exact_by_position() -> None:
    doubled = Ranges((Range(0, 1), Range(0, 1)), 2)
    assert doubled.union(Ranges()) == doubled
    assert doubled.union(Ranges((Range(0, 2),))) == Ranges((Range(0, 2), Range(0, 3)), 2)
    assert doubled.union(Ranges((Range(-1, 1),))) == Ranges((Range(-1, 1),))  # covers the pairs
    assert doubled.union(Ranges((Range(0, 0),), 2)) is None  # another stride


def test_strides_need_not_be_whole() -> None:
    ranges = Ranges().through(bins(7, 5))
    assert ranges is not None
    assert ranges.stride == Fraction(7, 5)
    assert ranges.size == 3


def test_what_is_given_up() -> None:
    assert Ranges().through(interpolation(9999, 10000, "nearest")) is None
    assert transposed_window(1, 2, 0, 1) is None  # every second output is the bias alone
