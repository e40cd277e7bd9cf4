"""Runs that a recipe has in common with those it is built on or reuses: taken over, not trained again."""

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
    """For a run never begun, a whole one with its settings, of a recipe this one is built on or reuses."""
    if decision.action != "train":
        return None
    built_on = [each.winner.recipe for each in recipe.variants if each.winner]
    reused = [name + directory_suffix([], recipe.quick) for name in recipe.reuse]
    for place in dict.fromkeys(runs_dir / directory for directory in (*built_on, *reused)):
        for path in sorted(place.glob(f"*/seed{config.seed}")):
            if _is_twin(Run(path), config):
                return Run(path)
    return None


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
