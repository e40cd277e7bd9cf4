"""Numbers of a training's course against hand calculation; means and bands: with the learning curves."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import linregress

from cnnbench.course import area_under_curve, numbers_of, stability_of, values_by_epoch
from cnnbench.reading import DamagedError
from cnnbench.runs import Run


def run_of(folder: Path, accuracies: Sequence[float | None], measure: str = "accuracy") -> Run:
    """A run with this history of validation; the untrained model took no time."""
    rows = [
        {"epoch": epoch, f"val_{measure}": value, "train_seconds": 20.0 if epoch else None}
        for epoch, value in enumerate(accuracies)
    ]
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run(folder)


def test_only_finite_values_count(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.25, None, math.nan, math.inf, 0.5])
    assert values_by_epoch(run, "val_accuracy") == {0: 0.25, 4: 0.5}
    assert values_by_epoch(run, "val_accuracy", 100.0) == {0: 25.0, 4: 50.0}
    assert set(values_by_epoch(run, "train_seconds")) == {1, 2, 3, 4}


def test_a_column_of_another_version_is_empty(tmp_path: Path) -> None:
    assert values_by_epoch(run_of(tmp_path, [0.25, 0.5]), "val_iou") == {}


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


def test_the_area_is_the_mean_over_the_epochs_of_training() -> None:
    assert area_under_curve({0: 0.1, 1: 0.5, 2: 0.7, 3: 0.9}) == pytest.approx(0.7)
    sooner = area_under_curve({0: 0.1, 1: 0.8, 2: 0.85, 3: 0.9})
    assert sooner == pytest.approx(0.85)


@pytest.mark.parametrize("accuracies", [{}, {0: 0.1}, {0: 0.1, 1: 0.5, 3: 0.9}])
def test_a_curve_with_a_hole_has_no_area(accuracies: dict[int, float]) -> None:
    assert area_under_curve(accuracies) is None


def test_the_numbers_of_a_run(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.65])
    metrics = {"train_accuracy": 0.75, "val_accuracy": 0.7, "test_accuracy": 0.68}
    found = numbers_of(run, {"metrics": metrics})
    # the mean of six epochs; changes 10, 10 and -5 leave -2.5, 5 and -2.5 points of their line
    assert found == {
        "area_under_curve": pytest.approx(3.15 / 6),
        "roughness": pytest.approx(37.5**0.5 / 100),
        "val_gap": pytest.approx(0.05),
        "test_gap": pytest.approx(0.07),
    }


def test_of_masks_it_is_their_leading_measure(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.0, 0.4, 0.6], "iou")
    metrics: dict[str, Any] = {"train_iou": 0.7, "val_iou": 0.6, "test_iou": None, "test_accuracy": 0.9}
    found = numbers_of(run, {"leading": "iou", "metrics": metrics})
    assert found == {"area_under_curve": pytest.approx(0.5), "val_gap": pytest.approx(0.1)}


@pytest.mark.parametrize(
    "accuracies",
    [[0.1, int("1" + "0" * 400)], [0.1, 1.7e308, 1.7e308], [0.1, 0.2, 0.3, 0.4, 1e200, 0.5]],
    ids=["no float", "no sum", "no square"],
)
def test_numbers_that_no_run_measures_are_damage(tmp_path: Path, accuracies: list[float]) -> None:
    run = run_of(tmp_path, accuracies)
    with pytest.raises(DamagedError, match="a val_accuracy that no run measures"):
        numbers_of(run, {"metrics": {}})
    with pytest.raises(DamagedError, match="that no run measures"):
        numbers_of(run_of(tmp_path, [0.1]), {"metrics": {"train_accuracy": 10**400, "val_accuracy": 0.5}})


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    assert numbers_of(run_of(tmp_path, [0.1]), {"metrics": {"test_accuracy": 0.1}}) == {}
