"""What it would take to tell apart what could not be told apart, in words."""

from cnnbench.seeds_needed import MOST, limited_by_images, seeds_needed
from cnnbench.statistics import PairedTest

RULE = (
    "To tell: with so many seeds of each variant four of five repetitions would find a difference as large "
    "as the one measured, if it is real and the spread stays (power 80 %, p corrected for as many tests)."
)


def to_tell(test: PairedTest, num_tests: int) -> str | None:
    """`about 9 seeds each`, or that seeds cannot do it; None where nothing differs or no noise is known."""
    if test.noise is None or test.difference == 0:
        return None
    if limited_by_images(test, num_tests):
        return "more images (seeds cannot replace them)"
    needed = seeds_needed(test, num_tests)
    return f"about {needed:.0f} seeds each" if needed <= MOST else f"more than {MOST} seeds each"
