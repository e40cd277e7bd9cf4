"""Which run a path means; what is said of paths that mean none."""

import json
from pathlib import Path

import pytest

from cnnbench.errors import CnnbenchError
from cnnbench.prediction.finding import find_run


def make(path: Path, status: str | None = "complete", weights: bool = True) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    if status is not None:
        (path / "result.json").write_text(json.dumps({"status": status, "message": "why", "metrics": {}}))
    if weights:
        (path / "best.safetensors").write_bytes(b"")
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs of a variant with seeds 0 (diverged), 2 (unfinished), 10 and 11 (complete), and of another one."""
    runs = tmp_path / "runs"
    for seed, status in ((0, "diverged"), (2, None), (10, "complete"), (11, "complete")):
        make(runs / f"demo/wide/seed{seed}", status)
    make(runs / "demo/narrow/seed0")
    (runs / "demo/plan.json").write_text('{"command": "cnnbench recipe demo.toml"}')
    return runs


def test_a_run(runs: Path) -> None:
    found = find_run(runs / "demo/wide/seed11", runs)
    assert (found.run.path, found.note) == (runs / "demo/wide/seed11", None)


def test_a_variant_is_its_first_finished_seed_and_that_is_said(runs: Path) -> None:
    found = find_run(runs / "demo/wide", runs)
    assert found.run.path == runs / "demo/wide/seed10"
    assert found.note == (
        f"{found.run.path} is used, the first of 4 seeds; seed0 diverged, so that it has no weights (why); "
        "seed2 is not finished; run `cnnbench recipe demo.toml`"
    )


def test_a_path_below_the_runs(runs: Path) -> None:
    assert find_run(Path("demo/narrow"), runs).run.path == runs / "demo/narrow/seed0"


def test_a_recipe_of_one_variant_stands_for_that(runs: Path) -> None:
    make(runs / "alone/only/seed0")
    plan = runs / "alone/plan.json"
    plan.write_text(json.dumps({"variants": [{"name": "only"}]}))
    assert find_run(Path("alone"), runs).run.path == runs / "alone/only/seed0"
    for content in (json.dumps({"variants": [{"name": "only"}, {"name": "not trained yet"}]}), "{}", "{"):
        plan.write_text(content)
        with pytest.raises(CnnbenchError, match=r"alone holds the variants of a recipe: name .*only"):
            find_run(Path("alone"), runs)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("demo/wide/seed0", "seed0 diverged, so that it has no weights"),
        ("demo/wide/seed2", "seed2 is not finished; run `cnnbench recipe demo.toml`"),
        ("demo/wide/seed3", r"there is no .*seed3, did you mean '[^']*(seed2|seed10|seed0)'"),
        ("demo/wid/seed0", "there is no .*, did you mean '.*demo/wide'"),
        ("demo", "demo holds the variants of a recipe: name one of .*demo/narrow, .*demo/wide"),
        ("demo/plan.json", "plan.json is a file"),
        (".", "holds no run: there is no config.json"),
        ("zzz", "there is no .*zzz: name the directory of a run"),
    ],
)
def test_what_is_no_finished_run(path: str, message: str, runs: Path) -> None:
    with pytest.raises(CnnbenchError, match=message):
        find_run(runs / path, runs)


def test_a_run_that_is_not_whole(runs: Path) -> None:
    make(runs / "demo/other/seed0", weights=False)
    with pytest.raises(CnnbenchError, match=r"lacks its weights, best\.safetensors; run `cnnbench recipe"):
        find_run(runs / "demo/other/seed0", runs)
    (runs / "demo/narrow/seed0/result.json").write_text("{")
    with pytest.raises(CnnbenchError, match="no finished run: seed0 is damaged"):
        find_run(runs / "demo/narrow", runs)
