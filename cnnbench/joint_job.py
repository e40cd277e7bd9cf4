"""Several runs of a variant as one: from their settings to their results, as `job` does one by one."""

from collections.abc import Generator, Iterator, Sequence
from time import perf_counter

import torch

from cnnbench import memory
from cnnbench.data.base import Dataset
from cnnbench.data.loader import Loader
from cnnbench.job import (
    JobEvent,
    OutOfMemoryError,
    Share,
    begin_run,
    conditions_of,
    finish,
    finish_diverged,
    resume,
    save_epoch,
    told_of_memory,
)
from cnnbench.models import build_model, takes_bytes
from cnnbench.passes import why_not_recorded
from cnnbench.precision import choose_precision
from cnnbench.recipe.config import RunConfig
from cnnbench.runs import Run
from cnnbench.threads import threads_for
from cnnbench.together import Seed, fit_together, why_apart
from cnnbench.training import DivergedError, Epoch

TOO_MUCH = "for several seeds at once; try --parallel-seeds off"


def reason_apart(
    config: RunConfig, dataset: Dataset, device: torch.device, *, if_faster: bool = False
) -> str | None:
    """Why the seeds of these settings must be trained one by one; None where they need not be.

    With `if_faster` also where steps are recorded instead. Raises OutOfMemoryError where there is too little
    memory to find out.
    """
    if if_faster and not config.train.compile:
        model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
        if why_not_recorded(model, device) is None:
            return "its steps are recorded on the GPU instead"
    precision = choose_precision(config.train.precision, device)
    with told_of_memory(device, TOO_MUCH):
        models = []
        for seed in (config.seed, config.seed + 1):
            torch.manual_seed(seed)
            model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
            models.append(model.to(device))
        as_bytes = takes_bytes(config.model, config.plugins)
        loader = Loader(
            dataset, config.data, device, precision.dtype, plugins=config.plugins, as_bytes=as_bytes
        )
        return why_apart(models, config.train, precision, loader)


def train_runs(
    asked: Sequence[tuple[Run, RunConfig]],
    dataset: Dataset,
    device: torch.device,
    *,
    load_seconds: float = 0.0,
) -> Iterator[tuple[Run, JobEvent | None]]:
    """Trains the runs of one variant, which differ by their seeds, as one batched model, and finishes each.

    Each epoch of a run is on disk when its row is yielded; None means that the run is finished. Raises
    OutOfMemoryError.
    """
    began = perf_counter() - load_seconds
    train = asked[0][1].train
    precision = choose_precision(train.precision, device)
    memory.keep_freed()
    memory.reset_peak(device)
    with told_of_memory(device, TOO_MUCH):
        dataset = dataset.to(device)  # once for all of them
    try:
        begun = [begin_run(run, config, dataset, device, precision, began) for run, config in asked]
    except OutOfMemoryError as error:
        raise OutOfMemoryError(f"out of memory on {device.type} {TOO_MUCH}") from error
    macs = len(begun) * begun[0].summary.macs * begun[0].loader.batch_size
    with told_of_memory(device, TOO_MUCH), threads_for(macs):
        conditions, shares = conditions_of(precision, device, dataset), []
        for each in begun:
            now = Share(torch.get_num_threads(), 1, len(begun))
            share = yield from _told_of(each.run, resume(each.run, each.state, conditions, now))
            shares.append(share)
        torch.set_num_threads(shares[0].threads)
        seeds = [Seed(each.config.seed, each.state, each.loader) for each in begun]
        for index, event in fit_together(seeds, train, precision):
            each, share = begun[index], shares[index]
            if isinstance(event, DivergedError):
                finish_diverged(each, precision, share, event)
                yield each.run, None
                continue
            if event is None:
                finish(each, precision, share)
            elif isinstance(event, Epoch):
                save_epoch(each.run, each.state, conditions, share)
            yield each.run, event


def _told_of(
    run: Run, events: Generator[JobEvent, None, Share]
) -> Generator[tuple[Run, JobEvent], None, Share]:
    """The events with their run; returns what they return."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            share: Share = end.value
            return share
        yield run, event
