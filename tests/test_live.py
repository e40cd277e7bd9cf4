"""The live picture of a recipe in work, and what stands for it where there is no terminal."""

import io

import pytest
from rich.console import Console

from cnnbench import live


@pytest.mark.parametrize("width", [80, 100])
def test_the_live_picture_fits(width: int) -> None:
    names = ["basic", "bottleneck-large"]
    display = live.RunDisplay("Residual blocks", names)
    stream = io.StringIO()
    display.console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    display.set_row("basic", "0/3", "seed 0", "12", "87.65%", "1,234")
    name = "bottleneck-large seed 0"
    display.set_bar(name, f"{name}, epoch 10 of 15", 5, 20, "1,234 images/s", "1 h 15 min left")
    display.console.print(display.render())
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].strip() == "Residual blocks"
    for part in ("variant", "seeds done", "epoch", "val accuracy", "images/s"):
        assert part in lines[2]
    assert [cell.strip() for cell in lines[4].strip("│").split("│")] == [
        "basic", "0/3", "seed 0", "12", "87.65%", "1,234",
    ]  # fmt: skip
    for part in ("bottleneck-large seed 0, epoch 10 of 15", "25%", "1,234 images/s", "1 h 15 min left"):
        assert part in lines[-1]
    display.hide_bar(name)
    stream.truncate(0)
    display.console.print(display.render())
    assert "images/s " not in stream.getvalue().splitlines()[-1]


def test_without_a_terminal_there_are_lines_instead(capsys: pytest.CaptureFixture[str]) -> None:
    display = live.RunDisplay("title", ["a"])
    with display.live():
        display.set_row("a", "0/1", "seed 0")
        display.line("epoch 1")
        display.note("a is done", "green")
    captured = capsys.readouterr()
    assert captured.err == "epoch 1\na is done\n"
    assert captured.out == ""


def test_a_download_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with live.download_bar("mnist") as progress:
        progress(5, 10)
        progress(10, None)
    assert capsys.readouterr().err.strip() == ""
