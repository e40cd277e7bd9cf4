"""How many seeds it would take to tell two variants apart that could not be told apart yet."""

import math

from cnnbench.paired_tests import Noise, PairedTest
from cnnbench.statistics import LEVEL

MOST = 100  # seeds a variant; beyond that nobody trains
POWER = 0.8  # of such differences are found: the usual convention (Cohen 1988)


def seeds_needed(test: PairedTest, num_tests: int = 1) -> float:
    """The fewest seeds of each side, 2 to MOST, by which a difference of this size is found at 95 %.

    Found in POWER of all repetitions, if the true difference is the one measured and the noise is too, with
    p corrected for `num_tests` (Bonferroni, the most that Holm asks of one). More than MOST is `math.inf`.
    Raises ValueError where the noise of seeds is not known.
    """
    noise = _noise_of(test)
    for num_seeds in range(2, MOST + 1):
        if power(test.difference, noise, num_seeds, num_tests) >= POWER:
            return num_seeds
    return math.inf


def limited_by_images(test: PairedTest, num_tests: int = 1) -> bool:
    """Whether the noise of the images alone hides such a difference, however many the seeds.

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

    Student's t as in `cnnbench.paired_tests`, with Welch and Satterthwaite's degrees of freedom: the power is
    that of the noncentral t (Cohen 1988, "Statistical Power Analysis", 2nd ed., chapter 2).
    """
    from scipy import stats

    parts = [(each / num_seeds, num_seeds - 1) for each in noise.seeds]
    parts += [(stays + added / num_seeds, num - 1) for stays, added, num in noise.images if num > 1]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return float(difference != 0)
    freedom = variance**2 / sum(part**2 / df for part, df in parts if part)
    critical = float(stats.t.isf((1 - LEVEL) / num_tests / 2, freedom))
    shift = abs(difference) / math.sqrt(variance)
    # Beyond 1,000 degrees of freedom a shifted t is as good, and the noncentral one slow and inexact.
    above = (
        stats.t.sf(critical - shift, freedom) if freedom > 1000 else stats.nct.sf(critical, freedom, shift)
    )
    if shift > 3:  # to be found the wrong way round is all but excluded, and SciPy's lower tail fails there
        return float(above)
    below = stats.t.sf(critical + shift, freedom)
    return float(above + (below if freedom > 1000 else stats.nct.cdf(-critical, freedom, shift)))
