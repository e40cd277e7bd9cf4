"""What a few steps tell before the timing: how many to time, the faster notebook, what compiling takes."""

from time import perf_counter
from typing import Any, cast

import torch

from cnnbench.bench import loops
from cnnbench.data.base import Dataset
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import RunConfig

TRIAL_STEPS = 5
CUDA_TRIAL_STEPS = 50  # five are over before there is anything to time
MOST_WORKERS = 8


def seconds_to_compile(measure: loops.Measure, batch_size: int) -> float:
    """How much longer the first steps take than as many later ones; each has a batch of so many images."""
    torch.compiler.reset()  # else what variants before have compiled would count for this one
    start = perf_counter()
    try:
        with cast("Any", torch.compiler.config).patch(force_disable_caches=True):
            measure(loops.WARMUP_STEPS)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CnnbenchError(
            f"--compile: PyTorch cannot compile this here ({reason}); leave it out"
        ) from error
    first = perf_counter() - start
    return max(0.0, first - loops.WARMUP_STEPS * batch_size / measure(TRIAL_STEPS))


def faster_notebook(config: RunConfig, dataset: Dataset, device: torch.device) -> tuple[int, loops.Measure]:
    """The notebook that loads its images in two processes or more, or in its own: workers can lose."""
    counts = sorted({0, 2, min(MOST_WORKERS, torch.get_num_threads())} - {1})
    offers = {workers: loops.notebook_loop(config, dataset, device, workers) for workers in counts}
    rates = {workers: measure(trial_steps(device)) for workers, measure in offers.items()}
    workers = max(rates, key=lambda count: rates[count])
    return workers, offers[workers]


def trial_steps(device: torch.device) -> int:
    """How many steps tell the rate roughly."""
    return CUDA_TRIAL_STEPS if device.type == "cuda" else TRIAL_STEPS


def steps_of_epoch(config: RunConfig, dataset: Dataset) -> int:
    """How many steps a notebook's epoch has beside those that warm it up."""
    return len(dataset.train) // config.data.batch_size - loops.WARMUP_STEPS


def steps_in(
    seconds: float, measure: loops.Measure, batch_size: int, device: torch.device, longest: int
) -> int:
    """How many steps fill so much time, found by a trial that also warms up; no more than `longest`."""
    trial = max(1, min(trial_steps(device), longest))
    if device.type == "cuda":  # where warming up takes many times as long as the trial
        measure(trial)
    wanted = round(measure(trial) * seconds / batch_size)
    return max(1, min(max(wanted, 2), longest))
