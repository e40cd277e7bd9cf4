"""Finished runs become a report: analyses, comparison, checks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cnnbench import files
from cnnbench.checks.results import unevaluated
from cnnbench.decisions import is_complete, planned_settings
from cnnbench.errors import CnnbenchError
from cnnbench.reading import DamagedError, read_json
from cnnbench.running.events import Failed, Reported, Skipped
from cnnbench.running.plans import COMPLETE, skipped_before, write_plan
from cnnbench.runs import Run

if TYPE_CHECKING:
    import torch

    from cnnbench.analyses.base import Analysis
    from cnnbench.data.datasets import Datasets
    from cnnbench.recipe.config import Recipe


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
            f"{recipe.path}: no finished run of these settings in {directory}; train it first "
            f"({to_run(recipe, runs_dir)})"
        )
    datasets = Datasets(data_root(data_dir), recipe.plugins)
    write_plan(recipe, directory, _command_before(recipe, directory) or command, skipped_before(directory))
    return report(recipe, directory, datasets, choose_device(device), [])


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
    from cnnbench.comparison.claims import judge
    from cnnbench.comparison.winners import picked
    from cnnbench.report import write_report

    runs = complete_runs(directory)
    if not runs:
        return Reported(directory, None, None, failures, list(skipped), unevaluated(recipe.checks))
    plan = read_json(directory / "plan.json")

    def subject_of(place: Path, stages: Sequence[Stage] = ()) -> Subject:
        try:
            of = read_json(place / "plan.json")
            name, title, complete = of["recipe"], of["title"], complete_runs(place)
        except (DamagedError, LookupError, TypeError) as error:
            raise CnnbenchError(
                f"{place / 'plan.json'} is damaged ({error}): run that recipe again, which keeps its runs"
            ) from error
        judged_on = of.get("judged_on", "test")
        return Subject(name, title, complete, datasets, device, stages, judged_on)

    stages = [Stage(subject_of(place), taken) for place, taken in stage_directories(directory).items()]
    subject = subject_of(directory, stages)
    analysed = [(name, list(analysis.analyse(subject))) for name, analysis in make_analyses(recipe)]
    comparison = compare([directory], data_dir=datasets.root)
    claims = judge(
        comparison,
        plan["claims"],
        lambda metric: compare([directory], metric=metric, data_dir=datasets.root),
    )
    planned = {variant["name"]: variant["seeds"] for variant in plan["variants"]}
    checks = evaluate_checks(recipe.checks, subject, planned)
    path = write_report(
        directory,
        plan=plan,
        subject=subject,
        analyses=analysed,
        comparison=comparison,
        claims=claims,
        checks=checks,
    )
    mark_complete(recipe, directory, plan, runs)
    return Reported(
        directory, path, comparison, failures, list(skipped), checks, claims, picked(comparison, planned)
    )


def _command_before(recipe: "Recipe", directory: Path) -> str | None:
    """The command that has trained these very runs: a report knows of no device, nor of seeds together."""
    try:
        before = read_json(directory / "plan.json")
        planned = [(variant["name"], variant["seeds"]) for variant in before["variants"]]
    except (DamagedError, LookupError, TypeError):
        return None
    same = planned == [(variant.name, variant.seeds) for variant in recipe.variants]
    return str(before.get("command") or "") if same else None


def mark_complete(recipe: "Recipe", directory: Path, plan: dict[str, Any], runs: Sequence[Run]) -> None:
    """Says to `make all` that nothing is missing: no variant, no seed of the recipe's file, no weights."""
    asked = {(each["name"], seed) for each in plan["variants"] for seed in each["seeds"]}
    if recipe.num_seeds is None and asked == {(run.variant, run.seed) for run in runs}:
        files.write(directory / COMPLETE, "report.md has every run that the recipe asks for\n")


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
