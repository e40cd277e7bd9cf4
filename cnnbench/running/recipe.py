"""Runs a recipe: which runs are missing, train them, report."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnnbench.errors import CnnbenchError
from cnnbench.running.events import Event, Failed, Notice, Reported
from cnnbench.running.plans import another_recipe, write_plan
from cnnbench.running.preflight import (
    check_analyses,
    check_images,
    check_models,
    try_out,
    without_weights,
)
from cnnbench.running.reporting import report
from cnnbench.running.twins import take_over
from cnnbench.running.work import Order, carry_out, carry_out_together
from cnnbench.runs import Run

if TYPE_CHECKING:
    import torch

    from cnnbench.data.datasets import Datasets
    from cnnbench.recipe.config import Recipe

ParallelSeeds = Literal["off", "on", "auto"]


def run_recipe(
    recipe: "Recipe",
    *,
    runs_dir: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str = "auto",
    fresh: bool = False,
    jobs: int | None = 1,
    parallel_seeds: ParallelSeeds = "off",
) -> Reported:
    """Trains what is missing of a recipe, `jobs` runs at a time or as many as pay, and writes its report.

    With `parallel_seeds` the seeds of a variant are one batched model; "auto": where it pays on a GPU.
    Raises CnnbenchError for the user's mistakes, before anything is trained.
    """
    events = iterate_recipe(
        recipe,
        runs_dir=runs_dir,
        data_dir=data_dir,
        device=device,
        fresh=fresh,
        jobs=jobs,
        parallel_seeds=parallel_seeds,
    )
    for event in events:
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
    jobs: int | None = 1,
    parallel_seeds: ParallelSeeds = "off",
) -> Iterator[Event]:
    """The same, event by event; the last one is Reported. `command` is what the report says to type again."""
    from cnnbench.comparison.stages import solve, stage_notes
    from cnnbench.data import data_root
    from cnnbench.data.datasets import Datasets
    from cnnbench.precision import choose_device

    target = choose_device(device)
    together = parallel_seeds == "on" or (parallel_seeds == "auto" and target.type == "cuda" and jobs == 1)
    if together and jobs != 1:
        raise CnnbenchError("--parallel-seeds trains in one process: give it or --jobs, not both")
    directory = runs_dir / recipe.directory
    root = data_root(data_dir)
    datasets = Datasets(root, recipe.plugins)
    recipe = solve(recipe, root, runs_dir)
    check_models(recipe, root, runs_dir)
    yield from map(Notice, try_out(recipe, datasets, target))
    check_analyses(recipe, datasets)
    skipped = without_weights(recipe, directory, datasets, fresh)
    check_images(recipe, directory, datasets, fresh)
    yield from map(Notice, stage_notes(recipe, runs_dir))  # which reads the plan before it is written anew
    yield from map(Notice, another_recipe(recipe, directory))
    write_plan(recipe, directory, command, {each.variant: each.reason for each in skipped})
    yield from skipped
    missing = {each.variant for each in skipped}
    configs = [config for config in recipe.run_configs() if config.variant not in missing]
    orders = [
        Order(Run(directory / config.variant / f"seed{config.seed}"), config, index, len(configs), fresh)
        for index, config in enumerate(configs, start=1)
    ]
    taken_over = list(take_over(orders, recipe, runs_dir))
    yield from taken_over
    if taken_over:  # whose images may be others than those of the runs they stand beside now
        check_images(recipe, directory, datasets, fresh)
    failures: list[Failed] = []
    at_work = (
        carry_out_by_variant(orders, datasets, target, if_faster=parallel_seeds == "auto")
        if together
        else None
    )
    for event in at_work or carry_out_all(orders, datasets, target, jobs):
        if isinstance(event, Failed):
            failures.append(event)
        yield event
    yield report(recipe, directory, datasets, target, failures, skipped)


def carry_out_by_variant(
    orders: Sequence[Order], datasets: "Datasets", device: "torch.device", *, if_faster: bool
) -> Iterator[Event]:
    """One variant after another, its seeds together."""
    for _, seeds in groupby(orders, lambda order: order.config.variant):
        yield from carry_out_together(list(seeds), datasets, device, if_faster=if_faster)


def carry_out_all(
    orders: Sequence[Order], datasets: "Datasets", device: "torch.device", jobs: int | None
) -> Iterator[Event]:
    """One run after another, or `jobs` of those that have to be trained at a time."""
    if jobs is None:
        from cnnbench.running.processes import how_many

        jobs = how_many(sum(order.decide().action != "reuse" for order in orders), device)
    if jobs == 1:
        for order in orders:
            yield from carry_out(order, datasets, device)
        return
    import torch

    from cnnbench.running.processes import Workplace, carry_out_at_once

    to_train = []
    for order in orders:
        if order.decide().action == "reuse":
            yield from carry_out(order, datasets, device)
        else:
            to_train.append(order)
    if not to_train:
        return
    datasets.release()  # each process loads its own, and this one only waits
    place = Workplace(
        root=datasets.root,
        plugins=datasets.plugins,
        device=device.type,
        num_devices=torch.cuda.device_count() if device.type == "cuda" else 1,
        # the share of one, though fewer runs be left: threads are part of what makes two runs alike
        num_threads=max(1, torch.get_num_threads() // jobs),
        at_a_time=jobs,
    )
    yield from carry_out_at_once(to_train, place)
