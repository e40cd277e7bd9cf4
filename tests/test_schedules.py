"""Learning rate factors, worked by hand and against PyTorch's one-cycle schedule."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cnnbench import catalog
from cnnbench.schedules import anneal, constant, cosine, one_cycle, step

Schedule = Callable[..., float]

CASES = [
    pytest.param(constant, {}, {0: 1, 0.5: 1, 1: 1}, id="constant"),
    pytest.param(constant, {"warmup": 0.2}, {0: 0, 0.05: 0.25, 0.2: 1, 0.5: 1, 1: 1}, id="constant warm-up"),
    # cos(π/3) = 1/2
    pytest.param(cosine, {}, {0: 1, 1 / 3: 0.75, 0.5: 0.5, 2 / 3: 0.25, 1: 0}, id="cosine"),
    pytest.param(cosine, {"final": 0.2}, {0: 1, 0.5: 0.6, 1: 0.2}, id="cosine final"),
    # what is left after the warm-up, 0.2 to 1, has its middle at 0.6
    pytest.param(cosine, {"warmup": 0.2}, {0: 0, 0.1: 0.5, 0.2: 1, 0.6: 0.5, 1: 0}, id="cosine warm-up"),
    # half way up from 0.04: 0.52
    pytest.param(one_cycle, {}, {0: 0.04, 0.15: 0.52, 0.3: 1, 0.65: 0.5, 1: 0}, id="one_cycle"),
    # a third of the way up: 0.04 + 0.96 / 4
    pytest.param(one_cycle, {}, {0.1: 0.28, 0.3 + 0.7 / 3: 0.75}, id="one_cycle thirds"),
    pytest.param(
        one_cycle,
        {"shape": "linear", "warmup": 0.25, "start": 0.1, "final": 0.05},
        {0: 0.1, 0.125: 0.55, 0.25: 1, 0.625: 0.525, 1: 0.05},
        id="one_cycle linear",
    ),
    pytest.param(one_cycle, {"warmup": 0.0}, {0: 1, 0.5: 0.5, 1: 0}, id="one_cycle without warm-up"),
    pytest.param(step, {}, {0: 1, 0.499: 1, 0.5: 0.1, 0.749: 0.1, 0.75: 0.01, 1: 0.01}, id="step"),
    pytest.param(
        step,
        {"milestones": [0.25], "gamma": 0.5, "warmup": 0.1},
        {0: 0, 0.05: 0.5, 0.1: 1, 0.2: 1, 0.25: 0.5, 1: 0.5},
        id="step options",
    ),
    pytest.param(step, {"milestones": []}, {0: 1, 1: 1}, id="step without milestones"),
    # unordered milestones count all the same
    pytest.param(step, {"milestones": [0.75, 0.5]}, {0.6: 0.1, 0.8: 0.01}, id="step unordered"),
]


@pytest.mark.parametrize(("schedule", "options", "expected"), CASES)
def test_values(schedule: Schedule, options: dict[str, Any], expected: dict[float, float]) -> None:
    values = {progress: schedule(progress, **options) for progress in expected}
    assert values == pytest.approx(expected, abs=1e-12)


def one_cycle_of_pytorch(num_steps: int, shape: str) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=num_steps,
        pct_start=0.3,
        anneal_strategy={"cosine": "cos", "linear": "linear"}[shape],
        cycle_momentum=False,
        div_factor=25,
        final_div_factor=1e9,
    )
    factors = []
    for _ in range(num_steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_one_cycle_agrees_with_pytorch(shape: Any) -> None:
    num_steps = 2000
    theirs = one_cycle_of_pytorch(num_steps, shape)
    # PyTorch reaches its peak at step 0.3 N - 1 and its end at N - 1, ours at 0.3 N and N, and the trainer
    # takes the middle of a step: at most 1.5 steps apart, where the steepest slope is π/2 × 0.96 / (0.3 N)
    ours = [one_cycle((index + 0.5) / num_steps, shape=shape) for index in range(num_steps)]
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1.5 * 5.03 / num_steps


@pytest.mark.parametrize("name", catalog.SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 1e-6, 0.5, 0.99])
def test_factors_stay_between_0_and_1(name: str, warmup: float) -> None:
    schedule = catalog.resolve(catalog.target("schedule", name))
    factors = [schedule(index / 1000, warmup=warmup) for index in range(1001)]
    assert all(0 <= factor <= 1 for factor in factors)


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_anneal_ends_exactly(shape: Any) -> None:
    assert [anneal(0.0, 0.3, 0.7, shape), anneal(1.0, 0.3, 0.7, shape)] == pytest.approx(
        [0.3, 0.7], abs=1e-15
    )
    assert anneal(0.5, 0.3, 0.7, shape) == pytest.approx(0.5)
