"""Several runs of a variant as one: from their settings to their results, as `job` does one by one."""

from collections.abc import Generator, Iterator, Sequence
from time import perf_counter

import torch

from cnnbench import memory
from cnnbench.data.base import Dataset
from cnnbench.job import (
    Begun,
    JobEvent,
    Resumed,
    Share,
    begin_run,
    conditions_of,
    finish,
    finish_diverged,
    resume,
    save_epoch,
    told_of_memory,
    train_run,
)
from cnnbench.precision import Precision, choose_precision
from cnnbench.recipe.config import RunConfig
from cnnbench.runs import Run
from cnnbench.threads import threads_for
from cnnbench.together import Seed, fit_together, why_apart
from cnnbench.training import DivergedError, Epoch, Remark


def train_runs(
    asked: Sequence[tuple[Run, RunConfig]],
    dataset: Dataset,
    device: torch.device,
    *,
    load_seconds: float = 0.0,
) -> Iterator[tuple[Run, JobEvent | None]]:
    """Trains the runs of one variant, which differ by their seeds, as one batched model, and finishes each.

    Where they cannot be, or stand at different epochs, one after another, with a Remark that says why. Each
    epoch of a run is on disk when its row is yielded; None means that the run is finished. Raises
    OutOfMemoryError.
    """
    began = perf_counter() - load_seconds
    precision = choose_precision(asked[0][1].train.precision, device)
    memory.reset_peak(device)
    dataset = dataset.to(device)  # once for all of them
    begun = [begin_run(run, config, dataset, device, precision, began) for run, config in asked]
    first = begun[0]
    reason = why_apart(first.state.model, first.config.train, precision, first.loader)
    told = "of several seeds at once; try --parallel-seeds off"
    steps = len(begun) * first.summary.macs * first.loader.batch_size
    with told_of_memory(device, told), threads_for(steps):
        conditions = conditions_of(precision, device)
        shares = []
        for each in begun if reason is None else ():
            events, share = _all_of(
                resume(each.run, each.state, conditions, Share(torch.get_num_threads(), len(begun)))
            )
            # that a run goes on is said where it does
            yield from ((each.run, event) for event in events if not isinstance(event, Resumed))
            shares.append(share)
        if len({len(each.state.rows) for each in begun}) > 1:
            reason = "they stand at different epochs"
        if reason is None:
            yield from _train_together(begun, shares, conditions, precision)
            return
    yield first.run, Remark(f"the seeds are trained one after another: {reason}")
    del begun, first
    for run, config in asked:
        for event in train_run(run, config, dataset, device, load_seconds=load_seconds):
            yield run, event
        yield run, None


def _all_of(events: Generator[JobEvent, None, Share]) -> tuple[list[JobEvent], Share]:
    """What a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(events))
        except StopIteration as end:
            share: Share = end.value
            return yielded, share


def _train_together(
    begun: Sequence[Begun], shares: Sequence[Share], conditions: dict[str, str], precision: Precision
) -> Iterator[tuple[Run, JobEvent | None]]:
    """Trains to the last epoch, each one on disk before it is told, and finishes every run."""
    torch.set_num_threads(shares[0].threads)
    for each in begun:
        if each.state.rows:
            yield each.run, Resumed(each.state.rows[-1].epoch)
    diverged = set()
    seeds = [Seed(each.config.seed, each.state, each.loader) for each in begun]
    for index, event in fit_together(seeds, begun[0].config.train, precision):
        each, share = begun[index], shares[index]
        if isinstance(event, DivergedError):
            diverged.add(index)
            finish_diverged(each, precision, share, event)
            continue
        if isinstance(event, Epoch):
            save_epoch(each.run, each.state, conditions, share)
        yield each.run, event
    for index, (each, share) in enumerate(zip(begun, shares, strict=True)):
        if index not in diverged:
            finish(each, precision, share)
        yield each.run, None
