"""Runs of the same settings in recipes of one folder, which are no stages of each other."""

import json
from pathlib import Path

import pytest

from cnnbench.recipe import load_recipe
from cnnbench.running import iterate_recipe, look_ahead
from cnnbench.running.events import Notice

RECIPE = """
analyses = []
[data]
name = "digits"
limit = 300
val_size = 100
batch_size = 50
[model]
name = "mlp"
widths = [4]
[train]
epochs = 1
seeds = [0, 1]
[[variants]]
name = "{first}"
[[variants]]
name = "{second}"
train.lr = {lr}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, values in {
        "series/one": {"first": "plain", "second": "fast", "lr": 0.1},
        "series/two": {"first": "base", "second": "slow", "lr": 0.002},
        "other": {"first": "base", "second": "slow", "lr": 0.002},
        "alone": {"first": "plain", "second": "fast", "lr": 0.1},
    }.items():
        path = tmp_path / f"recipes/{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RECIPE.format(**values), encoding="utf-8")
    return tmp_path


def run(folder: Path, name: str, *, fresh: bool = False) -> list[str]:
    """Runs a recipe, and returns what was told of runs taken over."""
    recipe = load_recipe(folder / f"recipes/{name}.toml")
    events = iterate_recipe(recipe, runs_dir=folder / "runs", device="cpu", fresh=fresh)
    return [event.text for event in events if isinstance(event, Notice) and "taken over" in event.text]


def would(folder: Path, name: str) -> list[tuple[str, int, str, str]]:
    decisions = look_ahead(load_recipe(folder / f"recipes/{name}.toml"), folder / "runs").decisions
    return [(run.variant, run.seed, decision.action, decision.reason) for run, decision in decisions]


def test_recipes_of_a_folder_share_their_runs(folder: Path) -> None:
    assert run(folder, "series/one") == []
    slow = [("slow", seed, "train", "not trained yet") for seed in (0, 1)]
    assert would(folder, "series/two") == [
        ("base", 0, "take over", "series/one/plain/seed0 has the same settings"),
        ("base", 1, "take over", "series/one/plain/seed1 has the same settings"),
        *slow,
    ]
    assert run(folder, "series/two") == [
        f"base seed {seed} has the settings of series/one/plain/seed{seed}: that run is taken over, not "
        "trained again"
        for seed in (0, 1)
    ]
    assert [action for *_, action, _ in would(folder, "series/two")] == ["reuse"] * 4
    taken = json.loads((folder / "runs/series/two/base/seed1/result.json").read_text())
    assert taken["taken_from"] == "series/one/plain/seed1"


def test_a_run_whose_weights_are_gone_or_damaged_is_not_shared(folder: Path) -> None:
    run(folder, "series/one")
    (folder / "runs/series/one/plain/seed0/best.safetensors").unlink()
    (folder / "runs/series/one/plain/seed1/best.safetensors").write_bytes(b"damaged")
    assert [action for *_, action, _ in would(folder, "series/two")] == ["train"] * 4
    assert run(folder, "series/two") == []


def test_with_fresh_all_is_trained(folder: Path) -> None:
    run(folder, "series/one")
    assert run(folder, "series/two", fresh=True) == []


def test_recipes_in_no_folder_share_nothing(folder: Path) -> None:
    run(folder, "alone")
    assert run(folder, "other") == []
    run(folder, "series/one")  # nor with those of a folder
    (folder / "runs/other/base/seed0/result.json").unlink()
    assert run(folder, "other") == []
