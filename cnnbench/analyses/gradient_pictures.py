"""Pictures of gradients: by layer, a line for each epoch, and the first layer against the last by epoch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cnnbench.analyses import plots
from cnnbench.analyses.curves import Curve, curve_of, draw_curve
from cnnbench.analyses.gradients import FACTOR, Gradients, geometric_mean, values_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

MEASURES = {"mean_abs": "mean absolute gradient", "norm": "norm of the gradient"}
MOST_NAMED = 24  # layers whose names fit below a panel of half the width
MOST_MARKED = 16  # layers whose points do not run into each other
MOST_LINES = 12  # epochs that can be told apart in a panel


def _chosen(epochs: Sequence[int]) -> list[int]:
    """The epochs, or as many of them as can be told apart, first and last among them."""
    if len(epochs) <= MOST_LINES:
        return list(epochs)
    step = (len(epochs) - 1) / (MOST_LINES - 1)
    return [epochs[round(index * step)] for index in range(MOST_LINES)]


def _course(
    runs: Sequence[Gradients], measure: str, epoch: int
) -> tuple[list[float], list[float], list[float]]:
    """Geometric mean, lowest and highest over seeds for each layer; NaN where no seed has a value above 0."""
    mean, low, high = [], [], []
    for layer in runs[0].layers:
        found = [values_of(run, measure).get(epoch, {}).get(layer) for run in runs]
        values = [value for value in found if value] or [math.nan]
        mean.append(geometric_mean(values))
        low.append(min(values))
        high.append(max(values))
    return mean, low, high


def draw_layers(
    found: Mapping[str, Sequence[Gradients]], measure: str, limits: tuple[float, float]
) -> "MplFigure":
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.ticker import MaxNLocator, NullLocator

    columns = 1 if len(found) == 1 else 2
    rows = math.ceil(len(found) / columns)
    figure, grid = plots.new_figure(rows, columns, height=0.6 + 3.1 * rows)
    last = max(run.last_epoch for runs in found.values() for run in runs)
    # the light end of the map cannot be seen on white
    seen = colormaps["viridis"]([0.88 * step / 255 for step in range(256)])
    shades = LinearSegmentedColormap.from_list("epochs", seen)
    scale = ScalarMappable(Normalize(0, max(last, 1)), shades)
    names = plots.short_names(list(found), 48 if columns == 1 else 26)
    for place, (axes, runs, name) in enumerate(zip(grid, found.values(), names, strict=False)):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(*limits)
        _draw_variant(axes, runs, measure, lambda epoch: shades(epoch / max(last, 1)))
        axes.set_title(name, fontsize=plots.TEXT_SIZE, color=plots.INK, loc="left", fontweight="bold")
        _name_layers(axes, runs[0].layers)
        if place % columns:
            axes.tick_params(labelleft=False)
        else:
            plots.label_axes(axes, "", MEASURES[measure])
    for axes in grid[len(found) :]:
        axes.set_visible(False)
    if last:
        bar = figure.colorbar(scale, ax=grid, location="right", shrink=1 / rows, aspect=30, pad=0.02)
        bar.set_label("epoch", fontsize=plots.TEXT_SIZE, color=plots.INK)
        bar.ax.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        bar.ax.tick_params(labelsize=plots.SMALL_SIZE, colors=plots.INK, length=0)
        bar.outline.set_visible(False)
    return figure


def _draw_variant(
    axes: "Axes",
    runs: Sequence[Gradients],
    measure: str,
    color_of: Callable[[int], tuple[float, float, float, float]],
) -> None:
    epochs = sorted({epoch for run in runs for epoch in run.mean_abs})
    places = list(range(len(runs[0].layers)))
    for epoch in _chosen(epochs):
        mean, low, high = _course(runs, measure, epoch)
        color = color_of(epoch)
        is_last = epoch == epochs[-1]
        if is_last and len(runs) > 1:
            axes.fill_between(places, low, high, color=color, alpha=0.25, linewidth=0, zorder=1)
        axes.plot(
            places, mean, color=color, linewidth=2.2 if is_last else 1.2, zorder=3 if is_last else 2,
            linestyle=(0, (4, 2)) if epoch == 0 else "-",
            marker="o" if len(places) <= MOST_MARKED else None, markersize=3,
        )  # fmt: skip


def _name_layers(axes: "Axes", layers: Sequence[str]) -> None:
    """Names all layers, or as many as fit, the last among them."""
    step = math.ceil(len(layers) / MOST_NAMED)
    places = range((len(layers) - 1) % step, len(layers), step)
    names = plots.short_names([layers[place] for place in places], 24)
    axes.set_xticks(places, names, fontsize=7.0, rotation=90)
    axes.set_xlim(-0.5, max(len(layers) - 0.5, 0.5))


def draw_trend(found: Mapping[str, Sequence[Gradients]], styles: Mapping[str, plots.Style]) -> "MplFigure":
    from matplotlib.ticker import MaxNLocator, NullLocator

    figure, (axes,) = plots.new_figure(height=max(plots.HEIGHT, 1.2 + 0.22 * len(found)))
    plots.label_axes(axes, "epoch", "mean absolute gradient, first / last layer")
    curves = {name: curve for name, runs in found.items() if (curve := _ratio_curve(runs)).epochs}
    seen = [1.0, 1 / FACTOR, *(value for curve in curves.values() for value in (*curve.low, *curve.high))]
    low, high = min(seen) / 2, 2 * max(seen)
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)
    for name, curve in curves.items():
        draw_curve(axes, curve, styles[name])
    for level in (1 / FACTOR, FACTOR):
        if low < level < high:
            axes.axhline(level, color=plots.INK, linewidth=1, linestyle=":", zorder=1)
    axes.axhline(1, color="#999999", linewidth=1, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    plots.label_ends(
        axes, [(curve.epochs[-1], curve.mean[-1], name, styles[name]) for name, curve in curves.items()]
    )
    return figure


def _ratio_curve(runs: Sequence[Gradients]) -> Curve:
    """First against last layer by epoch: geometric mean, lowest and highest of the seeds with a ratio."""
    ratios = [{epoch: ratio for epoch in run.mean_abs if (ratio := run.ratio(epoch))} for run in runs]
    logarithms = [{epoch: math.log(ratio) for epoch, ratio in each.items()} for each in ratios]
    curve = curve_of(logarithms, "range", to_last=True)  # seeds that diverge count up to their end
    mean, low, high = ([math.exp(value) for value in each] for each in (curve.mean, curve.low, curve.high))
    return Curve(curve.epochs, mean, low, high, curve.num_seeds)
