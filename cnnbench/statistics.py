"""Intervals on plain arrays: how sure a measured number is; and what corrects many p-values.

Everything is two-sided at 95 %. Two things make a measured accuracy vary: which images were drawn for the
test set, and which seed trained the model; each function says which of the two it counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = Sequence[float] | NDArray[np.floating[Any]]

LEVEL = 0.95
SIGNIFICANT = 0.05  # p at most that
PROPORTION = (0.0, 1.0)
# More times the middle variance than this is wild. By simulation: with 4, or the middle variance alone, pairs
# are called different more often where variances differ (docs/runs.md has the figures of 10).
WILD = 10


@dataclass(frozen=True)
class Estimate:
    """The mean of `num` runs, its standard deviation (None for one run), its 95 % interval (or None)."""

    mean: float
    std: float | None
    low: float | None
    high: float | None
    num: int


STEADY = 0.2  # of the mean


def is_steady(estimate: Estimate | None) -> bool:
    """Whether a measured time or cost varies little enough to be held against others: std at most STEADY."""
    return estimate is None or estimate.std is None or estimate.std <= STEADY * abs(estimate.mean)


@dataclass(frozen=True)
class Point:
    """A variant in a picture: its cost `x`, what is measured of it, the 95 % interval where one is known."""

    label: str
    x: float
    mean: float
    low: float | None
    high: float | None


def mean_interval(values: "Values", *, within: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """The mean over seeds with Student's t interval: training noise only, each seed having the same images.

    One value has no interval, nor have several that are all the same: few seeds that tie do not show that
    seeds change nothing. The interval is cut to `within`, what is possible at all. Raises ValueError without
    values.
    """
    import numpy as np
    from scipy import stats

    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"expected one or more values, got an array of shape {array.shape}")
    mean = float(array.mean())
    if len(array) == 1:
        return Estimate(mean, None, None, None, 1)
    if np.ptp(array) == 0:
        return Estimate(mean, 0.0, None, None, len(array))
    std = float(array.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(array) - 1)) * std / math.sqrt(len(array))
    return Estimate(mean, std, max(mean - half, within[0]), min(mean + half, within[1]), len(array))


def binomial_interval(successes: int, trials: int) -> Estimate:
    """The accuracy of one run with Wilson's (1927) score interval: image noise only.

    Raises ValueError where there are no trials or more successes than trials.
    """
    low, high = wilson(successes, trials)
    return Estimate(successes / trials, None, low, high, 1)


def image_interval(scores: "Values") -> Estimate:
    """The mean of one run's scores (N,), one an image, with Student's t interval: image noise only."""
    estimate = mean_interval(scores, within=PROPORTION)
    return Estimate(estimate.mean, None, estimate.low, estimate.high, 1)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    from scipy import stats

    interval = stats.binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def trials_needed(share: float) -> int:
    """The fewest trials, all successes, whose interval (`binomial_interval`) begins at `share` or above.

    n of n successes have the interval from n / (n + z²) (Wilson 1927), z the normal distribution's quantile.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return math.ceil(z**2 * share / (1 - share))


def variance(values: "NDArray[Any]") -> float:
    """The variance of values (num,); none at all where they are equal, whatever rounding makes of that."""
    return float(values.var(ddof=1)) if values.min() < values.max() else 0.0


def typical_variance(variants: "Sequence[NDArray[Any]]") -> float | None:
    """The variance between seeds of the mean scores (num_seeds, N) of a variant, pooled over all variants.

    A variant whose seeds scatter wildly counts as `WILD` times the middle one, lest it hides what steady ones
    show. None where fewer than two have several seeds: that is no more than a pair knows itself.
    """
    from scipy import stats

    several = [scores for scores in variants if len(scores) > 1]
    if len(several) < 2:
        return None
    freedoms = [len(scores) - 1 for scores in several]
    variances = [variance(scores.mean(axis=1)) for scores in several]
    # of so few seeds most variances are too small: what is in the middle is held against that of chi-square
    shares = [float(stats.chi2.median(freedom)) / freedom for freedom in freedoms]
    middle = median(found / share for found, share in zip(variances, shares, strict=True))
    most = WILD * middle or math.inf
    pooled = sum(min(found, most) * freedom for found, freedom in zip(variances, freedoms, strict=True))
    return pooled / sum(freedoms)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number by Holm (1979), in the order given: at most 0.05 is significant."""
    order = sorted(range(len(p_values)), key=lambda position: p_values[position])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def written_p(p_value: float) -> str:
    """`= 0.012`, `< 0.001`, or `> 0.05` of one that is not significant and would be rounded to it."""
    if p_value < 0.001:
        return "< 0.001"
    rounded = round(p_value, 3)
    return f"> {SIGNIFICANT}" if p_value > SIGNIFICANT >= rounded else f"= {rounded:.3f}"


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Indices, by rising cost, of the points no other point beats: none costs as little and is as good."""
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda index: (costs[index], -values[index])):
        if not front or values[index] > values[front[-1]]:
            front.append(index)
    return front
