"""`cnnbench bench`: how fast models train."""

from pathlib import Path
from typing import Annotated

import typer

from cnnbench import console
from cnnbench.arguments import BenchFormat, DataDir, Device, Settings


def bench(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A TOML file; else a standard set of models.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--variant", "--only", metavar="NAME", help="This variant alone. Repeatable."),
    ] = None,
    settings: Settings = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600, help="How long each part is timed in a turn.")
    ] = 5.0,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="How many turns.")] = 3,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Also what torch.compile would cost and bring a run.")
    ] = False,
    data: DataDir = None,
    form: Annotated[BenchFormat, typer.Option("--format", help="How to print it.")] = BenchFormat.table,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Writes the table to a .md file, or .json, too.")
    ] = None,
) -> None:
    """Times training: images per second of data, model and whole loop, beside the loop of a notebook.

    Example: cnnbench bench recipes/3_2_blocks.toml --variant wide
    """
    from cnnbench import views
    from cnnbench.bench import STANDARD, Speeds, formats, iterate_bench
    from cnnbench.recipe import load_recipe

    formats.check_file(save)
    loaded = load_recipe(recipe or STANDARD, settings or (), only=only or ())
    events = iterate_bench(
        loaded, data_dir=data, device=device.value, seconds=seconds, repeats=repeats, compiled=compiled
    )
    for event in events:
        if isinstance(event, Speeds):
            views.show_speeds(event, form.value)
            if save is not None:
                console.say(f"saved: {formats.save(event, save)}")
        else:
            console.say(event)
