"""What it would take to tell apart what could not be told apart, in words."""

import math

from cnnbench.comparison.quantities import Quantity
from cnnbench.paired_tests import PairedTest
from cnnbench.seeds_needed import MOST, limited_by_images, seeds_needed

FAINT = 0.32  # p beyond which a difference is no basis for a plan: about that of one standard error
ROUND = (*range(2, 11), 12, 15, 20, 25, 30, 40, 50, 60, 80, MOST)
TOO_CLOSE = "too close to plan for"
RULE = (
    "To tell: with about that many seeds of each variant, four of five repetitions of the whole experiment "
    "would find the difference, if it is really as large as measured and seeds scatter as they did (power "
    "80 %, p corrected for as many pairs, or gains held against others, as the recipe has). How large an "
    "undecided difference is, is itself uncertain: that is a plan, and no promise. One of p "
    "above 0.32, uncorrected, which is about its standard error, is too close to plan for."
)


def to_tell(test: PairedTest, num_tests: int, images: str) -> str | None:
    """`about 9 seeds each`, or that images are too few; None where nothing differs or no noise is known.

    `images` is what they are called: "test images".
    """
    if test.noise is None or test.difference == 0 or not math.isfinite(test.p_value):
        return None
    if test.p_value > FAINT:
        return TOO_CLOSE
    if limited_by_images(test, num_tests):
        num_images = min(num for _, _, num in test.noise.images)
        return f"these {num_images:,} {images} are too few, however many seeds"
    needed = seeds_needed(test, num_tests)
    about = f"more than {MOST}" if needed > MOST else f"about {next(num for num in ROUND if num >= needed)}"
    return f"{about} seeds{' each' * (len(test.noise.seeds) > 1)}"


def images_of(metric: Quantity, by_scene: bool) -> str:
    """`test images`, or of which split a quantity is; by scene those of one count as one."""
    images = {"test": "test images", "val": "validation images"}.get(metric.split or "", "images")
    return f"{images} (those of one scene counted as one)" if by_scene else images
