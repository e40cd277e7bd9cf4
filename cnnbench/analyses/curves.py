"""A column of the history by epoch, and its course over the seeds of a variant."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnbench.analyses import plots
from cnnbench.options import Band

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MASKS_NOTE = (
    "A pixel counts as found, in train too, from the threshold that is best on validation in that epoch."
)
NO_TRAIN_REASON = "train was measured at another threshold than validation, so that they do not compare."
CUT_NOTE = "Where seeds stopped at different epochs, a line ends with the first of them."
BANDS = {"range": "lowest to highest seed", "std": "± one standard deviation over seeds"}


@dataclass(frozen=True)
class Curve:
    """The mean over seeds by epoch, and a band around it (equal to the mean where there is one seed).

    Where `is_cut` it ends with the first seed that ended, though others went on.
    """

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    num_seeds: int
    is_cut: bool = False


def curve_of(seeds: Sequence[Mapping[int, float]], band: Band = "range", *, to_last: bool = False) -> Curve:
    """Mean and band of a value by epoch, over the seeds that have it, as far as all of them go.

    A mean of those that went on alone would be another one; with `to_last` it is made all the same.
    """
    ends = [max(seed) for seed in seeds if seed]
    last = (max if to_last else min)(ends, default=0)
    epochs = [epoch for epoch in sorted(set().union(*seeds)) if epoch <= last]
    mean, low, high = [], [], []
    for epoch in epochs:
        values = [seed[epoch] for seed in seeds if epoch in seed]
        center = math.fsum(values) / len(values)
        half = math.sqrt(math.fsum((v - center) ** 2 for v in values) / max(len(values) - 1, 1))
        mean.append(center)
        low.append(min(values) if band == "range" else center - half)
        high.append(max(values) if band == "range" else center + half)
    return Curve(epochs, mean, low, high, len(ends), is_cut=not to_last and len({*ends}) > 1)


def draw_curve(axes: "Axes", curve: Curve, style: plots.Style) -> None:
    """The mean as a marked line; the band where there is more than one seed."""
    if curve.num_seeds > 1:
        axes.fill_between(
            curve.epochs, curve.low, curve.high, color=style.color, alpha=0.16, linewidth=0, zorder=1
        )
    axes.plot(
        curve.epochs, curve.mean, color=style.color, linewidth=2, marker=style.marker, markersize=5,
        markevery=max(1, len(curve.epochs) // 10), markeredgecolor="white", markeredgewidth=0.6, zorder=3,
    )  # fmt: skip
