"""What happens while a recipe is run, in the words of its caller."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnbench.runs import Run

if TYPE_CHECKING:
    from cnnbench.checks.results import CheckResult
    from cnnbench.comparison import Comparison
    from cnnbench.comparison.claims import Judgement
    from cnnbench.job import JobEvent
    from cnnbench.recipe.config import RunConfig


@dataclass(frozen=True)
class Started:
    """A run is about to be trained: the index-th of `total` runs of the recipe, counted from 1."""

    run: Run
    config: "RunConfig"
    index: int
    total: int


@dataclass(frozen=True)
class Working:
    """Something happened within a run."""

    run: Run
    event: "JobEvent"


@dataclass(frozen=True)
class Finished:
    """A run is complete; `reused` where it was so before."""

    run: Run
    result: dict[str, Any]
    reused: bool


@dataclass(frozen=True)
class Notice:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True)
class Failed:
    """A run that could not be completed, and why; the others go on."""

    run: Run
    message: str


@dataclass(frozen=True)
class Skipped:
    """A variant that cannot be run here, for its pretrained weights are not there; the others go on."""

    variant: str
    reason: str


@dataclass(frozen=True)
class Reported:
    """The end: where the report is, and the comparison in it (None where no run is complete)."""

    directory: Path
    report: Path | None
    comparison: "Comparison | None"
    failures: list[Failed]
    skipped: list[Skipped] = field(default_factory=list)
    checks: "list[CheckResult]" = field(default_factory=list)
    claims: "list[Judgement]" = field(default_factory=list)
    picked: list[str] = field(default_factory=list)  # what validation picks, where the recipe goes by that


Event = Started | Working | Finished | Notice | Failed | Skipped | Reported
