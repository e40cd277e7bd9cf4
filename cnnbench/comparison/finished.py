"""Finds recipes with finished runs, and compares them."""

from collections.abc import Sequence
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cnnbench.comparison.assemble import LEADING_OF_MASKS, compared, runs_of
from cnnbench.comparison.comparison import Comparison
from cnnbench.comparison.measurements import RecipeMeasurements, read_recipe
from cnnbench.comparison.quantities import named
from cnnbench.comparison.stages import stale_stages
from cnnbench.data import data_root
from cnnbench.errors import CnnbenchError
from cnnbench.files import natural_order

if TYPE_CHECKING:
    from cnnbench.recipe.config import JudgedOn

PLAN = "plan.json"


def compare(
    paths: Sequence[Path] = (),
    *,
    runs_dir: Path = Path("runs"),
    metric: str | None = None,
    data_dir: Path | None = None,
) -> Comparison:
    """Compares the finished runs of recipes: of everything under `runs_dir`, or of the given paths.

    A path is a recipe's directory, its name under `runs_dir`, a directory of such, or a recipe's file.
    Without a `metric` it is the measure that leads: test IoU where all runs have one, else test accuracy; or
    that of validation where all recipes are judged on it. Of one that leaves test alone (see Recipe) nothing
    measured on test is there, unless `metric` asks for it.
    `data_dir` is where the data are, which tells whether a winner is still one.
    Damaged and missing runs become `problems`; raises CnnbenchError without any runs or such a metric.
    """
    found = {place.resolve(): place for path in paths or (runs_dir,) for place in _find(Path(path), runs_dir)}
    directories = sorted(found.values(), key=natural_order)
    recipes = [read_recipe(directory) for directory in directories]
    for recipe, directory in zip(recipes, directories, strict=True):
        recipe.problems += stale_stages(directory, data_root(data_dir))
    _keep_apart(recipes, directories)
    recipes.sort(key=lambda recipe: natural_order(Path(recipe.name)))
    for recipe in recipes:
        if recipe.judged_on == "val" and not (metric or "").startswith("test"):
            recipe.forget_test()
    kinds = {recipe.judged_on for recipe in recipes}
    judged_on = cast("JudgedOn", next(iter(kinds)) if len(kinds) == 1 else "test")
    runs = [run for recipe in recipes for run in runs_of(recipe)]
    if metric is None:
        all_masks = bool(runs) and all(LEADING_OF_MASKS in run.values for run in runs)
        metric = LEADING_OF_MASKS if all_masks else "test_accuracy"
        if judged_on != "test":
            metric = metric.replace("test", "val")
        for recipe in recipes:
            if recipe.judged_on == "val" != judged_on:
                recipe.problems.append("judged on validation, test being left alone: compare it by itself")
    quantity = named(metric, (name for run in runs for name in run.values))
    return replace(compared(recipes, quantity), judged_on=judged_on)


def _find(path: Path, runs_dir: Path) -> list[Path]:
    """The directories with a plan that a path stands for."""
    if path.suffix == ".toml":
        return [_directory_of_recipe(path, runs_dir)]
    under_runs = runs_dir / path
    if not path.exists() and under_runs.exists():
        path = under_runs
    if path.is_file() and path.name == PLAN:
        path = path.parent
    if (path / PLAN).is_file():
        return [path]
    found = [plan.parent for plan in path.rglob(PLAN)] if path.is_dir() else []
    if found:
        return found
    if path == runs_dir:
        raise CnnbenchError(
            f"no runs in {path}: train a recipe first (cnnbench recipe recipes/quickstart.toml), "
            "or say where its runs are (--runs DIR)"
        )
    looked = f"{path}" if path.is_absolute() else f"{path} and {under_runs}"
    raise CnnbenchError(
        f"no runs found: there is no {PLAN} in {looked}; train the recipe first (cnnbench recipe FILE)"
        + _of_other_settings(under_runs)
    )


def _directory_of_recipe(path: Path, runs_dir: Path) -> Path:
    """Where the runs of a recipe's file are."""
    if (path.parent / PLAN).is_file():  # the copy of the recipe beside its runs
        return path.parent
    from cnnbench.recipe import load_recipe

    directory = runs_dir / load_recipe(path).directory
    if (directory / PLAN).is_file():
        return directory
    hint = _of_other_settings(directory)
    raise CnnbenchError(f"no runs of {path} in {directory}: train it first (cnnbench recipe {path}){hint}")


def _of_other_settings(directory: Path) -> str:
    """That there are runs of the same recipe, reduced or with overrides, where there are."""
    siblings = sorted(directory.parent.glob(f"{escape(directory.name)}+*/{PLAN}"))
    return f"; there is {siblings[0].parent}, of other settings" if siblings else ""


def _keep_apart(recipes: list[RecipeMeasurements], directories: list[Path]) -> None:
    """Recipes of one name, from different places, are called by their places."""
    names = [recipe.name for recipe in recipes]
    for recipe, directory, name in zip(recipes, directories, names, strict=True):
        if names.count(name) > 1:
            recipe.name = str(directory)
