"""What finished runs say they were built on: other recipes' winners and weights, as the plan keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cnnbench.comparison.winners import contender_rows
from cnnbench.reading import DamagedError, read_json
from cnnbench.recipe.config import Winner


def recorded_winners(directory: Path) -> dict[str, Winner]:
    """The winners that the runs in a directory were built on, by variant; none where no plan says so."""
    try:
        plan = read_json(directory / "plan.json")
    except DamagedError:
        return {}
    return winners_of(plan)


def winners_of(plan: Mapping[str, Any]) -> dict[str, Winner]:
    """The winners in a plan by variant; an entry that is none is passed over."""
    found = {}
    variants = plan.get("variants")
    for entry in variants if isinstance(variants, list) else []:
        if isinstance(entry, dict) and entry.get("winner"):
            try:
                found[str(entry.get("name"))] = Winner.model_validate(entry["winner"])
            except ValidationError:
                continue
    return found


@dataclass(frozen=True)
class BuiltOn:
    """A recipe whose winner variants of another one are built on, as text; `rows` under winners.COLUMNS."""

    title: str
    rows: list[list[str]]
    sentences: list[str]


def built_on(plan: Mapping[str, Any]) -> list[BuiltOn]:
    """What the variants of a plan are built on: a table and sentences for each recipe."""
    by_variant = winners_of(plan)
    found = []
    for told in dict.fromkeys(_told(winner) for winner in by_variant.values()):
        names = [name for name, winner in by_variant.items() if _told(winner) == told]
        winner = by_variant[names[0]]
        who = "" if len(names) == len(plan["variants"]) else f" ({', '.join(names)})"
        cut = [f"{name}: {sentence}." for name in names for sentence in by_variant[name].cut]
        found.append(
            BuiltOn(
                title=f"{what_is_taken(winner)}{who}",
                rows=contender_rows(winner.contenders),
                sentences=[*winner.reasons, *cut],
            )
        )
    return found


def _told(winner: Winner) -> tuple[str, str, tuple[str, ...]]:
    """Variants for which this is equal are built on the same."""
    return winner.recipe, winner.variant, tuple(winner.reasons)


def what_is_taken(winner: Winner) -> str:
    how = f", the winner of {winner.recipe}" if winner.contenders else f" of {winner.recipe}"
    return f"{'Encoder from' if winner.weights else 'Built on'} {winner.variant}{how}"


def stage_directories(directory: Path) -> dict[Path, list[str]]:
    """The directories of all recipes that one is built on, as run, with the variants taken; in order."""
    found: dict[Path, list[str]] = {}

    def walk(place: Path) -> None:
        for winner in recorded_winners(place).values():
            upstream = runs_dir_of(directory) / winner.recipe
            if not (upstream / "plan.json").is_file():
                continue
            if upstream not in found:
                walk(upstream)
            taken = found.setdefault(upstream, [])
            if winner.variant not in taken:
                taken.append(winner.variant)

    walk(directory)
    return found


def runs_dir_of(directory: Path) -> Path:
    """The folder of all runs that a recipe's directory lies in."""
    name = str(read_json(directory / "plan.json")["recipe"])
    runs_dir = directory
    for _ in Path(name).parts:
        runs_dir = runs_dir.parent
    return runs_dir
