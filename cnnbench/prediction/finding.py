"""Which run a path means, and whether it can be used."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnnbench.errors import CnnbenchError
from cnnbench.reading import DamagedError, read_json
from cnnbench.recipe.mistakes import choices, nearest
from cnnbench.runs import Run

EXAMPLE = "runs/quickstart/cnn/seed0"


class FoundRun(NamedTuple):
    """A finished run, and a sentence where it was not the one run that the path could mean."""

    run: Run
    note: str | None


def find_run(path: Path, runs_dir: Path = Path("runs")) -> FoundRun:
    """The finished run in this directory or below `runs_dir`: the first of a variant, or of the only variant.

    Raises CnnbenchError where there is none: no such directory, a run that is not finished or diverged.
    """
    place = path if path.exists() or not (runs_dir / path).exists() else runs_dir / path
    if not place.exists():
        hint = _near(path, runs_dir) or f": name the directory of a run, such as {EXAMPLE}"
        raise CnnbenchError(f"there is no {path}{hint}")
    if place.is_file():
        raise CnnbenchError(f"{place} is a file: name the directory of a run, such as {EXAMPLE}")
    if (place / "config.json").exists():
        run = Run(place)
        reason = _unfit(run)
        if reason is not None:
            raise CnnbenchError(f"{place} {reason}")
        return FoundRun(run, None)
    runs = _seeds(place)
    if not runs:
        variants = _variants(place)
        if len(variants) == 1 and _num_planned(place) == 1:
            return find_run(variants[0], runs_dir)
        raise CnnbenchError(_no_run(place, variants))
    reasons: list[str] = []
    for run in runs:
        reason = _unfit(run)
        if reason is None:
            before = "".join(f"; {each}" for each in reasons)
            others = f", the first of {len(runs)} seeds{before}" if len(runs) > 1 else ""
            return FoundRun(run, f"{run.path} is used{others}")
        reasons.append(f"{run.path.name} {reason}")
    raise CnnbenchError(f"{place} has no finished run: {'; '.join(reasons)}")


def _unfit(run: Run) -> str | None:
    """Why a run cannot be used, as the end of a sentence; None where it can."""
    try:
        result = run.result()
    except DamagedError as error:
        return f"is damaged ({error}); {_again(run)}"
    if result is None:
        return f"is not finished; {_again(run)}"
    if result["status"] == "diverged":
        return f"diverged, so that it has no weights ({result.get('message')})"
    if not (run.path / "best.safetensors").is_file():
        return f"lacks its weights, best.safetensors; {_again(run)}"
    return None


def _again(run: Run) -> str:
    """How to finish a run, or to train it anew where it is damaged."""
    try:
        command = read_json(run.path.parent.parent / "plan.json").get("command")
    except DamagedError:
        command = None
    return f"run `{command}`" if command else "run its recipe again"


def _seeds(place: Path) -> list[Run]:
    """The runs of a variant, by seed."""
    found = {
        int(match[1]): child
        for child in place.iterdir()
        if (match := re.fullmatch(r"seed(\d+)", child.name)) and (child / "config.json").exists()
    }
    return [Run(found[seed]) for seed in sorted(found)]


def _variants(place: Path) -> list[Path]:
    """The directories of a recipe's variants that have runs."""
    return sorted(child for child in place.iterdir() if child.is_dir() and _seeds(child))


def _num_planned(place: Path) -> int | None:
    """How many variants the recipe has whose runs are here; None where its plan is not."""
    try:
        return len(read_json(place / "plan.json")["variants"])
    except (DamagedError, LookupError, TypeError):
        return None


def _no_run(place: Path, variants: Sequence[Path]) -> str:
    if variants:
        return f"{place} holds the variants of a recipe: name {choices(map(str, variants))}"
    return f"{place} holds no run: there is no config.json; name the directory of a run, such as {EXAMPLE}"


def _near(path: Path, runs_dir: Path) -> str:
    """The directory that may have been meant, or nothing: one beside the first that is not there."""
    for start in (path, runs_dir / path):
        for missing, parent in zip([start, *start.parents], start.parents, strict=False):
            if parent.is_dir() and str(parent) != ".":
                names = [child.name for child in parent.iterdir() if child.is_dir()]
                near = nearest(missing.name, names)
                if near:
                    return f", did you mean {str(parent / near)!r}?"
                break
    return ""
