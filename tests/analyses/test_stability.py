"""Stability against hand calculation."""

from collections.abc import Callable

import pytest
from scipy.stats import linregress

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.stability import Stability, spread_over_seeds, stability_of


def test_jumps_of_the_second_half() -> None:
    accuracies = dict(enumerate([10.0, 40.0, 60.0, 70.0, 75.0, 80.0, 78.0, 79.0, 76.0]))
    found = stability_of(accuracies)  # 8 epochs: the changes into epochs 5, 6, 7 and 8
    assert found is not None
    assert found.changes == [5, -2, 1, -3]
    assert found.progress == pytest.approx(1 / 4)
    # deviations 4.75, -2.25, 0.75 and -3.25; the line through them falls by 2.1 an epoch: 38.75 - 5 * 2.1^2
    assert found.roughness == pytest.approx((16.7 / 2) ** 0.5)
    assert found.num_drops == 2
    assert found.largest_drop == 3


def test_steady_progress_is_no_instability() -> None:
    found = stability_of(dict(enumerate([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])))
    assert found is not None
    assert (found.progress, found.roughness) == (10, 0)


def test_progress_that_fades_steadily_is_no_instability() -> None:
    """What a schedule does that lets the learning rate fall: changes of 9, 6, 3 and 0."""
    found = stability_of(dict(enumerate([0.0, 10.0, 20.0, 30.0, 40.0, 49.0, 55.0, 58.0, 58.0])))
    assert found is not None
    assert found.changes == [9, 6, 3, 0]
    assert found.roughness == pytest.approx(0, abs=1e-12)


def test_roughness_is_the_residual_deviation_of_a_regression() -> None:
    changes = [2.0, -1.0, 0.5, 3.0, -2.5]
    accuracies = dict(enumerate([50.0] * 6 + [50.0 + sum(changes[: i + 1]) for i in range(5)]))
    found = stability_of(accuracies)
    assert found is not None
    assert found.changes == pytest.approx(changes)
    line = linregress(range(5), changes)
    residuals = [change - line.intercept - line.slope * x for x, change in enumerate(changes)]
    assert found.roughness == pytest.approx((sum(r * r for r in residuals) / 3) ** 0.5)


def test_an_odd_number_of_epochs() -> None:
    found = stability_of(dict(enumerate([10.0, 40.0, 60.0, 70.0, 65.0, 66.0])))  # e > 2.5: into 3, 4 and 5
    assert found is not None
    assert found.changes == [10, -5, 1]


@pytest.mark.parametrize("num_epochs", [0, 1, 2, 4])
def test_too_few_epochs_have_no_stability(num_epochs: int) -> None:
    assert stability_of({epoch: 50.0 for epoch in range(num_epochs + 1)}) is None
    assert stability_of({}) is None


def test_a_missing_epoch_takes_both_its_changes_along() -> None:
    found = stability_of({0: 10, 1: 20, 2: 30, 3: 40, 4: 50, 5: 55, 6: 54, 8: 57, 9: 56, 10: 60})
    assert found is not None
    assert (found.changes, found.epochs) == ([-1, -1, 4], [6, 9, 10])


def test_a_run_that_never_falls_has_no_drop() -> None:
    found = stability_of(dict(enumerate([10.0, 20.0, 30.0, 40.0, 50.0, 51.0])))
    assert found is not None
    assert (found.num_drops, found.largest_drop) == (0, 0)


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
