"""`cnnbench compare`: finished runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

from cnnbench import console
from cnnbench.arguments import CompareFormat, RunsDir
from cnnbench.errors import CnnbenchError


def compare(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Recipes, or directories of runs; else all runs."),
    ] = None,
    runs: RunsDir = Path("runs"),
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to compare; by default test accuracy, of masks test IoU."),
    ] = None,
    form: Annotated[CompareFormat, typer.Option("--format", help="How to print it.")] = CompareFormat.table,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Writes the table to a .json, .csv or .md file too.")
    ] = None,
) -> None:
    """Compares finished runs: means, 95 % intervals, and which variants cannot be told apart.

    Example: cnnbench compare 3_2_blocks --format json
    """
    from cnnbench import views
    from cnnbench.comparison import compare as compare_runs
    from cnnbench.comparison import formats

    comparison = compare_runs(paths or (), runs_dir=runs, metric=metric)
    if not comparison.rows:
        raise CnnbenchError(f"there is nothing to compare: {'; '.join(comparison.all_problems()[:3])}")
    if save is not None:
        formats.save(comparison, save)
        console.say(f"saved: {save}")
    match form:
        case CompareFormat.table:
            views.show_comparison(comparison)
        case CompareFormat.json:
            console.write(formats.to_json(comparison))
        case CompareFormat.csv:
            console.write(formats.to_csv(comparison))
        case CompareFormat.markdown:
            console.write(formats.to_markdown(comparison))
    if form in (CompareFormat.json, CompareFormat.csv):  # which have no place for all of them
        for problem in comparison.all_problems():
            console.say(problem, "yellow")
    try:
        for picture in views.save_pictures(comparison, runs / "comparison"):
            console.say(f"picture: {picture}")
    except OSError as error:  # the answer is given, and the pictures go with it where they can
        console.say(f"no pictures: {error.strerror}: {error.filename or runs / 'comparison'}", "yellow")
