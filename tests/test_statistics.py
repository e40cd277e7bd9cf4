"""Intervals and tests against tables, hand calculation and simulation."""

import math

import numpy as np
import pytest

from cnnbench.statistics import (
    PROPORTION,
    Estimate,
    binomial_interval,
    holm,
    is_steady,
    mean_interval,
    pareto_front,
    trials_needed,
    typical_variance,
    written_p,
)


def test_mean_interval_is_students() -> None:
    # mean 3, std sqrt(2.5), standard error sqrt(0.5), t(0.975, 4) = 2.776445
    estimate = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert estimate.mean == pytest.approx(3)
    assert estimate.std == pytest.approx(math.sqrt(2.5))
    assert estimate.low == pytest.approx(3 - 2.776445 * math.sqrt(0.5), abs=1e-6)
    assert estimate.high == pytest.approx(3 + 2.776445 * math.sqrt(0.5), abs=1e-6)
    assert estimate.num == 5


def test_mean_interval_of_one_value_is_unknown() -> None:
    estimate = mean_interval([12.5])
    assert (estimate.mean, estimate.std, estimate.low, estimate.high, estimate.num) == (
        12.5,
        None,
        None,
        None,
        1,
    )


def test_mean_interval_of_a_proportion_stays_within_it() -> None:
    # mean 0.97, standard error 0.02, t(0.975, 1) = 12.7062
    estimate = mean_interval([0.95, 0.99], within=PROPORTION)
    assert estimate.low == pytest.approx(0.97 - 12.7062 * 0.02, abs=1e-4)
    assert estimate.high == 1.0
    unbounded = mean_interval([0.95, 0.99])
    assert unbounded.high == pytest.approx(0.97 + 12.7062 * 0.02, abs=1e-4)


def test_an_interval_of_seconds_has_none_below_zero() -> None:
    """Three runs of 303, 315 and 1,509 s: Student's interval would begin at -1,012 s."""
    assert mean_interval([303.0, 315.0, 1509.0]).low == pytest.approx(-1012.1, abs=0.1)
    assert mean_interval([303.0, 315.0, 1509.0], within=(0.0, math.inf)).low == 0.0


@pytest.mark.parametrize(
    ("estimate", "steady"),
    [
        (None, True),
        (Estimate(100.0, None, None, None, 1), True),
        (Estimate(100.0, 20.0, 50.0, 150.0, 3), True),
        (Estimate(100.0, 20.1, 50.0, 150.0, 3), False),
    ],
)
def test_times_that_vary_by_more_than_a_fifth_are_unsteady(estimate: Estimate | None, steady: bool) -> None:
    assert is_steady(estimate) is steady


def test_mean_interval_of_nothing() -> None:
    with pytest.raises(ValueError, match="one or more values"):
        mean_interval([])


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3
        pytest.param(81, 263, 0.2553, 0.3662, id="81 of 263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="15 of 148"),
        pytest.param(0, 20, 0.0, 0.1611, id="0 of 20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="1 of 29"),
    ],
)
def test_binomial_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    estimate = binomial_interval(successes, trials)
    assert estimate.mean == successes / trials
    assert estimate.std is None
    assert estimate.low == pytest.approx(low, abs=5e-5)
    assert estimate.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.95, 0.99])
def test_trials_needed_are_the_fewest_whose_interval_begins_there(share: float) -> None:
    fewest = trials_needed(share)
    low, before = (binomial_interval(trials, trials).low for trials in (fewest, fewest - 1))
    assert low is not None
    assert before is not None
    assert before < share <= low


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        # 4 * 0.005; then 3 * 0.01; then 2 * 0.03, then max(0.06, 1 * 0.04)
        pytest.param([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02], id="unordered"),
        pytest.param([0.02, 0.02], [0.04, 0.04], id="ties"),
        pytest.param([0.9, 0.8, 0.7], [1.0, 1.0, 1.0], id="cut at one"),
        pytest.param([0.03], [0.03], id="one"),
        pytest.param([], [], id="none"),
    ],
)
def test_holm(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


@pytest.mark.parametrize(
    ("costs", "values", "front"),
    [
        ([1, 2, 3], [0.5, 0.7, 0.9], [0, 1, 2]),
        ([3, 2, 1], [0.5, 0.7, 0.9], [2]),
        ([1, 1, 2], [0.5, 0.6, 0.6], [1]),  # equal cost: the better; equal value: the cheaper
        ([], [], []),
    ],
    ids=["rising", "one best", "ties", "none"],
)
def test_pareto_front(costs: list[float], values: list[float], front: list[int]) -> None:
    assert pareto_front(costs, values) == front


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(0.0004, "< 0.001"), (0.001, "= 0.001"), (0.05, "= 0.050"), (0.0496, "= 0.050"), (0.0503, "> 0.05"),
     (0.0506, "= 0.051"), (1.0, "= 1.000")],
)  # fmt: skip
def test_a_p_value_never_contradicts_its_verdict(p_value: float, text: str) -> None:
    assert written_p(p_value) == text


def test_a_variant_that_scatters_wildly_counts_as_ten_times_the_middle_one() -> None:
    """By hand: the median of chi-square with one degree of freedom is 0.45494, with two 1.38629."""
    steady = np.array([[1.0, 0.0], [0.0, 0.0]])  # means 1/2, 0: variance 1/8
    wild = 20 * steady  # 50
    assert typical_variance([steady, steady, wild]) == pytest.approx((2 / 8 + 10 / 8 / 0.45494) / 3, rel=1e-4)
    assert typical_variance([steady, steady, 4 * steady]) == pytest.approx((1 + 1 + 16) / 8 / 3)
    assert typical_variance([steady, wild]) == pytest.approx((1 / 8 + 50) / 2)  # neither is in the middle
    three = np.array([[0.0], [0.0], [1.0]])  # variance 1/3
    found = typical_variance([three, three, 30 * three])
    assert found == pytest.approx((2 / 3 + 10 / 3 / (1.38629 / 2)) / 3, rel=1e-4)
    ties = np.zeros((2, 2))
    assert typical_variance([ties, ties, wild]) == pytest.approx(50 / 3)  # no middle to go by


def test_one_variant_of_several_seeds_tells_nothing_of_others() -> None:
    several = np.array([[True, False], [True, True]])
    assert typical_variance([several, several[:1]]) is None
    assert typical_variance([]) is None
