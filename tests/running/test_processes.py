"""Several runs at a time in real processes."""

import os
import signal
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from torch import equal

from cnnbench import memory
from cnnbench.recipe import Recipe, load_recipe
from cnnbench.running import iterate_recipe, run_recipe
from cnnbench.running.events import Event, Failed, Finished, Reported, Started, Working
from cnnbench.running.processes import how_many
from cnnbench.runs import Run
from cnnbench.training import Epoch

RECIPE = """
title = "Trial"
question = "Which is better?"
analyses = []

[data]
name = "synthetic"
height = 8
width = 8
num_images = 100
batch_size = 20

[train]
epochs = 2
seeds = [0, 1]

[[variants]]
name = "mlp"
model = {name = "mlp", widths = [8]}

[[variants]]
name = "cnn"
model = {name = "cnn", widths = [4], head = []}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    file = tmp_path / "trial.toml"
    file.write_text(RECIPE)
    return load_recipe(file)


def events_of(recipe: Recipe, runs: Path, jobs: int = 2) -> Iterator[Event]:
    return iterate_recipe(recipe, runs_dir=runs, device="cpu", jobs=jobs)


def test_runs_are_those_of_one_after_another(recipe: Recipe, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    expected = run_recipe(recipe, runs_dir=one, device="cpu").comparison
    events = list(events_of(recipe, two))
    assert isinstance(events[-1], Reported)
    assert sorted(event.index for event in events if isinstance(event, Started)) == [1, 2, 3, 4]
    assert events[-1].comparison is not None
    assert expected is not None
    assert [row.variant for row in events[-1].comparison.rows] == [row.variant for row in expected.rows]
    for seed in (0, 1):
        for variant in ("mlp", "cnn"):
            first, second = (Run(runs / "trial" / variant / f"seed{seed}") for runs in (one, two))
            weights, others = first.weights(), second.weights()
            assert all(equal(weights[name], others[name]) for name in weights)
            result = second.result()
            assert result is not None
            assert result["device"]["at_a_time"] == 2
    assert not active_children()


@pytest.mark.parametrize(
    ("num_runs", "threads", "gib", "expected"),
    [(6, 2, 20, 2), (1, 2, 20, 1), (0, 2, 20, 1), (30, 16, 100, 16), (30, 16, 10, 3), (6, 2, 1, 1)],
)
def test_as_many_as_pay(
    monkeypatch: pytest.MonkeyPatch, num_runs: int, threads: int, gib: int, expected: int
) -> None:
    """One on each core, 3 GiB each, and never more than there are."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(memory, "available_bytes", lambda device: gib * 2**30)
    assert how_many(num_runs, torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("num_runs", "gpus", "threads", "gib", "expected"),
    [
        (12, 1, 16, 140, 4), (3, 1, 16, 140, 3), (12, 1, 4, 140, 2), (12, 1, 16, 30, 2), (12, 1, 16, 6, 1),
        (12, 1, 1, 140, 1), (12, 2, 32, 80, 8), (12, 2, 2, 80, 2), (0, 1, 16, 140, 1),
    ],
)  # fmt: skip
def test_as_many_as_pay_on_gpus(
    monkeypatch: pytest.MonkeyPatch, num_runs: int, gpus: int, threads: int, gib: int, expected: int
) -> None:
    """Four on each at most, two cores and 12 GiB of the GPU for each run, and one on each GPU in any case."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(memory, "available_bytes", lambda device: gib * 2**30)
    assert how_many(num_runs, torch.device("cuda")) == expected


def test_auto_is_a_choice(recipe: Recipe, tmp_path: Path) -> None:
    assert run_recipe(recipe, runs_dir=tmp_path, device="cpu", jobs=None).comparison is not None
    result = Run(tmp_path / "trial/mlp/seed0").result()
    assert result is not None
    assert result["device"]["at_a_time"] == how_many(4, torch.device("cpu"))


def test_two_are_in_work_at_a_time(recipe: Recipe, tmp_path: Path) -> None:
    events = events_of(recipe, tmp_path / "runs")
    for event in events:
        if isinstance(event, Started):
            assert len(active_children()) == 2


def test_complete_runs_need_no_process(recipe: Recipe, tmp_path: Path) -> None:
    run_recipe(recipe, runs_dir=tmp_path / "runs", device="cpu")
    reused = []
    for event in events_of(recipe, tmp_path / "runs"):
        assert not active_children()
        if isinstance(event, Finished):
            reused.append(event.reused)
    assert reused == [True] * 4


def test_a_process_that_is_killed_fails_its_run_alone(recipe: Recipe, tmp_path: Path) -> None:
    long = recipe.model_copy(
        update={
            "variants": [
                each.model_copy(update={"train": each.train.model_copy(update={"epochs": 200})})
                for each in recipe.variants[:1]
            ]
        }
    )
    failed, finished, killed = [], [], None
    for event in events_of(long, tmp_path / "runs"):
        if killed is None and isinstance(event, Working) and isinstance(event.event, Epoch):
            killed = active_children()[0].pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
        if isinstance(event, Failed):
            failed.append(event.message)
        if isinstance(event, Finished):
            finished.append(event.run.label)
    assert failed == ["its process ended by signal 9"]
    assert len(finished) == 1
    assert [event.reused for event in events_of(long, tmp_path / "runs") if isinstance(event, Finished)] == [
        True,
        False,
    ]


def test_what_cannot_be_written_is_told_as_by_one_process(recipe: Recipe, tmp_path: Path) -> None:
    """What a run raises comes to the one who asked, and ends the others."""
    runs = tmp_path / "runs"
    (runs / "trial").mkdir(parents=True)
    (runs / "trial" / "mlp").write_text("a file where the directory of a variant should be")
    with pytest.raises(OSError, match="mlp"):
        list(events_of(recipe, runs))
    assert not active_children()


def test_a_resumed_run_keeps_its_threads_and_says_that_it_was_not_alone(
    recipe: Recipe, tmp_path: Path
) -> None:
    """Sums depend on threads, and its times on what ran beside it."""
    for event in events_of(recipe, tmp_path / "runs"):
        if isinstance(event, Working) and isinstance(event.event, Epoch) and event.event.epoch == 1:
            break
    begun = event.run
    result = None
    for event in iterate_recipe(recipe, runs_dir=tmp_path / "runs", device="cpu"):
        if isinstance(event, Finished) and event.run.path == begun.path:
            result = event.result
    assert result is not None
    assert result["device"]["at_a_time"] == 2


def test_processes_end_with_the_one_who_asked(recipe: Recipe, tmp_path: Path) -> None:
    events = events_of(recipe, tmp_path / "runs")
    while not isinstance(next(events), Started):
        pass
    assert active_children()
    events.close()  # type: ignore[attr-defined]
    assert not active_children()
