"""Small images in rows, each at its place in inches: inputs, feature maps, kernels."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cnnbench.analyses import plots

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure as MplFigure

Pixels = NDArray[np.uint8]  # (C, H, W)
Maps = NDArray[np.float32]  # (K, H, W)

SEQUENTIAL = "viridis"  # monotone in lightness, legible to the color-blind
MOST_IN_A_LINE = 8
TINY_SIZE = 7.5  # points, for the numbers above small images
MARGIN = 0.06
GAP = 0.04
SCALE_WIDTH = 0.62  # of a color bar with its numbers
LETTERS_A_LINE = 104
LETTERS_OF_TITLE = 84


class HasLines(Protocol):
    """What takes some lines of images in a picture."""

    def num_lines(self) -> int: ...


Lines = TypeVar("Lines", bound=HasLines)


@dataclass(frozen=True)
class Row:
    """An image and what was made of it."""

    pixels: Pixels
    maps: Maps


@dataclass(frozen=True)
class Band:
    """Rows under one heading, their maps with the same numbers and on one color scale."""

    heading: str
    detail: str
    numbers: Sequence[int]
    rows: Sequence[Row]

    def num_lines(self) -> int:
        """How many lines of images the band takes."""
        return len(self.rows) * -(-len(self.numbers) // MOST_IN_A_LINE)


class Sheet:
    """A picture that grows downwards, of the width of all pictures."""

    def __init__(self) -> None:
        self.figure, (self.axes,) = plots.new_figure()
        self.figure.set_layout_engine("none")
        self.axes.set_position((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.bottom = MARGIN  # inches below the top edge
        self.finish()

    def heading(self, title: str, detail: str) -> None:
        """A line in bold, and one or more of explanation."""
        self.bottom += 0.2
        self.text(MARGIN, plots.elide(title, LETTERS_OF_TITLE), size=plots.TEXT_SIZE, weight="bold")
        for line in textwrap.wrap(detail, LETTERS_A_LINE):
            self.bottom += 0.16
            self.text(MARGIN, line, size=plots.SMALL_SIZE, color=plots.MUTED)
        self.bottom += 0.05

    def text(self, left: float, text: str, *, above: float = 0.0, **style: Any) -> None:
        """Text whose foot stands `above` inches over the present line."""
        defaults: dict[str, Any] = {"size": TINY_SIZE, "color": plots.INK, "va": "baseline", "ha": "left"}
        self.axes.text(left, self.bottom - above, text, **(defaults | style), clip_on=False)

    def image(
        self, image: NDArray[Any], left: float, width: float, height: float, norm: "Normalize | None" = None
    ) -> None:
        """An image (H, W) on the scale `norm`, or (H, W, 3) as it is, hung from the present line."""
        self._place(image, (left, left + width, self.bottom + height, self.bottom), norm)

    def _place(
        self, image: NDArray[Any], extent: tuple[float, float, float, float], norm: "Normalize | None"
    ) -> None:
        self.axes.imshow(
            image,
            extent=extent,
            norm=norm,
            cmap=SEQUENTIAL,
            interpolation="nearest",
            aspect="auto",
        )

    def scale(self, left: float, top: float, bottom: float, norm: "Normalize", same: bool) -> None:
        """A color bar with its lowest and highest value, or one value where all are the same."""
        low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
        ramp = np.linspace(high, low, 128)[:, None]
        self._place(ramp, (left, left + 0.09, bottom, top), norm)
        style: dict[str, Any] = {"size": TINY_SIZE, "color": plots.MUTED, "ha": "left"}
        low_text, high_text = (f"{value:.2g}".replace("-", "−") for value in (low, high))
        if same:
            low_text, high_text = f"all {low_text}", ""
        self.axes.text(left + 0.13, bottom, low_text, va="bottom", **style)
        self.axes.text(left + 0.13, top, high_text, va="top", **style)

    def finish(self) -> "MplFigure":
        """The picture, as high as what it holds."""
        self.figure.set_size_inches(plots.WIDTH, self.bottom + MARGIN)
        self.axes.set_xlim(0, plots.WIDTH)
        self.axes.set_ylim(self.bottom + MARGIN, 0)
        return self.figure


def draw_bands(bands: Sequence[Band]) -> "MplFigure":
    """Each row's image at the left, its maps beside it, eight in a line, one color bar for each band."""
    from matplotlib.colors import Normalize

    sheet = Sheet()
    columns = min(MOST_IN_A_LINE, max(len(band.numbers) for band in bands))
    across = plots.WIDTH - 2 * MARGIN - SCALE_WIDTH - 3 * GAP
    width = min(across / (columns + 1) - GAP, 1.0)
    first = MARGIN + width + 3 * GAP  # where the maps begin
    for band in bands:
        sheet.heading(band.heading, band.detail)
        height = width * min(band.rows[0].pixels.shape[1] / band.rows[0].pixels.shape[2], 3.0)
        values = np.concatenate([row.maps.ravel() for row in band.rows])
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
        norm = Normalize(low, high if high > low else low + 1)
        top = sheet.bottom + 0.13
        for row in band.rows:
            for start in range(0, len(band.numbers), MOST_IN_A_LINE):
                shown = band.numbers[start : start + MOST_IN_A_LINE]
                if row is band.rows[0] or len(band.numbers) > MOST_IN_A_LINE:
                    sheet.bottom += 0.13
                    for column, number in enumerate(shown):
                        center = first + column * (width + GAP) + width / 2
                        sheet.text(center, f"{number}", above=0.03, ha="center", color=plots.MUTED)
                    if start == 0:
                        sheet.text(MARGIN + width / 2, "input", above=0.03, ha="center", color=plots.MUTED)
                if start == 0:
                    sheet.image(as_picture(row.pixels), MARGIN, width, height)
                for column in range(len(shown)):
                    place = first + column * (width + GAP)
                    sheet.image(row.maps[start + column], place, width, height, norm)
                sheet.bottom += height + GAP
        sheet.scale(first + columns * (width + GAP) + GAP, top, sheet.bottom - GAP, norm, same=high <= low)
        sheet.bottom += 0.08
    return sheet.finish()


def as_picture(pixels: Pixels) -> Pixels:
    """Stored pixels (C, H, W) as (H, W, 3): color as it is, else the mean over channels as grey."""
    if len(pixels) == 3:
        return pixels.transpose(1, 2, 0)
    grey = pixels.mean(axis=0).round().astype(np.uint8)
    return np.stack([grey] * 3, axis=-1)


def in_portions(things: Sequence[Lines], most_lines: int) -> list[list[Lines]]:
    """The things in order, as many together as one picture of `most_lines` lines holds, at least one."""
    portions: list[list[Lines]] = []
    used = 0
    for thing in things:
        if not portions or used + thing.num_lines() > most_lines:
            portions.append([])
            used = 0
        portions[-1].append(thing)
        used += thing.num_lines()
    return portions
