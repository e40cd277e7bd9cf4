"""The gap between train and validation, and the rule that calls it overfitting, by hand."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.curves import CUT_NOTE
from cnnbench.analyses.learning_curves import LearningCurves
from cnnbench.analyses.overfitting import Overfitting
from cnnbench.analyses.rise import rise_of
from cnnbench.runs import Run

MakeRun = Callable[..., Run]
SubjectFrom = Callable[[Sequence[Run]], Subject]

# train and validation loss by epoch, from epoch 1
OVERFITS = ([1.0, 0.6, 0.3, 0.1], [1.1, 0.8, 0.9, 1.0])
STANDS = ([1.0, 0.6, 0.3, 0.1], [1.1, 0.8, 0.82, 0.83])
LEARNS = ([1.0, 0.6, 0.3, 0.1], [1.1, 0.8, 0.7, 0.6])
BREAKS = ([1.0, 0.6, 0.9, 1.2], [1.1, 0.8, 0.9, 1.3])  # both get worse: training fails, it does not overfit


def by_epoch(values: Sequence[float]) -> dict[int, float]:
    return dict(enumerate(values, start=1))


def write_history(run: Run, columns: dict[str, Sequence[float | None]]) -> Run:
    """Replaces columns of the run's history, given from epoch 1 on; epoch 0 keeps its own."""
    rows = run.history()
    for column, values in columns.items():
        for row, value in zip(rows[1:], values, strict=True):
            row[column] = value
    (run.path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def write_result(run: Run, **metrics: float | None) -> Run:
    result: dict[str, Any] = run.result() or {}
    result["metrics"] |= metrics
    (run.path / "result.json").write_text(json.dumps(result))
    return run


@pytest.mark.parametrize(
    ("losses", "lowest_epoch", "share", "overfits"),
    [
        pytest.param(OVERFITS, 2, 0.25, True, id="overfits"),
        pytest.param(STANDS, 2, 0.0375, False, id="rises by less than 5 %"),
        pytest.param(LEARNS, 4, 0.0, False, id="lowest at the end"),
        pytest.param(BREAKS, 2, 0.625, False, id="train rises too"),
    ],
)
def test_the_rule(
    losses: tuple[list[float], list[float]], lowest_epoch: int, share: float, overfits: bool
) -> None:
    found = rise_of(*map(by_epoch, losses))
    assert found is not None
    assert found.lowest_epoch == lowest_epoch
    assert found.share == pytest.approx(share)
    assert found.overfits is overfits


def test_epochs_without_both_losses_do_not_count() -> None:
    found = rise_of(
        {1: 1.0, 3: 0.5}, {0: 0.1, 1: 1.0, 2: 0.2, 3: 2.0}
    )  # 0 and 2 are lower, but have no train
    assert found is not None
    assert (found.lowest_epoch, found.lowest, found.last) == (1, 1.0, 2.0)
    assert rise_of({}, {0: 0.1}) is None


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    outputs = list(Overfitting(band="std").analyse(any_subject))
    tables = [output for output in outputs if isinstance(output, Table)]
    assert [table.name for table in tables] == ["overfitting", "overfitting_kept_weights"]
    for table in tables:
        assert [row[0] for row in table.rows] == list(any_subject.variants())
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_tables(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    accuracies = [(0.5, 0.7, 0.9, 0.95), (0.5, 0.8, 0.9, 0.97)]
    runs = []
    for seed, train in enumerate(accuracies):
        run = make_run("a", seed, [0.1, 0.5, 0.6, 0.7, 0.72])
        losses = OVERFITS if seed == 0 else LEARNS
        write_history(run, {"train_accuracy": train, "train_loss": losses[0], "val_loss": losses[1]})
        runs.append(write_result(run, train_accuracy=0.9, val_accuracy=0.8 - 0.02 * seed, test_accuracy=0.75))
    gap, by_epoch_table, kept_picture, kept = Overfitting().analyse(subject_from(runs))
    assert isinstance(by_epoch_table, Table)
    assert isinstance(kept, Table)
    # gaps of the means: 0, 15, 20, 24 points; losses 0.8 at epoch 2 and 0.6 at epoch 4; rises of 25 % and 0
    assert list(by_epoch_table.rows[0]) == ["a", 2, 24.0, 4, 24.0, 0.7, 3.0, 0.8, 12.5, 1, "no"]
    # 90 - 80 and 90 - 78: 11 ± 2 / sqrt 2; 90 - 75 twice
    assert list(kept.rows[0]) == ["a", 2, 90.0, 79.0, 75.0, 11.0, 1.41, 15.0, 0.0]
    assert isinstance(gap, Figure)
    left, right = gap.figure.axes
    assert "(points)" in left.get_ylabel()
    assert right.get_ylabel() == "validation − train loss"
    assert list(left.lines[1].get_ydata()) == pytest.approx([0, 15, 20, 24])
    assert list(right.lines[1].get_ydata()) == pytest.approx([0.1, 0.2, 0.5, 0.7])
    assert isinstance(kept_picture, Figure)
    assert kept_picture.figure.axes[0].get_xlabel() == "accuracy (%)"


def test_the_last_gap_is_that_of_each_seed(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    long, short = make_run("a", 0, [0.1, 0.5, 0.6]), make_run("a", 1, [0.1, 0.5])
    write_history(long, {"train_accuracy": [0.5, 0.9]})
    write_history(short, {"train_accuracy": [0.7]})
    figure, table, *_ = Overfitting().analyse(subject_from([long, short]))
    assert isinstance(table, Table)
    # at epoch 1 0 and 20 points; at their ends 30 and 20
    assert list(table.rows[0][2:5]) == [10.0, 1, 25.0]
    assert "as far as all of them go; at the last epoch each seed's own." in table.caption
    assert CUT_NOTE in figure.caption
    curves = next(iter(LearningCurves().analyse(subject_from([long, short]))))
    assert CUT_NOTE in curves.caption


def test_most_seeds_decide(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = []
    for seed, losses in enumerate((OVERFITS, OVERFITS, LEARNS)):
        run = make_run("a", seed, [0.1, 0.5, 0.6, 0.7, 0.72])
        runs.append(write_history(run, {"train_loss": losses[0], "val_loss": losses[1]}))
    table = next(each for each in Overfitting().analyse(subject_from(runs)) if isinstance(each, Table))
    assert list(table.rows[0][-2:]) == [2, "yes"]
    assert "more than 5 % above its lowest" in table.caption


def test_a_start_far_below_zero_leaves_room_for_the_rest(
    make_run: MakeRun, subject_from: SubjectFrom
) -> None:
    run = make_run("a", 0, [0.1, 0.8, 0.8, 0.8, 0.8])
    write_history(run, {"train_accuracy": [0.1, 0.79, 0.81, 0.84]})
    figure = next(iter(Overfitting().analyse(subject_from([run]))))
    assert isinstance(figure, Figure)
    low, high = figure.figure.axes[0].get_ylim()
    assert -6 < low < -4 < 4 < high < 6
    assert "What is far out in the first half leaves the picture." in figure.caption


def test_smaller_train_images_are_said(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [make_run("plain", 0, [0.1, 0.5]), make_run("small", 0, [0.1, 0.5])]
    config = json.loads((runs[1].path / "config.json").read_text())
    config["train"]["progressive_resizing"] = {"size": 6, "until": 0.5}
    (runs[1].path / "config.json").write_text(json.dumps(config))
    subject = subject_from(runs)
    captions = [
        each.caption for each in (*Overfitting().analyse(subject), *LearningCurves().analyse(subject))
    ]
    said = "smaller than validation's (small: progressive_resizing)"
    assert sum(said in caption for caption in captions) == 4


def test_label_smoothing_is_said(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [make_run("plain", 0, [0.1, 0.5]), make_run("smooth", 0, [0.1, 0.5])]
    config = json.loads((runs[1].path / "config.json").read_text())
    config["train"]["label_smoothing"] = 0.1
    (runs[1].path / "config.json").write_text(json.dumps(config))
    outputs = list(Overfitting().analyse(subject_from(runs)))
    assert all("loss gap is too low: smooth." in output.caption for output in outputs[:2])


def test_many_variants_stand_in_several_pictures_of_one_scale(subject: Callable[..., Subject]) -> None:
    made = subject({f"v{i}": [[0.1, 0.3, 0.5 + 0.02 * i]] for i in range(8)})
    figures = [each for each in Overfitting().analyse(made) if isinstance(each, Figure)]
    assert [figure.name for figure in figures] == [
        "overfitting_1", "overfitting_2", "overfitting_kept_weights",
    ]  # fmt: skip
    first, second = (figure.figure.axes[0] for figure in figures[:2])
    assert first.get_ylim() == second.get_ylim()
