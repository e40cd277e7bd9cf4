"""What it would take to tell two variants apart, in words."""

import math

import pytest

from cnnbench.comparison.outlook import images_of, to_tell
from cnnbench.comparison.quantities import named
from cnnbench.paired_tests import Noise, PairedTest

SEEDS = Noise((), (1.0, 1.0))
IMAGES = Noise(((0.002**2, 0.0, 9999),), (0.0, 0.0))


@pytest.mark.parametrize(
    ("difference", "p_value", "noise", "said"),
    [
        (1.0, 0.2, SEEDS, "about 20 seeds each"),  # 17 (Cohen 1988), roundly
        (1.5, 0.2, SEEDS, "about 9 seeds each"),
        (1.5, 0.2, Noise((), (1.0,)), "about 6 seeds"),  # the other side is fixed
        (0.3, 0.2, SEEDS, "more than 100 seeds each"),
        (1.0, 0.4, SEEDS, "too close to plan for"),
        (0.0, 1.0, SEEDS, None),
        (math.nan, math.nan, SEEDS, None),
        (0.003, 0.1, IMAGES, "these 9,999 test images are too few, however many seeds"),
        (1.0, 0.2, None, None),
    ],
)
def test_to_tell(difference: float, p_value: float, noise: Noise | None, said: str | None) -> None:
    assert to_tell(PairedTest(difference, 0.0, 0.0, p_value, "test", noise), 1, "test images") == said


@pytest.mark.parametrize(
    ("metric", "by_scene", "images"),
    [
        ("test_accuracy", False, "test images"),
        ("val_accuracy", False, "validation images"),
        ("train_seconds", False, "images"),
        ("test_recall", True, "test images (those of one scene counted as one)"),
    ],
)
def test_images_are_called_by_their_split(metric: str, by_scene: bool, images: str) -> None:
    assert images_of(named(metric, ["test_recall"]), by_scene) == images
