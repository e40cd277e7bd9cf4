"""Epochs and seconds until a share of the best accuracy, by hand."""

import json
from collections.abc import Callable, Sequence

import pytest

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.convergence import Convergence, first_reaching, progress_of
from cnnbench.catalog import options, target
from cnnbench.recipe.option_models import options_model
from cnnbench.runs import Run

MakeRun = Callable[..., Run]
SubjectFrom = Callable[[Sequence[Run]], Subject]


@pytest.mark.parametrize(
    ("accuracies", "goal", "epoch"),
    [
        ([0.1, 0.5, 0.8, 0.7, 0.9], 0.8, 2),
        ([0.1, 0.5, 0.8, 0.7, 0.9], 0.81, 4),  # what it fell to between does not matter
        ([0.1, 0.5, 0.8, 0.7, 0.9], 0.91, None),
        ([0.9, 0.1], 0.5, 0),  # a pretrained model starts there
        ([0.0, 0.63, 0.7], 0.9 * 0.7, 1),  # which is 0.6300000000000001
        ([], 0.1, None),
    ],
    ids=["exactly", "later", "never", "untrained", "rounding", "nothing known"],
)
def test_the_first_epoch_that_reaches_a_goal(accuracies: list[float], goal: float, epoch: int | None) -> None:
    assert first_reaching(dict(enumerate(accuracies)), goal) == epoch


def test_seconds_add_up_to_the_first_that_is_unknown(make_run: MakeRun) -> None:
    run = make_run("a", 0, [0.1, 0.4, 0.5, 0.6])
    rows = run.history()
    rows[3]["train_seconds"] = None
    (run.path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    progress = progress_of(run)
    assert progress is not None
    assert progress.seconds == {0: 0.0, 1: 20.0, 2: 40.0}
    assert progress_of(make_run("b", 0, [None, None])) is None


def test_the_tables(subject: Callable[..., Subject]) -> None:
    made = subject(
        {
            "fast": [[0.1, 0.6, 0.7, 0.8], [0.1, 0.7, 0.79, 0.8]],
            "slow": [[0.1, 0.3, 0.5, 0.6], [0.1, 0.2, 0.4, 0.75]],
        }
    )
    figure, own, common, seeds = Convergence(shares=[0.9, 0.5]).analyse(made)
    assert isinstance(own, Table)
    assert [list(row) for row in own.rows] == [
        ["fast", "50 %", 40.0, "2 of 2", 1.0, "1 to 1", 20.0],
        ["fast", "90 %", 72.0, "2 of 2", 2.5, "2 to 3", 50.0],
        ["fast", "100 %", 80.0, "2 of 2", 3.0, "3 to 3", 60.0],
        ["slow", "50 %", 33.75, "2 of 2", 1.5, "1 to 2", 30.0],  # 30 % at epoch 1, 37.5 % at epoch 2
        ["slow", "90 %", 60.75, "2 of 2", 3.0, "3 to 3", 60.0],
        ["slow", "100 %", 67.5, "2 of 2", 3.0, "3 to 3", 60.0],
    ]
    assert isinstance(common, Table)
    assert [list(row) for row in common.rows] == [  # of 80 %
        ["fast", "50 %", 40.0, "2 of 2", 1.0, "1 to 1", 20.0],
        ["fast", "90 %", 72.0, "2 of 2", 2.5, "2 to 3", 50.0],
        ["slow", "50 %", 40.0, "2 of 2", 2.0, "2 to 2", 40.0],
        ["slow", "90 %", 72.0, "1 of 2", None, None, None],
    ]
    assert isinstance(seeds, Table)
    assert list(seeds.rows[2]) == ["slow", 0, 60.0, 1, 3, 3, 60.0, 2, None]
    assert list(seeds.rows[3]) == ["slow", 1, 75.0, 2, 3, 3, 60.0, 2, 3]
    assert isinstance(figure, Figure)
    left, right = figure.figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("epoch", "epoch")
    crosses = [line for axes in (left, right) for line in axes.lines if line.get_marker() == "x"]
    assert len(crosses) == 1
    assert crosses[0].get_xdata()[0] > 3  # beyond the last epoch


def test_the_best_of_other_data_is_no_goal(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [
        make_run("easy", 0, [0.1, 0.9, 0.99]),
        make_run("hard", 0, [0.1, 0.3, 0.5], classes=[f"class {i}" for i in range(100)]),
    ]
    _, _, common, _ = Convergence(shares=[0.9]).analyse(subject_from(runs))
    assert isinstance(common, Table)
    assert [list(row[1:4]) for row in common.rows] == [
        ["90 %", 89.1, "1 of 1"],
        ["90 %", 45.0, "1 of 1"],
    ]


def test_one_seed_has_no_range(subject: Callable[..., Subject]) -> None:
    figure, own, _, _ = Convergence().analyse(subject({"a": [[0.1, 0.4, 0.5]]}))
    assert isinstance(own, Table)
    assert [row[5] for row in own.rows] == [None] * 4
    assert "One seed each." in figure.caption


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    outputs = list(Convergence().analyse(any_subject))
    known = [
        name
        for name, runs in any_subject.trained().items()
        if any(progress_of(run) is not None for run in runs)
    ]
    assert bool(outputs) == bool(known)
    if outputs:
        _, own, common, seeds = outputs
        assert isinstance(own, Table)
        assert isinstance(common, Table)
        assert isinstance(seeds, Table)
        assert list(dict.fromkeys(row[0] for row in own.rows)) == known
        assert len(common.rows) == 3 * len(known)
        assert {len(row) for row in seeds.rows} == {len(seeds.columns)}
        unknown = [name for name in any_subject.variants() if name not in known]
        assert all(name in own.caption for name in unknown)


@pytest.mark.parametrize(
    ("shares", "valid"), [([0.5, 1.0], True), ([0.0], False), ([1.01], False), ([], False)], ids=str
)
def test_shares_are_checked(shares: list[float], valid: bool) -> None:
    assert [option.name for option in options("analysis", "convergence")] == ["shares"]
    model = options_model(target("analysis", "convergence"))
    if valid:
        assert model(shares=shares).shares == shares  # type: ignore[attr-defined]
    else:
        with pytest.raises(ValueError, match="shares"):
            model(shares=shares)


@pytest.mark.parametrize(("schedule", "said"), [("cosine", True), ("one_cycle", True), ("constant", False)])
def test_a_rate_that_falls_to_the_end_is_said_to_put_the_best_epoch_there(
    make_run: MakeRun, subject_from: SubjectFrom, schedule: str, said: bool
) -> None:
    run = make_run("a", 0, [0.1, 0.4, 0.5])
    config = run.config()
    config["train"]["schedule"] = {"name": schedule}
    (run.path / "config.json").write_text(json.dumps(config))
    figure, *_ = Convergence().analyse(subject_from([run]))
    assert ("The learning rate falls until the last epoch" in figure.caption) is said
