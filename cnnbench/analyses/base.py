"""The contract of an analysis: finished runs in, figures and tables out. It never prints, saves or trains."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnbench.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

Cell = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """A picture with the sentence that says what it shows; `name` becomes the file's name."""

    name: str
    title: str
    caption: str
    figure: "MplFigure"


@dataclass(frozen=True)
class Table:
    """A table with the sentence that says what it shows; a cell of None is shown as a dash."""

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Subject:
    """What an analysis looks at: the complete runs of a recipe, in its order of variants, seeds ascending."""

    recipe: str
    title: str
    runs: Sequence[Run]
    classes: Sequence[str]

    def variants(self) -> dict[str, list[Run]]:
        """Runs by variant, in order."""
        grouped: dict[str, list[Run]] = {}
        for run in self.runs:
            grouped.setdefault(run.variant, []).append(run)
        return grouped

    def trained(self) -> dict[str, list[Run]]:
        """Runs that ended well by variant, in order; an empty list where all diverged."""
        return {
            name: [run for run in runs if _status(run) == "complete"]
            for name, runs in self.variants().items()
        }

    def diverged(self) -> dict[str, list[Run]]:
        """Runs that diverged by variant, in order; only variants that have such runs."""
        found = {
            name: [run for run in runs if _status(run) == "diverged"]
            for name, runs in self.variants().items()
        }
        return {name: runs for name, runs in found.items() if runs}

    def diverged_note(self) -> str:
        """For the end of a caption: a sentence that names the diverged runs, or nothing."""
        named = [f"{name} seed {run.seed}" for name, runs in self.diverged().items() for run in runs]
        return f" Diverged, so not counted: {', '.join(named)}." if named else ""


def _status(run: Run) -> str | None:
    result = run.result()
    return None if result is None else str(result["status"])


class Analysis(ABC):
    """One question asked of finished runs; its options are the constructor's arguments."""

    @abstractmethod
    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields figures and tables."""
