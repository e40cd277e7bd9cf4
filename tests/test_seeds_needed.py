"""Seeds that a test needs, against published tables and against repetitions of the whole experiment."""

import math

import numpy as np
import pytest

from cnnbench.seeds_needed import MOST, limited_by_images, power, seeds_needed
from cnnbench.statistics import Noise, PairedTest, compare_means, compare_predictions, mcnemar


def of(difference: float, noise: Noise | None) -> PairedTest:
    return PairedTest(difference, 0.0, 0.0, 1.0, "test", noise)


SEEDS_ALONE = Noise(0.0, 0, 0.0, (1.0, 1.0))


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
    for noise in (SEEDS_ALONE, Noise(1e-4, 5000, 0.0, (1e-6, 1e-6))):
        assert power(0.0, noise, 5) == pytest.approx(0.05)
        assert power(0.0, noise, 5, num_tests=10) == pytest.approx(0.005)


def test_more_tests_need_more_seeds() -> None:
    assert seeds_needed(of(1.0, SEEDS_ALONE), num_tests=10) > seeds_needed(of(1.0, SEEDS_ALONE))


def test_images_may_be_too_few_for_any_number_of_seeds() -> None:
    """10,000 images whose noise is 0.2 points cannot show 0.3 points: 1.5 standard errors."""
    small, large = of(0.003, Noise(0.002**2, 10_000, 0.0, (1e-6, 1e-6))), of(0.01, None)
    assert limited_by_images(small)
    assert seeds_needed(small) == math.inf
    noise = Noise(0.002**2, 10_000, 0.0, (1e-4, 1e-4))
    assert not limited_by_images(of(0.01, noise))
    assert seeds_needed(of(0.01, noise)) <= MOST
    with pytest.raises(ValueError, match="not known"):
        seeds_needed(large)
    with pytest.raises(ValueError, match="not known"):
        limited_by_images(large)


def test_no_noise_at_all() -> None:
    assert seeds_needed(of(0.1, Noise(0.0, 100, 0.0, (0.0, 0.0)))) == 2
    assert seeds_needed(of(0.0, Noise(0.0, 100, 0.0, (0.0, 0.0)))) == math.inf


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


def test_that_many_repetitions_find_it_over_images_and_seeds() -> None:
    """Scores with all three sources of noise; what the test adds for safety makes it find a bit less."""
    rng = np.random.default_rng(0)
    num_images, difference = 400, 0.1

    def scores(mean: float, images: np.ndarray, num_seeds: int) -> np.ndarray:
        of_seeds = rng.normal(0, 0.03, (num_seeds, 1))
        return mean + images + of_seeds + rng.normal(0, 0.5, (num_seeds, num_images))

    def experiment(num_seeds: int) -> PairedTest:
        ours, theirs = rng.normal(0, 0.4, (2, num_images))
        return compare_predictions(scores(difference, ours, num_seeds), scores(0.0, theirs, num_seeds))

    true = Noise(2 * 0.4**2 / num_images, num_images, 2 * 0.5**2 / num_images, (0.03**2,) * 2)
    guessed = experiment(200).noise
    assert guessed is not None
    assert guessed.images == pytest.approx(true.images, rel=0.2)
    assert guessed.mixed == pytest.approx(true.mixed, rel=0.05)
    assert guessed.seeds == pytest.approx((0.03**2 + 0.5**2 / num_images,) * 2, rel=0.3)
    for num_seeds in (3, 8):
        found = np.mean([experiment(num_seeds).p_value <= 0.05 for _ in range(400)])
        # what a seed does to single images is in its part as a whole too, as in the test
        told = power(difference, Noise(true.images, num_images, true.mixed, guessed.seeds), num_seeds)
        assert found == pytest.approx(told, abs=0.08)
