"""`cnnbench show`: the plan of a recipe, without training."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cnnbench import console
from cnnbench.arguments import DataDir, NumSeeds, Only, Quick, RunsDir, Settings, ShowFormat


def show(
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="A TOML file.")] = None,
    form: Annotated[ShowFormat, typer.Option("--format", help="How to print it.")] = ShowFormat.table,
    settings: Settings = None,
    only: Only = None,
    seeds: NumSeeds = None,
    quick: Quick = False,
    data: DataDir = None,
    runs: RunsDir = Path("runs"),
    schema: Annotated[
        bool, typer.Option("--schema", help="Prints the JSON Schema of recipes, for editors.")
    ] = False,
) -> None:
    """Shows the plan of a recipe without training: settings, sizes, every layer.

    Example: cnnbench show recipes/3_2_blocks.toml --only wide
    """
    if schema:
        from cnnbench.recipe import recipe_schema

        console.write(json.dumps(recipe_schema(), indent=2))
        return
    if recipe is None:
        raise typer.BadParameter("name a recipe, or ask for --schema", param_hint="RECIPE")
    from cnnbench import views
    from cnnbench.data import data_root
    from cnnbench.plan import describe_plan
    from cnnbench.recipe import load_recipe

    loaded = load_recipe(recipe, settings or (), quick=quick, seeds=seeds, only=only or ())
    plan = describe_plan(loaded, data_root(data), runs)
    if form is ShowFormat.json:
        console.write(json.dumps(plan, indent=2))
    else:
        views.show_plan(plan)
