"""Seconds until a goal, by hand."""

import json
from collections.abc import Callable, Sequence

import pytest

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.time_to_accuracy import TimeToAccuracy, course_of
from cnnbench.runs import Run

MakeRun = Callable[..., Run]
SubjectFrom = Callable[[Sequence[Run]], Subject]
# a run of the fixtures: 3 seconds to the untrained model's row, then 22.5 an epoch


def test_the_course_of_a_run_adds_up(make_run: MakeRun) -> None:
    course = course_of(make_run("a", 0, [0.1, 0.5, 0.9, 0.8]))
    assert course is not None
    assert course.seconds == [3.0, 25.5, 48.0, 70.5]
    assert course.accuracies == [0.1, 0.5, 0.9, 0.8]
    assert course.until(0.1) == 3.0  # the untrained model
    assert course.until(0.6) == 48.0
    assert course.until(0.9) == 48.0  # what it fell to after does not matter
    assert course.until(0.91) is None


def test_a_history_of_old_has_no_course(make_run: MakeRun) -> None:
    run = make_run("a", 0, [0.1, 0.5, 0.9])
    rows = run.history()
    rows[1]["wall_seconds"] = None
    (run.path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert course_of(run) is None


def test_an_interrupted_run_has_no_course(make_run: MakeRun) -> None:
    run = make_run("a", 0, [0.1, 0.5])
    path = run.path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sittings": 2}))
    assert course_of(run) is None


def test_the_tables(subject: Callable[..., Subject]) -> None:
    made = subject(
        {
            "fast": [[0.1, 0.85, 0.9, 0.92], [0.1, 0.9, 0.91, 0.93]],
            "slow": [[0.1, 0.5, 0.7, 0.9], [0.1, 0.3, 0.5, 0.8]],
        },
        train_seconds=60.0,
    )
    figure, goals, whole = TimeToAccuracy(goals=[0.9, 0.8]).analyse(made)
    assert isinstance(goals, Table)
    assert [list(row) for row in goals.rows] == [
        ["fast", "80 %", "2 of 2", 25.5, 0.0],
        ["fast", "90 %", "2 of 2", 36.8, 15.9],  # 48.0 and 25.5: mean 36.75, deviation 22.5 / sqrt(2)
        ["slow", "80 %", "2 of 2", 70.5, 0.0],
        ["slow", "90 %", "1 of 2", None, None],  # the seed that is fast alone would flatter
    ]
    assert isinstance(whole, Table)
    assert [row[0] for row in whole.rows] == ["fast", "slow"]
    assert [list(row[4:]) for row in whole.rows] == [[70.5, 0.0, 60.0, 8.0, 2.5]] * 2
    for row, name in zip(whole.rows, ("fast", "slow"), strict=True):
        results = [run.result() for run in made.trained()[name]]
        accuracies = [100 * result["metrics"]["test_accuracy"] for result in results if result]
        assert row[2] == pytest.approx(sum(accuracies) / 2, abs=0.005)
        assert row[3] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5, abs=0.005)
    assert isinstance(figure, Figure)
    (axes,) = figure.figure.axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(curves) == 4
    assert list(curves[0].get_xdata()) == [3.0, 25.5, 48.0, 70.5]
    levels = [line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    assert levels == [80, 90]


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    outputs = list(TimeToAccuracy().analyse(any_subject))
    known = [
        name
        for name, runs in any_subject.trained().items()
        if any(course_of(run) is not None for run in runs)
    ]
    assert len(outputs) == (3 if known else 0)
    if outputs:
        assert isinstance(outputs[1], Table)
        assert [row[0] for row in outputs[1].rows] == known


def test_runs_of_which_not_all_is_known_are_named(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [make_run("a", 0, [0.1, 0.95]), make_run("b", 0, [0.1, 0.95])]
    path = runs[1].path / "history.jsonl"
    path.write_text(path.read_text().replace('"wall_seconds": 22.5', '"wall_seconds": null'))
    figure, goals, _ = TimeToAccuracy().analyse(subject_from(runs))
    assert "Not all seconds are known of b (interrupted, or of an older version)." in figure.caption
    assert isinstance(goals, Table)
    assert [row[0] for row in goals.rows] == ["a"]


@pytest.mark.parametrize(
    ("accuracies", "lowest"),
    [
        pytest.param([[0.1, 0.12, 0.16], [0.1, 0.2, 0.26]], 11.0, id="far below the goal"),
        pytest.param([[0.1, 0.85, 0.95], [0.1, 0.9, 0.91]], 65.0, id="at the goal"),
        pytest.param([[0.1, 0.12, 0.12], [0.1, 0.9, 0.91]], 10.0, id="one that learns next to nothing"),
    ],
)
def test_where_runs_end_is_in_view(
    make_run: MakeRun, subject_from: SubjectFrom, accuracies: list[list[float]], lowest: float
) -> None:
    runs = [make_run(name, 0, values) for name, values in zip("ab", accuracies, strict=True)]
    figure, *_ = TimeToAccuracy(goals=[0.9]).analyse(subject_from(runs))
    assert isinstance(figure, Figure)
    assert figure.figure.axes[0].get_ylim()[0] == pytest.approx(lowest)
