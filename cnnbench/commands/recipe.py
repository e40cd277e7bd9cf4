"""`cnnbench recipe`: trains what is missing, and answers."""

from dataclasses import dataclass
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
    ParallelSeeds,
    PrecisionChoice,
    Quick,
    RecipePaths,
    RunsDir,
    SeedsAtOnce,
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
    from cnnbench.running.recipe import ParallelSeeds as ParallelSeedsChoice


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
    parallel_seeds: ParallelSeeds = SeedsAtOnce.off,
) -> None:
    """Runs recipes: trains what is missing, then prints the comparison and writes the report.

    Example: cnnbench recipe recipes/3_2_blocks.toml --seeds 1
    """
    from cnnbench.recipe import load_recipe

    overrides = list(settings or [])
    if precision is not None:
        overrides.append(f"train.precision={precision.value}")
    loaded = [load_recipe(path, overrides, quick=quick, seeds=seeds, only=only or ()) for path in recipes]
    means = Means(runs, data, device.value, number_of_jobs(jobs), parallel_seeds.value)
    outcomes: list[Reported] = []
    for each in loaded:
        if dry_run:
            show_decisions(each, runs, data, fresh, with_stages)
            continue
        if with_stages:
            run_stages(each, means)
        command = typed(each.path, overrides, quick, seeds, device.value, parallel_seeds.value)
        outcomes.append(run_one(each, command, means, fresh))
    if not dry_run:
        exit_unless_done(loaded, outcomes)
    if strict:
        exit_unless_checks_hold(outcomes)


@dataclass(frozen=True)
class Means:
    """Where runs and data are, and with what they are trained."""

    runs: Path
    data: Path | None
    device: str
    jobs: int | None
    parallel_seeds: "ParallelSeedsChoice"


def run_stages(loaded: "Recipe", means: Means) -> None:
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
        if is_ready(stage, means.runs, data_dir=means.data, weights=stage.path.resolve() in encoders):
            console.say(f"{stage.directory}: complete")
            continue
        console.say(f"{stage.directory}: {loaded.directory} is built on it")
        command = typed(stage.path, [], stage.quick, stage.num_seeds, means.device, means.parallel_seeds)
        exit_unless_done([stage], [run_one(stage, command, means, fresh=False)])


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


def run_one(loaded: "Recipe", command: str, means: Means, fresh: bool) -> "Reported":
    """Runs a recipe before the user's eyes."""
    from cnnbench.progress import Follower
    from cnnbench.running import iterate_recipe

    follower = Follower(loaded, means.jobs != 1 or means.parallel_seeds != "off", fresh)
    events = iterate_recipe(
        loaded,
        runs_dir=means.runs,
        data_dir=means.data,
        device=means.device,
        fresh=fresh,
        command=command,
        jobs=means.jobs,
        parallel_seeds=means.parallel_seeds,
    )
    try:
        outcome = follower.follow(events)
    except KeyboardInterrupt:
        console.say(f"interrupted: {follower.saved}", "yellow")
        raise typer.Exit(INTERRUPTED) from None
    show_outcome(loaded, outcome)
    return outcome
