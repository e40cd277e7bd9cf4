"""`cnnbench recipe`: trains what is missing, and answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnbench import console
from cnnbench.arguments import (
    DataDir,
    Device,
    Jobs,
    NumSeeds,
    Only,
    PrecisionChoice,
    Quick,
    RecipePaths,
    RunsDir,
    Settings,
    Strict,
    WithStages,
    number_of_jobs,
)  # fmt: skip
from cnnbench.commands.outcomes import (
    INTERRUPTED,
    exit_unless_checks_hold,
    exit_unless_done,
    show_outcome,
    typed,
)

if TYPE_CHECKING:
    from cnnbench.recipe import Recipe
    from cnnbench.running.events import Reported


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
    jobs: Jobs = "1",
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
            run_stages(each, runs, data, device.value, number_of_jobs(jobs))
        command = typed(each.path, overrides, quick, seeds, device.value)
        outcomes.append(run_one(each, command, runs, data, device.value, fresh, number_of_jobs(jobs)))
    if not dry_run:
        exit_unless_done(loaded, outcomes)
    if strict:
        exit_unless_checks_hold(outcomes)


def run_stages(loaded: "Recipe", runs: Path, data: Path | None, device: str, jobs: int | None) -> None:
    """Runs what is missing of the recipes that this one is built on, in order."""
    from cnnbench.running import is_ready, stages_of

    stages = stages_of(loaded)
    encoders = [
        variant.encoder_of.file.resolve()
        for each in (*stages, loaded)
        for variant in each.variants
        if variant.encoder_of is not None
    ]
    for stage in stages:
        if is_ready(stage, runs, data_dir=data, weights=stage.path.resolve() in encoders):
            console.say(f"{stage.directory}: complete")
            continue
        console.say(f"{stage.directory}: {loaded.directory} is built on it")
        command = typed(stage.path, [], stage.quick, stage.num_seeds, device)
        exit_unless_done([stage], [run_one(stage, command, runs, data, device, fresh=False, jobs=jobs)])


def show_decisions(
    loaded: "Recipe", runs: Path, data: Path | None, fresh: bool, with_stages: bool = False
) -> None:
    """What would be done with each run, and on what the recipe is built; nothing is changed."""
    from cnnbench.comparison.stages import NotRunError
    from cnnbench.running import look_ahead, stages_of

    for each in [*stages_of(loaded), loaded] if with_stages else [loaded]:
        try:
            ahead = look_ahead(each, runs, fresh and each is loaded, data_dir=data)
        except NotRunError:
            if not with_stages:
                raise
            console.print_lines([f"{each.directory}: would be run after the recipes above, on their winner"])
            continue
        rows = [(run.variant, run.seed, would.action, would.reason) for run, would in ahead.decisions]
        console.print_table(each.title, ["variant", "seed", "would", "because"], rows, left=4)
        console.print_lines([f"- {note}" for note in ahead.notes])


def run_one(
    loaded: "Recipe",
    command: str,
    runs: Path,
    data: Path | None,
    device: str,
    fresh: bool,
    jobs: int | None,
) -> "Reported":
    """Runs a recipe before the user's eyes."""
    from cnnbench.progress import Follower
    from cnnbench.running import iterate_recipe

    follower = Follower(loaded, jobs != 1, fresh)
    events = iterate_recipe(
        loaded, runs_dir=runs, data_dir=data, device=device, fresh=fresh, command=command, jobs=jobs
    )
    try:
        outcome = follower.follow(events)
    except KeyboardInterrupt:
        console.say(f"interrupted: {follower.saved}", "yellow")
        raise typer.Exit(INTERRUPTED) from None
    show_outcome(loaded, outcome)
    return outcome
