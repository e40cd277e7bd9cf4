"""The programs in `benchmarks/`: what they make of times, and that each of them runs. Nothing is timed."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import turns

    return turns


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    name, *options = arguments
    command = [sys.executable, str(FOLDER / name), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent)


def test_things_take_turns_and_the_first_does_not_count(turns: ModuleType) -> None:
    calls: list[str] = []
    times = {"a": [9.0, 2.0, 4.0, 6.0], "b": [9.0, 1.0, 1.0, 3.0]}

    def way(name: str) -> float:
        calls.append(name)
        return times[name][calls.count(name) - 1]

    found = turns.in_turns({name: lambda name=name: way(name) for name in times}, 3)
    assert "".join(calls) == "abababab"
    assert found == {"a": [2.0, 4.0, 6.0], "b": [1.0, 1.0, 3.0]}
    assert turns.ratios(found["a"], found["b"]) == [2.0, 4.0, 2.0]
    assert turns.spread([2.0, 4.0, 2.0]) == "2.00 (2.00 to 4.00)"


@pytest.mark.parametrize("name", ["startup.py", "threads.py", "ways.py"])
def test_each_says_what_it_is_for(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "--repeats" in done.stdout


def test_ways_of_a_recipe() -> None:
    done = run(
        "ways.py", "recipes/quickstart.toml", "--way=", "--way=--only mlp", "--each=--dry-run", "--repeats=1"
    )
    assert done.returncode == 0, done.stderr
    assert "cnnbench recipe recipes/quickstart.toml --dry-run" in done.stdout
    assert "(as it is)" in done.stdout
    assert "1.00 (1.00 to 1.00)" in done.stdout


def test_startup() -> None:
    done = run("startup.py", "--repeats=1")
    assert done.returncode == 0, done.stderr
    for row in ("cnnbench --help", "cnnbench list", "First step, from torch's import on"):
        assert row in done.stdout


def test_threads() -> None:
    done = run("threads.py", "--repeats=1", "--seconds=0.01", "--precision=fp32")
    assert done.returncode == 0, done.stderr
    assert "fp32: how many times as fast more threads are" in done.stdout
    assert "26,017,792" in done.stdout  # 128 times 784 * 256 + 256 * 10


@pytest.mark.parametrize("name", ["startup.py", "threads.py", "ways.py"])
@pytest.mark.parametrize("repeats", ["0", "-1", "x"])
def test_turns_are_counted_from_one(name: str, repeats: str) -> None:
    given = ["--way=", "recipe"] if name == "ways.py" else []
    done = run(name, f"--repeats={repeats}", *given)
    assert done.returncode == 2
    assert f"{repeats!r} is no whole number from 1 on" in done.stderr


def test_a_way_that_fails_is_told() -> None:
    done = run("ways.py", "recipes/quickstart.toml", "--way=--only nothing", "--repeats=1")
    assert done.returncode == 2
    assert "ended with 2" in done.stderr
    assert "nothing" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--way=", "--way="], "two ways are the same"),
        (["--way=--quick --runs x"], "--runs cannot be given"),
        (["--way='--jobs"], "No closing quotation"),
    ],
)
def test_ways_that_cannot_be(options: list[str], said: str) -> None:
    done = run("ways.py", "recipes/quickstart.toml", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recipe_that_is_not_there_has_no_first_step() -> None:
    done = run("startup.py", "nowhere.toml", "--repeats=1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere.toml")
    assert done.stdout == ""
