"""Declared variances against what is drawn, by hand and within the sampling error; and mistakes."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import build_model
from cnnbench.models.initialization import declared_variances, fans_of, initialize, layer_weights
from cnnbench.recipe.config import Init, Named


def built(init: dict[str, Any] | str | None, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    options: dict[str, Any] = {} if init is None else {"init": init}
    return build_model(Named(name="conv_stack", widths=[64, 64, 64, 64], **options), (3, 8, 8), 10)


def weights(init: dict[str, Any] | str | None, seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in layer_weights(built(init, seed)).items()}


def test_fans_by_hand() -> None:
    fans = fans_of(nn.Conv2d(3, 64, 5).weight)
    assert (fans.fan_in, fans.fan_out) == (75, 1600)
    assert fans_of(nn.Linear(7, 4).weight).fan_in == 7


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("he", {"layer1": 2 / 27, "layer2": 2 / 576, "head": 2 / 4096}),
        ("xavier", {"layer1": 2 / (27 + 576), "layer2": 2 / (576 + 576), "head": 2 / 4106}),
        ({"scheme": "he", "scale": 3.0}, {"layer1": 18 / 27, "layer2": 18 / 576}),
        ({"variance": {"layer2": 0.25}}, {"layer2": 0.25}),
        ({"scheme": "he", "variance": {"layer3": "2 * layer2"}}, {"layer2": 2 / 576, "layer3": 4 / 576}),
        ({"scheme": "he", "variance": {"layer4": "layer3 / 4", "layer3": "2 * layer2"}}, {"layer4": 1 / 576}),
        ({"variance": {"layer2": "6 / (fan_in(layer2) + fan_out(layer1))"}}, {"layer2": 6 / 1152}),
    ],
)
def test_drawn_variances_are_the_declared_ones(init: Any, variance: dict[str, float]) -> None:
    drawn = weights(init)
    for name, expected in variance.items():
        error = math.sqrt(2 / (drawn[name].numel() - 1))
        assert drawn[name].var().item() == pytest.approx(expected, rel=4 * error), name
        assert abs(drawn[name].mean().item()) < 4 * math.sqrt(expected / drawn[name].numel()), name


def test_the_rest_of_the_draw_is_the_same() -> None:
    equal, raised = weights("he"), weights({"scheme": "he", "variance": {"layer3": "2 * layer2"}})
    for name in equal:
        factor = math.sqrt(2) if name == "layer3" else 1
        torch.testing.assert_close(raised[name], factor * equal[name])


def test_biases_are_zero_under_a_scheme_alone() -> None:
    assert not built("he").layer1.bias.any()  # type: ignore[union-attr,operator]
    assert built({"scale": 2.0}).layer1.bias.any()  # type: ignore[union-attr,operator]


def test_the_default_scheme_keeps_the_models_own_weights() -> None:
    plain, scaled = weights(None), weights({"scale": 0.5, "variance": {"layer2": "4 * layer1"}})
    torch.testing.assert_close(scaled["layer1"], plain["layer1"] / 2)
    torch.testing.assert_close(scaled["layer4"], plain["layer4"] / 2)
    # PyTorch's default has the variance 1 / (3 fan_in); a quarter of it by the scale, then 4 times
    assert scaled["layer2"].var().item() == pytest.approx(plain["layer1"].var().item(), rel=0.03)


def test_any_model_with_named_layers_takes_it() -> None:
    torch.manual_seed(0)
    init = {"scheme": "he", "variance": {"stages.1.0": "2 * stages.0.0"}}
    model = build_model(Named(name="cnn", widths=[64, 64], init=init), (64, 8, 8), 10)
    drawn = layer_weights(model)
    ratio = drawn["stages.1.0"].var().item() / drawn["stages.0.0"].var().item()
    assert ratio == pytest.approx(2, rel=0.04)


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ({"variance": {"layer9": 1.0}}, "no layer 'layer9'; did you mean 'layer4'?"),
        ({"variance": {"layer1": "2 * laier2"}}, "no layer 'laier2'; did you mean 'layer2'?"),
        ({"variance": {"layer1": "fan_in(conv)"}}, "no layer 'conv'; it has layer1, layer2"),
        ({"scheme": "he", "variance": {"layer1": "layer2 - layer3"}}, "above zero, and this is 0"),
        ({"scheme": "he", "variance": {"layer1": "1 / (layer2 - layer3)"}}, "divides by zero"),
    ],
)
def test_mistakes_show_before_training(init: dict[str, Any], said: str) -> None:
    with pytest.raises(CnnbenchError) as caught, torch.device("meta"):
        built(init)
    assert said in str(caught.value)
    assert caught.value.setting == ("init", "variance", next(iter(init["variance"])))


def test_declared_variances_of_a_chain() -> None:
    init = Init.model_validate(
        {"scheme": "he", "variance": {"layer2": "3 * layer1", "layer3": "layer2 ** 2"}}
    )
    declared = declared_variances(built(None), init)
    assert declared["layer3"] == pytest.approx((6 / 27) ** 2)
    assert set(declared) == {"layer1", "layer2", "layer3", "layer4", "head"}


def test_a_plugin_model_keeps_its_own_option_of_that_name(tmp_path: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "class Own(nn.Linear):\n"
        "    def __init__(self, in_shape, num_classes, *, init: str = 'x'):\n"
        "        super().__init__(1, 1)\n"
        "        self.own = init\n"
        'MODELS = {"own": Own}\n'
    )
    assert build_model(Named(name="own", init="mine"), (1, 1, 1), 2, [str(file)]).own == "mine"


def test_initializing_needs_no_gradient() -> None:
    model = built(None)
    initialize(model, Init(scheme="he"))
    assert all(weight.requires_grad and weight.grad is None for weight in layer_weights(model).values())
