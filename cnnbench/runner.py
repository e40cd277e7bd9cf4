"""Runs a recipe: which runs are missing, train them, analyse, report."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from cnnbench import files
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.defaults import with_defaults
from cnnbench.runs import BusyError, DamagedError, Run, differences, read_json

if TYPE_CHECKING:
    import torch

    from cnnbench.comparison import Comparison
    from cnnbench.data.datasets import Datasets
    from cnnbench.job import JobEvent
    from cnnbench.recipe.config import Recipe, RunConfig


@dataclass(frozen=True)
class Decision:
    """What is to be done with a run, and why; "replace" is training anew where an old run stands."""

    action: Literal["reuse", "resume", "train", "replace"]
    reason: str


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
class Reported:
    """The end: where the report is, and the comparison in it (None where no run is complete)."""

    directory: Path
    report: Path | None
    comparison: "Comparison | None"
    failures: list[Failed]


Event = Started | Working | Finished | Notice | Failed | Reported


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
    from cnnbench.data import data_root
    from cnnbench.data.datasets import Datasets
    from cnnbench.job import OutOfMemoryError, train_run
    from cnnbench.matching import solve
    from cnnbench.plan import describe_plan
    from cnnbench.precision import choose_device

    target = choose_device(device)
    directory = runs_dir / recipe.directory
    root = data_root(data_dir)
    datasets = Datasets(root, recipe.plugins)
    recipe = solve(recipe, root)
    describe_plan(recipe, root)  # a model that cannot be built or is too large shows here, before training
    yield from map(Notice, try_out(recipe, datasets, target))
    write_plan(recipe, directory, command)
    failures: list[Failed] = []
    configs = recipe.run_configs()
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
    yield report(recipe, directory, datasets, target, failures)


def report_recipe(
    recipe: "Recipe",
    *,
    runs_dir: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str = "auto",
    command: str = "",
) -> Reported:
    """Analyses the finished runs of a recipe and writes its report, and trains nothing.

    Raises CnnbenchError where none of its runs is complete.
    """
    from cnnbench.data import data_root
    from cnnbench.data.datasets import Datasets
    from cnnbench.matching import solve
    from cnnbench.precision import choose_device

    directory = runs_dir / recipe.directory
    recipe = solve(recipe, data_root(data_dir))
    if not any(decision.action == "reuse" for _, decision in decide_runs(recipe, runs_dir)):
        raise CnnbenchError(
            f"{recipe.path}: no finished run of these settings in {directory}; train it first "
            f"(cnnbench recipe {recipe.path})"
        )
    write_plan(recipe, directory, command)
    return report(recipe, directory, Datasets(data_root(data_dir), recipe.plugins), choose_device(device), [])


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
        except CnnbenchError as error:
            raise CnnbenchError(f"{recipe.path}: variant {config.variant!r}: {error}") from error
        notes |= dict.fromkeys(dataset.notes)
    return list(notes)


def decide_runs(
    recipe: "Recipe", runs_dir: Path, fresh: bool = False, *, data_dir: Path | None = None
) -> list[tuple[Run, Decision]]:
    """What `run_recipe` would do with each run; nothing is changed."""
    from cnnbench.data import data_root
    from cnnbench.matching import solve

    decided = []
    for config in solve(recipe, data_root(data_dir)).run_configs():
        run = Run(runs_dir / recipe.directory / config.variant / f"seed{config.seed}")
        decided.append((run, decide(run, config, fresh)))
    return decided


def write_plan(recipe: "Recipe", directory: Path, command: str) -> None:
    """Writes what this directory is going to hold, and the recipe as it was read."""
    plan = {
        "recipe": recipe.directory,
        "command": command,
        "title": recipe.title,
        "question": recipe.question,
        "analyses": [analysis.model_dump(mode="json") for analysis in recipe.analyses],
        "claims": [claim.model_dump(mode="json") for claim in recipe.claims],
        "variants": [
            {
                "name": variant.name,
                "seeds": variant.seeds,
                "config": variant.model_dump(mode="json", include={"data", "model", "train"}),
            }
            for variant in recipe.variants
        ],
    }
    files.write(directory / "plan.json", json.dumps(plan, indent=2) + "\n")
    files.write(directory / "recipe.toml", recipe.text)


def decide(run: Run, config: "RunConfig", fresh: bool = False) -> Decision:
    """Whether a run is reused, resumed or trained, from what its directory holds; nothing is changed."""
    if not (run.path / "config.json").exists():
        if run.has_files():
            return Decision("replace", "there are files of a run, but no config.json says of which")
        return Decision("train", "not trained yet")
    try:
        changed = differences(run.config(), with_defaults(config.model_dump(mode="json")))
        result = run.result()
        if fresh:
            return Decision("replace", "--fresh was given")
        if changed:
            return Decision("replace", "its settings changed: " + ", ".join(changed))
        if result is None:
            return Decision("resume", "not complete yet")
        run.check()
    except DamagedError as error:
        return Decision("replace", f"a file is damaged: {error}")
    return Decision("reuse", "complete")


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
) -> Reported:
    """Analyses the complete runs and writes the report; without any there is none."""
    from cnnbench import catalog
    from cnnbench.analyses.base import Analysis, Subject
    from cnnbench.comparison import compare
    from cnnbench.report import write_report

    runs = complete_runs(directory)
    if not runs:
        return Reported(directory, None, None, failures)
    plan = read_json(directory / "plan.json")
    subject = Subject(plan["recipe"], plan["title"], runs, datasets, device)
    analysed = []
    for named in recipe.analyses:
        make = cast("type[Analysis]", catalog.resolve(catalog.target("analysis", named.name, recipe.plugins)))
        analysed.append((named.name, list(make(**named.options).analyse(subject))))
    comparison = compare([directory])
    path = write_report(directory, plan=plan, subject=subject, analyses=analysed, comparison=comparison)
    return Reported(directory, path, comparison, failures)


def complete_runs(directory: Path) -> list[Run]:
    """The complete runs of the plan's settings, in its order; the comparison says of the others why not."""
    plan = read_json(directory / "plan.json")
    return [
        run
        for variant in plan["variants"]
        for seed in variant["seeds"]
        if is_complete(run := Run(directory / variant["name"] / f"seed{seed}"), variant["config"])
    ]


def is_complete(run: Run, settings: Mapping[str, Any]) -> bool:
    """Whether a run of these settings is there, whole."""
    try:
        if run.result() is None:
            return False
        run.check()
        config = run.config()
    except DamagedError:
        return False
    return not differences({key: config.get(key) for key in settings}, with_defaults(settings))
