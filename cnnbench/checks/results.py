"""What came of a check."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cnnbench.recipe.config import Check

Verdict = Literal["holds", "fails", "undecided", "not evaluated"]
RULE = (
    "A check holds where its expression is true for every seed of every variant it is about. Where it names "
    "random quantities, weights and inputs are drawn anew many times, the weights as before training: it "
    "holds where the whole 95 % interval (Wilson 1927) of the share of draws in which it is true lies above "
    "the share that is asked for, fails where it lies below, and is undecided otherwise. The inputs there "
    "are standard normal, and the loss is the mean of the squares of the output."
)
_WORST_FIRST: tuple[Verdict, ...] = ("fails", "not evaluated", "undecided", "holds")


@dataclass(frozen=True)
class CheckResult:
    """A check, the verdict, and sentences with every value it rests on."""

    text: str
    expression: str
    verdict: Verdict
    evidence: list[str]

    @property
    def holds(self) -> bool:
        return self.verdict == "holds"


def unevaluated(checks: "Sequence[Check]") -> list[CheckResult]:
    """The results where no run is complete."""
    return [CheckResult(each.text, each.expression, "not evaluated", ["no finished run"]) for each in checks]


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict on all from those on each; on nothing there is none."""
    return min(verdicts, key=_WORST_FIRST.index, default="not evaluated")
