"""Gradients of features with respect to pixels, against fields that are known."""

import math
from functools import reduce

import numpy as np
import pytest
import torch
from torch import nn

from cnnbench.analyses.effective_field import contributions_of, effective_side
from cnnbench.models.receptive_field import last_feature_layer, receptive_fields


def test_side_of_a_gaussian() -> None:
    # above the share t of its peak a Gaussian is a disk of radius sigma sqrt(2 ln (1 / t))
    sigma = 10
    distance = np.hypot(*np.mgrid[-50:51, -50:51])
    radius = sigma * math.sqrt(2 * math.log(1 / 0.0455))
    side = effective_side(np.exp(-(distance**2) / (2 * sigma**2)))
    assert side == pytest.approx(math.sqrt(math.pi) * radius, rel=0.005)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_no_side_without_a_peak(value: float) -> None:
    assert effective_side(np.full((3, 3), value)) is None


@pytest.mark.parametrize("num_layers", [1, 4])
def test_convolutions_of_equal_weights_give_binomial_fields(num_layers: int) -> None:
    # Luo et al., section 2.1: n layers convolve the kernel with itself n times
    model = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(num_layers)), nn.Flatten())
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    layer = last_feature_layer(receptive_fields(model, (1, 15, 17)))
    assert layer is not None
    images = torch.rand(20, 1, 15, 17, generator=torch.Generator().manual_seed(0))
    row = reduce(np.convolve, [np.full(3, 0.5)] * num_layers)
    expected = np.zeros((15, 17))
    around = slice(7 - num_layers, 8 + num_layers), slice(8 - num_layers, 9 + num_layers)
    # 0.5 ** n times the trinomial numbers in each direction, and so 2 ** n times what two such rows make
    expected[around] = 2**num_layers * np.outer(row, row)
    np.testing.assert_allclose(contributions_of(model, layer, images), expected, rtol=1e-5)


def test_the_call_that_is_meant_is_taken_before_it_is_changed_in_place() -> None:
    shared = nn.ReLU(inplace=True)
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    model = nn.Sequential(shared, conv, shared)
    nn.init.constant_(conv.weight, -1)
    images = torch.ones(2, 1, 8, 8)
    first, second, third = receptive_fields(model, (1, 8, 8))
    assert (first.call, third.call) == (0, 1)
    assert contributions_of(model, first, images).sum() == 1
    assert contributions_of(model, second, images).sum() == 9  # not what ReLU makes of it afterwards
    assert contributions_of(model, third, images).sum() == 0
    assert not conv._forward_hooks


def test_a_model_that_takes_bytes_is_shown_shares_of_255() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(conv.weight)
    model = nn.Sequential(conv, nn.Flatten())
    layer = last_feature_layer(receptive_fields(model, (1, 8, 8)))
    assert layer is not None
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    assert contributions_of(model, layer, images).sum() == 9
