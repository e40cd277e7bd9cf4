"""Columns of the history by epoch; means and bands are tested with the learning curves."""

import math
from collections.abc import Callable

import pytest

from cnnbench.analyses.curves import values_by_epoch
from cnnbench.runs import Run


def test_only_finite_values_count(make_run: Callable[..., Run]) -> None:
    run = make_run("a", 0, [0.25, None, math.nan, math.inf, 0.5])
    assert values_by_epoch(run, "val_accuracy") == {0: 0.25, 4: 0.5}
    assert values_by_epoch(run, "val_accuracy", 100.0) == {0: 25.0, 4: 50.0}
    assert set(values_by_epoch(run, "train_seconds")) == {1, 2, 3, 4}  # the untrained model has none


def test_a_column_of_another_version_is_empty(make_run: Callable[..., Run]) -> None:
    assert values_by_epoch(make_run("a", 0, [0.25, 0.5]), "val_iou") == pytest.approx({})
