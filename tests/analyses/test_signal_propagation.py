"""The explanation follows the numbers: factors multiply to the ratio, words follow their signs."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from cnnbench.analyses.base import Figure
from cnnbench.analyses.signal_propagation import (
    SignalPropagation,
    explanation,
    mean_over,
    predicted_gains,
)
from cnnbench.models.initialization import Fans
from cnnbench.signals import LayerSignal

DATA = {"name": "synthetic", "num_images": 40, "height": 8, "width": 8}
MODEL = {"name": "conv_stack", "widths": [8, 8, 8], "stride": [2, 1, 1]}


def signal(name: str, **changes: Any) -> LayerSignal:
    base = LayerSignal(
        name=name, fans=Fans(100, 200), stride=2, num_weights=100, num_uses=400, weight_variance=0.02,
        input_rms=1.0, after_rms=1.0, error_rms=0.5, input_gradient_rms=1.0, after_gradient_rms=1.0,
        gradient_norm=100.0, between="relu",
    )  # fmt: skip
    return replace(base, **changes)


def test_gains_and_alignment_by_hand() -> None:
    layer = signal("a", after_rms=0.5, input_gradient_rms=3.0)
    assert (layer.forward_gain, layer.backward_gain) == (0.5, 3.0)
    assert layer.gradient_rms == 10  # 100 / sqrt(100)
    assert layer.alignment == 1  # 10 / (0.5 · 1 · sqrt(400))
    # sqrt(100 · 0.02 / 2) = 1 and sqrt(200 · 0.02 / 2) / 2
    assert predicted_gains(layer, 0.02) == pytest.approx((1.0, 2**0.5 / 2))
    assert predicted_gains(signal("a", between="nothing"), 0.02) == pytest.approx((2**0.5, 1.0))
    assert all(math.isnan(gain) for gain in predicted_gains(signal("a", between="other"), 0.02))


def test_means_are_geometric() -> None:
    drawn = [[signal("a", gradient_norm=1.0)], [signal("a", gradient_norm=100.0)]]
    assert mean_over(drawn, 0, lambda layer: layer.gradient_norm) == pytest.approx(10)


def test_a_gradient_that_falls_on_its_way_back() -> None:
    """The error is 1/8 of the last layer's, the signal twice that there: the gradient 1/4 of it."""
    drawn = [
        [signal("one", error_rms=1 / 16, gradient_norm=25.0, input_rms=2.0, after_rms=1.0,
        after_gradient_rms=4.0, between="other"), signal("two", input_gradient_rms=1 / 4)],
    ]  # fmt: skip
    text = explanation(drawn)
    assert "The gradient norm of one is 0.25 times that of two" in text
    assert "the error that arrives at its output (0.125), the signal at its input (2)" in text
    assert (
        "The largest part of it is the error that arrives at its output; the other way round works the signal"
        in text
    )
    assert "The gradient on its way back falls: ×0.25 over two to two (gains 0.25)" in text
    assert "The signal on its way forward falls: ×0.5 over one to one (gains 0.50)" in text
    assert "predict" not in text


def test_a_gradient_that_grows() -> None:
    drawn = [
        [signal("one", input_rms=6.0, gradient_norm=600.0, after_rms=6.0),
         signal("two", input_gradient_rms=1.02)],
    ]  # fmt: skip
    text = explanation(drawn)
    assert "one is 6 times that of two" in text
    assert "The largest part of it is the signal at its input." in text
    assert "way back keeps about its size: ×1.02" in text
    assert "predict ×0.707 back and ×1 forward" in text


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ([[signal("one")]], "one layer alone"),
        ([[signal("one", gradient_norm=0.0), signal("two")]], "zero or not finite"),
        ([[signal("one", error_rms=float("inf")), signal("two")]], "zero or not finite"),
    ],
)
def test_what_cannot_be_explained_is_said(drawn: Any, said: str) -> None:
    assert said in explanation(drawn)


def test_pictures_and_tables_of_runs(model_run: Any, subject_from: Any) -> None:
    runs = [model_run("default", MODEL, DATA), model_run("he", {**MODEL, "init": "he"}, DATA)]
    items = list(SignalPropagation(output="features", draws=3).analyse(subject_from(runs)))
    assert [item.name for item in items] == [
        "signal_gradients", "signal_gains", "why_gradients", "signal_propagation"
    ]  # fmt: skip
    assert [len(item.figure.axes) for item in items if isinstance(item, Figure)] == [2, 2]
    why, table = items[2], items[3]
    assert [row[0] for row in why.rows] == ["default", "he"]  # type: ignore[union-attr]
    for _, norm, _, text in why.rows:  # type: ignore[union-attr]
        factors = re.findall(r"\(([\d.e+-]+)\)", str(text).partition("The largest part")[0])
        product = 1.0
        for factor in factors:
            product *= float(factor)
        assert len(factors) == 5
        assert product == pytest.approx(float(str(norm)), rel=0.02)
    assert [row[1] for row in table.rows] == ["layer1", "layer2", "layer3"] * 2  # type: ignore[union-attr]


def test_a_variant_without_such_an_output_is_named(model_run: Any, subject_from: Any) -> None:
    runs = [model_run("stack", MODEL, DATA), model_run("mlp", {"name": "mlp"}, DATA)]
    *_, table = SignalPropagation(output="features", draws=1).analyse(subject_from(runs))
    assert "Not shown: mlp (the model has no module 'features'" in table.caption
