"""Runs of the very same settings: taken over, not trained again.

They are those of recipes that this one is built on or reuses, and its own of a variant that had another name.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench.decisions import Decision, is_complete
from cnnbench.reading import DamagedError
from cnnbench.recipe.overrides import directory_suffix
from cnnbench.running.events import Notice
from cnnbench.running.work import Order
from cnnbench.runs import BusyError, Run

if TYPE_CHECKING:
    from cnnbench.recipe.config import Recipe, RunConfig


def take_over(orders: Sequence[Order], recipe: "Recipe", runs_dir: Path) -> Iterator[Notice]:
    """Copies what is there already for runs that were never begun, and says so; nothing with --fresh."""
    for order in orders:
        twin = None if order.fresh else find_twin(recipe, order.config, order.decide(), runs_dir)
        if twin is not None:
            yield from _take(order, twin, runs_dir)


def find_twin(recipe: "Recipe", config: "RunConfig", decision: Decision, runs_dir: Path) -> Run | None:
    """For a run never begun, a whole one with its settings, if it may be taken over."""
    if decision.action != "train":
        return None
    names = {variant.name for variant in recipe.variants}
    own = (runs_dir / recipe.directory).glob(f"*/seed{config.seed}")
    renamed = [path for path in sorted(own) if path.parent.name not in names]
    built_on = [each.winner.recipe for each in recipe.variants if each.winner]
    reused = [name + directory_suffix([], recipe.quick) for name in recipe.reuse]
    places = dict.fromkeys(runs_dir / directory for directory in (*built_on, *reused))
    others = [path for place in places for path in sorted(place.glob(f"*/seed{config.seed}"))]
    return next((run for run in map(Run, (*renamed, *others)) if _is_twin(run, config)), None)


def source_of(twin: Run, runs_dir: Path) -> str:
    """Where a run was trained: of a copy, where it was taken from."""
    return (twin.result() or {}).get("taken_from") or twin.path.relative_to(runs_dir).as_posix()


def _is_twin(run: Run, config: "RunConfig") -> bool:
    """Whether a run is whole and was trained with these settings, under whatever name."""
    return is_complete(run, config.model_dump(mode="json", exclude={"recipe", "variant"}), weights=True)


def _take(order: Order, twin: Run, runs_dir: Path) -> Iterator[Notice]:
    try:
        with twin.locked(), order.run.locked():
            if order.decide().action != "train":
                return  # another process was here before the lock was ours
            source = source_of(twin, runs_dir)
            order.run.take_over(twin, order.config.model_dump(mode="json"), source)
    except (BusyError, DamagedError, FileNotFoundError):
        return  # another process is at one of the two: then it is trained here
    yield Notice(f"{order.run.label} has the settings of {source}: that run is taken over, not trained again")
