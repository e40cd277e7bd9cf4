"""The check of the hand-written layers: what it finds right, what it finds wrong, what it counts."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import BackwardCFunction

from cnnbench.analyses import layer_check
from cnnbench.analyses.base import Subject, Table
from cnnbench.analyses.layer_check import PAIRS, LayerCheck
from cnnbench.runs import Run

INPUT_MIB = 2 * 32 * 32 * 32 * 4 / 2**20  # two images


@pytest.fixture
def table(subject_from: Callable[[Sequence[Run]], Subject]) -> Table:
    (table,) = LayerCheck(batch_size=2).analyse(subject_from([]))  # no run is needed
    return table


def test_the_table(table: Table) -> None:
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["layer"] for row in rows] == ["ScaledConv2d", "SqueezeExcitation", "SwishLeaky", "LpPool2d"]
    assert {row["gradcheck"] for row in rows} == {"passed"}
    for row in rows:
        for what in ("output difference", "gradient difference"):
            difference, largest = map(float, str(row[what]).split(" of "))
            assert difference < 2e-6 * largest
            assert largest > 1
        for way in ("forward", "backward"):
            assert row[f"{way} (ms)"] > 0
            assert row[f"counterpart {way} (ms)"] > 0
            assert row[f"{way} ratio"] > 0
    # the inputs alone; the mix by autograd keeps both activations too, PyTorch's pool a power and two more
    saved = {row["layer"]: row["saved (MiB)"] for row in rows}
    assert saved["SwishLeaky"] == round(INPUT_MIB, 2)
    assert saved["LpPool2d"] == round(INPUT_MIB * 1.25, 2)
    others = {row["layer"]: row["counterpart saved (MiB)"] for row in rows}
    assert others["SwishLeaky"] == round(3 * INPUT_MIB, 2)
    assert all(saved[name] <= others[name] + 0.05 for name in saved)
    assert "the same 2 random images of 32 channels" in table.caption
    assert "images themselves are 0.25 MiB" in table.caption


def test_random_numbers_are_as_they_were(
    subject_from: Callable[[Sequence[Run]], Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_check, "PAIRS", [pair for pair in PAIRS if pair.name == "SwishLeaky"])
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(LayerCheck(batch_size=1).analyse(subject_from([])))
    assert torch.equal(torch.rand(3), expected)


class _Wrong(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, factor)
        return inputs * factor

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor) -> Any:
        inputs, factor = ctx.saved_tensors
        return grad_outputs * factor, (grad_outputs * inputs).sum() * 1.01


class Wrong(nn.Module):
    """Its gradient of the factor is one per cent too large."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = _Wrong.apply(inputs, self.factor)
        return outputs


def test_a_wrong_gradient_of_a_parameter_is_found() -> None:
    assert not layer_check.agrees_with_finite_differences(Wrong())
    assert layer_check.agrees_with_finite_differences(nn.Conv2d(4, 2, 3))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        pytest.param(nn.ReLU(), 1, id="relu keeps its outputs"),
        pytest.param(nn.Sequential(nn.SiLU(), nn.SiLU()), 2, id="two inputs"),
        pytest.param(
            nn.Sequential(nn.Sigmoid(), nn.SiLU()), 1, id="outputs of one, inputs of the next: once"
        ),
        pytest.param(nn.Flatten(), 0, id="nothing"),
    ],
)
def test_saved_memory_is_counted_once(layer: nn.Module, expected: int) -> None:
    inputs = torch.rand(2, 32, 32, 32, requires_grad=True)
    assert layer_check.saved_mib(layer, inputs) == expected * INPUT_MIB


def test_largest_difference() -> None:
    pairs = [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.25])),
        (torch.tensor([-8.0, 0.5]), torch.tensor([-7.5, 0.5])),
    ]
    assert layer_check.largest_difference(pairs) == "5.0e-01 of 7.5"


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_counterparts_differentiate_with_autograd_alone(pair: layer_check.Pair) -> None:
    outputs = pair.make_counterpart(4)(torch.randn(1, 4, 4, 4, requires_grad=True))
    todo = [outputs.grad_fn]
    while todo:
        function = todo.pop()
        assert not isinstance(function, BackwardCFunction)
        todo += [following for following, _ in function.next_functions if following is not None]
    outputs = pair.make(4)(torch.randn(1, 4, 4, 4, requires_grad=True))  # keeps its function alive
    by_hand = outputs.grad_fn
    assert isinstance(by_hand, BackwardCFunction)
    # one step, straight to the inputs and parameters
    assert {type(following).__name__ for following, _ in by_hand.next_functions} <= {
        "AccumulateGrad",
        "NoneType",
    }
