"""Comparisons and plans on stdout, and the pictures beside them."""

from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench import views
from cnnbench.comparison import Comparison, Row
from cnnbench.comparison.quantities import KNOWN
from cnnbench.statistics import Estimate

PNG = b"\x89PNG\r\n\x1a\n"


def row(variant: str, accuracy: float, seconds: float, num_params: int) -> Row:
    measured = Estimate(accuracy, 0.003, accuracy - 0.007, accuracy + 0.007, 3)
    return Row(
        recipe="blocks", variant=variant, num_seeds=3, num_params=num_params, macs=1_000_000,
        test_accuracy=measured, val_accuracy=measured, train_accuracy=measured,
        train_seconds=Estimate(seconds, 1.0, seconds - 2, seconds + 2, 3), latency_ms=1.5,
        throughput=1000.0, peak_memory_mib=500.0, best_epoch=8, devices=frozenset({"cpu, a processor"}),
        complete=True, ended=True, problems=(), measured=measured,
    )  # fmt: skip


@pytest.fixture
def comparison() -> Comparison:
    rows = [row("basic", 0.861, 182.0, 272_474), row("bottleneck-large", 0.912, 352.0, 2_748_890)]
    return Comparison(rows, [], KNOWN["test_accuracy"], ["blocks: a run is missing"])


def test_all_columns_where_there_is_room(
    comparison: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    views.show_comparison(comparison)
    out = capsys.readouterr().out
    for part in ("test accuracy (%)", "best epoch", "latency (ms)", "272,474", "86.1 ± 0.3", "90.5 to 91.9"):
        assert part in out
    assert "No room" not in out
    assert "- blocks: a run is missing" in out
    assert "★ the best mean" in out


def test_what_is_wrong_with_a_row_is_said(comparison: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = comparison.rows
    rows = [replace(first, problems=("seed 1 diverged and does not count",)), second]
    views.show_comparison(replace(comparison, rows=rows))
    assert "- basic: seed 1 diverged and does not count" in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["", "abc", "0"])
def test_a_width_that_is_no_number(
    columns: str, comparison: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    views.show_comparison(comparison)
    assert "bottleneck-large" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 100])
def test_a_narrow_terminal_keeps_what_matters(
    columns: int, comparison: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    views.show_comparison(comparison)
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line and line[0] in "┏┃┡│└"]
    assert max(map(len, table)) <= columns
    for part in ("bottleneck-large", "91.2 ± 0.3", "90.5 to 91.9"):
        assert sum(part in line for line in table) == 1, f"{part} is broken"
    (room,) = [line for line in lines if line.startswith("No room here for best epoch, latency (ms)")]
    assert "train accuracy (%)" in room or columns > 80


def test_pictures_of_a_share(comparison: Comparison, tmp_path: Path) -> None:
    saved = views.save_pictures(comparison, tmp_path)
    assert [path.name for path in saved] == [
        "test_accuracy_vs_num_params.png",
        "test_accuracy_vs_train_seconds.png",
    ]
    assert all(path.read_bytes().startswith(PNG) for path in saved)


def test_times_that_do_not_compare_have_no_picture(
    comparison: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An older picture is removed: it would pass for one of these runs."""
    views.save_pictures(comparison, tmp_path)
    first, *others = comparison.rows
    elsewhere = replace(comparison, rows=[replace(first, devices=frozenset({"another machine"})), *others])
    saved = views.save_pictures(elsewhere, tmp_path)
    assert [path.name for path in saved] == ["test_accuracy_vs_num_params.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["test_accuracy_vs_num_params.png"]
    assert "no picture of training time: the times do not compare" in capsys.readouterr().err


def test_no_pictures_of_a_cost(comparison: Comparison, tmp_path: Path) -> None:
    of_time = Comparison(comparison.rows, [], KNOWN["train_seconds"])
    assert views.save_pictures(of_time, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = {"name": "head", "kind": "Linear", "output_shape": [10], "num_params": 650, "macs": 640}
    variant = {
        "name": "linear", "seeds": [0, 1], "num_params": 650, "num_trained": 90, "macs": 640,
        "in_shape": [1, 8, 8], "output_shape": [10], "layers": [layer],
        "data": {"name": "digits", "limit": None},
        "model": {"name": "linear", "bias": True}, "train": {"epochs": 3, "lr": 0.001},
        "match": None,
    }  # fmt: skip
    views.show_plan({"title": "Digits", "question": "Which?", "variants": [variant]})
    out = capsys.readouterr().out
    for part in ("Digits: Which?", "1×8×8", "650", "Linear", 'model    name = "linear", bias = true'):
        assert part in out
    assert 'name = "digits", train.epochs = 3, train.lr = 0.001' in out
    assert "limit" not in out
    assert "linear: 90 of 650 parameters are trained" in out
    assert "No room" not in out
    monkeypatch.setenv("COLUMNS", "40")
    views.show_plan({"title": "Digits", "question": "", "variants": [variant]})
    first, *others = capsys.readouterr().out.splitlines()
    assert first.strip() == "Digits"
    assert "│ linear  │        650 │           640 │" in others
    assert "│ head  │        650 │           640 │" in others
    assert others[-1].startswith("No room here for output, input, epochs, seeds, kind: see --format json")


def test_matches(capsys: pytest.CaptureFixture[str]) -> None:
    match = {
        "like": "3x3", "target_params": 357_034, "widths": [24, 49, 99], "num_params": 356_989,
        "difference_percent": -0.0126,
    }  # fmt: skip
    views.show_matches({"5x5": match})
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if "5x5" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["5x5", "3x3", "[24, 49, 99]", "356,989", "357,034", "-0.01"]
    views.show_matches({})
    assert capsys.readouterr().out == ""
