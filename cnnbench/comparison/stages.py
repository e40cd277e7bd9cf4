"""Finds what a recipe is built on: the winners of other recipes, from their finished runs.

A quick recipe is built on quick runs of the other one, and `--set` changes neither: it is for one recipe.
With `--seeds N` the first N seeds of the other recipe suffice, unless all that its file names are there.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cnnbench.comparison.assemble import compare_planned
from cnnbench.comparison.winners import METRIC, contender_rows, pick
from cnnbench.data import data_root
from cnnbench.decisions import Decision, decide
from cnnbench.errors import CnnbenchError
from cnnbench.matching import solve as solve_matches
from cnnbench.recipe.config import BestOf, Recipe, Variant, Winner
from cnnbench.recipe.narrowing import narrowed
from cnnbench.recipe.reader import load_recipe
from cnnbench.recipe.stages import with_options
from cnnbench.runs import DamagedError, Run, read_json


class NotRunError(CnnbenchError):
    """A recipe that another one is built on has no complete runs of its present settings.

    The message begins with that recipe's name, so that it can follow "is built on".
    """


def solve(recipe: Recipe, root: Path, runs_dir: Path, *, as_run: bool = False) -> Recipe:
    """The recipe with its winners found and its widths matched: every setting is known.

    `as_run` takes the winners that its finished runs were built on, where they say so. Raises NotRunError
    where a recipe it is built on must be run first, and CnnbenchError where it cannot be solved.
    """
    try:
        solved = _with_winners(recipe, root, runs_dir, as_run)
    except NotRunError as error:
        stale = ""
        if old := recorded_winners(runs_dir / recipe.directory):
            names = ", ".join(dict.fromkeys(f"{each.variant} of {each.recipe}" for each in old.values()))
            stale = f". The runs in {runs_dir / recipe.directory} are stale: they were built on {names}"
        raise NotRunError(f"{recipe.path} is built on {error}{stale}") from error
    return solve_matches(solved, root)


def _with_winners(recipe: Recipe, root: Path, runs_dir: Path, as_run: bool = False) -> Recipe:
    found: dict[Path, Winner] = {}
    recorded = recorded_winners(runs_dir / recipe.directory) if as_run else {}
    variants = []
    for variant in recipe.variants:
        best_of = variant.best_of
        if best_of is None or variant.winner is not None:
            variants.append(variant)
            continue
        winner = recorded.get(variant.name)
        if winner is None or Path(winner.file).resolve() != best_of.file.resolve():
            if best_of.file not in found:
                found[best_of.file] = find_winner(
                    best_of.file, root, runs_dir, quick=recipe.quick, num_seeds=recipe.num_seeds
                )
            winner = found[best_of.file]
        variants.append(_standing_on(variant, best_of, winner, recipe.plugins))
    return recipe.model_copy(update={"variants": variants})


def _standing_on(variant: Variant, best_of: BestOf, winner: Winner, plugins: list[str]) -> Variant:
    model, cut = with_options(winner.model, best_of.options, plugins)
    return variant.model_copy(update={"model": model, "winner": winner.model_copy(update={"cut": cut})})


def find_winner(
    file: Path, root: Path, runs_dir: Path, *, quick: bool = False, num_seeds: int | None = None
) -> Winner:
    """The winner of a recipe from its finished runs; NotRunError where these are not all there."""
    upstream = upstream_recipe(load_recipe(file, quick=quick, seeds=num_seeds), root, runs_dir)
    directory = runs_dir / upstream.directory
    comparison = compare_planned(directory, upstream.directory, upstream.planned(), METRIC)
    if any(row.estimate("val_iou") is not None for row in comparison.rows):
        raise CnnbenchError(
            f"best_of goes by validation accuracy, which in {upstream.directory} is that of pixels, nearly "
            "all of them background: name the model instead"
        )
    variant, contenders, reasons = pick(comparison)
    return Winner(
        recipe=upstream.directory,
        file=file.as_posix(),
        num_seeds=num_seeds,
        variant=variant,
        model=next(each.model for each in upstream.variants if each.name == variant),
        contenders=contenders,
        reasons=reasons,
    )


def upstream_recipe(recipe: Recipe, root: Path, runs_dir: Path) -> Recipe:
    """The recipe, solved, with seeds of which all runs are complete; NotRunError where there are none."""
    whole = load_recipe(recipe.path, quick=recipe.quick)
    states = []
    for seeds in (None, recipe.num_seeds) if recipe.num_seeds else (None,):
        # what it is built on itself may have been run with as few seeds
        narrow = whole.model_copy(update={"num_seeds": recipe.num_seeds})
        try:
            solved = narrowed(solve_matches(_with_winners(narrow, root, runs_dir), root), seeds, ())
        except NotRunError as error:
            raise NotRunError(f"{whole.directory}, which is built on {error}") from error
        state = [(run, decide(run, config)) for run, config in solved_runs(solved, runs_dir)]
        if all(decision.action == "reuse" for _, decision in state):
            return solved
        states.append(state)
    raise NotRunError(
        f"{whole.directory}, which {_missing(states[-1])}; run it first ({command(recipe, runs_dir)}), or "
        "give --with-stages"
    )


def solved_runs(recipe: Recipe, runs_dir: Path) -> list[tuple[Run, Any]]:
    """Every run of a solved recipe with its settings."""
    return [
        (Run(runs_dir / recipe.directory / config.variant / f"seed{config.seed}"), config)
        for config in recipe.run_configs()
    ]


def _missing(state: list[tuple[Run, Decision]]) -> str:
    """What is the matter with a recipe that is not complete."""
    for run, decision in state:
        if decision.action == "replace":
            return f"has changed since it was run ({run.label}: {decision.reason})"
    num_complete = sum(decision.action == "reuse" for _, decision in state)
    if all(decision.action == "train" for _, decision in state):
        return "has not been run"
    return f"is not complete ({num_complete} of {len(state)} runs)"


def command(recipe: Recipe, runs_dir: Path) -> str:
    """What to type to run a recipe in the form that is asked of it."""
    words = ["cnnbench", "recipe", recipe.path.as_posix()]
    words += ["--quick"] * recipe.quick
    words += ["--seeds", str(recipe.num_seeds)] if recipe.num_seeds else []
    words += ["--runs", str(runs_dir)] if runs_dir != Path("runs") else []
    return shlex.join(words)


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
    for recipe in dict.fromkeys(winner.recipe for winner in by_variant.values()):
        names = [name for name, winner in by_variant.items() if winner.recipe == recipe]
        winner = by_variant[names[0]]
        who = "" if len(names) == len(plan["variants"]) else f" ({', '.join(names)})"
        cut = [f"{name}: {sentence}." for name in names for sentence in by_variant[name].cut]
        found.append(
            BuiltOn(
                title=f"Built on {winner.variant}, the winner of {recipe}{who}",
                rows=contender_rows(winner.contenders),
                sentences=[*winner.reasons, *cut],
            )
        )
    return found


def stage_directories(directory: Path) -> dict[Path, list[str]]:
    """The directories of all recipes that one is built on, as run, with the variants taken; in order."""
    found: dict[Path, list[str]] = {}

    def walk(place: Path) -> None:
        for winner in recorded_winners(place).values():
            upstream = _runs_dir(directory) / winner.recipe
            if not (upstream / "plan.json").is_file():
                continue
            if upstream not in found:
                walk(upstream)
            taken = found.setdefault(upstream, [])
            if winner.variant not in taken:
                taken.append(winner.variant)

    walk(directory)
    return found


def stale_stages(directory: Path) -> list[str]:
    """A sentence for each recipe whose winner is no longer the one that these runs were built on."""
    sentences = []
    winners = {winner.recipe: winner for winner in recorded_winners(directory).values()}
    for winner in winners.values():
        file = Path(winner.file)
        start = f"stale: these runs were built on {winner.variant}, the winner at that time of"
        if not file.is_file():
            sentences.append(
                f"whether {winner.variant} is still the winner of {winner.recipe}, on which these runs were "
                f"built, is not known: there is no {winner.file} here"
            )
            continue
        quick = Path(winner.recipe).name.endswith("+quick")
        try:
            now = find_winner(
                file, data_root(None), _runs_dir(directory), quick=quick, num_seeds=winner.num_seeds
            )
        except NotRunError as error:
            sentences.append(f"{start} {error}")
        except CnnbenchError as error:
            sentences.append(f"{start} {winner.recipe}; {error}")
        else:
            if now.model != winner.model:
                sentences.append(f"{start} {winner.recipe}, which now is {now.variant}; run the recipe again")
    return sentences


def _runs_dir(directory: Path) -> Path:
    """The folder of all runs that a recipe's directory lies in."""
    name = str(read_json(directory / "plan.json")["recipe"])
    runs_dir = directory
    for _ in Path(name).parts:
        runs_dir = runs_dir.parent
    return runs_dir


def stage_notes(recipe: Recipe, runs_dir: Path) -> list[str]:
    """What is to be told of a solved recipe before it is run: on what it is built, and what that changes."""
    notes: dict[str, None] = {}
    before = recorded_winners(runs_dir / recipe.directory)
    for variant in recipe.variants:
        winner = variant.winner
        if winner is None:
            continue
        old = before.get(variant.name)
        if old is not None and old.recipe == winner.recipe and old.model != winner.model:
            notes[
                f"stale: the runs in {runs_dir / recipe.directory} were built on {old.variant}, which is no "
                f"longer the winner of {winner.recipe}"
            ] = None
        notes[f"built on {winner.variant}, the winner of {winner.recipe}: {' '.join(winner.reasons)}"] = None
    for variant in recipe.variants:
        for sentence in variant.winner.cut if variant.winner else ():
            notes[f"{variant.name}: {sentence}"] = None
    return list(notes)
