"""What a person sees: progress and messages on stderr, results on stdout. The only file that imports rich."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

# Where output is no terminal, lines are as long as they need to be.
WIDTH_OF_A_PIPE = 200

if TYPE_CHECKING:
    from cnnbench.analyses.base import Cell


def make_console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else int(os.environ.get("COLUMNS", WIDTH_OF_A_PIPE))
    return Console(stderr=stderr, highlight=False, width=width, soft_wrap=not stream.isatty())


def say(text: str, style: str = "") -> None:
    """A line on stderr."""
    make_console(stderr=True).print(Text(text, style=style))


def fail(text: str) -> None:
    """An error on stderr, as it is: file excerpts keep their columns."""
    console = make_console(stderr=True)
    console.print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)


def write(text: str) -> None:
    """Data on stdout, byte for byte."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence["Cell"]], *, caption: str = "", left: int = 1
) -> None:
    """A table on stdout; the first `left` columns are text, the others numbers."""
    make_console(stderr=False).print(table(title, columns, rows, caption=caption, left=left))


def print_lines(lines: Sequence[str]) -> None:
    """Sentences on stdout."""
    console = make_console(stderr=False)
    for line in lines:
        console.print(Text(line))


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence["Cell"]], *, caption: str = "", left: int = 1
) -> Table:
    made = Table(
        title=escape(title) or None,
        caption=escape(caption) or None,
        title_justify="left",
        header_style="bold",
    )
    for index, column in enumerate(columns):
        made.add_column(escape(column), justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(escape("–" if cell is None else str(cell)) for cell in row))
    return made


class RunDisplay:
    """The live picture of a recipe in work: a row for each variant, and a bar for the run in training.

    Where stderr is no terminal, a line for each run and epoch takes its place.
    """

    def __init__(self, title: str, variants: Sequence[str]) -> None:
        self.console = make_console(stderr=True)
        self.title = title
        self.cells = {name: ["", "waiting", "", "", ""] for name in variants}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
        )
        self._task = self.progress.add_task("", total=None, speed="", left="", visible=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.render, console=self.console, refresh_per_second=8, transient=True):
            yield

    def render(self) -> RenderableType:
        columns = ["variant", "seeds done", "now", "epoch", "val accuracy", "images/s"]
        rows = [[name, *cells] for name, cells in self.cells.items()]
        return Group(table(self.title, columns, rows, left=3), self.progress)

    def note(self, text: str, style: str = "") -> None:
        """A line that stays."""
        self.console.print(Text(text, style=style))

    def set_row(
        self, variant: str, seeds: str, now: str, epoch: str = "", accuracy: str = "", speed: str = ""
    ) -> None:
        self.cells[variant] = [seeds, now, epoch, accuracy, speed]

    def set_bar(self, description: str, completed: int, total: int, speed: str, left: str) -> None:
        self.progress.update(
            self._task,
            description=escape(description),
            completed=completed,
            total=total,
            speed=speed,
            left=left,
            visible=True,
        )

    def line(self, text: str) -> None:
        """A line that stands in for the live picture where there is none."""
        if not self.console.is_terminal:
            self.console.print(Text(text))


@contextmanager
def download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr for a download; yields what to call with the bytes done and the bytes in all."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=make_console(stderr=True), disable=not sys.stderr.isatty(),
    ) as progress:  # fmt: skip
        task = progress.add_task(name, total=None)

        def update(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield update
