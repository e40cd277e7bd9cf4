"""Runs that a recipe has in common with those it is built on or beside: they are not trained again."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench.decisions import is_complete
from cnnbench.running.events import Notice
from cnnbench.running.work import Order
from cnnbench.runs import BusyError, Run

if TYPE_CHECKING:
    from cnnbench.recipe.config import Recipe, RunConfig


def take_over(orders: Sequence[Order], recipe: "Recipe", runs_dir: Path) -> Iterator[Notice]:
    """Copies what is there already for runs that were never begun, and says so; nothing with --fresh."""
    for order in orders:
        if order.fresh or order.decide().action != "train":
            continue
        if (twin := find_twin(recipe, order.config, runs_dir)) is not None:
            yield from _take(order, twin, runs_dir)


def find_twin(recipe: "Recipe", config: "RunConfig", runs_dir: Path) -> Run | None:
    """A whole run with the settings of this one, of a recipe that this one is built on or of its folder."""
    for place in _places(recipe, runs_dir):
        for path in sorted(place.glob(f"*/seed{config.seed}")):
            if _is_twin(Run(path), config):
                return Run(path)
    return None


def source_of(twin: Run, runs_dir: Path) -> str:
    """Where a run was trained: of a copy, where it was taken from."""
    return (twin.result() or {}).get("taken_from") or twin.path.relative_to(runs_dir).as_posix()


def _places(recipe: "Recipe", runs_dir: Path) -> list[Path]:
    own = runs_dir / recipe.directory
    places = [runs_dir / variant.winner.recipe for variant in recipe.variants if variant.winner]
    if own.parent != runs_dir:  # recipes outside of any folder are no series
        places += sorted(plan.parent for plan in own.parent.glob("*/plan.json"))
    return [place for place in dict.fromkeys(places) if place != own]


def _is_twin(run: Run, config: "RunConfig") -> bool:
    """Whether a run is whole and was trained with these settings, under whatever name."""
    return is_complete(run, config.model_dump(mode="json", exclude={"recipe", "variant"}), weights=True)


def _take(order: Order, twin: Run, runs_dir: Path) -> Iterator[Notice]:
    source = source_of(twin, runs_dir)
    try:
        with order.run.locked():
            order.run.take_over(twin, order.config.model_dump(mode="json"), source)
    except BusyError:
        return  # whoever holds it trains it
    yield Notice(f"{order.run.label} has the settings of {source}: that run is taken over, not trained again")
