"""Stability against hand calculation."""

from collections.abc import Callable

import pytest

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.stability import Stability, spread_over_seeds


def test_spread_over_seeds() -> None:
    seeds = [dict(enumerate([0.0, 10, 50, 60, 70])), dict(enumerate([0.0, 90, 10, 64, 74]))]
    # epochs 3 and 4; sample deviation of two values is their distance over sqrt 2
    assert spread_over_seeds(seeds) == pytest.approx(4 / 2**0.5)
    assert spread_over_seeds(seeds[:1]) is None


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    *figures, table = Stability().analyse(any_subject)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == list(any_subject.variants())
    assert all(isinstance(figure, Figure) for figure in figures)


def test_the_table_and_the_picture(subject: Callable[..., Subject]) -> None:
    figure, table = Stability().analyse(
        subject({"basic": [[0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.65], [0.1, 0.3, 0.4, 0.5, 0.6, 0.62, 0.68]]})
    )
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    # seed 0: +10, +10, -5, which leave -2.5, 5, -2.5 of their line; seed 1: +10, +2, +6, which leave 2, -4, 2
    # roughness (sqrt 37.5 + sqrt 24) / 2; progress (5 + 6) / 2
    # spread at epochs 4, 5 and 6: 0, 8 / sqrt 2 and 3 / sqrt 2
    assert list(table.rows[0]) == ["basic", 2, 5.51, 5.5, 5.0, 0.5, 3.0, 2.59]
    assert "(percentage points)" in figure.figure.axes[0].get_xlabel()


def test_too_few_epochs_are_said(subject: Callable[..., Subject]) -> None:
    outputs = list(Stability().analyse(subject({"basic": [[0.1, 0.4, 0.5]]})))
    assert len(outputs) == 1
    assert isinstance(outputs[0], Table)
    assert "Too few epochs (5 are needed) or no trained run: basic." in outputs[0].caption
    assert list(outputs[0].rows[0][2:]) == [None] * 6
