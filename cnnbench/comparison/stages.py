"""Finds what a recipe is built on: winners and weights of other recipes, from their finished runs.

A quick recipe is built on quick runs of the other one, and `--set` changes neither: it is for one recipe.
With `--seeds N` the first N seeds of the other recipe suffice, unless all that its file names are there.
"""

import shlex
from pathlib import Path
from typing import Any

from cnnbench.comparison.assemble import compare_planned
from cnnbench.comparison.built_on import recorded_winners, runs_dir_of, what_is_taken
from cnnbench.comparison.encoders import named_variant, never_learned, with_encoder, with_weights
from cnnbench.comparison.winners import METRIC, one_data_set, pick
from cnnbench.decisions import Decision, decide
from cnnbench.errors import CnnbenchError
from cnnbench.matching import solve as solve_matches
from cnnbench.recipe.config import BestOf, EncoderOf, Recipe, Variant, Winner
from cnnbench.recipe.narrowing import narrowed
from cnnbench.recipe.reader import load_recipe
from cnnbench.recipe.stages import with_options
from cnnbench.runs import Run
from cnnbench.settings import same_settings


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
    found: dict[tuple[Path, str | None, bool], tuple[Recipe, Winner]] = {}
    recorded = recorded_winners(runs_dir / recipe.directory) if as_run else {}
    variants = []
    for variant in recipe.variants:
        taken = variant.best_of or variant.encoder_of
        if taken is None or variant.winner is not None:
            variants.append(variant)
            continue
        winner = recorded.get(variant.name)
        if winner is None or not _is_of(winner, taken):
            named = variant.encoder_of.variant if variant.encoder_of else None
            key = (taken.file, named, variant.encoder_of is not None)
            if key not in found:
                found[key] = _find(
                    taken.file, named, root, runs_dir, recipe.quick, recipe.num_seeds, weights=key[2]
                )
            upstream, winner = found[key]
            if variant.encoder_of is not None:
                winner = with_weights(winner, upstream, variant.seeds, runs_dir)
        variants.append(_standing_on(variant, winner, recipe.plugins))
    return recipe.model_copy(update={"variants": variants})


def _is_of(winner: Winner, taken: BestOf | EncoderOf) -> bool:
    """Whether what was recorded is what is asked for."""
    if Path(winner.file).resolve() != taken.file.resolve():
        return False
    if isinstance(taken, BestOf):
        return not winner.weights
    return bool(winner.weights) and taken.variant in (None, winner.variant)


def _standing_on(variant: Variant, winner: Winner, plugins: list[str]) -> Variant:
    if variant.encoder_of is not None:
        return with_encoder(variant, variant.encoder_of, winner)
    assert variant.best_of is not None
    model, cut = with_options(winner.model, variant.best_of.options, plugins)
    return variant.model_copy(update={"model": model, "winner": winner.model_copy(update={"cut": cut})})


def find_winner(
    file: Path, root: Path, runs_dir: Path, *, quick: bool = False, num_seeds: int | None = None
) -> Winner:
    """The winner of a recipe from its finished runs; NotRunError where these are not all there."""
    return _find(file, None, root, runs_dir, quick, num_seeds, weights=False)[1]


def _find(
    file: Path,
    named: str | None,
    root: Path,
    runs_dir: Path,
    quick: bool,
    num_seeds: int | None,
    *,
    weights: bool,
) -> tuple[Recipe, Winner]:
    """A recipe, solved, with the variant of this name, or its winner; of the one named all runs suffice."""
    only = () if named is None else (named,)
    asked = load_recipe(file, quick=quick, seeds=num_seeds, only=only)
    if named is None:
        one_data_set(asked.directory, [variant.data.name for variant in asked.variants])
    upstream = upstream_recipe(asked, root, runs_dir, weights=weights)
    if named is not None:
        return upstream, named_variant(upstream, named, file, num_seeds)
    return upstream, _winner_of(upstream, file, num_seeds, runs_dir)


def _winner_of(upstream: Recipe, file: Path, num_seeds: int | None, runs_dir: Path) -> Winner:
    directory = runs_dir / upstream.directory
    comparison = compare_planned(directory, upstream.directory, upstream.planned(), METRIC)
    if any(row.estimate("val_iou") is not None for row in comparison.rows):
        raise CnnbenchError(
            f"the winner goes by validation accuracy, which in {upstream.directory} is that of pixels, "
            "nearly all of them background: name the model or variant instead"
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


def upstream_recipe(recipe: Recipe, root: Path, runs_dir: Path, *, weights: bool = True) -> Recipe:
    """The recipe, solved, with seeds of which all runs are complete; NotRunError where there are none.

    With `only` in the recipe the runs of these variants suffice, without `weights` those without theirs.
    """
    whole = load_recipe(recipe.path, quick=recipe.quick)
    states = []
    for seeds in (None, recipe.num_seeds) if recipe.num_seeds else (None,):
        # what it is built on itself may have been run with as few seeds
        narrow = whole.model_copy(update={"num_seeds": recipe.num_seeds})
        try:
            solved = _with_winners(narrow, root, runs_dir)
            solved = narrowed(solve_matches(solved, root), seeds, recipe.only)
        except NotRunError as error:
            raise NotRunError(f"{whole.directory}, which is built on {error}") from error
        runs = solved_runs(solved, runs_dir)
        state = [(run, decide(run, config, weights=weights)) for run, config in runs]
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
    words += [word for text in recipe.overrides for word in ("--set", text)]
    words += ["--seeds", str(recipe.num_seeds)] if recipe.num_seeds else []
    words += [word for name in recipe.only for word in ("--only", name)]
    words += ["--runs", str(runs_dir)] if runs_dir != Path("runs") else []
    return shlex.join(words)


def stale_stages(directory: Path, root: Path) -> list[str]:
    """A sentence for each recipe whose winner is no longer the one that these runs were built on.

    `root` is where the data are, whose sizes decide widths that are matched.
    """
    sentences = []
    recorded = recorded_winners(directory).values()
    winners = {
        (winner.recipe, winner.variant, winner.model_dump_json(include={"weights"}), bool(winner.contenders)):
        winner for winner in recorded
    }  # fmt: skip
    for winner in winners.values():
        file = Path(winner.file)
        start = f"stale: these runs were built on {winner.variant}, the winner at that time of"
        if winner.weights:
            start = f"stale: an encoder of these runs has the weights that {winner.variant} had in"
        still = "the same in" if winner.weights else "the winner of"
        unknown = (
            f"whether {winner.variant} is still {still} {winner.recipe}, on which these runs were built, is "
            "not known: "
        )
        if not file.is_file():
            sentences.append(f"{unknown}there is no {winner.file} here")
            continue
        try:
            now = _found_again(winner, root, runs_dir_of(directory))
        except NotRunError as error:
            sentences.append(f"{start} {error}")
        except CnnbenchError as error:
            sentences.append(f"{unknown}{error}")
        else:
            if winner.weights and (now.variant, now.weights) != (winner.variant, winner.weights):
                changed = (
                    "where it has others now"
                    if now.variant == winner.variant
                    else f"which now has {now.variant}"
                )
                sentences.append(f"{start} {winner.recipe}, {changed}; run the recipe again")
            elif now.model != winner.model:
                changed = (
                    "where its model has changed"
                    if now.variant == winner.variant
                    else f"which now is {now.variant}"
                )
                sentences.append(f"{start} {winner.recipe}, {changed}; run the recipe again")
    return sentences


def _found_again(winner: Winner, root: Path, runs_dir: Path) -> Winner:
    """What is there now in the place of what these runs were built on."""
    is_named = bool(winner.weights) and not winner.contenders
    upstream, now = _find(
        Path(winner.file), winner.variant if is_named else None, root, runs_dir,
        Path(winner.recipe).name.endswith("+quick"), winner.num_seeds, weights=bool(winner.weights),
    )  # fmt: skip
    if not winner.weights:
        return now
    return with_weights(now, upstream, [int(seed) for seed in winner.weights], runs_dir)


def stage_notes(recipe: Recipe, runs_dir: Path) -> list[str]:
    """What is to be told of a solved recipe before it is run: on what it is built, and what that changes."""
    notes: dict[str, None] = {}
    before = recorded_winners(runs_dir / recipe.directory)
    for variant in recipe.variants:
        winner = variant.winner
        if winner is None:
            continue
        old = before.get(variant.name)
        if old is not None and old.weights and winner.weights:
            common = old.weights.keys() & winner.weights.keys()
            if any(old.weights[seed] != winner.weights[seed] for seed in common):
                notes[
                    f"stale: the runs in {runs_dir / recipe.directory} have an encoder with other weights "
                    f"than {winner.recipe} has now"
                ] = None
        elif old is not None and old.recipe == winner.recipe and old.model != winner.model:
            since = f"which is no longer the winner of {winner.recipe}"
            if old.variant == winner.variant:
                since = f"whose model has changed since in {winner.recipe}"
            notes[
                f"stale: the runs in {runs_dir / recipe.directory} were built on {old.variant}, {since}"
            ] = None
        what = what_is_taken(winner)
        notes[f"{what[0].lower()}{what[1:]}: {' '.join(winner.reasons)}"] = None
    for variant in recipe.variants:
        for sentence in variant.winner.cut if variant.winner else ():
            notes[f"{variant.name}: {sentence}"] = None
    return [*notes, *never_learned(recipe.planned()), *same_settings(recipe.planned())]
