"""Learning curves: loss and accuracy (of masks IoU) by epoch, train and validation, over all seeds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Figure, Subject
from cnnbench.analyses.curves import (
    BANDS,
    CUT_NOTE,
    MASKS_NOTE,
    NO_TRAIN_REASON,
    Curve,
    curve_of,
)
from cnnbench.course import values_by_epoch
from cnnbench.options import Band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

MOST_IN_ONE = 6  # variants that still can be told apart in one picture
DWARFED = 3  # times as much room with the untrained models as without: then they stay outside
ZOOM_FROM = 4  # epochs; from here on the second half has a panel of its own


@dataclass(frozen=True)
class _Lines:
    """What is drawn of one variant."""

    name: str
    style: plots.Style
    train: Curve
    val: Curve
    diverged: list[Curve]
    best_epoch: int | None


class LearningCurves(Analysis):
    """How fast each variant learns, and how far training runs ahead of validation."""

    def __init__(self, *, band: Band = "range") -> None:
        self.band: Band = band

    def analyse(self, subject: Subject) -> Iterator[Figure]:
        """Yields one picture of the leading measure and one of loss; where nothing is known, none."""
        leading = subject.leading()
        name = measures.label(leading)
        loss = "cross entropy" if leading == "accuracy" else "each variant's own"
        for measure, word, label, scale in (
            (leading, name, f"{name} (%)", 100.0),
            ("loss", "loss", f"loss ({loss})", 1.0),
        ):
            lines = self._lines(subject, measure, scale)
            if any(line.val.epochs or line.train.epochs or line.diverged for line in lines):
                draw = _overlaid if len(lines) <= MOST_IN_ONE else _small_multiples
                yield Figure(
                    name=f"learning_curves_{measure}",
                    title=f"Learning curves: {word}",
                    caption=self._caption(subject, lines, word, name),
                    figure=draw(lines, label),
                )

    def _lines(self, subject: Subject, measure: str, scale: float) -> list[_Lines]:
        trained, diverged, leading = subject.trained(), subject.diverged(), subject.leading()
        lines = []
        for index, (name, runs) in enumerate(trained.items()):
            accuracy = curve_of([values_by_epoch(run, f"val_{leading}") for run in runs])
            best = max(range(len(accuracy.mean)), key=accuracy.mean.__getitem__) if accuracy.epochs else None
            broken = [
                curve_of([values_by_epoch(run, f"val_{measure}", scale)]) for run in diverged.get(name, [])
            ]
            lines.append(
                _Lines(
                    name,
                    plots.style_of(index),
                    curve_of([values_by_epoch(run, f"train_{measure}", scale) for run in runs], self.band),
                    curve_of([values_by_epoch(run, f"val_{measure}", scale) for run in runs], self.band),
                    [curve for curve in broken if curve.epochs],
                    accuracy.epochs[best] if best is not None else None,
                )
            )
        return lines

    def _caption(self, subject: Subject, lines: Sequence[_Lines], measure: str, leading: str) -> str:
        several = any(max(line.val.num_seeds, line.train.num_seeds) > 1 for line in lines)
        has_train = any(line.train.epochs for line in lines)
        parts = [
            f"Validation {measure} (solid){f' and train {measure} (dashed)' * has_train} after each epoch."
        ]
        if several:
            parts.append(f"Lines are means over seeds; the band is {BANDS[self.band]}, for validation.")
        else:
            parts.append("One seed per variant, hence no band.")
        parts.append(
            "Epoch 0 is the untrained model. The ring marks the epoch with the highest mean validation "
            f"{leading}."
        )
        if has_train:
            parts.append(
                "Train values are averages over the epoch while the weights change, on augmented images "
                "where the recipe augments, so they may lie on the worse side of validation."
            )
        if leading != "accuracy":
            if measure == "loss":
                parts.append("Losses compare between variants only if these are trained with the same one.")
            elif has_train:
                parts.append(MASKS_NOTE)
            elif any(line.val.epochs[-1:] > [0] for line in lines):
                parts.append(f"Train {measure} is left out: {NO_TRAIN_REASON}")
        if measure == "loss" and (smoothed := subject.smoothed()):
            whose = "" if len(smoothed) == len(subject.trained()) else f" ({', '.join(smoothed)})"
            parts.append(f"Train loss contains label smoothing{whose}, validation loss does not.")
        if _zooms(lines):
            parts.append("Right: the second half of training, enlarged.")
        if len({line.val.epochs[-1] for line in lines if line.val.epochs}) > 1:
            parts.append("Variants end at different epochs.")
        if any(line.val.is_cut or line.train.is_cut for line in lines):
            parts.append(CUT_NOTE)
        if len(lines) > MOST_IN_ONE:
            parts.append("In gray: the validation curves of the other variants.")
            if _dwarfs(lines):
                parts.append(
                    "Where epoch 0 is not seen it lies outside the panels: what was learned needs the room."
                )
        if subject.diverged():
            parts.append(
                "Dotted lines that end in a cross are runs that diverged; means and bands leave them out."
            )
        return " ".join(parts) + subject.resized_note() + subject.diverged_note()


def _zooms(lines: Sequence[_Lines]) -> bool:
    return len(lines) <= MOST_IN_ONE and max(
        (line.val.epochs[-1] for line in lines if line.val.epochs), default=0
    ) >= (ZOOM_FROM)


def _key(lines: Sequence[_Lines]) -> str:
    train = "dashed: train    " if any(line.train.epochs for line in lines) else ""
    words = f"solid: validation    {train}ring: highest mean"
    return words + ("    cross: diverged" if any(line.diverged for line in lines) else "")


def _draw(axes: "Axes", line: _Lines, markers: bool = True) -> None:
    color, marker = line.style.color, line.style.marker
    val, train = line.val, line.train
    if val.num_seeds > 1:
        axes.fill_between(val.epochs, val.low, val.high, color=color, alpha=0.16, linewidth=0, zorder=1)
    axes.plot(
        train.epochs, train.mean, color=color, linestyle=(0, (4, 2)), linewidth=1.3, alpha=0.85, zorder=2
    )
    every = max(1, len(val.epochs) // 10)
    axes.plot(
        val.epochs, val.mean, color=color, linewidth=2, markersize=5,
        marker=marker if markers or len(val.epochs) == 1 else None,
        markevery=every, markeredgecolor="white", markeredgewidth=0.6, zorder=3,
    )  # fmt: skip
    if line.best_epoch is not None and line.best_epoch in val.epochs and len(val.epochs) > 1:
        best = val.mean[val.epochs.index(line.best_epoch)]
        axes.plot(
            [line.best_epoch], [best], marker="o", markersize=10, markerfacecolor="none",
            markeredgecolor=color, markeredgewidth=1.4, linestyle="none", zorder=4,
        )  # fmt: skip
    for broken in line.diverged:
        axes.plot(broken.epochs, broken.mean, color=color, linestyle=":", linewidth=1.4, zorder=2)
        axes.plot(
            broken.epochs[-1:],
            broken.mean[-1:],
            color=color,
            marker="x",
            markersize=8,
            markeredgewidth=2,
            zorder=4,
        )


def _frame(axes: "Axes", lines: Sequence[_Lines], first: int = 0) -> None:
    """Whole epochs on the axis, room for a single one, a log axis where an untrained loss dwarfs the rest."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    last = max(
        (c.epochs[-1] for ln in lines for c in (ln.val, ln.train, *ln.diverged) if c.epochs), default=0
    )
    margin = 0.04 * max(last - first, 5)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    values = _values(lines, first)
    if first and values:
        room = 0.06 * (max(values) - min(values)) or 1.0
        axes.set_ylim(min(values) - room, max(values) + room)
    elif _needs_logarithm(values):
        axes.set_yscale("log")
        # matplotlib leaves out all ticks between decades, and the decades with them, where these are many
        is_wide = max(values) > 300 * min(values)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if is_wide else (1.0, 3.0), numticks=6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def _values(lines: Sequence[_Lines], first: int) -> list[float]:
    """All that is drawn from an epoch on, bands included; of runs that diverged nothing."""
    return [
        value
        for line in lines
        for curve in (line.val, line.train)
        for values in (curve.mean, curve.low, curve.high)
        for epoch, value in zip(curve.epochs, values, strict=True)
        if epoch >= first
    ]


def _needs_logarithm(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) > 50 * min(values)


def _extent(lines: Sequence[_Lines], first: int) -> tuple[float, float]:
    values = _values(lines, first)
    return min(values), max(values)


def _dwarfs(lines: Sequence[_Lines]) -> bool:
    """Whether the untrained models leave what was learned too little room, and may stay outside.

    Not where a run diverged, whose end is to be seen, where epoch 0 is all there is of a variant or its best,
    nor on a log axis.
    """
    if any(line.diverged or line.best_epoch == 0 or line.val.epochs == [0] for line in lines):
        return False
    if not _values(lines, 1) or _needs_logarithm(_values(lines, 0)):
        return False
    (low, high), (lowest, highest) = _extent(lines, 1), _extent(lines, 0)
    return highest - lowest > DWARFED * (high - low) > 0


def _overlaid(lines: Sequence[_Lines], y_label: str) -> "MplFigure":
    zooms = _zooms(lines)
    figure, grid = plots.new_figure(1, 2 if zooms else 1)
    for axes in grid:
        for line in lines:
            _draw(axes, line)
        plots.label_axes(axes, "epoch", "")
    grid[0].set_ylabel(y_label, fontsize=plots.TEXT_SIZE, color=plots.INK)
    _frame(grid[0], lines)
    if zooms:
        last = max(line.val.epochs[-1] for line in lines if line.val.epochs)
        _frame(grid[1], lines, first=last // 2)
    plots.note_above(grid[0], _key(lines))
    ends = []
    for line in lines:
        curves = [curve for curve in (line.val, line.train, *line.diverged) if curve.epochs]
        if curves and not (zooms and curves[0].epochs[-1] < grid[1].get_xlim()[0]):
            ends.append((curves[0].epochs[-1], curves[0].mean[-1], line.name, line.style))
    plots.label_ends(grid[-1], ends)
    return figure


def _small_multiples(lines: Sequence[_Lines], y_label: str) -> "MplFigure":
    rows = math.ceil(len(lines) / 3)
    figure, grid = plots.new_figure(rows, 3, height=0.9 + 1.8 * rows, share_axes=True)
    names = plots.short_names([line.name for line in lines])
    for axes, line, name in zip(grid, lines, names, strict=False):
        for other in lines:
            axes.plot(other.val.epochs, other.val.mean, color="#cccccc", linewidth=0.8, zorder=0)
        _draw(axes, line, markers=False)
        axes.set_title(name, fontsize=plots.TEXT_SIZE, color=plots.INK, loc="left")
    for axes in grid[len(lines) :]:
        axes.set_visible(False)
    _frame(grid[0], lines)
    if _dwarfs(lines):
        low, high = _extent(lines, first=1)
        room = 0.06 * (high - low)
        grid[0].set_ylim(low - room, high + room)
    for axes in grid[max(len(lines) - 3, 0) : len(lines)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    outside = "    untrained (epoch 0) may lie outside" if _dwarfs(lines) else ""
    figure.suptitle(_key(lines) + outside, x=0.01, ha="left", fontsize=plots.SMALL_SIZE, color=plots.MUTED)
    figure.supxlabel("epoch", fontsize=plots.TEXT_SIZE, color=plots.INK)
    figure.supylabel(y_label, fontsize=plots.TEXT_SIZE, color=plots.INK)
    return figure
