"""What is said of a recipe in work, event by event."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnbench.job import Damaged, Resumed
from cnnbench.progress import Follower, duration
from cnnbench.recipe import Recipe, load_recipe
from cnnbench.running.events import Event, Failed, Finished, Notice, Reported, Started, Working
from cnnbench.runs import Run
from cnnbench.training import Epoch, Step

QUICKSTART = Path(__file__).parents[1] / "recipes/quickstart.toml"
RESULT = {"status": "complete", "message": None, "best_epoch": 7}
METRICS = {"test_accuracy": 0.9125, "val_accuracy": 0.9375}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (190, "3 min 10 s"), (3600, "1 h 0 min"),
        (3900, "1 h 5 min"), (90000, "25 h 0 min"),
    ],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe(QUICKSTART, seeds=2)


def epoch(number: int) -> Epoch:
    untrained = number == 0
    return Epoch(
        epoch=number, step=number * 10, lr=None if untrained else 0.1,
        train_loss=None if untrained else 1.25, train_accuracy=None if untrained else 0.5,
        val_loss=1.5, val_accuracy=0.5, num_images=0 if untrained else 640, train_seconds=1.0,
        val_seconds=0.1, images_per_second=None if untrained else 1234.4, peak_memory_mib=100.0,
    )  # fmt: skip


def test_each_event_is_a_line(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = Run(Path("runs/quickstart/mlp/seed0")), Run(Path("runs/quickstart/cnn/seed1"))
    config = recipe.run_configs()[0]
    end = Reported(Path("runs/quickstart"), None, None, [])

    def events() -> Iterator[Event]:
        yield Notice("an old run was moved aside")
        yield Started(run, config, 1, 6)
        yield Working(run, Damaged("its state is truncated; starting anew"))
        yield Working(run, Resumed(3))
        yield Working(run, epoch(0))
        yield Working(run, Step(epoch=4, step=5, num_steps=10, num_images=320, seconds=0.5))
        yield Working(run, epoch(4))
        yield Finished(run, {**RESULT, "metrics": METRICS}, reused=False)
        yield Finished(run, {**RESULT, "metrics": METRICS}, reused=True)
        diverged = {"test_accuracy": None, "val_accuracy": None}
        yield Finished(
            other, {"best_epoch": None, "message": "the loss became NaN", "metrics": diverged}, reused=False
        )
        yield Failed(other, "another process is at work")
        yield end

    follower = Follower(recipe)
    assert follower.saved == "nothing was in training"
    assert follower.follow(events()) is end
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[:2] == ["an old run was moved aside", "[1/6] mlp seed 0"]
    assert lines[2] == "mlp seed 0: its state is truncated; starting anew"
    assert lines[3] == "mlp seed 0 goes on after epoch 3"
    assert lines[4] == "  epoch 0: val accuracy 50.00%, untrained"
    assert lines[5] == "  epoch 4: val accuracy 50.00%, train loss 1.250, 1,234 images/s"
    assert lines[6] == "mlp seed 0: test accuracy 91.25%, best epoch 7"
    assert lines[7] == "mlp seed 0: test accuracy 91.25%, complete already"
    assert lines[8].startswith("cnn seed 1: the loss became NaN")
    assert lines[9] == "cnn seed 1: another process is at work"
    assert follower.saved == "nothing was in training"
    assert follower.display.cells["mlp"] == ["2/2", "done", "7", "93.75%", ""]
    assert follower.display.cells["cnn"][:2] == ["1/2", "failed"]
    assert follower.display.cells["residual"][1] == "waiting"


def test_an_interrupt_finds_what_is_in_training(recipe: Recipe) -> None:
    """Two at a time, whose lines are told apart by their run."""
    follower = Follower(recipe, several=True)
    runs = [Run(Path(f"runs/quickstart/mlp/seed{seed}")) for seed in (0, 1)]
    said = []

    def events() -> Iterator[Event]:
        for index, run in enumerate(runs, start=1):
            yield Started(run, recipe.run_configs()[0], index, 6)
            said.append(follower.saved)
        yield Failed(runs[0], "its process ended by signal 9")
        said.append(follower.saved)
        yield Reported(Path("runs/quickstart"), None, None, [])

    follower.follow(events())
    goes_on = "last finished epoch; the same command goes on from there"
    assert said == [
        f"mlp seed 0 is saved up to its {goes_on}",
        f"mlp seed 0 and mlp seed 1 are saved up to their {goes_on}",
        f"mlp seed 1 is saved up to its {goes_on}",
    ]


def test_after_fresh_it_is_another_command_that_goes_on(recipe: Recipe) -> None:
    follower = Follower(recipe, fresh=True)
    run = Run(Path("runs/quickstart/mlp/seed0"))
    said = []

    def events() -> Iterator[Event]:
        yield Started(run, recipe.run_configs()[0], 1, 6)
        said.append(follower.saved)
        yield Reported(Path("runs/quickstart"), None, None, [])

    follower.follow(events())
    command = "the same command without --fresh"
    assert said == [f"mlp seed 0 is saved up to its last finished epoch; {command} goes on from there"]


def test_lines_of_several_runs_name_theirs(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(Path("runs/quickstart/mlp/seed1"))
    end = Reported(Path("runs/quickstart"), None, None, [])
    Follower(recipe, several=True).follow(iter([Working(run, epoch(4)), end]))
    line = "mlp seed 1, epoch 4: val accuracy 50.00%, train loss 1.250, 1,234 images/s"
    assert capsys.readouterr().err.splitlines() == [line]


def test_the_bar_counts_steps_over_all_epochs(recipe: Recipe) -> None:
    follower = Follower(recipe)
    run = Run(Path("runs/quickstart/mlp/seed0"))
    end = Reported(Path("runs/quickstart"), None, None, [])
    step = Step(epoch=2, step=5, num_steps=10, num_images=320, seconds=0.5)
    follower.follow(iter([Started(run, recipe.run_configs()[0], 1, 6), Working(run, step), end]))
    (task,) = follower.display.progress.tasks
    assert (task.completed, task.total) == (15, 150)
    assert task.description == "mlp seed 0, epoch 2 of 15"
    assert task.fields["speed"] == "640 images/s"
    assert task.fields["left"].endswith(" left")
