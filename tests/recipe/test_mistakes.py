"""The nearest of the known names."""

import pytest

from cnnbench.recipe.mistakes import nearest

KNOWN = ["learning_curves", "area_under_curve", "stability", "ReLU"]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("stabilty", "stability"),
        ("relu", "ReLU"),
        ("area", "area_under_curve"),
        ("Curves", "learning_curves"),
        ("curve", None),  # two contain it
        ("st", None),  # too short to hint at anything
        ("ear", None),  # inside a word
        ("", None),
        (7, None),
    ],
)
def test_nearest(word: object, found: str | None) -> None:
    assert nearest(word, KNOWN) == found
