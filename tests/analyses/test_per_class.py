"""Scores of single classes against scikit-learn's."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.confusions import count_confusions
from cnnbench.analyses.per_class import PerClass, scores_of
from cnnbench.runs import Run

MakeRun = Callable[..., Run]
SubjectFrom = Callable[[Sequence[Run]], Subject]


def write_predictions(run: Run, targets: Sequence[int], predictions: Sequence[int]) -> Run:
    arrays = {"targets": np.array(targets), "predictions": np.array(predictions)}
    np.savez(
        run.path / "predictions.npz",
        **{f"{split}_{name}": values for split in ("val", "test") for name, values in arrays.items()},
    )
    return run


@pytest.mark.parametrize("num_classes", [2, 10, 200])
def test_scores_are_scikit_learns(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    targets, predictions = rng.integers(0, num_classes, (2, 5000))
    predictions = np.where(rng.random(5000) < 0.6, targets, predictions)
    predictions[predictions == 1] = 0  # one class is never predicted
    found = scores_of(count_confusions(targets, predictions, num_classes))
    expected = precision_recall_fscore_support(
        targets, predictions, labels=range(num_classes), zero_division=0
    )
    for values, known in zip((found.precision, found.recall, found.f1, found.support), expected, strict=True):
        np.testing.assert_allclose(values, known)
    assert np.flatnonzero(found.never_predicted).tolist() == [1]


def test_macro_averages_are_scikit_learns(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 10, 400)
    seeds = [np.where(rng.random(400) < 0.7, targets, rng.integers(0, 10, 400)) for _ in range(3)]
    seeds[0][seeds[0] == 4] = 3  # cat instead of deer
    runs = [write_predictions(make_run("a", s, [0.1, 0.7]), targets, seeds[s]) for s in range(3)]
    _, averages, scores = PerClass().analyse(subject_from(runs))
    expected = np.array(
        [precision_recall_fscore_support(targets, p, average="macro", zero_division=0)[:3] for p in seeds]
    )
    assert isinstance(averages, Table)
    assert averages.rows[0][2:8:2] == pytest.approx(100 * expected.mean(axis=0), abs=0.006)
    assert averages.rows[0][3:8:2] == pytest.approx(100 * expected.std(axis=0, ddof=1), abs=0.006)
    assert "so that its precision counts as 0: a 1 class (deer)." in averages.caption
    each = np.array([precision_recall_fscore_support(targets, p, zero_division=0)[2] for p in seeds])
    assert isinstance(scores, Table)
    assert [row[2] for row in scores.rows] == np.bincount(targets).tolist()
    assert [row[7] for row in scores.rows] == pytest.approx(100 * each.mean(axis=0), abs=0.006)
    assert [row[8] for row in scores.rows] == pytest.approx(100 * each.std(axis=0, ddof=1), abs=0.006)


def test_a_class_without_images_counts_in_no_mean(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    targets, predictions = [0, 0, 1, 1], [0, 2, 1, 1]  # class 2 has no image and is predicted once
    found = scores_of(count_confusions(np.array(targets), np.array(predictions), 3))
    known = precision_recall_fscore_support(targets, predictions, labels=[0, 1], zero_division=0)
    for values, expected in zip((found.precision, found.recall, found.f1), known, strict=False):
        np.testing.assert_allclose(values[:2], expected)
        assert np.isnan(values[2])
    run = write_predictions(make_run("a", 0, [0.1, 0.7], classes="xyz"), targets, predictions)
    figure, averages, scores = PerClass().analyse(subject_from([run]))
    assert isinstance(averages, Table)
    assert isinstance(scores, Table)
    assert averages.rows[0][2:8] == [100.0, None, 75.0, None, pytest.approx(83.33), None]
    assert scores.rows[2] == ["a", "z", 0, *[None] * 6]
    assert "Classes without a test image have no scores and count in no mean: 1." in scores.caption
    assert isinstance(figure, Figure)
    assert [text.get_text() for text in figure.figure.axes[0].get_yticklabels()] == ["y", "x"]


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    outputs = list(PerClass().analyse(any_subject))
    trained = [name for name, runs in any_subject.trained().items() if runs]
    assert bool(outputs) == bool(trained)
    if outputs:
        *figures, averages, scores = outputs
        assert len(figures) == 1 + len(trained) // 9
        assert isinstance(averages, Table)
        assert [row[0] for row in averages.rows] == trained
        assert isinstance(scores, Table)
        assert len(scores.rows) == 10 * len(trained)
        assert scores.in_report == (len(trained) <= 6)


def test_good_scores_get_an_axis_of_their_own_and_little_chance(
    make_run: MakeRun, subject_from: SubjectFrom
) -> None:
    """99 of 100 of each class are right: by Wilson it is 94.6 to 99.8 %, not the 10 points of a coin."""
    targets = [0] * 100 + [1] * 100
    predictions = [0] * 99 + [1] + [1] * 99 + [0]
    run = write_predictions(make_run("v", 0, [0.1, 0.7], classes="ab"), targets, predictions)
    figure, *_ = PerClass().analyse(subject_from([run]))
    assert isinstance(figure, Figure)
    assert "The axis begins at 98 %." in figure.caption
    assert "moves a recall by up to ±4 points (95 %)." in figure.caption


@pytest.mark.parametrize("measure", ["f1", "precision", "recall"])
def test_the_picture_is_sorted(make_run: MakeRun, subject_from: SubjectFrom, measure: str) -> None:
    # b is found always, a and c in three and two of four
    targets, predictions = [0] * 4 + [1] * 4 + [2] * 4, [0, 0, 0, 2, 1, 1, 1, 1, 2, 2, 0, 0]
    run = write_predictions(make_run("v", 0, [0.1, 0.7], classes="abc"), targets, predictions)
    figure, *_ = PerClass(measure=measure).analyse(subject_from([run]))  # type: ignore[arg-type]
    assert isinstance(figure, Figure)
    (axes,) = figure.figure.axes
    precision, recall, f1, _ = precision_recall_fscore_support(targets, predictions)
    known = 100 * {"f1": f1, "precision": precision, "recall": recall}[measure]
    assert list(axes.lines[-1].get_xdata()) == pytest.approx(sorted(known, reverse=True))
    assert axes.get_yticklabels()[0].get_text() == "b"
    assert axes.get_xlabel() == f"{'F1' if measure == 'f1' else measure} (%)"


def test_of_many_classes_both_ends_are_shown(subject: Callable[..., Subject]) -> None:
    classes = [f"class {i}" for i in range(200)]
    made = subject({"a": [[0.1, 0.6]], "b": [[0.1, 0.7]]}, classes=classes, num_test=2000)
    figure, _, scores = PerClass(num_classes=4).analyse(made)
    assert isinstance(figure, Figure)
    assert len(figure.figure.axes[0].get_yticklabels()) == 8
    assert "Only the 4 best and the 4 worst are shown." in figure.caption
    assert isinstance(scores, Table)
    assert (len(scores.rows), scores.in_report) == (400, False)


def test_variants_of_different_classes_have_pictures_of_their_own(
    make_run: MakeRun, subject_from: SubjectFrom
) -> None:
    runs = [make_run("a", 0, [0.1, 0.7]), make_run("b", 0, [0.1, 0.7], classes="xyz")]
    first, second, _, scores = PerClass().analyse(subject_from(runs))
    assert (first.name, second.name) == ("per_class_1", "per_class_2")
    assert isinstance(scores, Table)
    assert len(scores.rows) == 13


def test_chance_of_few_images_is_said(subject: Callable[..., Subject]) -> None:
    made = subject({"a": [[0.1, 0.7]]}, num_test=1000)  # 100 of each: 1.96 sqrt(0.25 / 100) = 9.8 points
    figure = next(iter(PerClass().analyse(made)))
    assert "The rarest class has 100 test images" in figure.caption
    assert "up to ±10 points (95 %)" in figure.caption


def test_chance_does_not_end_where_all_are_right(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    """30 of 30 right: Wilson's interval begins at 30 / (30 + 1.96²) = 88.6 %."""
    targets = [0] * 30 + [1] * 30
    run = write_predictions(make_run("v", 0, [0.1, 0.7], classes="ab"), targets, targets)
    figure, *_ = PerClass().analyse(subject_from([run]))
    assert isinstance(figure, Figure)
    assert "The rarest class has 30 test images" in figure.caption
    assert "up to ±11 points (95 %)" in figure.caption
