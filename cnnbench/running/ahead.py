"""What running a recipe would do, and what has to be run before it; nothing is changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench.decisions import Decision, decide
from cnnbench.running.preflight import check_models
from cnnbench.running.twins import find_twin
from cnnbench.runs import Run

if TYPE_CHECKING:
    from cnnbench.recipe.config import Recipe


@dataclass(frozen=True)
class Ahead:
    """What `run_recipe` would do with each run, and what it would tell before it trains."""

    decisions: list[tuple[Run, Decision]]
    notes: list[str]  # on what the recipe is built, and what is stale by it


def look_ahead(
    recipe: "Recipe", runs_dir: Path, fresh: bool = False, *, data_dir: Path | None = None
) -> Ahead:
    """What `run_recipe` would do. Raises CnnbenchError for what it would refuse of the models."""
    from cnnbench.comparison.stages import solve, solved_runs, stage_notes
    from cnnbench.data import data_root

    root = data_root(data_dir)
    solved = solve(recipe, root, runs_dir)
    check_models(solved, root, runs_dir)
    decisions = []
    for run, config in solved_runs(solved, runs_dir):
        decision = decide(run, config, fresh)
        twin = None if fresh else find_twin(solved, config, decision, runs_dir)
        if twin is not None:
            where = twin.path.relative_to(runs_dir).as_posix()
            decision = Decision("take over", f"{where} has the same settings")
        decisions.append((run, decision))
    return Ahead(decisions, stage_notes(solved, runs_dir))


def stages_of(recipe: "Recipe") -> "list[Recipe]":
    """The recipes that this one is built on, directly or not, in the order in which they have to be run."""
    from cnnbench.recipe import load_recipe
    from cnnbench.recipe.stages import load_stages

    return load_stages(recipe, lambda file: load_recipe(file, quick=recipe.quick, seeds=recipe.num_seeds))


def is_ready(recipe: "Recipe", runs_dir: Path, *, data_dir: Path | None = None, weights: bool = True) -> bool:
    """Whether another recipe can be built on this one: the runs that are needed for that are complete.

    Without `weights`, but for theirs: a model that won is built anew, an encoder is taken as it was trained.
    """
    from cnnbench.comparison.stages import NotRunError, upstream_recipe
    from cnnbench.data import data_root

    try:
        upstream_recipe(recipe, data_root(data_dir), runs_dir, weights=weights)
    except NotRunError:
        return False
    return True
