"""Confusion matrices against scikit-learn's, and the pictures' layout."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.confusion_matrix import ConfusionMatrix, most_confused, shares_of
from cnnbench.analyses.confusions import count_confusions
from cnnbench.runs import Run

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SubjectFrom = Callable[[Sequence[Run]], Subject]


@pytest.mark.parametrize("num_classes", [2, 10, 200])
def test_counts_are_scikit_learns(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    targets, predictions = rng.integers(0, num_classes, (2, 1000)).astype(np.uint8)
    expected = confusion_matrix(targets, predictions, labels=range(num_classes))
    np.testing.assert_array_equal(count_confusions(targets, predictions, num_classes), expected)


def test_shares_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    targets, predictions = rng.integers(0, 5, (2, 300))
    expected = 100 * confusion_matrix(targets, predictions, normalize="true")
    np.testing.assert_allclose(shares_of(count_confusions(targets, predictions, 5)), expected)


def test_a_class_without_images_has_no_shares() -> None:
    shares = shares_of(np.array([[3, 1], [0, 0]]))
    assert shares[0].tolist() == [75, 25]
    assert np.isnan(shares[1]).all()


def test_the_commonest_mistakes() -> None:
    counts = np.array([[8, 2, 0], [1, 3, 0], [5, 0, 95]])
    assert most_confused(counts, 2) == [(1, 0, 1, 25.0), (0, 1, 2, 20.0)]
    assert len(most_confused(counts, 9)) == 3
    assert most_confused(np.diag([3, 4]), 5) == []


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    outputs = list(ConfusionMatrix().analyse(any_subject))
    assert bool(outputs) == any(any_subject.trained().values())


def test_seeds_are_summed(subject: Callable[..., Subject]) -> None:
    made = subject({"basic": [[0.1, 0.7], [0.1, 0.8]]}, num_test=100)
    figure, table, counts = ConfusionMatrix(num_pairs=90).analyse(made)
    arrays = [run.predictions() for run in made.runs]
    targets, predictions = (
        np.concatenate([a[f"test_{kind}"] for a in arrays]) for kind in ("targets", "predictions")
    )
    wrong = sum(int((a["test_predictions"] != a["test_targets"]).sum()) for a in arrays)
    assert isinstance(table, Table)
    assert sum(int(row[4] or 0) for row in table.rows) == wrong
    assert "2 seeds summed" in figure.caption
    assert isinstance(counts, Table)
    assert counts.name == "confusion_matrix"
    assert list(counts.columns) == ["true class", *CLASSES, "all"]
    expected = confusion_matrix(targets, predictions)
    np.testing.assert_array_equal([row[1:-1] for row in counts.rows], expected)
    assert [row[-1] for row in counts.rows] == expected.sum(axis=1).tolist()


@pytest.mark.parametrize(
    ("num_classes", "num_variants", "in_report"),
    [(20, 6, True), (21, 1, False), (5, 7, False)],
    ids=["readable", "many classes", "many variants"],
)
def test_counts_are_printed_where_they_can_be_read(
    subject: Callable[..., Subject], num_classes: int, num_variants: int, in_report: bool
) -> None:
    classes = [f"class {i}" for i in range(num_classes)]
    made = subject({f"v{i}": [[0.1, 0.7]] for i in range(num_variants)}, classes=classes)
    tables = [each for each in ConfusionMatrix().analyse(made) if isinstance(each, Table)][1:]
    assert [table.in_report for table in tables] == [in_report] * num_variants
    assert len({table.name for table in tables}) == num_variants


def test_unreadable_predictions_are_named(make_run: Callable[..., Run], subject_from: SubjectFrom) -> None:
    runs = [make_run("a", 0, [0.1, 0.7]), make_run("a", 1, [0.1, 0.8]), make_run("b", 0, [0.1, 0.8])]
    for run in runs[1:]:
        (run.path / "predictions.npz").write_bytes(b"no archive")
    _, _, counts = ConfusionMatrix().analyse(subject_from(runs))
    assert sum(int(row[-1] or 0) for row in counts.rows) == 200  # type: ignore[union-attr]
    assert "could not be read, so not counted: a seed 1, b seed 0." in counts.caption
    assert counts.caption.startswith("Each row is a true class, each column a predicted one: how many test")


@pytest.mark.parametrize(
    ("num_classes", "num_variants", "num_pictures", "annotated"),
    [(10, 5, 1, True), (10, 8, 2, True), (16, 3, 3, True), (100, 7, 2, False)],
    ids=["five", "eight", "sixteen classes", "hundred classes"],
)
def test_pictures(
    subject: Callable[..., Subject], num_classes: int, num_variants: int, num_pictures: int, annotated: bool
) -> None:
    classes = [f"class {i}" for i in range(num_classes)]
    made = subject(
        {f"v{i}": [[0.1, 0.7]] for i in range(num_variants)}, classes=classes, num_test=2 * num_classes
    )
    figures = [output for output in ConfusionMatrix().analyse(made) if isinstance(output, Figure)]
    assert len(figures) == num_pictures
    assert len({figure.name for figure in figures}) == num_pictures
    panels = [axes for axes in figures[0].figure.axes if axes.get_title(loc="left")]
    assert bool(panels[0].texts) is annotated
    assert (panels[0].get_xlabel(), panels[0].get_ylabel()) == ("predicted class", "true class")
    assert figures[0].figure.axes[-1].get_ylabel() == "share of the true class (%)"


@pytest.mark.parametrize("num_variants", range(1, 7))
def test_titles_stand_inside_the_picture(subject: Callable[..., Subject], num_variants: int) -> None:
    variants = {name: [[0.1, 0.5]] for name in "abcdef"[:num_variants]}
    figure = next(iter(ConfusionMatrix().analyse(subject(variants))))
    assert isinstance(figure, Figure)
    figure.figure.draw_without_rendering()
    panels = figure.figure.axes[:num_variants]
    assert [panel.get_title("left") for panel in panels] == list(variants)
    for panel in panels:
        assert panel.get_tightbbox().y1 <= figure.figure.bbox.y1


def test_each_data_set_has_its_own_classes(make_run: Callable[..., Run], subject_from: SubjectFrom) -> None:
    """Variants of two data sets never share a picture, nor one the class names of the other."""
    classes = {"shoes": ["boot", "sandal", "sneaker"], "pets": ["cat", "dog", "bird", "fish"]}
    runs = [make_run(name, 0, [0.1, 0.7], classes=known) for name, known in classes.items()]
    runs.append(make_run("more-shoes", 0, [0.1, 0.8], classes=classes["shoes"]))
    outputs = list(ConfusionMatrix().analyse(subject_from(runs)))
    figures = [each.figure for each in outputs if isinstance(each, Figure)]
    named = [
        ([axes.get_title("left") for axes in figure.axes if axes.get_title("left")],
         [label.get_text() for label in figure.axes[0].get_yticklabels()])
        for figure in figures
    ]  # fmt: skip
    assert named == [(["shoes", "more-shoes"], classes["shoes"]), (["pets"], classes["pets"])]
    pairs, *counts = (each for each in outputs if isinstance(each, Table))
    assert {row[0]: row[1] in classes["pets"] for row in pairs.rows} == {
        "shoes": False, "pets": True, "more-shoes": False,
    }  # fmt: skip
    assert [list(table.columns[1:-1]) for table in counts] == [
        classes["shoes"], classes["pets"], classes["shoes"],
    ]  # fmt: skip
