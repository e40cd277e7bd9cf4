"""Drawing shared by the analyses: one style, one palette (Okabe and Ito 2008), names clear of the data.

Only matplotlib's object API is used, and it is imported on first use: no pyplot, no global state.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cnnbench import files
from cnnbench.analyses.placing import Box, in_the_way, place_labels, spread
from cnnbench.statistics import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

WIDTH = 7.0  # inches; every picture has this width so that text has one size in a README
HEIGHT = 4.0
DPI = 150
TEXT_SIZE = 10.0  # points
SMALL_SIZE = 9.0
INK = "#222222"
MUTED = "#6b6b6b"
GRID = "#dddddd"

# Okabe-Ito without its yellow, which is too light for lines on white. Eight markers beside seven colors:
# no pair of the two comes back before the 57th variant.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")

TOO_CLOSE, APART = 12, 18  # pixels between markers that would cover each other, and as they are drawn then
MARKER_RADIUS, LEADER_FROM = 9, 16  # pixels; a name farther from its marker than the second has a line to it
LEAST_SPAN = 0.1  # of a linear cost axis, as a share of the highest cost


@dataclass(frozen=True)
class Style:
    """How one variant is drawn, in every picture."""

    color: str
    marker: str


class CostPoint(Protocol):
    """A variant in `cost_plot`: its cost `x`, its accuracy as fractions; `low` and `high` may be unknown."""

    @property
    def label(self) -> str: ...
    @property
    def x(self) -> float: ...
    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def style_of(index: int) -> Style:
    """The style of the variant at this place in the recipe."""
    return Style(COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)])


def elide(name: str, length: int = 24) -> str:
    """The name, its middle left out where it is longer than `length`."""
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def short_names(names: Sequence[str], length: int = 24) -> list[str]:
    """The names elided to `length`, the part kept by which those that would come out equal differ."""
    short = [elide(name, length) for name in names]
    for text in {text for text in short if short.count(text) > 1}:
        alike = [index for index, other in enumerate(short) if other == text]
        full = [names[index] for index in alike]
        head = _common_start(full)
        tail = _common_start([name[len(head) :][::-1] for name in full])[::-1]
        for index in alike:
            middle = elide(names[index][len(head) : len(names[index]) - len(tail)], length - 4)
            room = max(length - len(middle) - 2, 2)
            start, end = head[: room - room // 2], tail[max(len(tail) - room // 2, 0) :]
            short[index] = f"{start}…{middle}…{end}"
    return short


def _common_start(names: Sequence[str]) -> str:
    pairs = zip(min(names), max(names), strict=False)
    return "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def quantity(value: float) -> str:
    """A count in few letters: 1000 -> '1,000', 272474 -> '272 k', 2748890 -> '2.75 M'."""
    if 1e3 <= abs(value) < 1e4:
        return f"{value:,.0f}"
    for size, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def new_figure(
    rows: int = 1, columns: int = 1, *, height: float = HEIGHT, share_axes: bool = False
) -> tuple["MplFigure", list["Axes"]]:
    """A styled figure of the common width and its axes, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as MplFigure

    figure = MplFigure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)  # text can be measured only on a canvas that draws
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share_axes, sharey=share_axes)
    axes_list = list(grid.flat)
    for axes in axes_list:
        axes.grid(True, color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=TEXT_SIZE, colors=INK, length=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#999999")
    return figure, axes_list


def label_axes(axes: "Axes", x_label: str, y_label: str) -> None:
    """Axis labels, which carry the units."""
    axes.set_xlabel(x_label, fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel(y_label, fontsize=TEXT_SIZE, color=INK)


def note_above(axes: "Axes", text: str) -> None:
    """A line of explanation above the axes, where it can cover nothing."""
    axes.set_title(text, loc="left", fontsize=SMALL_SIZE, color=MUTED)


def label_ends(axes: "Axes", ends: Sequence[tuple[float, float, str, Style]]) -> None:
    """Writes names right of the axes, each at the height of its line's last point (x, y) or close to it."""
    figure = axes.figure
    # of the axes' width: the same length in any panel
    unit = 0.02 * axes.get_gridspec().ncols  # type: ignore[union-attr]
    labels: list[Annotation] = []
    markers: list[Line2D] = []
    names = short_names([name for _, _, name, _ in ends])
    for (x, y, _, style), name in zip(ends, names, strict=True):
        markers += axes.plot(
            [1 + 2 * unit], [0.5], transform=axes.transAxes, color=style.color, marker=style.marker,
            markersize=5.5, linestyle="none", clip_on=False,
        )  # fmt: skip
        labels.append(
            axes.annotate(
                name, (x, y), xytext=(1 + 3.2 * unit, 0.5), textcoords="axes fraction", va="center",
                fontsize=TEXT_SIZE, color=INK, annotation_clip=False,
            )
        )  # fmt: skip
    figure.draw_without_rendering()  # type: ignore[union-attr]  # fixes the layout, so that pixels mean something
    area = axes.get_window_extent()
    gap = 1.3 * TEXT_SIZE * DPI / 72
    heights = [float(axes.transData.transform((x, y))[1]) for x, y, _, _ in ends]
    for index, height in enumerate(spread(heights, gap, area.y0 + gap / 2, area.y1 - gap / 2)):
        fraction = (height - area.y0) / area.height
        labels[index].set_position((1 + 3.2 * unit, fraction))
        markers[index].set_ydata([fraction])
        x, y, _, style = ends[index]
        start = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
        axes.plot(
            [start[0], 1 + 1.2 * unit], [start[1], fraction], transform=axes.transAxes, color=style.color,
            linewidth=0.8, alpha=0.6, clip_on=False, linestyle="-" if start[0] > 0.9 else (0, (1, 4)),
        )  # fmt: skip


def save_figure(figure: "MplFigure", path: Path) -> Path:
    """Writes a PNG, whole or not at all; equal figures give equal bytes."""
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
    return path


def cost_plot(
    points: Sequence[CostPoint],
    *,
    x_label: str,
    y_label: str = "test accuracy (%)",
    styles: Sequence[Style] | None = None,
) -> "MplFigure":
    """Accuracy (fractions, drawn in %) with intervals against a cost, and the Pareto front as a step line.

    The cost axis is logarithmic where the costs span more than a factor of 3; markers that would
    cover each other are drawn side by side. Without `styles` the points take them in order.
    """
    figure, (axes,) = new_figure()
    styles = styles or [style_of(index) for index in range(len(points))]
    label_axes(axes, x_label, y_label)
    costs = [point.x for point in points]
    means = [100 * point.mean for point in points]
    front = pareto_front(costs, means)
    _scale_costs(axes, costs)
    low, high = _accuracy_range(points)
    axes.set_ylim(low, high)
    shown = _set_apart(axes, costs, means)
    for index, (point, style) in enumerate(zip(points, styles, strict=True)):
        if point.low is not None and point.high is not None:
            axes.errorbar(
                shown[index], means[index],
                yerr=[[max(means[index] - 100 * point.low, 0)], [max(100 * point.high - means[index], 0)]],
                color=style.color, elinewidth=1.6, capsize=4, capthick=1.6, zorder=3,
            )  # fmt: skip
        axes.plot(
            shown[index], means[index], color=style.color, marker=style.marker, markersize=8.5,
            markeredgecolor="white", markeredgewidth=0.9, linestyle="none", zorder=4,
        )  # fmt: skip
    edge = axes.get_xlim()[1]
    steps = [(costs[index], means[index]) for index in front]
    notes = []
    if len(front) > 1:
        steps.append((edge, means[front[-1]]))
        axes.step(
            [x for x, _ in steps], [y for _, y in steps], where="post",
            color="#999999", linestyle=(0, (4, 2)), linewidth=1.3, zorder=2,
        )  # fmt: skip
        notes.append("dashed: Pareto front (nothing cheaper is as accurate)")
    if shown != costs:
        notes.append("side by side: nearly equal costs")
    if notes:
        note_above(axes, "    ".join(notes))
    _label_points(axes, points, list(zip(shown, means, strict=True)), styles, steps)
    return figure


def _accuracy_range(points: Sequence[CostPoint]) -> tuple[float, float]:
    known = [100 * value for p in points for value in (p.mean, p.low, p.high) if value is not None]
    margin = 0.08 * (max(known) - min(known)) or 1.0
    return min(known) - margin, max(known) + margin


def _set_apart(axes: "Axes", costs: Sequence[float], means: Sequence[float]) -> list[float]:
    """The costs, those moved apart whose markers or error bars would cover each other."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # fixes the layout, so that pixels mean something
    pixels = axes.transData.transform(list(zip(costs, means, strict=True)))
    area = axes.get_window_extent()
    groups: list[list[int]] = []
    for index in sorted(range(len(costs)), key=lambda index: costs[index]):
        if groups and pixels[index, 0] - pixels[groups[-1][-1], 0] < TOO_CLOSE:
            groups[-1].append(index)
        else:
            groups.append([index])
    shown = list(costs)
    for group in groups:
        if len(group) > 1:
            moved = spread([float(pixels[index, 0]) for index in group], APART, area.x0, area.x1)
            places = [(x, float(pixels[index, 1])) for x, index in zip(moved, group, strict=True)]
            for index, (x, _) in zip(group, axes.transData.inverted().transform(places), strict=True):
                shown[index] = float(x)
    return shown


def _scale_costs(axes: "Axes", costs: Sequence[float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if not costs:
        return
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value)))
    low, high = min(costs), max(costs)
    if low > 0 and high > 3 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / (high / low) ** 0.12, high * (high / low) ** 0.12)
        few = high < 1e3 * low
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value)))
    elif high > low:
        # Costs that are equal but for a few per cent are not drawn as if they were far apart.
        margin = max(0.15 * (high - low), (LEAST_SPAN * high - (high - low)) / 2)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(6))
    else:
        axes.set_xlim(low - 0.5 * (abs(low) or 1), low + 0.5 * (abs(low) or 1))
        axes.xaxis.set_major_locator(FixedLocator([low]))


def _label_points(
    axes: "Axes",
    points: Sequence[CostPoint],
    places: Sequence[tuple[float, float]],
    styles: Sequence[Style],
    steps: Sequence[tuple[float, float]],
) -> None:
    """Names the points beside their markers, by a thin line where need be, or all in a key at the side."""
    names = short_names([point.label for point in points])
    labels = [
        axes.annotate(
            name, place, xytext=(0, 0), textcoords="offset pixels", fontsize=TEXT_SIZE, color=INK,
            va="bottom", ha="left", annotation_clip=False, zorder=5,
        )
        for name, place in zip(names, places, strict=True)
    ]  # fmt: skip
    for label in labels:
        label.set_in_layout(False)
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    extents = [label.get_window_extent() for label in labels]
    anchors = [(float(x), float(y)) for x, y in axes.transData.transform(places)]
    obstacles: list[Box] = []
    for (x, y), (place_x, _), point in zip(anchors, places, points, strict=True):
        obstacles.append(Box(x - 11, y - 11, x + 11, y + 11))
        if point.low is not None and point.high is not None:
            low, high = axes.transData.transform([(place_x, 100 * point.low), (place_x, 100 * point.high)])[
                :, 1
            ]
            obstacles.append(Box(x - 10, low - 3, x + 10, high + 3))
    corners = [(float(x), float(y)) for x, y in axes.transData.transform(steps)] if len(steps) > 1 else []
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):
        obstacles.append(Box(x, y - 3, next_x, y + 3))
        obstacles.append(Box(next_x - 3, min(y, next_y), next_x + 3, max(y, next_y)))
    area = axes.get_window_extent()
    inside = Box(area.x0 + 4, area.y0 + 4, area.x1 - 4, area.y1 - 4)
    boxes = place_labels(anchors, [(extent.width, extent.height) for extent in extents], obstacles, inside)
    if in_the_way(boxes, obstacles, inside):
        _key_beside(axes, labels, names, places, styles)
        return
    for label, box, (x, y), style in zip(labels, boxes, anchors, styles, strict=True):
        label.set_position((box.left - x, box.bottom - y))
        near_x, near_y = min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)
        if (length := math.hypot(near_x - x, near_y - y)) > LEADER_FROM:
            start = (x + (near_x - x) * MARKER_RADIUS / length, y + (near_y - y) * MARKER_RADIUS / length)
            line = axes.transData.inverted().transform([start, (near_x, near_y)])
            axes.plot(  # above the markers, in its own marker's color: none else seems to be named
                line[:, 0], line[:, 1], color=style.color, linewidth=0.9, zorder=5, scalex=False, scaley=False
            )


def _key_beside(
    axes: "Axes",
    labels: "Sequence[Annotation]",
    names: Sequence[str],
    places: Sequence[tuple[float, float]],
    styles: Sequence[Style],
) -> None:
    from matplotlib.lines import Line2D

    for label in labels:
        label.remove()
    order = sorted(range(len(names)), key=lambda index: -places[index][1])
    keys = [
        Line2D([], [], color=styles[index].color, marker=styles[index].marker, markersize=8, linestyle="none",
               label=names[index])
        for index in order
    ]  # fmt: skip
    key = axes.legend(
        handles=keys, loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False, fontsize=SMALL_SIZE,
        labelcolor=INK, handletextpad=0.3,
    )  # fmt: skip
    figure = axes.get_figure(root=True)
    assert figure is not None
    key.set_in_layout(False)  # measured first: no layout has room for a key that is taller than the picture
    figure.draw_without_rendering()
    key.set_in_layout(True)
    missing = axes.get_window_extent().y0 - key.get_window_extent().y0
    if missing > 0:
        figure.set_figheight(figure.get_figheight() + missing / figure.dpi)
