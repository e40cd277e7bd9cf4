"""The seeds of a variant as one batched model, from the recipe to the results on disk."""

from pathlib import Path
from shutil import copytree

import pytest
import torch
from torch import allclose

from cnnbench.data import load_dataset
from cnnbench.errors import CnnbenchError
from cnnbench.job import Resumed
from cnnbench.joint_job import reason_apart
from cnnbench.recipe import Recipe, load_recipe
from cnnbench.running import iterate_recipe, run_recipe
from cnnbench.running.events import Failed, Finished, Notice, Working
from cnnbench.running.recipe import ParallelSeeds
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
epochs = 3
seeds = [0, 1, 2]
precision = "fp32"

[[variants]]
name = "mlp"
model = {name = "mlp", widths = [8]}

[[variants]]
name = "dropped"
model = {name = "mlp", widths = [8], dropout = 0.5}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    file = tmp_path / "trial.toml"
    file.write_text(RECIPE)
    return load_recipe(file)


def a_run(runs: Path, variant: str, seed: int) -> Run:
    return Run(runs / "trial" / variant / f"seed{seed}")


def assert_as_one_by_one(recipe: Recipe, tmp_path: Path, together: Path) -> None:
    alone = tmp_path / "alone"
    run_recipe(recipe, runs_dir=alone, device="cpu")
    for variant in ("mlp", "dropped"):
        for seed in (0, 1, 2):
            weights, expected = (a_run(runs, variant, seed).weights() for runs in (together, alone))
            assert all(allclose(weights[name], expected[name], atol=1e-5) for name in expected)
            result = a_run(together, variant, seed).result()
            assert result is not None
            in_one = 3 if variant == "mlp" else 1
            assert (result["device"]["at_a_time"], result["device"]["seeds_in_one"]) == (1, in_one)


def test_results_are_those_of_one_by_one(recipe: Recipe, tmp_path: Path) -> None:
    together = tmp_path / "together"
    events = list(iterate_recipe(recipe, runs_dir=together, device="cpu", parallel_seeds="on"))
    (why,) = (event.text for event in events if isinstance(event, Notice))
    assert why.startswith("the seeds of dropped are trained one after another: dropout")
    finished = [(event.run.variant, event.run.seed) for event in events if isinstance(event, Finished)]
    assert finished == [(variant, seed) for variant in ("mlp", "dropped") for seed in (0, 1, 2)]
    assert_as_one_by_one(recipe, tmp_path, together)


def test_interrupted_seeds_go_on(recipe: Recipe, tmp_path: Path) -> None:
    together = tmp_path / "together"
    events = iterate_recipe(recipe, runs_dir=together, device="cpu", parallel_seeds="on")
    rows = (event for event in events if isinstance(event, Working) and isinstance(event.event, Epoch))
    for _ in range(9 - 1):  # the last seed has one epoch fewer than the others
        next(rows)
    events.close()  # type: ignore[attr-defined]
    again = list(iterate_recipe(recipe, runs_dir=together, device="cpu", parallel_seeds="on"))
    worked = [event for event in again if isinstance(event, Working) and event.run.variant == "mlp"]
    resumed = [(event.run.seed, event.event.epoch) for event in worked if isinstance(event.event, Resumed)]
    assert resumed == [(0, 2), (1, 2), (2, 1)]
    assert a_run(together, "mlp", 0).result() is not None
    assert a_run(together, "mlp", 0).result()["sittings"] == 2  # type: ignore[index]
    assert_as_one_by_one(recipe, tmp_path, together)


def test_complete_seeds_are_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    run_recipe(recipe, runs_dir=tmp_path, device="cpu")
    before = a_run(tmp_path, "mlp", 1).result()
    events = list(iterate_recipe(recipe, runs_dir=tmp_path, device="cpu", parallel_seeds="on"))
    assert [event.reused for event in events if isinstance(event, Finished)] == [True] * 6
    assert a_run(tmp_path, "mlp", 1).result() == before


def test_what_another_process_trained_meanwhile_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    recipe = load_recipe(recipe.path, only=["mlp"])
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    run_recipe(recipe, runs_dir=elsewhere, device="cpu")
    theirs = a_run(elsewhere, "mlp", 1).result()
    finished = {}
    with a_run(here, "mlp", 0).locked():
        for event in iterate_recipe(recipe, runs_dir=here, device="cpu", parallel_seeds="on"):
            if isinstance(event, Failed):  # before the next seed is locked
                assert event.run.seed == 0
                copytree(a_run(elsewhere, "mlp", 1).path, a_run(here, "mlp", 1).path)
            elif isinstance(event, Finished):
                finished[event.run.seed] = event.reused
    assert finished == {1: True, 2: False}
    assert a_run(here, "mlp", 1).result() == theirs


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_auto_is_one_by_one_on_a_processor(recipe: Recipe, tmp_path: Path, choice: ParallelSeeds) -> None:
    run_recipe(recipe, runs_dir=tmp_path, device="cpu", parallel_seeds=choice)
    result = a_run(tmp_path, "mlp", 0).result()
    assert result is not None
    assert result["device"]["seeds_in_one"] == 1


def test_auto_leaves_alone_what_a_gpu_replays_faster(recipe: Recipe) -> None:
    """Decided by the model and the kind of device, so no GPU is needed for it."""
    config = recipe.run_configs()[0]
    dataset = load_dataset(config.data, Path())
    reason = reason_apart(config, dataset, torch.device("cuda"), if_faster=True)
    assert reason == "its steps are recorded on the GPU instead"
    assert reason_apart(config, dataset, torch.device("cpu"), if_faster=True) is None


def test_one_seed_is_trained_as_ever(recipe: Recipe, tmp_path: Path) -> None:
    one = load_recipe(recipe.path, seeds=1)
    events = list(iterate_recipe(one, runs_dir=tmp_path, device="cpu", parallel_seeds="on"))
    assert not [event for event in events if isinstance(event, Notice)]
    result = a_run(tmp_path, "mlp", 0).result()
    assert result is not None
    assert result["device"]["seeds_in_one"] == 1


def test_several_processes_as_well_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError, match="--parallel-seeds trains in one process: give it or --jobs"):
        run_recipe(recipe, runs_dir=tmp_path, device="cpu", parallel_seeds="on", jobs=2)
