"""Pictures of receptive fields, theoretical and effective, before and after training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnbench.analyses import plots
from cnnbench.analyses.effective_field import Contributions, Seen, effective_area, effective_side
from cnnbench.analyses.field_words import short_field

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure as MplFigure


def draw(drawn: Mapping[str, Seen]) -> "MplFigure":
    """Untrained above, trained below; side by side where there is one variant."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    is_single = len(drawn) == 1
    rows, columns = (1, 2) if is_single else (2, len(drawn))
    panel = min(2.7, 5.6 / columns)
    figure, grid = plots.new_figure(rows, columns, height=1.0 + rows * (panel + 0.15))
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    names = plots.short_names(list(drawn), 40 if is_single else 72 // columns)
    headings = [
        f"{name}{', ' if is_single else chr(10)}field {short_field(found.last)}"
        for name, found in zip(names, drawn.values(), strict=True)
    ]
    for column, (heading, found) in enumerate(zip(headings, drawn.values(), strict=True)):
        for row, (state, contributions) in enumerate(
            (("untrained", found.untrained), ("trained", found.trained))
        ):
            axes = grid[row if is_single else row * columns + column]
            _draw_one(axes, found, contributions.get(found.seed), norm)
            if is_single:
                axes.set_title(state, fontsize=plots.TEXT_SIZE, color=plots.INK)
            elif row == 0:
                axes.set_title(heading, fontsize=plots.SMALL_SIZE, color=plots.INK)
            if not is_single and column == 0:
                axes.set_ylabel(state, fontsize=plots.TEXT_SIZE, color=plots.INK)
    key = "solid: theoretical field    dashed: square of the effective area    sizes in pixels"
    if is_single:
        key = f"{headings[0]}\n{key}"
    figure.suptitle(key, x=0.01, ha="left", fontsize=plots.SMALL_SIZE, color=plots.MUTED)
    bar = figure.colorbar(
        ScalarMappable(norm=norm, cmap="viridis"), ax=grid, ticks=[0, 0.05, 0.25, 0.5, 0.75, 1],
        location="right", shrink=0.8, aspect=25, pad=0.02,
    )  # fmt: skip
    bar.set_label("contribution, relative to its peak", fontsize=plots.TEXT_SIZE, color=plots.INK)
    bar.ax.tick_params(labelsize=plots.SMALL_SIZE, colors=plots.INK, length=0)
    bar.outline.set_visible(False)
    return figure


def _draw_one(axes: "Axes", seen: Seen, contributions: Contributions | None, norm: "Normalize") -> None:
    layer, (_, height, width) = seen.last, seen.in_shape
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_aspect("equal")
    margin = 0.02 * max(height, width)
    axes.set_xlim(-0.5 - margin, width - 0.5 + margin)
    axes.set_ylim(height - 0.5 + margin, -0.5 - margin)
    side = None if contributions is None else effective_side(contributions)
    if contributions is None or side is None or layer is None:
        why = "weights cannot\nbe read" if contributions is None else "gradient zero\nor not finite"
        axes.text(
            0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", fontsize=plots.SMALL_SIZE,
            color=plots.MUTED,
        )  # fmt: skip
        return
    axes.imshow(
        contributions / contributions.max(), norm=norm, cmap="viridis", interpolation="nearest", zorder=1
    )
    rows, columns = layer.region(layer.output_shape[1] // 2, layer.output_shape[2] // 2)
    _draw_box(axes, columns.low - 0.5, rows.low - 0.5, columns.size, rows.size, "solid")
    center_y, center_x = np.argwhere(effective_area(contributions)).mean(axis=0)
    _draw_box(axes, center_x - side / 2, center_y - side / 2, side, side, (0, (4, 2)))
    axes.set_xlabel(f"effective {side:.1f}", fontsize=plots.SMALL_SIZE, color=plots.INK)


def _draw_box(axes: "Axes", x: float, y: float, width: float, height: float, linestyle: Any) -> None:
    """In white with a dark seam, to be seen on every color."""
    from matplotlib.patches import Rectangle

    for color, thickness, style in ((plots.INK, 2.6, "solid"), ("white", 1.3, linestyle)):
        axes.add_patch(
            Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=thickness,
                      linestyle=style, zorder=3)
        )  # fmt: skip
