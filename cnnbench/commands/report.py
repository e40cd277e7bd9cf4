"""`cnnbench report`: the report of finished runs, written anew."""

from pathlib import Path
from typing import Annotated

import typer

from cnnbench import console
from cnnbench.arguments import DataDir, Device, NumSeeds, Quick, RecipePaths, RunsDir, Settings, Strict
from cnnbench.commands.outcomes import exit_unless_checks_hold, show_outcome, typed


def report(
    recipes: RecipePaths,
    settings: Settings = None,
    seeds: NumSeeds = None,
    quick: Quick = False,
    device: Annotated[Device, typer.Option(help="Where to look into models.")] = Device.auto,
    data: DataDir = None,
    runs: RunsDir = Path("runs"),
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="DIR", help="Copies report, pictures and runs, without weights, there."
        ),
    ] = None,
    strict: Strict = False,
) -> None:
    """Writes the report of finished runs anew, and trains nothing.

    Example: cnnbench report recipes/1_1_mnist.toml --save docs/results
    """
    from cnnbench.publish import publish
    from cnnbench.recipe import load_recipe
    from cnnbench.running import complete_runs, report_recipe

    outcomes = []
    for path in recipes:
        loaded = load_recipe(path, settings or (), quick=quick, seeds=seeds)
        command = typed(path, list(settings or []), quick, seeds, "auto")
        outcome = report_recipe(loaded, runs_dir=runs, data_dir=data, device=device.value, command=command)
        show_outcome(loaded, outcome)
        outcomes.append(outcome)
        if save is not None:
            runs_shown = complete_runs(outcome.directory)
            page = publish(outcome.directory, loaded.directory, save, runs_shown)
            console.say(f"saved: {page}")
    if strict:
        exit_unless_checks_hold(outcomes)
