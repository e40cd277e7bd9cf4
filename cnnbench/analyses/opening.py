"""The model of each variant, opened to look into; what cannot be opened is told and left out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnnbench.analyses.base import Subject, Untrained
from cnnbench.errors import CnnbenchError
from cnnbench.reading import DamagedError
from cnnbench.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from cnnbench.data.loader import Loader


@dataclass(frozen=True)
class Opened:
    """A variant's first seed whose weights can be read, as a model in evaluation mode, with its data."""

    run: Run
    model: "nn.Module"
    loader: "Loader"

    @property
    def variant(self) -> str:
        return self.run.variant


@dataclass
class LeftOut:
    """What an analysis could not show, and why."""

    reasons: list[tuple[str, str]] = field(default_factory=list)  # (variant or run, why)

    def add(self, name: str, reason: object) -> None:
        self.reasons.append((name, str(reason)))

    def note(self) -> str:
        """For the end of a caption: what is left out, or nothing."""
        named = "; ".join(f"{name} ({reason})" for name, reason in self.reasons)
        return f" Not shown: {named}." if named else ""


def open_models(subject: Subject, left_out: LeftOut) -> Iterator[Opened]:
    """The first readable seed of each variant in turn; what cannot be read is told to `left_out`."""
    for name, runs in subject.trained().items():
        if not runs:
            left_out.add(name, "no trained run")
        for run in runs:
            try:
                opened = Opened(run, subject.model(run), subject.loader(run))
            except DamagedError:
                left_out.add(run.label, "its weights cannot be read")
                continue
            except CnnbenchError as error:  # its data set is no longer there, or a plugin has changed
                left_out.add(name, error)
                break
            yield opened
            break


def check_one_has(variants: Iterable[Untrained], look: Callable[[Untrained], object]) -> None:
    """Raises the first CnnbenchError of `look` where it finds something in no variant."""
    mistakes = []
    for each in variants:
        try:
            if look(each):
                return
        except CnnbenchError as mistake:
            mistakes.append(f"variant {each.variant!r}: {mistake}")
    if mistakes:
        raise CnnbenchError(mistakes[0])
