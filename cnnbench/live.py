"""What moves on a terminal: the picture of a recipe in work, and the bar of a download; both on stderr."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from cnnbench.console import make_console, table


class RunDisplay:
    """The live picture of a recipe in work: a row for each variant, and a bar for each run in training.

    Where stderr is no terminal, a line for each run and epoch takes its place.
    """

    def __init__(self, title: str, variants: Sequence[str]) -> None:
        self.console = make_console(stderr=True)
        self.title = title
        self.measure = "accuracy"  # of the run in work
        self.cells = {name: ["", "waiting", "", "", ""] for name in variants}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]}"),
            console=self.console,
        )
        self._tasks: dict[str, TaskID] = {}  # by the name of the run

    @contextmanager
    def live(self) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.render, console=self.console, refresh_per_second=8, transient=True):
            yield

    def render(self) -> RenderableType:
        columns = ["variant", "seeds done", "now", "epoch", f"val {self.measure}", "images/s"]
        rows = [[name, *cells] for name, cells in self.cells.items()]
        return Group(table(self.title, columns, rows, left=3), self.progress)

    def note(self, text: str, style: str = "") -> None:
        """A line that stays."""
        self.console.print(Text(text, style=style))

    def set_row(
        self, variant: str, seeds: str, now: str, epoch: str = "", accuracy: str = "", speed: str = ""
    ) -> None:
        self.cells[variant] = [seeds, now, epoch, accuracy, speed]

    def set_bar(self, name: str, description: str, completed: int, total: int, speed: str, left: str) -> None:
        """The bar of this name, which appears where it was not there."""
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task("", speed="", left="")
        self.progress.update(
            self._tasks[name],
            description=escape(description),
            completed=completed,
            total=total,
            speed=speed,
            left=left,
        )

    def hide_bar(self, name: str) -> None:
        """Takes the bar of this name away, if there is one."""
        if name in self._tasks:
            self.progress.remove_task(self._tasks.pop(name))

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
