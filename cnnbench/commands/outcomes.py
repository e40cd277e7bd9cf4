"""What came of running or reporting a recipe: on the screen, and as an exit code."""

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cnnbench import console

if TYPE_CHECKING:
    from cnnbench.recipe import Recipe
    from cnnbench.running.events import Reported

USER_MISTAKE = 2
CHECK_FAILED = 3
INTERRUPTED = 130


def show_outcome(loaded: "Recipe", outcome: "Reported") -> None:
    """The comparison, what came of the recipe's claims and checks, and where the report is."""
    from cnnbench import views

    if outcome.comparison is not None:
        views.show_comparison(outcome.comparison)
        console.print_lines([f"- {sentence}" for sentence in outcome.picked])
        views.show_claims(outcome.claims)
    views.show_checks(outcome.checks)
    if outcome.skipped:
        names = ", ".join(each.variant for each in outcome.skipped)
        rest = "nothing was done" if all_skipped(loaded, outcome) else "the others were run"
        console.say(f"{loaded.path}: skipped, their weights are missing: {names}; {rest}", "yellow")
    if outcome.report is not None:
        console.say(f"report: {outcome.report}")


def all_skipped(loaded: "Recipe", outcome: "Reported") -> bool:
    """Whether nothing was done of what was asked for, since weights are missing."""
    asked = set(loaded.only) or {variant.name for variant in loaded.variants}
    return asked <= {each.variant for each in outcome.skipped}


def exit_unless_done(recipes: "list[Recipe]", outcomes: "list[Reported]") -> None:
    """Ends with 1 where a run failed, and with USER_MISTAKE where every variant of a recipe was skipped."""
    if any(outcome.failures for outcome in outcomes):
        raise typer.Exit(1)
    if any(map(all_skipped, recipes, outcomes)):
        raise typer.Exit(USER_MISTAKE)


def exit_unless_checks_hold(outcomes: "list[Reported]") -> None:
    """Ends with CHECK_FAILED where a declared check does not hold, or could not be evaluated."""
    checks = [check for outcome in outcomes for check in outcome.checks]
    numbers = Counter(check.verdict for check in checks if not check.holds)
    if numbers:
        what = {"fails": "fails", "undecided": "is undecided", "not evaluated": "could not be evaluated"}
        many = {"fails": "fail", "undecided": "are undecided", "not evaluated": "could not be evaluated"}
        said = [f"{number} {(what if number == 1 else many)[verdict]}" for verdict, number in numbers.items()]
        console.say(f"--strict: of {len(checks)} check{'s' * (len(checks) > 1)} {', '.join(said)}", "red")
        raise typer.Exit(CHECK_FAILED)


def typed(
    path: Path,
    overrides: list[str],
    quick: bool,
    seeds: int | None,
    device: str,
    parallel_seeds: str = "off",
) -> str:
    """The command that gives the same numbers, without what only says where files are or what to do first."""
    words = ["cnnbench", "recipe", str(path)]
    for override in overrides:
        words += ["--set", override]
    words += ["--quick"] if quick else []
    words += [] if seeds is None else ["--seeds", str(seeds)]
    words += [] if device == "auto" else ["--device", device]
    words += [] if parallel_seeds == "off" else ["--parallel-seeds", parallel_seeds]
    return shlex.join(words)
