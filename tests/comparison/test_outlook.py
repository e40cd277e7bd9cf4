"""What it would take to tell two variants apart, in words."""

import pytest

from cnnbench.comparison.outlook import to_tell
from cnnbench.statistics import Noise, PairedTest


@pytest.mark.parametrize(
    ("difference", "noise", "said"),
    [
        (1.0, Noise(0.0, 0, 0.0, (1.0, 1.0)), "about 17 seeds each"),  # Cohen (1988)
        (0.01, Noise(0.0, 0, 0.0, (1.0, 1.0)), "more than 100 seeds each"),
        (0.0, Noise(0.0, 0, 0.0, (1.0, 1.0)), None),
        (0.003, Noise(0.002**2, 9999, 0.0, (0, 0)), "more images (seeds cannot replace them)"),
        (1.0, None, None),
    ],
)  # fmt: skip
def test_to_tell(difference: float, noise: Noise | None, said: str | None) -> None:
    assert to_tell(PairedTest(difference, 0.0, 0.0, 1.0, "test", noise), 1) == said
