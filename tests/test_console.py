"""Tables that fit, errors that keep their columns, output that is plain where nobody looks."""

import io

import pytest
from rich.console import Console

from cnnbench import console

COLUMNS = ["variant", "test accuracy (%)", "parameters", "best epoch"]
ROWS = [["residual", "99.1 ± 0.3", "19,706", "15"], ["mlp", "97.1 ± 0.2", "17,226", "11"]]


def drawn(columns: list[str], rows: list[list[str]], width: int = 200) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(console.table("", columns, rows))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        pytest.param(COLUMNS, ROWS, id="plain"),
        pytest.param(["test\naccuracy", "日本"], [["1", "2"]], id="broken-title-and-wide-characters"),
    ],
)
def test_table_width_is_what_is_drawn(columns: list[str], rows: list[list[str]]) -> None:
    from rich.cells import cell_len

    assert {cell_len(line) for line in drawn(columns, rows)} == {console.table_width(columns, rows)}


@pytest.mark.parametrize(
    ("title", "cells", "broken"),
    [
        ("test accuracy (%)", ["99.1 ± 0.3"], "test\naccuracy\n(%)"),
        ("test accuracy (%)", ["0.7241 ± 0.1408"], "test accuracy\n(%)"),
        ("best epoch", ["15"], "best\nepoch"),
        ("", ["★"], ""),
        ("parameters", ["1"], "parameters"),
    ],
)
def test_broken_title(title: str, cells: list[str], broken: str) -> None:
    assert console.broken_title(title, cells) == broken


def test_a_table_with_room_is_left_alone() -> None:
    assert console.fitted(COLUMNS, ROWS, ["best epoch"], 80) == (COLUMNS, ROWS, [])


def test_titles_are_broken_before_columns_go() -> None:
    full = console.table_width(COLUMNS, ROWS)
    columns, rows, left_out = console.fitted(COLUMNS, ROWS, ["best epoch"], full - 1)
    assert left_out == []
    assert columns == ["variant", "test\naccuracy\n(%)", "parameters", "best\nepoch"]
    assert rows == ROWS


def test_columns_go_in_the_order_given() -> None:
    columns, rows, left_out = console.fitted(COLUMNS, ROWS, ["best epoch", "absent", "parameters"], 30)
    assert left_out == ["best epoch", "parameters"]
    assert columns == ["variant", "test\naccuracy\n(%)"]
    assert rows == [row[:2] for row in ROWS]
    assert console.table_width(columns, rows) <= 30


def test_what_is_not_optional_stays() -> None:
    assert console.fitted(COLUMNS, ROWS, ["best epoch"], 10)[0][0] == "variant"


def test_print_table_says_what_was_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "45")
    assert console.print_table("", COLUMNS, ROWS, optional=["best epoch"]) == ["best epoch"]
    assert "15" not in capsys.readouterr().out


def test_markup_in_names_is_text_and_none_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table("[bold]title", ["[red]name"], [["[/red]"], [None]])
    out = capsys.readouterr().out
    assert "[bold]title" in out
    assert "[red]name" in out
    assert "[/red]" in out
    assert "–" in out


def test_in_an_encoding_that_lacks_signs_columns_stay_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    console.print_table("3×3", ["a → b", "c"], [["91.2 ± 0.3 ★", "×"], ["7", "10"]])
    console.sys.stdout.flush()
    title, *lines = written.getvalue().decode("ascii").splitlines()
    assert title == "3x3"
    assert "91.2 +- 0.3 *" in lines[3]
    assert "a -> b" in lines[1]
    assert len({len(line) for line in lines}) == 1


def test_a_column_whose_title_an_encoding_lacks_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    monkeypatch.setenv("COLUMNS", "20")
    left_out = console.print_table("", ["name", "a ± b", "c"], [["x", "1" * 30, "2"]], optional=["a ± b"])
    assert left_out == ["a +- b"]


def test_an_error_keeps_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    message = (
        'question.toml:2:8: unknown dataset "digitz"\n    name = "digitz"\n           ^^^^^^^^\n'
        "\nquestion.toml:5:3: [red] " + "long " * 80 + "\n    \tlr = 3\n    \t     ^"
    )
    console.fail(message)
    lines = capsys.readouterr().err.expandtabs().splitlines()
    assert lines == f"error: {message}".expandtabs().splitlines()
    assert lines[1].index('"digitz"') == lines[2].index("^")
    assert lines[-2].index("3") == lines[-1].index("^")


def test_messages_go_to_stderr_and_data_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("a [message]", "yellow")
    console.write("[1]")
    console.print_lines(["a [line]"])
    captured = capsys.readouterr()
    assert captured.err == "a [message]\n"
    assert captured.out == "[1]\na [line]\n"
