"""Tests of two variants against published examples, hand calculation and simulation."""

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from cnnbench.paired_tests import (
    Noise,
    Scored,
    compare_gains,
    compare_gains_of_means,
    compare_means,
    compare_predictions,
    mcnemar,
)
from cnnbench.statistics import holm, typical_variance


def paired(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a), np.array(b)


def test_mcnemar_against_a_published_example() -> None:
    # Bentur et al. (2009), as worked out by Fagerland, Lydersen and Laake (2014): exact p = 0.070,
    # Newcombe's interval -0.507 to -0.026
    test = mcnemar(*paired(1, 1, 7, 12))
    assert test.difference == pytest.approx(-6 / 21)
    assert test.p_value == pytest.approx(2 * (1 + 8) / 2**8)
    assert test.low == pytest.approx(-0.507, abs=5e-4)
    assert test.high == pytest.approx(-0.026, abs=5e-4)


@pytest.mark.parametrize("right", [True, False], ids=["all right", "all wrong"])
def test_mcnemar_of_equal_predictions(right: bool) -> None:
    test = mcnemar(np.full(50, right), np.full(50, right))
    assert (test.difference, test.p_value) == (0.0, 1.0)
    assert test.low < 0 < test.high
    assert test.low == pytest.approx(-test.high)


def test_mcnemar_turned_around() -> None:
    a, b = paired(60, 25, 9, 6)
    forth, back = mcnemar(a, b), mcnemar(b, a)
    assert back.difference == -forth.difference
    assert back.p_value == forth.p_value
    assert (back.low, back.high) == (pytest.approx(-forth.high), pytest.approx(-forth.low))


def test_several_seeds_against_hand_calculation() -> None:
    a = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)  # accuracies 3/4 and 1/2
    b = np.array([[0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)  # 1/4 and 0
    test = compare_predictions(a, b)
    # Seed-averaged differences 1, 1/2, 1/2, 0: mean 1/2, variance 1/6. Both seed variances are 1/32.
    image, seeds = (1 / 6) / 4, (1 / 32) / 2
    variance = image + 2 * seeds
    freedom = variance**2 / (image**2 / 3 + 2 * seeds**2 / 1)
    assert test.difference == pytest.approx(0.5)
    from scipy import stats

    assert test.p_value == pytest.approx(2 * stats.t.sf(0.5 / math.sqrt(variance), freedom))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    assert test.low == pytest.approx(0.5 - half)
    assert test.high == pytest.approx(min(0.5 + half, 1.0))


def test_the_same_accuracy_everywhere_and_no_noise() -> None:
    same = np.ones((3, 20), dtype=bool)
    assert compare_predictions(same, same).p_value == 1.0
    # three copies of one result are that result: 20 images all one way round, 2 · 0.5^20
    assert compare_predictions(same, ~same).p_value == pytest.approx(2 * 0.5**20)


@pytest.mark.parametrize(
    ("shape_a", "shape_b"),
    [((2, 10), (2, 11)), ((10,), (10,)), ((0, 10), (1, 10)), ((1, 0), (1, 0))],
    ids=["other images", "no seed axis", "no seeds", "no images"],
)
def test_predictions_that_do_not_fit(shape_a: tuple[int, ...], shape_b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="same N images"):
        compare_predictions(np.zeros(shape_a, dtype=bool), np.zeros(shape_b, dtype=bool))


def simulated_p_value(
    rng: np.random.Generator, num_seeds: tuple[int, int], *, model: float, seed: float, gain: float = 0.0
) -> float:
    """Two models on 400 images of differing difficulty; noise of model, seed and single answer."""
    difficulty = rng.normal(1.5, 2, 400)
    correct = []
    for num, skill in zip(num_seeds, (0.0, gain), strict=True):
        logits = difficulty + skill + rng.normal(0, model, 400) + rng.normal(0, seed, (num, 1))
        correct.append(logits + rng.normal(0, 0.5, (num, 400)) > 0)
    return compare_predictions(correct[0], correct[1]).p_value


@pytest.mark.parametrize(
    ("num_seeds", "model", "seed"),
    [
        pytest.param((3, 3), 0.5, 0.1, id="all noises"),
        pytest.param((3, 3), 1.0, 0.0, id="images"),
        pytest.param((3, 3), 0.0, 0.3, id="seeds"),
        pytest.param((5, 2), 0.5, 0.1, id="5 against 2 seeds"),
        pytest.param((1, 1), 0.5, 0.0, id="one seed without seed noise"),
    ],
)
def test_false_positive_rate(num_seeds: tuple[int, int], model: float, seed: float) -> None:
    rng = np.random.default_rng(1)
    found = [simulated_p_value(rng, num_seeds, model=model, seed=seed) < 0.05 for _ in range(400)]
    assert np.mean(found) <= 0.06


def test_power() -> None:
    rng = np.random.default_rng(2)
    found = [
        simulated_p_value(rng, (3, 3), model=0.5, seed=0.1, gain=0.7) < 0.05 for _ in range(100)
    ]  # 6 points more accuracy
    assert np.mean(found) > 0.9


@pytest.mark.parametrize(("num_seeds", "without"), [(2, 0.1), (3, 0.055)])
def test_variants_that_are_alike_are_seldom_told_apart(num_seeds: int, without: float) -> None:
    """Ten pairs of five variants: with the seeds of a pair alone, chance agreement passes for certainty."""
    rng = np.random.default_rng(0)
    found, alone = [], []
    for _ in range(120):
        difficulty, noise = rng.normal(2.5, 2, 500), rng.normal(0, 0.45, (5, num_seeds, 1))
        right = rng.random((5, num_seeds, 500)) < 1 / (1 + np.exp(-2.5 * (difficulty + noise)))
        pairs = list(combinations(right, 2))
        typical = typical_variance(list(right))
        found.append(min(holm([compare_predictions(a, b, typical=typical).p_value for a, b in pairs])))
        alone.append(min(holm([compare_predictions(a, b).p_value for a, b in pairs])))
    assert np.mean(np.array(found) <= 0.05) <= 0.06
    assert np.mean(np.array(alone) <= 0.05) > without


def test_the_typical_variance_bounds_the_degrees_of_freedom() -> None:
    """Seeds that nearly tie, as none of the others do: by hand."""
    from scipy import stats

    close = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0, 0]], dtype=bool)  # 3/8, 4/8: 1/128
    other = np.zeros((2, 8), dtype=bool)
    wide = np.array([[0] * 8, [1] * 8], dtype=bool)  # 0, 1: 1/2
    apart = np.array([[0] * 8, [1] * 3 + [0] * 5], dtype=bool)  # 0, 3/8: 9/128
    typical = typical_variance([close, other, apart, wide[:1]])
    assert typical == pytest.approx((1 / 128 + 0 + 9 / 128) / 3)
    images = np.array([1, 1, 0.5, 0.5, 0.5, 0, 0, 0]).var(ddof=1) / 8
    error = math.sqrt(images + 1 / 256)
    expected = (images + 2 * typical / 2) ** 2 / (images**2 / 7 + 2 * (typical / 2) ** 2)
    test = compare_predictions(close, other, typical=typical)
    assert test.p_value == pytest.approx(2 * stats.t.sf(7 / 16 / error, expected))
    assert test.p_value > 1.4 * compare_predictions(close, other).p_value
    assert test.noise is not None
    assert test.noise.typical == (typical, typical)
    # where the seeds of a pair differ more than usual, theirs count
    assert compare_predictions(wide, other, typical=1e-6) == replace(
        compare_predictions(wide, other), noise=Noise(((0.0, 0.0, 8),), (0.5, 0.0), (1e-6, 1e-6))
    )


@pytest.mark.parametrize("side", ["single", "fixed"])
def test_a_lone_variance_is_bounded_by_the_typical_one(side: str) -> None:
    """A single run is lent the variance of the other, a fixed one needs none; what is expected goes along."""
    from scipy import stats

    one = np.array([[0, 0, 0, 1, 0, 0, 0, 0]], dtype=bool)
    several = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0, 0]], dtype=bool)  # variance 1/128
    share = 1 + 1 / 2 if side == "single" else 1 / 2
    images = np.array([1, 1, 0.5, -0.5, 0.5, 0, 0, 0]).var(ddof=1) / 8
    expected = (images + 0.1 * share) ** 2 / (images**2 / 7 + (0.1 * share) ** 2)
    test = compare_predictions(several, one, fixed_b=side == "fixed", typical=0.1)
    error = math.sqrt(images + share / 128)
    assert test.p_value == pytest.approx(2 * stats.t.sf((7 / 16 - 1 / 8) / error, expected))


def test_what_is_typical_of_one_pair_alone_is_kept() -> None:
    test = compare_gains(Scored(A, B, typical=0.01), Scored(C, D), same_images=True)
    assert test.noise is not None
    assert test.noise.typical == (0.01, 0.01, 0.0, pytest.approx(1 / 32))


def test_steady_variants_are_told_apart_beside_a_wild_one() -> None:
    """A plain pool of the variances would leave most of them undecided: 15 times the deviation, two seeds."""
    rng = np.random.default_rng(4)
    spread = np.array([0.004] * 9 + [0.06])
    lead = np.array([0.06] + [0.0] * 9)
    found = 0
    for _ in range(60):
        chance = 0.8 + lead[:, None] + rng.normal(0, spread[:, None], (10, 2))
        right = rng.random((10, 1, 5000)) < chance[:, :, None]
        typical = typical_variance(list(right))
        found += compare_predictions(right[0], right[1], typical=typical).p_value < 0.05 / 45
    assert found >= 55


@pytest.mark.parametrize("num_seeds", [(1, 2, 2), (1, 3, 3)], ids=str)
def test_a_single_run_beside_others_is_seldom_told_apart(num_seeds: tuple[int, ...]) -> None:
    """The others have the same noise, and one of them alone would seem certain too often: 19 and 10 %."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        of_images = rng.normal(0, 3, (3, 1, 300))
        scores = [
            images + rng.normal(0, 0.25, (num, 1)) for images, num in zip(of_images, num_seeds, strict=True)
        ]
        typical = typical_variance(scores)
        pairs = combinations(scores, 2)
        found.append(min(holm([compare_predictions(a, b, typical=typical).p_value for a, b in pairs])))
    assert np.mean(np.array(found) <= 0.05) <= 0.075


def test_one_seed_each_is_blind_to_the_noise_of_training() -> None:
    """Why the conclusions warn of one seed: training noise passes for a difference."""
    rng = np.random.default_rng(3)
    found = [simulated_p_value(rng, (1, 1), model=0.0, seed=0.5) < 0.05 for _ in range(100)]
    assert np.mean(found) > 0.3


# The gain of a over b on four images, and another one: seed-averaged by image 1, 1/2, 1/2, 0 (mean 1/2,
# variance 1/6; seeds 1/32 each) and 1/2, 0, 0, 0 (mean 1/8, variance 1/16; seeds 0 and 1/32).
A = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
B = np.array([[0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
C = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)
D = np.array([[1, 1, 0, 0], [0, 1, 0, 0]], dtype=bool)


@pytest.mark.parametrize(
    ("same_images", "images"),
    # by image 1/2, 1/2, 1/2, 0: mean 3/8, variance 1/16
    [(True, [(1 / 16 / 4, 3)]), (False, [(1 / 6 / 4, 3), (1 / 16 / 4, 3)])],
)
def test_gains_against_hand_calculation(same_images: bool, images: list[tuple[float, int]]) -> None:
    from scipy import stats

    test = compare_gains(Scored(A, B), Scored(C, D), same_images=same_images)
    parts = [*images, (1 / 64, 1), (1 / 64, 1), (0.0, 1), (1 / 64, 1)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    assert test.difference == pytest.approx(3 / 8)
    assert test.p_value == pytest.approx(2 * stats.t.sf(3 / 8 / math.sqrt(variance), freedom))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    assert (test.low, test.high) == (pytest.approx(3 / 8 - half), pytest.approx(3 / 8 + half))
    assert test.method == "t test of two gains over images and seeds"


def test_gains_of_one_seed_each_count_images_alone() -> None:
    test = compare_gains(Scored(A[:1], B[:1]), Scored(C[:1], D[:1]), same_images=True)
    # by image 1, 0, 1, 0
    assert test.difference == 0.5
    assert test.method == "t test of two gains over images, image noise only"
    assert test.high - test.difference == pytest.approx(3.182446 * math.sqrt(1 / 3 / 4))


def test_gains_on_one_image_say_nothing() -> None:
    one = np.ones((1, 1), dtype=bool)
    assert compare_gains(Scored(one, ~one), Scored(~one, one), same_images=True).p_value == 1.0


def test_gains_where_one_pair_has_no_seeds() -> None:
    single, several = Scored(A[:1], B[:1]), Scored(C, D)
    for one, other in ((single, several), (several, single)):
        with pytest.raises(ValueError, match="one each"):
            compare_gains(one, other, same_images=True)
    # what no seed can change has no seeds to be had
    fixed = Scored(A[:1], B[:1], fixed_a=True, fixed_b=True)
    assert compare_gains(fixed, several, same_images=False).difference == pytest.approx(3 / 8)


@pytest.mark.parametrize("same_images", [True, False])
def test_false_positive_rate_of_gains(same_images: bool) -> None:
    """The same gain of 7 points on hard and on easy images, or twice on the same."""
    rng = np.random.default_rng(4)

    def scores(chance: np.ndarray[Any, Any], num_seeds: int = 3) -> np.ndarray[Any, Any]:
        noisy = chance + rng.normal(0, 0.01, (num_seeds, 1))
        return rng.random((num_seeds, len(chance))) < noisy

    found = []
    for _ in range(120):
        easy = np.full(400, 0.8)
        hard = easy if same_images else np.full(400, 0.4)
        one, other = Scored(scores(easy + 0.07), scores(easy)), Scored(scores(hard + 0.07), scores(hard))
        found.append(compare_gains(one, other, same_images=same_images).p_value < 0.05)
    assert np.mean(found) <= 0.06


def test_gains_of_means_by_hand() -> None:
    test = compare_gains_of_means(([12.0, 14.0], [10.0, 10.0]), ([5.0, 7.0], [4.0, 6.0]))
    # 13 - 10 - (6 - 5); variances of means 1, 0, 1, 1: three parts of one degree of freedom each
    assert test.difference == 2.0
    assert test.p_value == pytest.approx(0.3318, abs=1e-4)  # 2 / sqrt(3) with 3 degrees of freedom
    with pytest.raises(ValueError, match="two seeds"):
        compare_gains_of_means(([1.0], [2.0]), ([5.0, 7.0], [4.0, 6.0]))


def test_compare_means_is_welchs() -> None:
    from scipy import stats

    a, b = [10.0, 12.0, 11.0, 13.0], [15.0, 18.0, 14.0]
    test = compare_means(a, b)
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval()
    assert test.difference == pytest.approx(11.5 - 47 / 3)
    assert test.p_value == pytest.approx(expected.pvalue)
    assert (test.low, test.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_compare_means_lends_a_single_run_the_others_spread() -> None:
    from scipy import stats

    test = compare_means([10.0, 12.0, 14.0], [15.0])  # variance 4 * (1/3 + 1), 2 degrees of freedom
    assert test.p_value == pytest.approx(2 * stats.t.sf(3 / math.sqrt(16 / 3), 2))


def test_compare_means_of_single_runs() -> None:
    with pytest.raises(ValueError, match="two seeds on one side"):
        compare_means([1.0], [2.0])


def test_scores_are_tested_in_pairs() -> None:
    from scipy import stats

    a, b = np.array([[0.9, 0.4, 0.7, 0.2, 0.6]]), np.array([[0.8, 0.1, 0.7, 0.1, 0.5]])
    test = compare_predictions(a, b)
    theirs = stats.ttest_rel(a[0], b[0])
    assert test.p_value == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval(0.95)
    assert (test.low, test.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert compare_predictions(b, a).difference == -test.difference
    assert compare_predictions(a[:, :1], b[:, :1]).p_value == 1.0


def test_scores_of_several_seeds_count_images_and_seeds() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 3, 30))
    test = compare_predictions(a, b)
    assert test.method == "t test over images and seeds"
    image = (a.mean(0) - b.mean(0)).var(ddof=1) / 30
    seeds = a.mean(1).var(ddof=1) / 3 + b.mean(1).var(ddof=1) / 3
    half = (test.high - test.low) / 2
    assert half > 1.96 * math.sqrt(image + seeds)


def test_what_no_seed_can_change_is_lent_no_noise_of_seeds() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    fixed, trained = rng.random((1, 200)), rng.random((3, 200)) + rng.normal(0, 0.1, (3, 1))
    test = compare_predictions(fixed, trained, fixed_a=True)
    image = (fixed[0] - trained.mean(0)).var(ddof=1) / 200
    seeds = trained.mean(1).var(ddof=1) / 3
    freedom = (image + seeds) ** 2 / (image**2 / 199 + seeds**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(image + seeds)
    assert test.high - test.low == pytest.approx(2 * half)
    assert compare_predictions(trained, fixed, fixed_b=True).low == pytest.approx(-test.high)
    lent = compare_predictions(fixed, trained)
    assert lent.high - lent.low > test.high - test.low


def test_seeds_that_tie_show_no_difference() -> None:
    """Without any spread between seeds its size is unknown, so nothing can be told apart."""
    assert compare_means([8.0, 8.0], [7.0, 7.0]).p_value == 1.0


def test_the_sources_of_noise_by_hand() -> None:
    """Seeds as a whole: 0 and 1/32; single images: 1/4 and 3/32, of 4 images; nothing is left for images."""
    a = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=bool)
    b = np.array([[0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    noise = compare_predictions(a, b).noise
    assert noise is not None
    ((settled, added, num_images),) = noise.images
    assert (settled, num_images) == (0.0, 4)
    assert added == pytest.approx((1 / 4 + 3 / 32) / 4)
    assert noise.seeds == pytest.approx((0, 1 / 32))
    assert compare_predictions(a, b).turned().noise == noise


def test_the_sources_of_noise_where_one_side_has_none() -> None:
    rng = np.random.default_rng(0)
    several, one = rng.random((3, 50)) < 0.8, rng.random((1, 50)) < 0.7
    lent = compare_predictions(several, one).noise
    assert lent is not None
    assert lent.seeds == pytest.approx((several.mean(axis=1).var(ddof=1),) * 2)
    fixed = compare_predictions(several, one, fixed_b=True).noise
    assert fixed is not None
    assert fixed.seeds == lent.seeds[:1]
    assert fixed.images[0][1] == pytest.approx(lent.images[0][1] / 2)
    assert compare_predictions(several, one, fixed_a=True, fixed_b=True).noise is None


def test_the_noise_of_gains_has_four_models() -> None:
    rng = np.random.default_rng(0)
    one = Scored(rng.random((3, 60)) < 0.9, rng.random((3, 60)) < 0.8)
    other = Scored(rng.random((2, 40)) < 0.7, rng.random((2, 40)) < 0.6)
    noise = compare_gains(one, other, same_images=False).noise
    assert noise is not None
    spreads = [side.mean(axis=1).var(ddof=1) for side in (one.a, one.b, other.a, other.b)]
    assert noise.seeds == pytest.approx(spreads)
    assert [num for _, _, num in noise.images] == [60, 40]
    means = compare_gains_of_means(([1.0, 2.0], [0.0, 4.0]), ([5.0], [1.0, 3.0])).noise
    assert means is not None
    assert means.seeds == pytest.approx((0.5, 8.0, 2.0, 2.0))


def test_the_noise_of_gains_on_the_same_images_is_one_part() -> None:
    rng = np.random.default_rng(0)
    a, b, c, d = (rng.random((3, 50)) < right for right in (0.9, 0.8, 0.7, 0.6))
    noise = compare_gains(Scored(a, b), Scored(c, d), same_images=True).noise
    assert noise is not None
    ((settled, added, num_images),) = noise.images
    singles = [side.var(axis=0, ddof=1).mean() - side.mean(axis=1).var(ddof=1) for side in (a, b, c, d)]
    assert (added, num_images) == (pytest.approx(sum(singles) / 50), 50)
    difference = a.mean(0) - b.mean(0) - c.mean(0) + d.mean(0)
    assert settled == pytest.approx(max(difference.var(ddof=1) / 50 - added / 3, 0))


def test_equal_means_differ_by_nothing() -> None:
    """The same numbers in another order: their means differ in the last digit."""
    assert compare_means([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]).difference == 0
    rng = np.random.default_rng(0)
    a = np.array([rng.permutation(1000) < right for right in (900, 905, 910)])
    b = np.array([rng.permutation(1000) < right for right in (910, 903, 902)])
    assert compare_predictions(a, b).difference == 0
    gains = compare_gains_of_means(([0.3, 0.1], [0.1, 0.1]), ([0.3, 0.4], [0.2, 0.3]))
    assert gains.difference == 0


@pytest.mark.parametrize("value", [0.1, 123.4, 1 / 3])
def test_seeds_that_tie_show_no_noise_whatever_rounding_says(value: float) -> None:
    test = compare_means([value] * 3, [value + 0.1] * 3)
    assert (test.p_value, test.low, test.high) == (1.0, -math.inf, math.inf)


def test_seeds_that_tie_are_no_more_certain_than_one() -> None:
    """b is wrong on 4 images, a on none: p = 2 · 0.5^4 by McNemar's exact test, however often copied."""
    a = np.ones((3, 10_000), dtype=bool)
    b = a.copy()
    b[:, :4] = False
    assert compare_predictions(a, b).p_value == compare_predictions(a[:1], b[:1]).p_value == 0.125


def test_without_any_noise_nothing_is_told() -> None:
    """Two scenes, the same difference on each: a variance of zero from two values shows nothing."""
    test = compare_predictions(np.full((1, 2), 0.51), np.full((1, 2), 0.5))
    assert (test.p_value, test.low, test.high) == (1.0, -1.0, 1.0)
