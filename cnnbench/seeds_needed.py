"""How many seeds it would take to tell two variants apart that could not be told apart yet."""

import math
from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING

from cnnbench.paired_tests import Noise, PairedTest
from cnnbench.statistics import LEVEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST = 100  # seeds a variant; beyond that nobody trains
NUM_POINTS = 1000  # of estimated variances, over which power is averaged
POWER = 0.8  # of such differences are found: the usual convention (Cohen 1988)


def seeds_needed(test: PairedTest, num_tests: int = 1) -> float:
    """The fewest seeds of each side, 2 to MOST, by which a difference of this size is found at 95 %.

    Found in POWER of all repetitions, if the true difference is the one measured and the noise is too, with
    p corrected for `num_tests` (Bonferroni, the most that Holm asks of one). More than MOST is `math.inf`.
    Raises ValueError where the noise of seeds is not known.
    """
    noise = _noise_of(test)
    counts = range(2, MOST + 1)
    place = bisect_left(counts, POWER, key=lambda count: power(test.difference, noise, count, num_tests))
    return counts[place] if place < len(counts) else math.inf


def limited_by_images(test: PairedTest, num_tests: int = 1) -> bool:
    """Whether with these images fewer than POWER find such a difference, however many the seeds.

    Raises ValueError where the noise of seeds is not known.
    """
    noise = _noise_of(test)
    return bool(noise.images) and power(test.difference, noise, math.inf, num_tests) < POWER


def _noise_of(test: PairedTest) -> Noise:
    if test.noise is None:
        raise ValueError("the noise of seeds is not known")
    return test.noise


def power(difference: float, noise: Noise, num_seeds: float, num_tests: int = 1) -> float:
    """How often a test with this many seeds a side finds a true difference, 0 to 1.

    The test is Student's t as in `cnnbench.paired_tests`, with Welch and Satterthwaite's degrees of freedom,
    or those of the typical variances, which are taken as known, where these are fewer.
    Given the variances that it estimates, the difference is normal; that probability is averaged over what it
    may estimate, the true variances times chi squares. A noncentral t with the degrees of freedom of the true
    variances promises too much: 80 % where three seeds a side have 60.
    """
    import numpy as np
    from scipy import stats

    typical = noise.seeds if noise.typical is None else noise.typical
    pairs = zip(noise.seeds, typical, strict=True)
    parts = [(each / num_seeds, usual / num_seeds, num_seeds - 1) for each, usual in pairs]
    images = [(stays + added / num_seeds, num - 1) for stays, added, num in noise.images if num > 1]
    parts += [(variance, variance, freedom) for variance, freedom in images]
    if not any(variance for variance, _, _ in parts):
        return float(difference != 0)
    known = np.array([part for part in parts if max(part[:2]) > 0]).reshape(-1, 3, 1)
    variances, expected, freedoms = known.swapaxes(0, 1)
    estimates = variances * stats.chi2.ppf(_spread_out(len(variances)), freedoms) / freedoms
    freedom = estimates.sum(0) ** 2 / (estimates**2 / freedoms).sum(0)
    if noise.typical is not None:
        freedom = np.minimum(freedom, expected.sum() ** 2 / (expected**2 / freedoms).sum())
    error = math.sqrt(variances.sum())
    critical = stats.t.isf((1 - LEVEL) / num_tests / 2, freedom) * np.sqrt(estimates.sum(0)) / error
    shift = abs(difference) / error
    return float(np.mean(stats.norm.sf(critical - shift) + stats.norm.sf(critical + shift)))


@lru_cache(maxsize=8)
def _spread_out(dimensions: int) -> "NDArray[np.float64]":
    """Points (dimensions, NUM_POINTS) that fill the unit cube evenly, the same ones each time."""
    from scipy.stats import qmc

    halton = qmc.Halton(dimensions, scramble=False)
    halton.fast_forward(1)  # the first one is zero
    points: NDArray[np.float64] = halton.random(NUM_POINTS).T
    return points
