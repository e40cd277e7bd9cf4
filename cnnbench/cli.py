"""The commands: parse, call, print, exit code. Nothing heavy is imported before a command needs it."""

import errno
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cnnbench import catalog, console
from cnnbench.errors import CnnbenchError
from cnnbench.recipe import load_recipe

app = typer.Typer(
    name="cnnbench",
    help="Fair, repeated, honest comparisons of image models: a TOML recipe asks, trained runs answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

USER_MISTAKE = 2
INTERRUPTED = 130


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PrecisionChoice(StrEnum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class CompareFormat(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


class ShowFormat(StrEnum):
    table = "table"
    json = "json"


class Kind(StrEnum):
    recipes = "recipes"
    models = "models"
    datasets = "datasets"
    analyses = "analyses"
    optimizers = "optimizers"
    schedules = "schedules"
    augmentations = "augmentations"


RecipePaths = Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="TOML files, run one after another.")]
RunsDir = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where runs are kept.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where data sets are; else CNNBENCH_DATA, else data/."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides a setting, such as train.epochs=2. Repeatable."),
]
NumSeeds = Annotated[int | None, typer.Option("--seeds", min=1, metavar="N", help="How many seeds.")]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="VARIANT", help="This variant alone. Repeatable.")]
Quick = Annotated[bool, typer.Option("--quick", help="A reduced form: 2 epochs, 2,000 images, one seed.")]


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Shows the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        console.write(f"cnnbench {version_of('cnnbench')}")
        raise typer.Exit


@app.command()
def recipe(
    recipes: RecipePaths,
    settings: Settings = None,
    seeds: NumSeeds = None,
    only: Only = None,
    quick: Quick = False,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    precision: Annotated[PrecisionChoice | None, typer.Option(help="Number format; the same as --set train.precision=…")] = None,
    data: DataDir = None,
    runs: RunsDir = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Trains anew; old runs are moved aside.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Says what would be trained, and trains nothing.")] = False,
) -> None:
    """Runs recipes: trains what is missing, then prints the comparison and writes the report.

    Example: `cnnbench recipe recipes/3_2_blocks.toml --seeds 1`
    """
    overrides = list(settings or [])
    if precision is not None and precision is not PrecisionChoice.auto:
        overrides.append(f"train.precision={precision.value}")
    loaded = [load_recipe(path, overrides, quick=quick, seeds=seeds, only=only or ()) for path in recipes]
    if dry_run:
        from cnnbench.runner import decide_runs

        for each in loaded:
            rows = [
                (run.variant, run.seed, decision.action, decision.reason)
                for run, decision in decide_runs(each, runs, fresh)
            ]
            console.print_table(each.title, ["variant", "seed", "would", "because"], rows, left=4)
        return
    failed = [each for each in loaded if not run_one(each, runs, data, device.value, fresh)]
    if failed:
        raise typer.Exit(1)


def run_one(loaded: "Recipe", runs: Path, data: Path | None, device: str, fresh: bool) -> bool:
    """Runs a recipe before the user's eyes; whether every run of it is complete."""
    from cnnbench.progress import Follower
    from cnnbench.runner import iterate_recipe

    follower = Follower(loaded)
    try:
        outcome = follower.follow(iterate_recipe(loaded, runs_dir=runs, data_dir=data, device=device, fresh=fresh))
    except KeyboardInterrupt:
        console.say(f"interrupted: {follower.saved}", "yellow")
        raise typer.Exit(INTERRUPTED) from None
    if outcome.comparison is not None:
        show_comparison(outcome.comparison)
    if outcome.report is not None:
        console.say(f"report: {outcome.report}")
    return not outcome.failures


def show_comparison(comparison: "Comparison") -> None:
    """The table and what it allows to conclude, on stdout."""
    from cnnbench.comparison_formats import legend, to_table

    columns, rows = to_table(comparison)
    console.print_table("", columns, rows, left=2)
    console.print_lines([legend(comparison), *comparison.conclusions(), *comparison.problems])


@app.command()
def compare(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Recipes, or directories of runs; else all runs.")
    ] = None,
    runs: RunsDir = Path("runs"),
    metric: Annotated[str, typer.Option(metavar="NAME", help="What to compare.")] = "test_accuracy",
    form: Annotated[CompareFormat, typer.Option("--format", help="How to print it.")] = CompareFormat.table,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Writes the table to a .json, .csv or .md file too.")
    ] = None,
) -> None:
    """Compares finished runs: means, 95 % intervals, and which variants cannot be told apart.

    Example: `cnnbench compare 3_2_blocks --format json`
    """
    from cnnbench import comparison_formats
    from cnnbench.compare import compare as compare_runs

    comparison = compare_runs(paths or (), runs_dir=runs, metric=metric)
    match form:
        case CompareFormat.table:
            show_comparison(comparison)
        case CompareFormat.json:
            console.write(comparison_formats.to_json(comparison))
        case CompareFormat.csv:
            console.write(comparison_formats.to_csv(comparison))
        case CompareFormat.markdown:
            console.write(comparison_formats.to_markdown(comparison))
    if save is not None:
        comparison_formats.save(comparison, save)
        console.say(f"saved: {save}")
    for picture in save_pictures(comparison, runs / "comparison"):
        console.say(f"picture: {picture}")
