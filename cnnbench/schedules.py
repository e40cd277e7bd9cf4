"""Learning rate schedules: the factor on `lr` as a function of progress, 0 (start) to 1 (end of training).

Pure functions, so that a resumed run needs no state. `warmup` is the share of training in which the factor
rises in a straight line.
"""

import math

from cnnbench.options import Anneal, DropRate, Positive, Probability


def constant(progress: float, *, warmup: DropRate = 0.0) -> float:
    """The same learning rate throughout."""
    return warm_up(progress, warmup)


def cosine(progress: float, *, warmup: DropRate = 0.0, final: Probability = 0.0) -> float:
    """Half a cosine from 1 down to `final` (Loshchilov & Hutter 2017, without restarts)."""
    if progress < warmup:
        return warm_up(progress, warmup)
    return anneal((progress - warmup) / (1 - warmup), 1.0, final, "cosine")


def one_cycle(
    progress: float,
    *,
    warmup: DropRate = 0.3,
    start: Probability = 0.04,
    final: Probability = 0.0,
    shape: Anneal = "cosine",
) -> float:
    """Up from `start` to 1 during `warmup`, then down to `final` (Smith & Topin 2018)."""
    if progress < warmup:
        return anneal(progress / warmup, start, 1.0, shape)
    return anneal((progress - warmup) / (1 - warmup), 1.0, final, shape)


def step(
    progress: float,
    *,
    warmup: DropRate = 0.0,
    milestones: list[Probability] = [0.5, 0.75],  # noqa: B006
    gamma: Positive = 0.1,
) -> float:
    """Multiplied by `gamma` at each of the milestones, given as shares of training."""
    return warm_up(progress, warmup) * gamma ** sum(progress >= milestone for milestone in milestones)


def warm_up(progress: float, warmup: float) -> float:
    return progress / warmup if progress < warmup else 1.0


def anneal(position: float, first: float, last: float, shape: Anneal) -> float:
    """The value at `position` (0 to 1) on the way from first to last."""
    if shape == "cosine":
        position = (1 - math.cos(math.pi * position)) / 2
    return first + (last - first) * position
