"""The commands: parse, call, print, exit code. Nothing heavy is imported before a command needs it."""

import errno
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cnnbench import console
from cnnbench.arguments import (
    BenchFormat,
    CompareFormat,
    DataDir,
    Device,
    ImagePaths,
    Kind,
    MasksDir,
    NumSeeds,
    Only,
    Plugins,
    PrecisionChoice,
    Quick,
    RecipePaths,
    RunPath,
    RunsDir,
    Settings,
    ShowFormat,
    Strict,
    TopClasses,
    WithStages,
)  # fmt: skip
from cnnbench.errors import CnnbenchError
from cnnbench.interrupts import Interrupts

if TYPE_CHECKING:
    from cnnbench.data.base import Survey
    from cnnbench.recipe import Recipe
    from cnnbench.runner import Reported

app = typer.Typer(
    name="cnnbench",
    help="Fair, repeated, honest comparisons of image models: a TOML recipe asks, trained runs answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

USER_MISTAKE = 2
CHECK_FAILED = 3
INTERRUPTED = 130


def show_version(wanted: bool) -> None:
    """Runs while the options are read, since `--version` needs no command after it."""
    if wanted:
        from importlib.metadata import version

        console.write(f"cnnbench {version('cnnbench')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Shows the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """The options of the program as a whole."""


@app.command()
def recipe(
    recipes: RecipePaths,
    settings: Settings = None,
    seeds: NumSeeds = None,
    only: Only = None,
    quick: Quick = False,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    precision: Annotated[
        PrecisionChoice | None, typer.Option(help="Number format; the same as --set train.precision=…")
    ] = None,
    data: DataDir = None,
    runs: RunsDir = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Trains anew; old runs are moved aside.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Says what would be trained, and trains nothing.")
    ] = False,
    with_stages: WithStages = False,
    strict: Strict = False,
) -> None:
    """Runs recipes: trains what is missing, then prints the comparison and writes the report.

    Example: `cnnbench recipe recipes/3_2_blocks.toml --seeds 1`
    """
    from cnnbench.recipe import load_recipe

    overrides = list(settings or [])
    if precision is not None:
        overrides.append(f"train.precision={precision.value}")
    loaded = [load_recipe(path, overrides, quick=quick, seeds=seeds, only=only or ()) for path in recipes]
    outcomes: list[Reported] = []
    for each in loaded:
        if dry_run:
            show_decisions(each, runs, data, fresh, with_stages)
            continue
        if with_stages:
            run_stages(each, runs, data, device.value)
        command = typed(each.path, overrides, quick, seeds)
        outcomes.append(run_one(each, command, runs, data, device.value, fresh))
    if not dry_run:
        exit_unless_done(loaded, outcomes)
    if strict:
        exit_unless_checks_hold(outcomes)


def exit_unless_done(recipes: "list[Recipe]", outcomes: "list[Reported]") -> None:
    """Ends with 1 where a run failed, and with USER_MISTAKE where every variant of a recipe was skipped."""
    if any(outcome.failures for outcome in outcomes):
        raise typer.Exit(1)
    if any(map(all_skipped, recipes, outcomes)):
        raise typer.Exit(USER_MISTAKE)


def all_skipped(loaded: "Recipe", outcome: "Reported") -> bool:
    """Whether nothing was done of what was asked for, since weights are missing."""
    asked = set(loaded.only) or {variant.name for variant in loaded.variants}
    return asked <= {each.variant for each in outcome.skipped}


def exit_unless_checks_hold(outcomes: "list[Reported]") -> None:
    """Ends with CHECK_FAILED where a declared check does not hold, or could not be evaluated."""
    checks = [check for outcome in outcomes for check in outcome.checks]
    failed = [check for check in checks if not check.holds]
    if failed:
        console.say(f"--strict: {len(failed)} of {len(checks)} checks do not hold", "red")
        raise typer.Exit(CHECK_FAILED)


def run_stages(loaded: "Recipe", runs: Path, data: Path | None, device: str) -> None:
    """Runs what is missing of the recipes that this one is built on, in order."""
    from cnnbench.runner import is_ready, stages_of

    for stage in stages_of(loaded):
        if is_ready(stage, runs, data_dir=data):
            console.say(f"{stage.directory}: complete")
            continue
        console.say(f"{stage.directory}: {loaded.directory} is built on it")
        command = typed(stage.path, [], stage.quick, stage.num_seeds)
        exit_unless_done([stage], [run_one(stage, command, runs, data, device, fresh=False)])


def show_decisions(
    loaded: "Recipe", runs: Path, data: Path | None, fresh: bool, with_stages: bool = False
) -> None:
    """What would be done with each run, and on what the recipe is built; nothing is changed."""
    from cnnbench.comparison.stages import NotRunError
    from cnnbench.runner import decide_runs, notes_of, stages_of

    for each in [*stages_of(loaded), loaded] if with_stages else [loaded]:
        try:
            notes = notes_of(each, runs, data_dir=data)
            decided = decide_runs(each, runs, fresh and each is loaded, data_dir=data)
        except NotRunError:
            if not with_stages:
                raise
            console.print_lines([f"{each.directory}: would be run after the recipes above, on their winner"])
            continue
        rows = [(run.variant, run.seed, decision.action, decision.reason) for run, decision in decided]
        console.print_table(each.title, ["variant", "seed", "would", "because"], rows, left=4)
        console.print_lines([f"- {note}" for note in notes])


def typed(path: Path, overrides: list[str], quick: bool, seeds: int | None) -> str:
    """The command that gives the same numbers, without what only says where files are or what to do first."""
    words = ["cnnbench", "recipe", str(path)]
    for override in overrides:
        words += ["--set", override]
    words += ["--quick"] if quick else []
    words += [] if seeds is None else ["--seeds", str(seeds)]
    return shlex.join(words)


def run_one(
    loaded: "Recipe", command: str, runs: Path, data: Path | None, device: str, fresh: bool
) -> "Reported":
    """Runs a recipe before the user's eyes."""
    from cnnbench.progress import Follower
    from cnnbench.runner import iterate_recipe

    follower = Follower(loaded)
    events = iterate_recipe(loaded, runs_dir=runs, data_dir=data, device=device, fresh=fresh, command=command)
    try:
        outcome = follower.follow(events)
    except KeyboardInterrupt:
        console.say(f"interrupted: {follower.saved}", "yellow")
        raise typer.Exit(INTERRUPTED) from None
    show_outcome(loaded, outcome)
    return outcome


def show_outcome(loaded: "Recipe", outcome: "Reported") -> None:
    """The comparison, what came of the recipe's claims and checks, and where the report is."""
    from cnnbench import views
    from cnnbench.comparison.claims import judge

    if outcome.comparison is not None:
        views.show_comparison(outcome.comparison)
        views.show_claims(judge(outcome.comparison, [claim.model_dump() for claim in loaded.claims]))
    views.show_checks(outcome.checks)
    if outcome.skipped:
        names = ", ".join(each.variant for each in outcome.skipped)
        rest = "nothing was done" if all_skipped(loaded, outcome) else "the others were run"
        console.say(f"{loaded.path}: skipped, their weights are missing: {names}; {rest}", "yellow")
    if outcome.report is not None:
        console.say(f"report: {outcome.report}")


@app.command()
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
        typer.Option("--save", metavar="DIR", help="Copies the report with its pictures there too."),
    ] = None,
    strict: Strict = False,
) -> None:
    """Writes the report of finished runs anew, and trains nothing.

    Example: `cnnbench report recipes/1_1_mnist.toml --save docs/results`
    """
    from cnnbench.publish import publish
    from cnnbench.recipe import load_recipe
    from cnnbench.runner import report_recipe

    outcomes = []
    for path in recipes:
        loaded = load_recipe(path, settings or (), quick=quick, seeds=seeds)
        command = typed(path, list(settings or []), quick, seeds)
        outcome = report_recipe(loaded, runs_dir=runs, data_dir=data, device=device.value, command=command)
        show_outcome(loaded, outcome)
        outcomes.append(outcome)
        if save is not None:
            console.say(f"saved: {publish(outcome.directory, loaded.directory, save)}")
    if strict:
        exit_unless_checks_hold(outcomes)


@app.command()
def compare(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Recipes, or directories of runs; else all runs."),
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

    Example: `cnnbench compare 3_2_blocks --format json`
    """
    from cnnbench import views
    from cnnbench.comparison import compare as compare_runs
    from cnnbench.comparison import formats

    comparison = compare_runs(paths or (), runs_dir=runs, metric=metric)
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
    for picture in views.save_pictures(comparison, runs / "comparison"):
        console.say(f"picture: {picture}")


@app.command()
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
    data: DataDir = None,
    form: Annotated[BenchFormat, typer.Option("--format", help="How to print it.")] = BenchFormat.table,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Writes the table to a .md file, or .json, too.")
    ] = None,
) -> None:
    """Times training: images per second of data, model and whole loop, beside the loop of a notebook.

    Example: `cnnbench bench recipes/3_2_blocks.toml --variant wide`
    """
    from cnnbench import views
    from cnnbench.bench import STANDARD, Speeds, formats, iterate_bench
    from cnnbench.recipe import load_recipe

    formats.check_file(save)
    loaded = load_recipe(recipe or STANDARD, settings or (), only=only or ())
    for event in iterate_bench(loaded, data_dir=data, device=device.value, seconds=seconds, repeats=repeats):
        if isinstance(event, Speeds):
            views.show_speeds(event, form.value)
            if save is not None:
                console.say(f"saved: {formats.save(event, save)}")
        else:
            console.say(event)


@app.command()
def predict(
    run: RunPath,
    images: ImagePaths,
    top: TopClasses = None,
    form: Annotated[ShowFormat, typer.Option("--format", help="How to print it.")] = ShowFormat.table,
    save: MasksDir = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    data: DataDir = None,
    runs: RunsDir = Path("runs"),
    plugins: Plugins = None,
) -> None:
    """Applies a trained run to your own pictures: classes with probabilities, or masks as PNG files.

    Example: `cnnbench predict runs/quickstart/cnn/seed0 photo.jpg --top 3`
    """
    from cnnbench import prediction, views

    predictions = prediction.predict(
        run,
        images,
        top=top,
        save=save,
        runs_dir=runs,
        data_dir=data,
        device=device.value,
        plugins=plugins or (),
    )
    for note in predictions.notes:
        console.say(note)
    if form is ShowFormat.json:
        console.write(json.dumps(prediction.as_dicts(predictions), indent=2))
    else:
        views.show_predictions(predictions)


@app.command()
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

    Example: `cnnbench show recipes/3_2_blocks.toml --only wide`
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


@app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; else an overview of everything.")] = None,
) -> None:
    """Lists what a recipe can name, with options and defaults.

    Example: `cnnbench list models`
    """
    from cnnbench.listing import listing

    for title, rows in listing(None if kind is None else kind.value):
        if title == "recipes":  # two columns: paths are long, and are copied
            console.print_table(title, ["recipe", "what it asks"], rows, left=2)
        else:
            console.print_table(title, ["name", "what it is", "options"], rows, left=3)


@app.command()
def data(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Data sets to fetch; else a list.")
    ] = None,
    root: DataDir = None,
) -> None:
    """Downloads and verifies data sets; without a name, says which are there.

    Example: `cnnbench data cifar10`
    """
    from cnnbench import catalog
    from cnnbench.data import data_root, download_dataset, survey_dataset
    from cnnbench.recipe.mistakes import nearest

    known = catalog.names("dataset")
    for name in names or ():
        if name not in known:
            near = nearest(name, known)
            hint = f", did you mean {near!r}?" if near else ";"
            raise CnnbenchError(f"no data set {name!r}{hint} Known: {', '.join(known)}")
    place = data_root(root)
    if names:
        for name in names:
            with console.download_bar(name) as progress:
                survey = download_dataset(name, place, progress)
            console.print_lines([f"{name}: {said(survey)}"])
        return
    rows = []
    for name in known:
        try:
            state = said(survey_dataset(name, place))
        except CnnbenchError as error:
            state = str(error).partition(": ")[0]
        rows.append([name, state])
    console.print_table(f"data sets under {place}", ["name", "state"], rows, left=2)


def said(survey: "Survey") -> str:
    return f"{survey.num_train:,} training and {survey.num_test:,} test images, {survey.how}"


def main() -> None:
    """The entry point: exit codes 0 done, 2 the user's mistake, 3 a failed check, 130 interrupted, else 1."""
    interrupts = Interrupts()
    try:
        run_app()
    except KeyboardInterrupt:
        end_interrupted()
    except Exception:
        if not interrupts.seen:
            raise
        end_interrupted()


def end_interrupted() -> NoReturn:
    console.say("interrupted", "yellow")
    sys.exit(INTERRUPTED)


MISTAKEN_PATHS = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO)


def run_app() -> None:
    """Runs the command; the user's mistakes and a disk that cannot be written end in a message."""
    try:
        app()
    except CnnbenchError as error:
        console.fail(str(error))
        sys.exit(USER_MISTAKE)
    except BrokenPipeError:
        # The reader of stdout has gone, as `head` does; Python must not complain of it on the way out.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        sys.exit(1)
    except OSError as error:
        if error.errno in MISTAKEN_PATHS:
            console.fail(f"{error.filename}: {error.strerror}; name another place")
            sys.exit(USER_MISTAKE)
        if error.errno not in UNWRITABLE:
            raise
        console.fail(
            f"{error.strerror}: {error.filename or 'while writing'}; what was finished before is kept"
        )
        sys.exit(1)
