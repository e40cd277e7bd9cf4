"""Intervals and tests on plain arrays: how sure a measured number is, and whether two variants differ.

Everything is two-sided at 95 %. Two things make a measured accuracy vary: which images were drawn for the
test set, and which seed trained the model; each function says which of the two it counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = Sequence[float] | NDArray[np.floating[Any]]
    Correct = NDArray[np.bool_]
    Scores = NDArray[Any]  # True where an image is right, or numbers

LEVEL = 0.95
PROPORTION = (0.0, 1.0)


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


@dataclass(frozen=True)
class Noise:
    """The variance of a difference by its sources: what would be left of it with other numbers of seeds.

    Of `num_images` images (0 where nothing is known image by image) it has `images` however many seeds there
    are. With n seeds a side come (`mixed` + the sum of `seeds`) / n: what a seed does to single images, and
    to a model as a whole, one entry a model.
    """

    images: float
    num_images: int
    mixed: float
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class PairedTest:
    """A difference a - b, its uncorrected 95 % interval, and the two-sided p-value of no difference.

    `noise` is None where seeds cannot matter or nothing is known of what they change.
    """

    difference: float
    low: float
    high: float
    p_value: float
    method: str
    noise: Noise | None = None

    def turned(self) -> "PairedTest":
        """The same test of b - a."""
        return replace(self, difference=0.0 - self.difference, low=0.0 - self.high, high=0.0 - self.low)


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
    low, high = _wilson(successes, trials)
    return Estimate(successes / trials, None, low, high, 1)


def image_interval(scores: "Values") -> Estimate:
    """The mean of one run's scores (N,), one an image, with Student's t interval: image noise only."""
    estimate = mean_interval(scores, within=PROPORTION)
    return Estimate(estimate.mean, None, estimate.low, estimate.high, 1)


def _wilson(successes: int, trials: int) -> tuple[float, float]:
    from scipy import stats

    interval = stats.binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def compare_predictions(
    scores_a: "Scores", scores_b: "Scores", *, fixed_a: bool = False, fixed_b: bool = False
) -> PairedTest:
    """Tests mean scores a - b on the same N images; (num_seeds, N) each, True where an image is right.

    One seed each counts image noise alone: `mcnemar`, or a paired t test of scores that are numbers.
    Otherwise images and seeds both count. Seeds are not paired: two architectures share no noise through one.
    A side that is fixed, which no seed can change, has the noise of images alone. Raises ValueError where the
    shapes do not fit.
    """
    import numpy as np

    a, b = np.asarray(scores_a), np.asarray(scores_b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not (a.size and b.size):
        raise ValueError(f"expected (num_seeds, N) for the same N images, got {a.shape} and {b.shape}")
    a, b = a[:1] if fixed_a else a, b[:1] if fixed_b else b
    if len(a) == len(b) == 1:
        return mcnemar(a[0], b[0]) if a.dtype == b.dtype == bool else _compare_over_images(a[0], b[0])
    per_image = a.mean(axis=0) - b.mean(axis=0)
    parts = [_image_noise(per_image), *_seed_noise(a, b, fixed_a, fixed_b)]
    test = _t_test(float(per_image.mean()), parts, (-1.0, 1.0), "t test over images and seeds")
    return replace(test, noise=_sources([Scored(a, b, fixed_a, fixed_b)], [per_image]))


@dataclass(frozen=True)
class Scored:
    """What two variants got right on the same N images, (num_seeds, N) each; see compare_predictions."""

    a: "Scores"
    b: "Scores"
    fixed_a: bool = False
    fixed_b: bool = False


def compare_gains(one: Scored, other: Scored, *, same_images: bool) -> PairedTest:
    """Tests (a - b) of `one` minus (a - b) of `other`: whether a variant gains more here than another there.

    With the same images each image has its own difference of gains; else the noises of both sets add up.
    Seeds count where any of the four has several; a variant of one seed is lent the variance of its partner.
    Raises ValueError where one pair has several seeds and the other has none.
    """
    gain, seeds = _gain(one)
    less, other_seeds = _gain(other)
    if (seeds is None and other_seeds) or (other_seeds is None and seeds):
        raise ValueError("one pair has several seeds and the other has one each")
    noise = [*(seeds or ()), *(other_seeds or ())]
    images = [_image_noise(gain - less)] if same_images else [_image_noise(gain), _image_noise(less)]
    counted = "images and seeds" if noise else "images, image noise only"
    method, difference = f"t test of two gains over {counted}", float(gain.mean() - less.mean())
    if not noise and min(len(gain), len(less)) == 1:  # which says nothing about noise
        return PairedTest(difference, -2.0, 2.0, 1.0, method)
    test = _t_test(difference, images + noise, (-2.0, 2.0), method)
    per_image = [gain - less] if same_images else [gain, less]
    return replace(test, noise=_sources([one, other], per_image) if noise else None)


def _gain(pair: Scored) -> "tuple[NDArray[Any], list[tuple[float, int]] | None]":
    """The gain of a over b (N,) by image, and its seed parts: none without seeds, None where not known."""
    a = pair.a[:1] if pair.fixed_a else pair.a
    b = pair.b[:1] if pair.fixed_b else pair.b
    per_image = a.mean(axis=0) - b.mean(axis=0)
    if pair.fixed_a and pair.fixed_b:
        return per_image, []
    if len(a) == len(b) == 1:
        return per_image, None
    return per_image, _seed_noise(a, b, pair.fixed_a, pair.fixed_b)


def mcnemar(correct_a: "Correct", correct_b: "Correct") -> PairedTest:
    """McNemar's exact test of two models on the same N images, with Newcombe's interval for the difference.

    The interval is method 10 of Newcombe (1998), Statistics in Medicine 17, 2635-2650: Wilson intervals of
    both proportions joined by their correlation. Near p = 0.05 the exact test is the more careful of the two.
    """
    import numpy as np
    from scipy import stats

    both = int(np.sum(correct_a & correct_b))
    only_a, only_b = int(np.sum(correct_a & ~correct_b)), int(np.sum(~correct_a & correct_b))
    num_images = len(correct_a)
    neither = num_images - both - only_a - only_b
    discordant = only_a + only_b
    p_value = float(stats.binomtest(only_a, discordant).pvalue) if discordant else 1.0

    right_a, right_b = both + only_a, both + only_b
    low_a, high_a = _wilson(right_a, num_images)
    low_b, high_b = _wilson(right_b, num_images)
    down_a, up_a = right_a / num_images - low_a, high_a - right_a / num_images
    down_b, up_b = right_b / num_images - low_b, high_b - right_b / num_images
    product = right_a * (num_images - right_a) * right_b * (num_images - right_b)
    excess: float = both * neither - only_a * only_b
    if excess > 0:  # the paper's continuity correction
        excess = max(excess - num_images / 2, 0)
    phi = excess / math.sqrt(product) if product else 0.0
    difference = (only_a - only_b) / num_images
    low = difference - math.sqrt(max(down_a**2 - 2 * phi * down_a * up_b + up_b**2, 0.0))
    high = difference + math.sqrt(max(up_a**2 - 2 * phi * up_a * down_b + down_b**2, 0.0))
    method = "exact McNemar test, image noise only"
    return PairedTest(difference, max(low, -1.0), min(high, 1.0), p_value, method)


def _compare_over_images(a: "Scores", b: "Scores") -> PairedTest:
    """Student's paired t test of scores (N,) on the same images."""
    per_image = a.astype(float) - b.astype(float)
    num_images = len(per_image)
    method = "paired t test over images, image noise only"
    if num_images == 1:  # which says nothing about noise
        return PairedTest(float(per_image.mean()), -1.0, 1.0, 1.0, method)
    parts = [(float(per_image.var(ddof=1)) / num_images, num_images - 1)]
    return _t_test(float(per_image.mean()), parts, (-1.0, 1.0), method)


def _image_noise(per_image: "NDArray[Any]") -> tuple[float, int]:
    """Variance of the mean of seed-averaged differences (N,), and its degrees of freedom.

    Images and seeds are two crossed random factors, as in Owen (2007), "The pigeonhole bootstrap": a variance
    is this image part plus a seed part per model. What neither factor explains alone is in both parts: the
    tests err on the side of "no difference".
    """
    return _noise_of_mean(per_image) if len(per_image) > 1 else (0.0, 1)


def _seed_noise(a: "Scores", b: "Scores", fixed_a: bool, fixed_b: bool) -> list[tuple[float, int]]:
    """The seed part of each model that a seed can change, of scores (num_seeds, N)."""
    if fixed_a or fixed_b:
        return [_noise_of_mean((b if fixed_a else a).mean(axis=1))]
    return _mean_noise(a.mean(axis=1), b.mean(axis=1))


def _sources(pairs: Sequence[Scored], per_image: "Sequence[NDArray[Any]]") -> Noise | None:
    """The noise of what was measured of these pairs, the difference (N,) of each set of images given.

    What a seed does to single images is what the variance over seeds leaves, image by image, beyond that of
    the model as a whole. A model of one seed is lent the variances of its partner.
    """
    images, mixed = sum(_image_noise(each)[0] for each in per_image), 0.0
    seeds: list[float] = []
    for pair in pairs:
        sides = [scores for scores, fixed in ((pair.a, pair.fixed_a), (pair.b, pair.fixed_b)) if not fixed]
        several = [scores for scores in sides if len(scores) > 1]
        if sides and not several:
            return None
        for scores in sides:
            whole, single = _spread_of_seeds(scores if len(scores) > 1 else several[0])
            seeds.append(whole)
            mixed += single / scores.shape[1]
            images -= single / scores.shape[1] / len(scores)
    return Noise(max(images, 0.0), min(map(len, per_image)), mixed, tuple(seeds)) if seeds else None


def _spread_of_seeds(scores: "Scores") -> tuple[float, float]:
    """Variance over seeds of the mean score, and the mean over images of what each varies beyond that."""
    whole = float(scores.mean(axis=1).var(ddof=1))
    return whole, max(float(scores.var(axis=0, ddof=1).mean()) - whole, 0.0)


def compare_gains_of_means(one: "tuple[Values, Values]", other: "tuple[Values, Values]") -> PairedTest:
    """Tests (a - b) of `one` minus (a - b) of `other`, measured once per seed: training noise only.

    Raises ValueError unless one side of each has two values or more.
    """
    import numpy as np

    (a, b), (c, d) = (tuple(np.asarray(side, dtype=float) for side in pair) for pair in (one, other))
    difference = float(a.mean() - b.mean() - (c.mean() - d.mean()))
    parts = _mean_noise(a, b) + _mean_noise(c, d)
    seeds = (*_spreads(a, b), *_spreads(c, d))
    return _welch(difference, parts, seeds, "Welch t test of two gains over seeds")


def compare_means(values_a: "Values", values_b: "Values") -> PairedTest:
    """Welch's t test of a quantity measured once per seed (seconds, loss): a - b, training noise only.

    Raises ValueError unless one side has two values or more.
    """
    import numpy as np

    a, b = np.asarray(values_a, dtype=float), np.asarray(values_b, dtype=float)
    return _welch(float(a.mean() - b.mean()), _mean_noise(a, b), _spreads(a, b), "Welch t test over seeds")


def _spreads(a: "NDArray[Any]", b: "NDArray[Any]") -> tuple[float, float]:
    """The variance between seeds of each side; a single run is lent the other's."""
    several = a if len(a) > 1 else b
    first, second = (float((side if len(side) > 1 else several).var(ddof=1)) for side in (a, b))
    return first, second


def _welch(
    difference: float, parts: list[tuple[float, int]], seeds: tuple[float, ...], method: str
) -> PairedTest:
    if not any(variance for variance, _ in parts):
        # seeds that tie show no noise, but not that there is none: nothing can be told apart
        return PairedTest(difference, -math.inf, math.inf, 1.0, method)
    test = _t_test(difference, parts, (-math.inf, math.inf), method)
    return replace(test, noise=Noise(0.0, 0, 0.0, seeds))


def _mean_noise(a: "NDArray[Any]", b: "NDArray[Any]") -> list[tuple[float, int]]:
    """(variance of the mean, degrees of freedom) of each side; a single run is lent the other's variance."""
    if len(a) == 0 or len(b) == 0 or len(a) == len(b) == 1:
        raise ValueError(f"the spread between seeds needs two seeds on one side, got {len(a)} and {len(b)}")
    if len(a) > 1 and len(b) > 1:
        return [_noise_of_mean(a), _noise_of_mean(b)]
    several = a if len(a) > 1 else b
    # One estimate serves both sides, so it is one part with its own degrees of freedom (pooled t test).
    return [(float(several.var(ddof=1)) * (1 / len(a) + 1 / len(b)), len(several) - 1)]


def _noise_of_mean(values: "NDArray[Any]") -> tuple[float, int]:
    """Variance of the mean of values (num_seeds,), and its degrees of freedom."""
    return float(values.var(ddof=1)) / len(values), len(values) - 1


def _t_test(
    difference: float, parts: list[tuple[float, int]], bounds: tuple[float, float], method: str
) -> PairedTest:
    """Student's t on a sum of independent variances, with Welch and Satterthwaite's degrees of freedom."""
    from scipy import stats

    variance = sum(part for part, _ in parts)
    if variance == 0:
        return PairedTest(difference, difference, difference, float(difference == 0), method)
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    error = math.sqrt(variance)
    p_value = float(2 * stats.t.sf(abs(difference) / error, freedom))
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return PairedTest(
        difference, max(difference - half, bounds[0]), min(difference + half, bounds[1]), p_value, method
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number by Holm (1979), in the order given: at most 0.05 is significant."""
    order = sorted(range(len(p_values)), key=lambda position: p_values[position])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Indices, by rising cost, of the points no other point beats: none costs as little and is as good."""
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda index: (costs[index], -values[index])):
        if not front or values[index] > values[front[-1]]:
            front.append(index)
    return front
