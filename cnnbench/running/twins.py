"""Runs that a recipe has in common with the one it is built on: they are taken over, not trained again."""

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
    places = {runs_dir / variant.winner.recipe: None for variant in recipe.variants if variant.winner}
    for order in orders:
        if order.fresh or order.decide().action != "train":
            continue
        for place in places:
            for path in sorted(place.glob(f"*/seed{order.config.seed}")):
                if is_twin(Run(path), order.config):
                    yield from _take(order, path, runs_dir)
                    break


def is_twin(run: Run, config: "RunConfig") -> bool:
    """Whether a run is whole and was trained with these settings, under whatever name."""
    return is_complete(run, config.model_dump(mode="json", exclude={"recipe", "variant"}), weights=True)


def _take(order: Order, path: Path, runs_dir: Path) -> Iterator[Notice]:
    source = (Run(path).result() or {}).get("taken_from") or path.relative_to(runs_dir).as_posix()
    try:
        with order.run.locked():
            order.run.take_over(Run(path), order.config.model_dump(mode="json"), source)
    except BusyError:
        return  # whoever holds it trains it
    yield Notice(f"{order.run.label} has the settings of {source}: that run is taken over, not trained again")
