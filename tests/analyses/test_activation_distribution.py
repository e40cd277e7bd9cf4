"""Activations after global average pooling: ratios against He et al., and when nothing may be expected."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from cnnbench.analyses.activation_distribution import (
    ActivationDistribution,
    Activations,
    _density,
    expected_ratio,
    pooled,
    proportional_to,
)
from cnnbench.analyses.base import Figure
from cnnbench.analyses.capture import find_layer
from cnnbench.errors import CnnbenchError
from cnnbench.models import build_model
from cnnbench.recipe.config import Named

DATA = {"name": "synthetic", "num_images": 80, "height": 8, "width": 8}
MODEL = {"name": "conv_stack", "widths": [16, 16, 16], "global_pool": True}


def raised(factor: str) -> dict[str, Any]:
    return {**MODEL, "init": {"scheme": "he", "scale": 1.0, "variance": {"layer2": factor}}}


def test_pooled_by_hand() -> None:
    torch.manual_seed(0)
    model = build_model(Named(**MODEL), (3, 8, 8), 5)
    images = torch.randn(2, 3, 8, 8)
    expected = model.activation1(model.layer1(images)).mean((2, 3))  # type: ignore[operator]
    torch.testing.assert_close(
        pooled(model, images, find_layer(model, images, "activation1")), expected.detach()
    )


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        pytest.param({"init": "he"}, ["layer1", "layer2", "layer3"], id="zero biases"),
        pytest.param({"bias": False}, ["layer1", "layer2", "layer3"], id="no biases"),
        pytest.param({}, None, id="biases"),
        pytest.param({"init": "he", "activation": "tanh"}, None, id="tanh"),
    ],
)
def test_proportional_networks_are_told_from_others(
    options: dict[str, Any], layers: list[str] | None
) -> None:
    torch.manual_seed(0)
    model = build_model(Named(**MODEL, **options), (3, 8, 8), 5).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(2, 3, 8, 8)
    assert proportional_to(model, images, find_layer(model, images, "features")) == layers
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_expected_ratio_is_the_product_over_layers() -> None:
    one = Activations("a", variances={"x": 1.0, "y": 2.0})
    assert expected_ratio(Activations("a", variances={"x": 2.0, "y": 3.0}), one) == 3
    assert expected_ratio(Activations("a", variances={"x": 2.0}), one) is None
    assert expected_ratio(Activations("b", variances=dict(one.variances or {})), one) is None
    assert expected_ratio(Activations("a"), one) is None


def test_densities_count_what_is_out_of_view() -> None:
    density = _density(np.array([0.1, 0.1, 0.3, 9.0], dtype=np.float32), np.array([0.0, 0.2, 0.4]))
    assert density.tolist() == pytest.approx([2 / 4 / 0.2, 1 / 4 / 0.2])


def test_twice_the_variance_of_a_layer_doubles_that_of_the_activations(
    model_run: Any, subject_from: Any
) -> None:
    runs = [
        model_run(name, raised(factor), DATA, seed=seed)
        for name, factor, first in (
            ("equal", "layer1 * 27 / 144", 0),
            ("raised", "2 * layer1 * 27 / 144", 0),
            ("redrawn", "2 * layer1 * 27 / 144", 3),
        )
        for seed in range(first, first + 3)
    ]
    figure, table = ActivationDistribution(layer="features").analyse(subject_from(runs))
    assert isinstance(figure, Figure)
    assert len(figure.figure.axes) == 3
    equal, found, redrawn = (dict(zip(table.columns, row, strict=True)) for row in table.rows)  # type: ignore[union-attr]
    assert (equal["ratio, same seed"], equal["expected"]) == (None, None)
    assert found["ratio, same seed"] == "2 to 2"
    assert found["expected"] == "2"
    # with the same draws the ratio is exact, so an interval about it would always hold what is expected
    assert (found["ratio, other seeds"], found["expected is in the interval"]) == (None, None)
    assert redrawn["ratio, same seed"] is None
    assert (redrawn["expected"], redrawn["expected is in the interval"]) == ("2", "yes")
    interval = [
        float(each) for each in str(redrawn["ratio, other seeds"]).split("(")[1].rstrip(")").split(" to ")
    ]
    assert interval[0] < 2 < interval[1]
    assert math.isclose(float(found["variance"]) / float(equal["variance"]), 2, rel_tol=2e-3)


def test_nothing_is_expected_of_own_weights_or_trained_ones(model_run: Any, subject_from: Any) -> None:
    runs = [model_run("a", MODEL, DATA), model_run("b", MODEL, DATA, seed=1)]
    for trained in (False, True):
        _, table = ActivationDistribution(trained=trained).analyse(subject_from(runs))
        assert table.rows[1][-2:] == [None, None]
        assert "Nothing is expected of the ratio" in table.caption
        assert "layer3, after ReLU" in table.caption  # the last convolution, where none is named


def test_an_unknown_layer_is_a_mistake(model_run: Any, subject_from: Any) -> None:
    subject = subject_from([model_run("a", MODEL, DATA)])
    with pytest.raises(CnnbenchError, match="did you mean 'features'"):
        list(ActivationDistribution(layer="featuers").analyse(subject))


def test_without_a_convolution_there_is_nothing_to_show(model_run: Any, subject_from: Any) -> None:
    (table,) = ActivationDistribution().analyse(subject_from([model_run("a", {"name": "mlp"}, DATA)]))
    assert "no convolution" in table.caption
