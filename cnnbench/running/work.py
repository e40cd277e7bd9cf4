"""One run of a recipe, reused, resumed or trained, event by event."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnbench.decisions import Decision, decide
from cnnbench.running.events import Event, Failed, Finished, Notice, Started, Working
from cnnbench.runs import BusyError, Run

if TYPE_CHECKING:
    import torch

    from cnnbench.data.datasets import Datasets
    from cnnbench.recipe.config import RunConfig


@dataclass(frozen=True)
class Order:
    """A run that is asked for, the index-th of `total` from 1 on; `fresh` trains it anew in any case."""

    run: Run
    config: "RunConfig"
    index: int
    total: int
    fresh: bool = False

    def decide(self) -> Decision:
        """What is to be done with the run."""
        return decide(self.run, self.config, self.fresh)


def carry_out(
    order: Order, datasets: "Datasets", device: "torch.device", at_a_time: int = 1
) -> Iterator[Event]:
    """Does what the run needs, while so many are in work; the last event is Finished or Failed."""
    from cnnbench.job import OutOfMemoryError, train_run
    from cnnbench.models.failures import PluginError, naming_plugins

    run, config = order.run, order.config
    try:
        with run.locked():
            decision = order.decide()
            if decision.action == "reuse":
                yield _reused(run)
                return
            yield from prepare(run, config, decision)
            yield Started(run, config, order.index, order.total)
            dataset = datasets.load(config.data)
            events = train_run(
                run, config, dataset, device, at_a_time=at_a_time, load_seconds=datasets.load_seconds
            )
            with naming_plugins(config.plugins):
                for event in events:
                    yield Working(run, event)
            yield Finished(run, run.result() or {}, reused=False)
    except (BusyError, OutOfMemoryError, PluginError) as error:
        yield Failed(run, str(error))


def carry_out_together(
    orders: Sequence[Order], datasets: "Datasets", device: "torch.device", *, if_faster: bool = False
) -> Iterator[Event]:
    """The same for the runs of a variant, as one batched model where that can be (`if_faster`: and pays)."""
    from cnnbench.job import OutOfMemoryError
    from cnnbench.joint_job import reason_apart
    from cnnbench.models.failures import PluginError, naming_plugins

    to_train = [order for order in orders if order.decide().action != "reuse"]
    for order in orders:
        if order not in to_train:
            yield from carry_out(order, datasets, device)
    if len(to_train) > 1:
        config = to_train[0].config
        try:
            with naming_plugins(config.plugins):
                reason = reason_apart(config, datasets.load(config.data), device, if_faster=if_faster)
        except (OutOfMemoryError, PluginError) as error:
            reason = str(error)
        if reason is None:
            yield from _train_together(to_train, datasets, device)
            return
        yield Notice(f"the seeds of {config.variant} are trained one after another: {reason}")
    for order in to_train:
        yield from carry_out(order, datasets, device)


def _train_together(orders: Sequence[Order], datasets: "Datasets", device: "torch.device") -> Iterator[Event]:
    from cnnbench.job import OutOfMemoryError
    from cnnbench.joint_job import train_runs
    from cnnbench.models.failures import PluginError, naming_plugins

    with ExitStack() as locks:
        asked: list[Order] = []
        for order in orders:
            try:
                locks.enter_context(order.run.locked())
            except BusyError as error:
                yield Failed(order.run, str(error))
                continue
            decision = order.decide()
            if decision.action == "reuse":  # another process has trained it meanwhile
                yield _reused(order.run)
                continue
            yield from prepare(order.run, order.config, decision)
            asked.append(order)
        if not asked:
            return
        for order in asked:
            yield Started(order.run, order.config, order.index, order.total)
        dataset = datasets.load(asked[0].config.data)
        runs = [(order.run, order.config) for order in asked]
        try:
            with naming_plugins(asked[0].config.plugins):
                for run, event in train_runs(runs, dataset, device, load_seconds=datasets.load_seconds):
                    if event is None:
                        yield Finished(run, run.result() or {}, reused=False)
                    else:
                        yield Working(run, event)
        except (OutOfMemoryError, PluginError) as error:
            yield from (Failed(run, str(error)) for run, _ in runs if run.result() is None)


def _reused(run: Run) -> Finished:
    run.drop_states()  # a kill between the result and the end can leave them
    return Finished(run, run.result() or {}, reused=True)


def prepare(run: Run, config: "RunConfig", decision: Decision) -> Iterator[Notice]:
    """Makes the directory ready for training; an old run of no use is moved aside, never overwritten."""
    if decision.action == "replace":
        aside = run.set_aside()
        yield Notice(f"{run.label} is trained anew ({decision.reason}); the old run is kept in {aside}")
    if decision.action != "resume":
        run.write_config(config.model_dump(mode="json"))
