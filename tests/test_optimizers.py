"""Two steps of every optimizer on one number, against its published formula worked by hand."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from cnnbench import catalog
from cnnbench.optimizers import adam, adamw, rmsprop, sgd

Make = Callable[..., torch.optim.Optimizer]

# From 1, with gradients 2 and -1, lr 0.1, weight decay 0.01 (its L2 term makes the first gradient 2.01).
CASES = [
    # 1 - 0.201 = 0.799; gradient -1 + 0.00799
    pytest.param(sgd, {"momentum": 0.0}, [0.799, 0.898201], id="sgd"),
    # buffer 2.01; then 0.9 × 2.01 - 0.99201 = 0.81699
    pytest.param(sgd, {"nesterov": False}, [0.799, 0.717301], id="sgd momentum"),
    # step 2.01 + 0.9 × 2.01 = 3.819; then gradient -0.993819, buffer 0.815181, step -0.2601561
    pytest.param(sgd, {}, [0.6181, 0.64411561], id="sgd nesterov"),
    # first step of one lr; then mean 0.0818 / 0.19, square 0.0050181409 / 0.001999
    pytest.param(adam, {}, [0.9, 0.87282722], id="adam"),
    # 0.999 - 0.1; then 0.899 × 0.999 = 0.898101, mean 0.08 / 0.19, square 0.004996 / 0.001999
    pytest.param(adamw, {}, [0.899, 0.87146730], id="adamw"),
    # the same with beta1 = 0, beta2 = 0.5: square (0.5 × 2 + 0.5) / 0.75 = 2
    pytest.param(adamw, {"beta1": 0.0, "beta2": 0.5}, [0.899, 0.96881168], id="adamw betas"),
    # eps as large as the gradient halves the first step; then 0.42105263 / (1.58090152 + 2)
    pytest.param(adamw, {"eps": 2.0}, [0.949, 0.93629270], id="adamw eps"),
    # 2.01 / sqrt(0.040401) = 10; then -1 / sqrt(0.99 × 0.040401 + 0.01)
    pytest.param(rmsprop, {}, [0.0, 0.44722707], id="rmsprop"),
    # buffer 10; then 9 - 4.4722707
    pytest.param(rmsprop, {"momentum": 0.9}, [0.0, -0.45277293], id="rmsprop momentum"),
    # 2.01 / sqrt(0.040401 - 0.0201²)
    pytest.param(rmsprop, {"centered": True}, [-0.00503782], id="rmsprop centered"),
    # alpha = 0.5: 2.01 / sqrt(0.5 × 4.0401)
    pytest.param(rmsprop, {"alpha": 0.5}, [0.85857864], id="rmsprop alpha"),
]


@pytest.mark.parametrize(("make", "options", "expected"), CASES)
def test_steps_on_one_number(make: Make, options: dict[str, Any], expected: list[float]) -> None:
    parameter = Parameter(torch.tensor(1.0))
    optimizer = make([parameter], 0.1, 0.01, **options)
    values = []
    for gradient in (2.0, -1.0)[: len(expected)]:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        values.append(parameter.item())
    assert values == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_kernels_are_fused(name: str) -> None:
    optimizer = catalog.resolve(catalog.target("optimizer", name))([Parameter(torch.ones(3))], 0.1, 0.0)
    assert optimizer.param_groups[0]["fused"] is True


@pytest.mark.parametrize("name", [name for name in catalog.OPTIMIZERS if name != "muon"])
def test_fused_steps_equal_the_plain_ones_on_channels_last_weights(name: str) -> None:
    torch.manual_seed(0)
    weights = torch.randn(8, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    gradients = [torch.randn_like(weights) for _ in range(5)]
    parameter, plain = Parameter(weights.clone()), Parameter(weights.clone())
    optimizer = catalog.resolve(catalog.target("optimizer", name))([parameter], 0.01, 1e-3)
    defaults = {k: v for k, v in optimizer.defaults.items() if k not in ("fused", "foreach", "params")}
    if name == "adamw":
        del defaults["decoupled_weight_decay"]
    if name == "adam":
        assert not defaults.pop("decoupled_weight_decay", False)
    classes: dict[str, Any] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }
    reference = classes[name]([plain], **defaults, foreach=False)
    for gradient in gradients:
        parameter.grad, plain.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(parameter, plain, rtol=1e-5, atol=1e-6)
    assert parameter.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", catalog.OPTIMIZERS)
def test_a_changed_lr_is_obeyed(name: str) -> None:
    """The trainer sets `lr` in the group before every step."""
    parameter = Parameter(torch.ones(3))
    optimizer = catalog.resolve(catalog.target("optimizer", name))([parameter], 0.1, 0.0)
    optimizer.param_groups[0]["lr"] = 0.0
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert parameter.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", catalog.OPTIMIZERS)
def test_state_survives_saving(name: str) -> None:
    make = catalog.resolve(catalog.target("optimizer", name))

    def step(optimizer: torch.optim.Optimizer, parameter: Parameter, gradient: float) -> None:
        parameter.grad = torch.full((3,), gradient)
        optimizer.step()

    first = Parameter(torch.ones(3))
    optimizer = make([first], 0.1, 0.01)
    step(optimizer, first, 2.0)
    second = Parameter(first.detach().clone())
    restored = make([second], 0.5, 0.3)
    restored.load_state_dict(deepcopy(optimizer.state_dict()))
    step(optimizer, first, -1.0)
    step(restored, second, -1.0)
    assert torch.equal(first, second)
