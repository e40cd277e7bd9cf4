"""Runs a recipe: which runs are missing, train them, analyse, report."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cnnbench import files
from cnnbench.checks.results import unevaluated
from cnnbench.decisions import Decision, decide, is_complete, planned_settings
from cnnbench.errors import CnnbenchError
from cnnbench.runs import BusyError, DamagedError, Run, encoder_weights, read_json

if TYPE_CHECKING:
    import torch

    from cnnbench.analyses.base import Analysis
    from cnnbench.checks.results import CheckResult
    from cnnbench.comparison import Comparison
    from cnnbench.data.datasets import Datasets
    from cnnbench.job import JobEvent
    from cnnbench.recipe.config import Recipe, RunConfig


@dataclass(frozen=True)
class Started:
    """A run is about to be trained: the index-th of `total` runs of the recipe, counted from 1."""

    run: Run
    config: "RunConfig"
    index: int
    total: int


@dataclass(frozen=True)
class Working:
    """Something happened within a run."""

    run: Run
    event: "JobEvent"


@dataclass(frozen=True)
class Finished:
    """A run is complete; `reused` where it was so before."""

    run: Run
    result: dict[str, Any]
    reused: bool


@dataclass(frozen=True)
class Notice:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True)
class Failed:
    """A run that could not be completed, and why; the others go on."""

    run: Run
    message: str


@dataclass(frozen=True)
class Skipped:
    """A variant that cannot be run here, for its pretrained weights are not there; the others go on."""

    variant: str
    reason: str


@dataclass(frozen=True)
class Reported:
    """The end: where the report is, and the comparison in it (None where no run is complete)."""

    directory: Path
    report: Path | None
    comparison: "Comparison | None"
    failures: list[Failed]
    skipped: list[Skipped] = field(default_factory=list)
    checks: "list[CheckResult]" = field(default_factory=list)


Event = Started | Working | Finished | Notice | Failed | Skipped | Reported


def run_recipe(
    recipe: "Recipe",
    *,
    runs_dir: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str = "auto",
    fresh: bool = False,
) -> Reported:
    """Trains what is missing of a recipe and writes its report.

    Raises CnnbenchError for the user's mistakes, before anything is trained.
    """
    for event in iterate_recipe(recipe, runs_dir=runs_dir, data_dir=data_dir, device=device, fresh=fresh):
        if isinstance(event, Reported):
            return event
    raise AssertionError("a recipe ends with its report")


def iterate_recipe(
    recipe: "Recipe",
    *,
    runs_dir: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    command: str = "",
) -> Iterator[Event]:
    """The same, event by event; the last one is Reported. `command` is what the report says to type again."""
    from cnnbench.comparison.stages import solve, stage_notes
    from cnnbench.data import data_root
    from cnnbench.data.datasets import Datasets
    from cnnbench.job import OutOfMemoryError, train_run
    from cnnbench.precision import choose_device

    target = choose_device(device)
    directory = runs_dir / recipe.directory
    root = data_root(data_dir)
    datasets = Datasets(root, recipe.plugins)
    recipe = solve(recipe, root, runs_dir)
    check_models(recipe, root, runs_dir)
    yield from map(Notice, try_out(recipe, datasets, target))
    check_analyses(recipe, datasets)
    skipped = without_weights(recipe, directory, datasets, fresh)
    yield from map(Notice, stage_notes(recipe, runs_dir))  # which reads the plan before it is written anew
    yield from map(Notice, another_recipe(recipe, directory))
    write_plan(recipe, directory, command, {each.variant: each.reason for each in skipped})
    yield from skipped
    failures: list[Failed] = []
    missing = {each.variant for each in skipped}
    configs = [config for config in recipe.run_configs() if config.variant not in missing]
    for index, config in enumerate(configs, start=1):
        run = Run(directory / config.variant / f"seed{config.seed}")
        try:
            with run.locked():
                decision = decide(run, config, fresh)
                if decision.action == "reuse":
                    run.drop_states()  # a kill between the result and the end can leave them
                    yield Finished(run, run.result() or {}, reused=True)
                    continue
                yield from prepare(run, config, decision)
                yield Started(run, config, index, len(configs))
                for event in train_run(run, config, datasets.load(config.data), target):
                    yield Working(run, event)
                yield Finished(run, run.result() or {}, reused=False)
        except (BusyError, OutOfMemoryError) as error:
            failures.append(Failed(run, str(error)))
            yield failures[-1]
    yield report(recipe, directory, datasets, target, failures, skipped)


def report_recipe(
    recipe: "Recipe",
    *,
    runs_dir: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str = "auto",
    command: str = "",
) -> Reported:
    """Analyses the finished runs of a recipe and writes its report, and trains nothing.

    Runs whose weights were deleted are reported too, but for what only weights can show. Raises CnnbenchError
    where none of its runs is complete.
    """
    from cnnbench.comparison.stages import command as to_run
    from cnnbench.comparison.stages import solve, solved_runs
    from cnnbench.data import data_root
    from cnnbench.data.datasets import Datasets
    from cnnbench.precision import choose_device

    directory = runs_dir / recipe.directory
    recipe = solve(recipe, data_root(data_dir), runs_dir, as_run=True)
    found = solved_runs(recipe, runs_dir)
    if not any(is_complete(run, config.model_dump(mode="json")) for run, config in found):
        raise CnnbenchError(
            f"{recipe.path}: no finished run of these settings in {directory}; train it first with the same "
            f"--set, --seeds and --quick ({to_run(recipe, runs_dir)})"
        )
    datasets = Datasets(data_root(data_dir), recipe.plugins)
    write_plan(recipe, directory, command, skipped_before(directory))
    return report(recipe, directory, datasets, choose_device(device), [])


def check_models(recipe: "Recipe", root: Path, runs_dir: Path) -> None:
    """Raises CnnbenchError where a model cannot be built, is too large, or lacks what a check names."""
    from cnnbench.checks.anatomy import check_names
    from cnnbench.plan import describe_plan

    describe_plan(recipe, root, runs_dir)
    check_names(recipe, root)


def try_out(recipe: "Recipe", datasets: "Datasets", device: "torch.device") -> list[str]:
    """Raises now what would end the recipe hours later: unusable data, augmentation or precision.

    Returns what the data sets have to say, such as which files were left out.
    """
    from cnnbench.data.loader import Loader
    from cnnbench.precision import choose_precision

    tried = set()
    notes: dict[str, None] = {}
    for config in recipe.run_configs():
        if config.variant in tried:
            continue
        tried.add(config.variant)
        try:
            choose_precision(config.train.precision, device)
            dataset = datasets.load(config.data)
            Loader(dataset, config.data, device, plugins=config.plugins)
            if dataset.test_only and config.train.epochs > 0:
                raise CnnbenchError(
                    f"data set {dataset.name!r} has test images only, and nothing is trained on those: "
                    "set train.epochs = 0"
                )
        except CnnbenchError as error:
            raise CnnbenchError(f"{recipe.path}: variant {config.variant!r}: {error}") from error
        notes |= dict.fromkeys(dataset.notes)
    return list(notes)


def check_analyses(recipe: "Recipe", datasets: "Datasets") -> None:
    """Raises CnnbenchError now, not after training, where an analysis names what no variant has."""
    import torch

    from cnnbench.analyses.base import Untrained
    from cnnbench.data.loader import Loader
    from cnnbench.models import build_model, takes_bytes

    device = torch.device("cpu")

    def untrained() -> Iterator[Untrained]:
        for config in {each.variant: each for each in recipe.run_configs()}.values():
            dataset = datasets.load(config.data)
            model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
            as_bytes = takes_bytes(config.model, config.plugins)
            loader = Loader(dataset, config.data, device, plugins=config.plugins, as_bytes=as_bytes)
            yield Untrained(config.variant, model.eval(), loader)

    for named, analysis in make_analyses(recipe):
        if analysis.needs_check:
            try:
                analysis.check(untrained())
            except CnnbenchError as error:
                raise CnnbenchError(f"{recipe.path}: analysis {named!r}: {error}") from error


def make_analyses(recipe: "Recipe") -> "list[tuple[str, Analysis]]":
    """The recipe's analyses, ready to look at runs, with their names."""
    from cnnbench import catalog

    return [
        (
            named.name,
            cast("type[Analysis]", catalog.resolve(catalog.target("analysis", named.name, recipe.plugins)))(
                **named.options
            ),
        )
        for named in recipe.analyses
    ]


def without_weights(
    recipe: "Recipe", directory: Path, datasets: "Datasets", fresh: bool = False
) -> list[Skipped]:
    """The variants with a run to come whose pretrained weights are not there.

    Raises CnnbenchError where weights are there and cannot be used.
    """
    from cnnbench.models import begin, brings_weights, build_model
    from cnnbench.models.weights import WeightsAbsentError

    found: dict[str, Skipped] = {}
    tried = set()
    for config in recipe.run_configs():
        run = Run(directory / config.variant / f"seed{config.seed}")
        if config.variant in tried or not brings_weights(config.model, config.plugins):
            continue
        if decide(run, config, fresh).action == "reuse":
            continue
        tried.add(config.variant)
        dataset = datasets.load(config.data)
        try:
            model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
            begin(model, dataset.classes, encoder_weights(run, config))
        except WeightsAbsentError as error:
            found[config.variant] = Skipped(config.variant, str(error))
        except CnnbenchError as error:
            raise CnnbenchError(f"{recipe.path}: variant {config.variant!r}: {error}") from error
    return list(found.values())


def another_recipe(recipe: "Recipe", directory: Path) -> list[str]:
    """A sentence where the directory's last plan was that of a recipe with another question, or none."""
    try:
        before = read_json(directory / "plan.json")
        title, question = str(before["title"]), str(before["question"])
    except (DamagedError, LookupError, TypeError):
        return []
    if (title, question) == (recipe.title, recipe.question):
        return []
    return [
        f"{directory} was the place of {title!r} ({question}): its report is written anew for "
        f"{recipe.title!r}, and runs with other settings are moved aside; give --runs DIR to keep both"
    ]


def skipped_before(directory: Path) -> dict[str, str]:
    """Why the last plan skipped which variants."""
    try:
        variants = read_json(directory / "plan.json")["variants"]
        return {each["name"]: str(each["skipped"]) for each in variants if each.get("skipped")}
    except (DamagedError, LookupError, TypeError, AttributeError):
        return {}  # no plan, or none of ours: what it said is written anew anyway


def decide_runs(
    recipe: "Recipe", runs_dir: Path, fresh: bool = False, *, data_dir: Path | None = None
) -> list[tuple[Run, Decision]]:
    """What `run_recipe` would do with each run; nothing is changed.

    Raises CnnbenchError for what it would refuse of the models.
    """
    from cnnbench.comparison.stages import solve, solved_runs
    from cnnbench.data import data_root

    root = data_root(data_dir)
    solved = solve(recipe, root, runs_dir)
    check_models(solved, root, runs_dir)
    return [(run, decide(run, config, fresh)) for run, config in solved_runs(solved, runs_dir)]


def notes_of(recipe: "Recipe", runs_dir: Path, *, data_dir: Path | None = None) -> list[str]:
    """What `run_recipe` would tell before it trains: on what the recipe is built, and what is stale by it."""
    from cnnbench.comparison.stages import solve, stage_notes
    from cnnbench.data import data_root

    return stage_notes(solve(recipe, data_root(data_dir), runs_dir), runs_dir)


def stages_of(recipe: "Recipe") -> "list[Recipe]":
    """The recipes that this one is built on, directly or not, in the order in which they have to be run."""
    from cnnbench.recipe import load_recipe
    from cnnbench.recipe.stages import load_stages

    return load_stages(recipe, lambda file: load_recipe(file, quick=recipe.quick, seeds=recipe.num_seeds))


def is_ready(recipe: "Recipe", runs_dir: Path, *, data_dir: Path | None = None) -> bool:
    """Whether another recipe can be built on this one: the runs that are needed for that are complete."""
    from cnnbench.comparison.stages import NotRunError, upstream_recipe
    from cnnbench.data import data_root

    try:
        upstream_recipe(recipe, data_root(data_dir), runs_dir)
    except NotRunError:
        return False
    return True


def write_plan(recipe: "Recipe", directory: Path, command: str, skipped: Mapping[str, str] = {}) -> None:
    """Writes what this directory is going to hold, why variants are skipped, and the recipe as read."""
    plan = {
        "recipe": recipe.directory,
        "command": command,
        "title": recipe.title,
        "question": recipe.question,
        "analyses": [analysis.model_dump(mode="json") for analysis in recipe.analyses],
        "claims": [claim.model_dump(mode="json") for claim in recipe.claims],
        "checks": [check.model_dump(mode="json") for check in recipe.checks],
        "variants": [
            {**each, **({"skipped": skipped[each["name"]]} if each["name"] in skipped else {})}
            for each in recipe.planned()
        ],
    }
    files.write(directory / "plan.json", json.dumps(plan, indent=2) + "\n")
    files.write(directory / "recipe.toml", recipe.text)


def prepare(run: Run, config: "RunConfig", decision: Decision) -> Iterator[Notice]:
    """Makes the directory ready for training; an old run of no use is moved aside, never overwritten."""
    if decision.action == "replace":
        aside = run.set_aside()
        yield Notice(f"{run.label} is trained anew ({decision.reason}); the old run is kept in {aside}")
    if decision.action != "resume":
        run.write_config(config.model_dump(mode="json"))


def report(
    recipe: "Recipe",
    directory: Path,
    datasets: "Datasets",
    device: "torch.device",
    failures: list[Failed],
    skipped: Sequence[Skipped] = (),
) -> Reported:
    """Analyses the complete runs and writes the report; without any there is none."""
    from cnnbench.analyses.base import Stage, Subject
    from cnnbench.checks.evaluate import evaluate_checks
    from cnnbench.comparison import compare
    from cnnbench.comparison.built_on import stage_directories
    from cnnbench.report import write_report

    runs = complete_runs(directory)
    if not runs:
        return Reported(directory, None, None, failures, list(skipped), unevaluated(recipe.checks))
    plan = read_json(directory / "plan.json")

    def subject_of(place: Path, stages: Sequence[Stage] = ()) -> Subject:
        of = read_json(place / "plan.json")
        return Subject(of["recipe"], of["title"], complete_runs(place), datasets, device, stages)

    stages = [Stage(subject_of(place), taken) for place, taken in stage_directories(directory).items()]
    subject = subject_of(directory, stages)
    analysed = [(name, list(analysis.analyse(subject))) for name, analysis in make_analyses(recipe)]
    comparison = compare([directory])
    planned = {variant["name"]: variant["seeds"] for variant in plan["variants"]}
    checks = evaluate_checks(recipe.checks, subject, planned)
    path = write_report(
        directory, plan=plan, subject=subject, analyses=analysed, comparison=comparison, checks=checks
    )
    return Reported(directory, path, comparison, failures, list(skipped), checks)


def complete_runs(directory: Path) -> list[Run]:
    """The complete runs of the plan's settings, in its order; the comparison says of the others why not."""
    plan = read_json(directory / "plan.json")
    return [
        run
        for variant in plan["variants"]
        for seed in variant["seeds"]
        if is_complete(
            run := Run(directory / variant["name"] / f"seed{seed}"), planned_settings(variant, seed)
        )
    ]
