"""Images per second of parts of a train loop, and of a whole one: cnnbench's and a notebook's.

Each is made once and then measured in turns: a function of a number of steps that returns images per second.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import Any, cast

import torch
from torch import nn

from cnnbench import catalog
from cnnbench.bench import notebook
from cnnbench.data.base import Dataset
from cnnbench.data.loader import Loader
from cnnbench.models import build_model, takes_bytes
from cnnbench.models.tuning import Tuning, begin_epoch, tuning_of
from cnnbench.passes import training_passes
from cnnbench.precision import Precision
from cnnbench.recipe.config import RunConfig
from cnnbench.tasks import make_task
from cnnbench.threads import threads_for
from cnnbench.training import TrainingState, fit

Measure = Callable[[int], float]
WARMUP_STEPS = 2


def fresh_model(config: RunConfig, dataset: Dataset, device: torch.device) -> nn.Module:
    """The same weights for all that is measured of a variant."""
    torch.manual_seed(config.seed)
    model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
    return model.to(device)


def make_loader(config: RunConfig, dataset: Dataset, device: torch.device, precision: Precision) -> Loader:
    as_bytes = takes_bytes(config.model, config.plugins)
    return Loader(dataset, config.data, device, precision.dtype, plugins=config.plugins, as_bytes=as_bytes)


def cut(dataset: Dataset, num_train: int) -> Dataset:
    """The first training images, and as large a share of the validation images."""
    num_val = max(1, round(len(dataset.val) * num_train / len(dataset.train)))
    train = replace(dataset.train, rows=dataset.train.rows[:num_train])
    return replace(dataset, train=train, val=replace(dataset.val, rows=dataset.val.rows[:num_val]))


def data_alone(config: RunConfig, dataset: Dataset, device: torch.device, precision: Precision) -> Measure:
    """Batches gathered, augmented and normalized, and given to nothing."""
    loader = make_loader(config, dataset, device, precision)
    epoch = 0

    def measure(num_steps: int) -> float:
        nonlocal epoch
        start, made, count = perf_counter(), 0, 0
        while made < num_steps:  # epochs, as many as it takes
            epoch += 1
            for _, targets in islice(loader.train_batches(config.seed, epoch), num_steps - made):
                made += 1
                count += len(targets)
        wait(device)
        return count / (perf_counter() - start)

    return measure


def steps_alone(
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    precision: Precision,
    *,
    compiled: bool = False,
) -> Measure:
    """Forward, loss and backward of one batch over and over; no data, no optimizer."""
    loader = make_loader(config, dataset, device, precision)
    model = fresh_model(config, dataset, device)
    model.to(memory_format=torch.channels_last)
    begin_epoch(model, 1)
    model.train()
    task = make_task(dataset.task, config.train)
    asked = config.train.model_copy(update={"compile": compiled})
    passes = training_passes(model, task, asked, precision, device)
    inputs, targets = next(loader.train_batches(config.seed, 1))

    def measure(num_steps: int) -> float:
        start = perf_counter()
        for _ in range(num_steps):
            loss, _ = passes(inputs, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            for parameter in model.parameters():
                parameter.grad = None
        wait(device)
        return num_steps * len(targets) / (perf_counter() - start)

    return measure


def whole_loop(config: RunConfig, dataset: Dataset, device: torch.device, precision: Precision) -> Measure:
    """`fit` for about so many steps, an epoch or several: augmentation, training, metrics, and validation.

    What is written to disk once an epoch, and the probe of its gradients, is not counted: epochs here may be
    shorter than real ones. Where epochs differ, since a backbone is frozen, it is one at a time.
    """
    model = fresh_model(config, dataset, device)
    model.to(memory_format=torch.channels_last)
    state = TrainingState(model, config.train, precision)
    alike = tuning_of(model) == Tuning()

    def measure(num_steps: int) -> float:
        num_images = num_steps * min(config.data.batch_size, len(dataset.train))
        num_epochs = max(1, round(num_images / len(dataset.train))) if alike else 1
        part = cut(dataset, num_images) if num_images < len(dataset.train) else dataset
        last = max(len(state.rows), 1) + num_epochs - 1
        more = config.train.model_copy(
            update={"epochs": last, "early_stopping": None, "progressive_resizing": None}
        )
        for _ in fit(state, make_loader(config, part, device, precision), more, precision, seed=0):
            pass
        rows = state.rows[-num_epochs:]
        seconds = sum(row.train_seconds + row.val_seconds for row in rows)
        return sum(row.num_images for row in rows) / seconds

    return measure


def notebook_loop(config: RunConfig, dataset: Dataset, device: torch.device, num_workers: int) -> Measure:
    """The notebook's loop over as many images, with validation in the same proportion."""
    model = fresh_model(config, dataset, device)
    make_optimizer = catalog.resolve(catalog.OPTIMIZERS[config.train.optimizer.name])
    optimizer: torch.optim.Optimizer = cast("Any", make_optimizer)(
        model.parameters(), config.train.lr, config.train.weight_decay, **config.train.optimizer.options
    )
    for group in optimizer.param_groups:
        if "fused" in group:
            group["fused"] = None  # notebooks take what PyTorch gives them
    batch_size = config.data.batch_size
    on_train = notebook.train_transform(config.data, dataset, config.plugins)
    on_val = notebook.eval_transform(config.data, dataset)

    def measure(num_steps: int) -> float:
        # The first steps, in which the worker processes start, do not count: a whole epoch hides them too.
        part = cut(dataset, (num_steps + WARMUP_STEPS) * batch_size)
        images, targets = part.train.gather(torch.arange(len(part.train)))
        train = notebook.PILImages(images, targets, on_train)
        val = notebook.PILImages(*part.val.gather(torch.arange(len(part.val))), on_val)
        loader = notebook.batches(train, batch_size, shuffle=True, num_workers=num_workers, device=device)
        steps = notebook.train(model, optimizer, loader, device)
        for _ in range(WARMUP_STEPS):
            next(steps)
        start = perf_counter()
        count = sum(steps)
        loader = notebook.batches(val, batch_size, shuffle=False, num_workers=num_workers, device=device)
        notebook.validate(model, loader, device)
        return count / (perf_counter() - start)

    return measure


def on_threads(measure: Measure, macs: int) -> Measure:
    """The same on as many threads as a run of cnnbench takes for steps of so many multiply-adds."""

    def limited(num_steps: int) -> float:
        with threads_for(macs):
            return measure(num_steps)

    return limited


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
