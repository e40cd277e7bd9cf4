"""A published report: the page, the files it shows and nothing else, and no stale ones."""

from pathlib import Path

import pytest

from cnnbench import files
from cnnbench.errors import CnnbenchError
from cnnbench.publish import publish
from cnnbench.runs import Run

REPORT = """# Depth

![Curves](figures/curves.png)

All numbers: [tables/results.csv](tables/results.csv). The recipe is [recipe.toml](recipe.toml).
See [elsewhere](https://example.org/figures/curves.png).
"""

RUN_FILES = ("config.json", "history.jsonl", "predictions.npz", "result.json")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    directory = tmp_path / "runs" / "a" / "2_depth"
    for name in ("figures/curves.png", "figures/unused.png", "tables/results.csv", "recipe.toml"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"content of {name}")
    (directory / "report.md").write_text(REPORT)
    return directory


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_page_and_what_it_shows_are_copied(finished: Path, tmp_path: Path) -> None:
    page = publish(finished, "a/2_depth", tmp_path / "docs", [])
    assert page == tmp_path / "docs" / "a" / "2_depth.md"
    assert files_under(tmp_path / "docs") == [
        "a/2_depth.md", "a/2_depth/figures/curves.png", "a/2_depth/recipe.toml",
        "a/2_depth/tables/results.csv",
    ]  # fmt: skip
    text = page.read_text()
    assert "![Curves](2_depth/figures/curves.png)" in text
    assert "[tables/results.csv](2_depth/tables/results.csv)" in text
    assert "[recipe.toml](2_depth/recipe.toml)" in text
    assert "(https://example.org/figures/curves.png)" in text
    assert (page.parent / "2_depth" / "figures" / "curves.png").read_text() == "content of figures/curves.png"


def test_files_of_an_earlier_report_go(finished: Path, tmp_path: Path) -> None:
    publish(finished, "depth", tmp_path / "docs", [])
    (tmp_path / "docs" / "depth" / "mine.txt").write_text("not of the report")
    (finished / "report.md").write_text("# Depth\n\nNo picture, [recipe.toml](recipe.toml)\n")
    publish(finished, "depth", tmp_path / "docs", [])
    assert files_under(tmp_path / "docs") == ["depth.md", "depth/mine.txt", "depth/recipe.toml"]


def test_without_a_report_there_is_nothing_to_publish(tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError, match=r"no report in .*: run the recipe first"):
        publish(tmp_path / "runs", "depth", tmp_path / "docs", [])
    assert not (tmp_path / "docs").exists()


@pytest.fixture
def runs(finished: Path) -> list[Run]:
    (finished / "plan.json").write_text("content of plan.json")
    found = [Run(finished / variant / f"seed{seed}") for variant in ("deep", "flat") for seed in (0, 1)]
    for run in found:
        run.path.mkdir(parents=True)
        for name in (*RUN_FILES, "best.safetensors", ".lock"):
            (run.path / name).write_text(f"{name} of {run.label}")
    return found


def test_runs_are_copied_without_their_weights(finished: Path, runs: list[Run], tmp_path: Path) -> None:
    publish(finished, "a/2_depth", tmp_path / "docs", runs)
    copied = tmp_path / "docs/a/2_depth"
    assert files_under(copied / "deep") == [f"seed{seed}/{name}" for seed in (0, 1) for name in RUN_FILES]
    assert (copied / "flat/seed1/result.json").read_text() == "result.json of flat seed 1"
    assert (copied / "plan.json").read_text() == "content of plan.json"


def test_runs_of_an_earlier_report_go(finished: Path, runs: list[Run], tmp_path: Path) -> None:
    publish(finished, "depth", tmp_path / "docs", runs)
    copied = tmp_path / "docs/depth"
    (copied / "flat/seed1/mine.txt").write_text("not of the run")
    (runs[0].path / "predictions.npz").unlink()  # diverged this time
    publish(finished, "depth", tmp_path / "docs", runs[:1])
    assert files_under(copied / "deep") == [
        f"seed0/{name}" for name in ("config.json", "history.jsonl", "result.json")
    ]
    assert files_under(copied / "flat") == [f"seed1/{name}" for name in sorted([*RUN_FILES, "mine.txt"])]


def test_a_copy_that_was_interrupted_is_not_complete(
    finished: Path, runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that was trained anew since: not its new settings with the results of before."""
    publish(finished, "depth", tmp_path / "docs", runs)
    for run in runs:
        for name in RUN_FILES:
            (run.path / name).write_text(f"new {name} of {run.label}")
    place = tmp_path / "docs/depth/deep/seed0"
    write, written = files.write, []

    def until_killed(path: Path, content: str | bytes) -> None:
        if path.name == "history.jsonl":
            (path.parent / ".partial-history-abc").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(files, "write", until_killed)
    with pytest.raises(KeyboardInterrupt):
        publish(finished, "depth", tmp_path / "docs", runs)
    assert written[-1] == "config.json"
    assert not (place / "result.json").exists()
    monkeypatch.undo()
    publish(finished, "depth", tmp_path / "docs", runs)
    assert files_under(place) == list(RUN_FILES)
    assert (place / "result.json").read_text() == "new result.json of deep seed 0"


def test_saved_in_place_no_run_is_touched(finished: Path, runs: list[Run], tmp_path: Path) -> None:
    before = {path: path.read_bytes() for run in runs for path in run.path.iterdir()}
    publish(finished, "a/2_depth", tmp_path / "runs", runs[:1])
    assert {path: path.read_bytes() for run in runs for path in run.path.iterdir()} == before


def test_runs_with_weights_are_not_written_over(finished: Path, runs: list[Run], tmp_path: Path) -> None:
    own = tmp_path / "other/a/2_depth/deep/seed1"
    own.mkdir(parents=True)
    (own / "best.safetensors").write_text("of another training")
    with pytest.raises(CnnbenchError, match=r"deep/seed1 holds a run with best.safetensors, not a copy"):
        publish(finished, "a/2_depth", tmp_path / "other", runs)
    assert files_under(tmp_path / "other") == ["a/2_depth/deep/seed1/best.safetensors"]


def test_a_name_with_blanks_and_brackets_is_linked(finished: Path, tmp_path: Path) -> None:
    """A blank or a lone bracket would end the link; a second copy finds and removes what the first had."""
    for report in (REPORT, REPORT.replace("![Curves](figures/curves.png)", "")):
        (finished / "report.md").write_text(report)
        page = publish(finished, "my (1 recipe", tmp_path / "docs", [])
    assert "[recipe.toml](my%20%281%20recipe/recipe.toml)" in page.read_text()
    assert files_under(tmp_path / "docs" / "my (1 recipe") == ["recipe.toml", "tables/results.csv"]
