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
    """A table with the sentence that says what it shows; cells are numbers or text, None is shown as a dash."""

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Subject:
    """What an analysis looks at: the complete runs of one recipe, in the recipe's order of variants, seeds ascending."""

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


class Analysis(ABC):
    """One question asked of finished runs; its options are the constructor's arguments."""

    @abstractmethod
    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields figures and tables."""
