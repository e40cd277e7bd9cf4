"""Tests of two variants on plain arrays: whether they differ, and what noise the difference has.

Everything is two-sided at 95 %. Two things make a measured accuracy vary: which images were drawn for the
test set, and which seed trained the model; each function says which of the two it counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cnnbench.statistics import LEVEL, variance, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cnnbench.statistics import Values

    Correct = NDArray[np.bool_]
    Scores = NDArray[Any]  # True where an image is right, or numbers


@dataclass(frozen=True)
class Noise:
    """The variance of a difference by its sources: what would be left of it with other numbers of seeds.

    Each of `images` is a set of images: the variance of the mean that stays however many seeds there are,
    what one seed adds to that, and the number of images. Each of `seeds` is a model: the variance of what
    one seed makes of it as a whole. With n seeds a side, what a seed adds is divided by n. `typical` has for
    each of `seeds` what it is on average over all the variants that were compared (`typical_variance`).
    """

    images: tuple[tuple[float, float, int], ...]
    seeds: tuple[float, ...]
    typical: tuple[float, ...] | None = None


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


def compare_predictions(
    scores_a: "Scores",
    scores_b: "Scores",
    *,
    fixed_a: bool = False,
    fixed_b: bool = False,
    typical: float | None = None,
) -> PairedTest:
    """Tests mean scores a - b on the same N images; (num_seeds, N) each, True where an image is right.

    One seed each counts image noise alone: `mcnemar`, or a paired t test of scores that are numbers.
    Otherwise images and seeds both count. Seeds are not paired: two architectures share no noise through one.
    A side that is fixed, which no seed can change, has the noise of images alone. `typical` is the
    `typical_variance` of all the variants that are compared, see `_freedom`. Raises ValueError where the
    shapes do not fit.
    """
    import numpy as np

    a, b = np.asarray(scores_a), np.asarray(scores_b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not (a.size and b.size):
        raise ValueError(f"expected (num_seeds, N) for the same N images, got {a.shape} and {b.shape}")
    a, b = a[:1] if fixed_a else a, b[:1] if fixed_b else b
    right_or_wrong = a.dtype == b.dtype == bool
    if len(a) == len(b) == 1:
        return mcnemar(a[0], b[0]) if right_or_wrong else _compare_over_images(a[0], b[0])
    if right_or_wrong and (a == a[0]).all() and (b == b[0]).all():
        return mcnemar(a[0], b[0])  # copies of one result say no more than it does
    pair = Scored(a, b, fixed_a, fixed_b, typical)
    per_image = a.mean(axis=0) - b.mean(axis=0)
    parts = [_image_noise(per_image), *_seed_noise(pair)]
    difference = _minus(float(a.mean()), float(b.mean()))
    test = _t_test(difference, parts, (-1.0, 1.0), "t test over images and seeds")
    return replace(test, noise=_sources([pair], [per_image], [[pair]]))


@dataclass(frozen=True)
class Scored:
    """What two variants got right on the same N images, (num_seeds, N) each; see compare_predictions."""

    a: "Scores"
    b: "Scores"
    fixed_a: bool = False
    fixed_b: bool = False
    typical: float | None = None


@dataclass(frozen=True)
class Part:
    """One of the independent variances of a mean or a difference, as it was estimated.

    `freedom` is its degrees of freedom; `expected`, where known, what it is likely to be (`_freedom`).
    """

    variance: float
    freedom: int
    expected: float | None = None


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
    method, difference = f"t test of two gains over {counted}", _minus(float(gain.mean()), float(less.mean()))
    if not noise and min(len(gain), len(less)) == 1:  # which says nothing about noise
        return PairedTest(difference, -2.0, 2.0, 1.0, method)
    test = _t_test(difference, images + noise, (-2.0, 2.0), method)
    per_image, of = ([gain - less], [[one, other]]) if same_images else ([gain, less], [[one], [other]])
    return replace(test, noise=_sources([one, other], per_image, of) if noise else None)


def _gain(pair: Scored) -> "tuple[NDArray[Any], list[Part] | None]":
    """The gain of a over b (N,) by image, and its seed parts: none without seeds, None where not known."""
    a = pair.a[:1] if pair.fixed_a else pair.a
    b = pair.b[:1] if pair.fixed_b else pair.b
    per_image = a.mean(axis=0) - b.mean(axis=0)
    if pair.fixed_a and pair.fixed_b:
        return per_image, []
    if len(a) == len(b) == 1:
        return per_image, None
    return per_image, _seed_noise(replace(pair, a=a, b=b))


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
    low_a, high_a = wilson(right_a, num_images)
    low_b, high_b = wilson(right_b, num_images)
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
    parts = [_noise_of_mean(per_image)]
    return _t_test(float(per_image.mean()), parts, (-1.0, 1.0), method)


def _image_noise(per_image: "NDArray[Any]") -> Part:
    """The variance of the mean of seed-averaged differences (N,).

    Images and seeds are two crossed random factors, as in Owen (2007), "The pigeonhole bootstrap": a variance
    is this image part plus a seed part per model. What neither factor explains alone is in both parts: the
    tests err on the side of "no difference".
    """
    return _noise_of_mean(per_image) if len(per_image) > 1 else Part(0.0, 1)


def _seed_noise(pair: Scored) -> list[Part]:
    """The seed part of each model that a seed can change."""
    if pair.fixed_a or pair.fixed_b:
        scores = pair.b if pair.fixed_a else pair.a
        return [_noise_of_mean(scores.mean(axis=1), pair.typical)]
    return _mean_noise(pair.a.mean(axis=1), pair.b.mean(axis=1), pair.typical)


def _sources(
    pairs: Sequence[Scored], per_image: "Sequence[NDArray[Any]]", of: Sequence[Sequence[Scored]]
) -> Noise | None:
    """The noise of what was measured of these pairs; None where nothing is known of what seeds change.

    `per_image` has the difference (N,) for each set of images, `of` the pairs that it is made of. What a seed
    does to single images is what the variance over seeds leaves, image by image, beyond that of the model as
    a whole.
    """
    models = [_lent(_sides(pair)) for pair in pairs]
    if any(sides is None for sides in models) or not any(models):
        return None
    seeds = tuple(float(variance(side.mean(axis=1))) for sides in models for side in sides or ())
    typical = [pair.typical for pair, sides in zip(pairs, models, strict=True) for _ in sides or ()]
    expected = tuple(own if of is None else of for own, of in zip(seeds, typical, strict=True))
    images = []
    for differences, made_of in zip(per_image, of, strict=True):
        settled, added = _image_noise(differences).variance, 0.0
        for pair in made_of:
            own = _sides(pair)
            for side, known in zip(own, _lent(own) or (), strict=True):
                single = _variance_of_single_images(known) / known.shape[1]
                added += single
                settled -= single / len(side)
        images.append((max(settled, 0.0), added, len(differences)))
    return Noise(tuple(images), seeds, None if set(typical) <= {None} else expected)


def _sides(pair: Scored) -> "list[Scores]":
    """The scores (num_seeds, N) of those of a pair that a seed can change."""
    return [scores for scores, fixed in ((pair.a, pair.fixed_a), (pair.b, pair.fixed_b)) if not fixed]


def _lent(sides: "Sequence[NDArray[Any]]") -> "list[NDArray[Any]] | None":
    """What says how seeds scatter on each side: of a single run the other's; None where all are single."""
    several = next((side for side in sides if len(side) > 1), None)
    if several is None:
        return None if sides else []
    return [side if len(side) > 1 else several for side in sides]


def _variance_of_single_images(scores: "Scores") -> float:
    """The mean over images of how much a score varies over seeds, beyond the mean score of all images."""
    of_each = float(scores.var(axis=0, ddof=1).mean())
    return max(of_each - float(variance(scores.mean(axis=1))), 0.0)


def compare_gains_of_means(one: "tuple[Values, Values]", other: "tuple[Values, Values]") -> PairedTest:
    """Tests (a - b) of `one` minus (a - b) of `other`, measured once per seed: training noise only.

    Raises ValueError unless one side of each has two values or more.
    """
    import numpy as np

    (a, b), (c, d) = (tuple(np.asarray(side, dtype=float) for side in pair) for pair in (one, other))
    difference = _minus(float(a.mean() + d.mean()), float(b.mean() + c.mean()))
    parts = _mean_noise(a, b) + _mean_noise(c, d)
    seeds = (*_spreads(a, b), *_spreads(c, d))
    return _welch(difference, parts, seeds, "Welch t test of two gains over seeds")


def compare_means(values_a: "Values", values_b: "Values") -> PairedTest:
    """Welch's t test of a quantity measured once per seed (seconds, loss): a - b, training noise only.

    Raises ValueError unless one side has two values or more.
    """
    import numpy as np

    a, b = np.asarray(values_a, dtype=float), np.asarray(values_b, dtype=float)
    difference = _minus(float(a.mean()), float(b.mean()))
    return _welch(difference, _mean_noise(a, b), _spreads(a, b), "Welch t test over seeds")


def _minus(a: float, b: float) -> float:
    """a - b, and nothing where they are one but for rounding."""
    return 0.0 if math.isclose(a, b, rel_tol=1e-12) else a - b


def _spreads(a: "NDArray[Any]", b: "NDArray[Any]") -> tuple[float, ...]:
    """The variance between seeds of each side."""
    return tuple(variance(side) for side in _lent((a, b)) or ())


def _welch(difference: float, parts: list[Part], seeds: tuple[float, ...], method: str) -> PairedTest:
    if not any(part.variance for part in parts):
        # seeds that tie show no noise, but not that there is none: nothing can be told apart
        return PairedTest(difference, -math.inf, math.inf, 1.0, method)
    test = _t_test(difference, parts, (-math.inf, math.inf), method)
    return replace(test, noise=Noise((), seeds))


def _mean_noise(a: "NDArray[Any]", b: "NDArray[Any]", typical: float | None = None) -> list[Part]:
    """The variance of the mean of each side; a single run is lent the other's."""
    if len(a) == 0 or len(b) == 0 or len(a) == len(b) == 1:
        raise ValueError(f"the spread between seeds needs two seeds on one side, got {len(a)} and {len(b)}")
    if len(a) > 1 and len(b) > 1:
        return [_noise_of_mean(a, typical), _noise_of_mean(b, typical)]
    several = a if len(a) > 1 else b
    # One estimate serves both sides, so it is one part with its own degrees of freedom (pooled t test).
    share = 1 / len(a) + 1 / len(b)
    return [Part(variance(several) * share, len(several) - 1, None if typical is None else typical * share)]


def _noise_of_mean(values: "NDArray[Any]", typical: float | None = None) -> Part:
    """The variance of the mean of values (num,)."""
    expected = None if typical is None else typical / len(values)
    return Part(variance(values) / len(values), len(values) - 1, expected)


def _t_test(difference: float, parts: list[Part], bounds: tuple[float, float], method: str) -> PairedTest:
    """Student's t on a sum of independent variances, with degrees of freedom by `_freedom`."""
    from scipy import stats

    variance = sum(part.variance for part in parts)
    if variance == 0:  # no noise was seen, which does not show that there is none
        return PairedTest(difference, *bounds, 1.0, method)
    freedom = _freedom(parts)
    error = math.sqrt(variance)
    p_value = float(2 * stats.t.sf(abs(difference) / error, freedom))
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return PairedTest(
        difference, max(difference - half, bounds[0]), min(difference + half, bounds[1]), p_value, method
    )


def _freedom(parts: list[Part]) -> float:
    """Welch and Satterthwaite's degrees of freedom, no more than the expected variances have.

    Two or three seeds now and then agree by chance. Then the images, of which there are thousands, seem to
    make all the noise, and t is held against a normal distribution just where its denominator is too small.
    How much of the noise is the seeds' is better known from all the variants together.
    """

    def by(variances: list[float]) -> float:
        squares = sum(each**2 / part.freedom for each, part in zip(variances, parts, strict=True))
        return sum(variances) ** 2 / squares if squares else math.inf

    expected = [part.variance if part.expected is None else part.expected for part in parts]
    return min(by([part.variance for part in parts]), by(expected))
