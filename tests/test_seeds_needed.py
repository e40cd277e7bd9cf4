"""Seeds that a test needs, against published tables and against repetitions of the whole experiment."""

import math

import numpy as np
import pytest

from cnnbench.paired_tests import (
    Noise,
    PairedTest,
    compare_means,
    compare_predictions,
    mcnemar,
)
from cnnbench.seeds_needed import limited_by_images, power, seeds_needed
from cnnbench.statistics import typical_variance


def of(difference: float, noise: Noise | None) -> PairedTest:
    return PairedTest(difference, 0.0, 0.0, 1.0, "test", noise)


SEEDS_ALONE = Noise((), (1.0, 1.0))


@pytest.mark.parametrize(
    ("size", "needed"), [(0.5, 64), (0.8, 26), (1.0, 17), (0.2, math.inf), (0.0, math.inf)], ids=str
)
def test_cohens_tables(size: float, needed: float) -> None:
    """Two groups, 80 %, 5 % two-sided: 64, 26 for medium and large effects (Cohen 1992, table 2)."""
    assert seeds_needed(of(size, SEEDS_ALONE)) == needed
    assert seeds_needed(of(-size, SEEDS_ALONE)) == needed


def test_power_of_a_table() -> None:
    # Cohen (1988), table 2.3.5: n = 30, d = 0.5 has power 0.47, d = 0.8 has 0.86
    assert power(0.5, SEEDS_ALONE, 30) == pytest.approx(0.47, abs=0.01)
    assert power(0.8, SEEDS_ALONE, 30) == pytest.approx(0.86, abs=0.01)


def test_no_difference_is_found_as_often_as_the_level_says() -> None:
    images = Noise(((1e-4, 0.0, 5000),), (1e-6, 1e-6))
    assert power(0.0, images, 5) == pytest.approx(0.05, abs=0.002)
    assert power(0.0, images, 5, num_tests=10) == pytest.approx(0.005, abs=0.0002)
    # Welch's test of five a side keeps a bit below: 400,000 times SciPy's, seed 1
    assert power(0.0, SEEDS_ALONE, 5) == pytest.approx(0.0439, abs=0.001)
    assert power(0.0, SEEDS_ALONE, 5, num_tests=10) == pytest.approx(0.0037, abs=0.0003)


def test_more_tests_need_more_seeds() -> None:
    assert seeds_needed(of(1.0, SEEDS_ALONE), num_tests=10) > seeds_needed(of(1.0, SEEDS_ALONE))


def test_images_may_be_too_few_for_any_number_of_seeds() -> None:
    """10,000 images whose noise is 0.2 points cannot show 0.3 points: 2.8 times the noise is needed."""
    images = ((0.002**2, 0.0, 10_000),)
    small = of(0.003, Noise(images, (1e-6, 1e-6)))
    assert limited_by_images(small)
    assert seeds_needed(small) == math.inf
    large = of(0.01, Noise(images, (1e-4, 1e-4)))
    assert not limited_by_images(large)
    # 0.01 / sqrt(0.002^2 + 2e-4 / n) is 2.8 at about n = 23
    assert seeds_needed(large) == pytest.approx(2e-4 / ((0.01 / 2.802) ** 2 - 0.002**2), abs=1.5)
    assert not limited_by_images(of(0.0, SEEDS_ALONE))  # there are no images
    for ask in (seeds_needed, limited_by_images):
        with pytest.raises(ValueError, match="not known"):
            ask(of(0.01, None))


@pytest.mark.parametrize("num_tests", [1, 15])
def test_power_is_a_number_and_never_falls_with_seeds(num_tests: int) -> None:
    """But for two seeds against three, where hardly anything is found: the test errs more often with two."""
    for spread in (0.1, 0.5, 1.0, 3.0):
        for images in ((), ((0.04, 0.1, 200),), ((0.01, 0.0, 10_000),)):
            noise = Noise(images, (spread**2, (2 * spread) ** 2))
            found = [power(1.0, noise, num_seeds, num_tests) for num_seeds in range(2, 60)]
            assert np.isfinite(found).all()
            assert (np.diff(found[1:]) > -1e-6).all()
            assert found[1] > found[0] or found[0] < 0.1


def test_seconds_that_were_measured() -> None:
    """16.69 s between two variants whose seeds scatter by 0.79 and 2.86 s, one of 15 pairs."""
    test = of(16.69, Noise((), (0.788**2, 2.860**2)))
    assert power(16.69, test.noise, 4, 15) == pytest.approx(0.895, abs=0.005)
    assert seeds_needed(test, 15) == 4


def test_no_noise_at_all() -> None:
    assert seeds_needed(of(0.1, Noise(((0.0, 0.0, 100),), (0.0, 0.0)))) == 2
    assert seeds_needed(of(0.0, Noise(((0.0, 0.0, 100),), (0.0, 0.0)))) == math.inf


def test_one_seed_knows_nothing_of_seeds() -> None:
    right = np.arange(100) < 90
    assert mcnemar(right, ~right).noise is None


def test_that_many_repetitions_find_it_over_seeds() -> None:
    """The whole experiment again and again, with the seeds that were called for."""
    rng = np.random.default_rng(0)
    needed = seeds_needed(of(1.5, SEEDS_ALONE))
    assert needed == 9
    found = [
        compare_means(rng.normal(1.5, 1, int(needed)), rng.normal(0, 1, int(needed))).p_value <= 0.05
        for _ in range(1500)
    ]
    assert np.mean(found) == pytest.approx(power(1.5, SEEDS_ALONE, needed), abs=0.03)


@pytest.mark.parametrize(("difference", "num_tests"), [(6.0, 1), (6.0, 6), (4.0, 10)], ids=str)
def test_few_seeds_are_not_promised_too_much(difference: float, num_tests: int) -> None:
    """3, 4 and 5 seeds, of which the test has to find out how they scatter: one less would not do."""
    rng = np.random.default_rng(0)
    needed = int(seeds_needed(of(difference, SEEDS_ALONE), num_tests))
    for num_seeds in (needed - 1, needed):
        found = [
            compare_means(rng.normal(difference, 1, num_seeds), rng.normal(0, 1, num_seeds)).p_value
            for _ in range(1500)
        ]
        share = np.mean(np.array(found) * num_tests <= 0.05)
        assert share == pytest.approx(power(difference, SEEDS_ALONE, num_seeds, num_tests), abs=0.03)
        assert (share >= 0.8) == (num_seeds == needed)


@pytest.mark.parametrize("num_seeds", [3, 8])
def test_that_many_repetitions_find_it_over_images_and_seeds(num_seeds: int) -> None:
    """Mostly noise of single images by seed; the test counts it twice, and the plan must do so too."""
    rng = np.random.default_rng(0)
    num_images, of_images, of_single, of_seeds = 400, 0.3, 1.5, 0.01

    def scores(mean: float, images: np.ndarray, num_seeds: int) -> np.ndarray:
        whole = rng.normal(0, of_seeds, (num_seeds, 1))
        return mean + images + whole + rng.normal(0, of_single, (num_seeds, num_images))

    def experiment(difference: float, num_seeds: int) -> PairedTest:
        ours, theirs = rng.normal(0, of_images, (2, num_images))
        return compare_predictions(scores(difference, ours, num_seeds), scores(0.0, theirs, num_seeds))

    guessed = experiment(0.1, 300).noise
    assert guessed is not None
    ((settled, added, _),) = guessed.images
    assert settled == pytest.approx(2 * of_images**2 / num_images, rel=0.15)
    assert added == pytest.approx(2 * of_single**2 / num_images, rel=0.03)
    whole = of_seeds**2 + of_single**2 / num_images
    assert guessed.seeds == pytest.approx((whole, whole), rel=0.25)
    stays, single = 2 * of_images**2 / num_images, 2 * of_single**2 / num_images
    difference = 3.4 * math.sqrt(stays + (single + 2 * whole) / num_seeds)
    found = np.mean([experiment(difference, num_seeds).p_value <= 0.05 for _ in range(600)])
    told = power(difference, Noise(((stays, single, num_images),), (whole, whole)), num_seeds)
    without = power(difference, Noise(((stays, 0.0, num_images),), (whole, whole)), num_seeds)
    # the plan counts that noise twice, as the test does: rather too many seeds than too few
    assert told - 0.02 < found < without + 0.02
    assert without > told + 0.03


@pytest.mark.parametrize("num_seeds", [2, 3, 6])
def test_that_many_repetitions_find_it_among_many_variants(num_seeds: int) -> None:
    """A pair of twelve variants, of which the others tell how much of the noise is of seeds."""
    rng = np.random.default_rng(0)
    num_images, difference, num_tests = 400, 0.9, 66
    noise = Noise(((0.02, 0.0, num_images),), (0.02, 0.02), (0.02, 0.02))
    found = []
    for _ in range(600):
        of_images = rng.normal(0, math.sqrt(0.01 * num_images), (12, 1, num_images))
        scores = of_images + rng.normal(0, math.sqrt(0.02), (12, num_seeds, 1))
        scores[0] += difference
        typical = typical_variance(list(scores))
        p_value = compare_predictions(scores[0], scores[1], typical=typical).p_value
        found.append(p_value * num_tests <= 0.05)
    assert np.mean(found) == pytest.approx(power(difference, noise, num_seeds, num_tests), abs=0.05)


def test_seeds_that_tie_are_expected_to_scatter_as_others_do() -> None:
    """No noise was seen of either side, but the degrees of freedom are bounded by what is typical."""
    images = ((2e-5, 0.0, 5000),)
    tied = power(0.03, Noise(images, (0.0, 0.0), (3e-5, 3e-5)), 2, 45)
    # t with (5e-5)² / (4e-10 / 4999 + 2 (1.5e-5)²) = 5.55 degrees of freedom, critical at p = 0.05 / 45
    assert tied == pytest.approx(0.70, abs=0.03)
    assert power(0.03, Noise(images, (0.0, 0.0)), 2, 45) > 0.99


def test_what_is_undecided_is_never_told_to_need_fewer_seeds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (rng.random((3, 300)) < rng.uniform(0.6, 0.9) for _ in range(2))
        test = compare_predictions(a, b)
        if test.p_value * 10 > 0.05:
            assert seeds_needed(test, 10) > 3
