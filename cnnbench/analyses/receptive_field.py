"""Receptive fields: what a feature can see of the image, and how much of it counts (Luo et al. 2016).

The effective field is the gradient of the central position of the last feature layer, all channels summed,
with respect to the image: its absolute value, averaged over validation images and the image's channels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count, pairwise
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.opening import LeftOut
from cnnbench.data import describe_dataset
from cnnbench.errors import CnnbenchError
from cnnbench.models.receptive_field import LayerField, last_feature_layer, receptive_fields_of
from cnnbench.options import Count
from cnnbench.runs import DamagedError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure as MplFigure

    from cnnbench.data.loader import Loader

Contributions = NDArray[np.float64]  # (height, width) of the image

THRESHOLD = 1 - 0.9545  # of the peak: what counts in the paper
BATCH_SIZE = 16
MOST_IN_A_PICTURE = 4
MOST_PRINTED = 60  # rows of a table of layers in the report


@dataclass(frozen=True)
class _Seen:
    """A variant: its layers' fields, and by seed what counts for the model before and after training."""

    in_shape: tuple[int, int, int]
    layers: Sequence[LayerField]
    untrained: dict[int, Contributions] = field(default_factory=dict)
    trained: dict[int, Contributions] = field(default_factory=dict)

    @property
    def last(self) -> LayerField | None:
        return last_feature_layer(self.layers)

    @property
    def seed(self) -> int:
        """The seed that pictures show: the first whose weights can be read, else the first."""
        return next(iter(self.trained or self.untrained))

    @property
    def problem(self) -> str:
        """Where and why fields are unknown, in words, or nothing."""
        first = next((layer for layer in self.layers if layer.problem), None)
        return f"from {first.name} on, because of {first.problem}" if first else ""


def contributions_of(model: nn.Module, layer: LayerField, images: Tensor) -> Contributions:
    """How much each pixel counts for the layer's central position, which is (H // 2, W // 2).

    The absolute gradient, averaged over images and channels; images (N, C, H, W) are as the model sees them.
    """
    module = model if layer.name == "(model)" else model.get_submodule(layer.name)
    _, height, width = layer.output_shape
    total = torch.zeros(images.shape[2:], dtype=torch.float64)
    for start in range(0, len(images), BATCH_SIZE):
        calls = count()
        centers: list[Tensor] = []

        def keep(module: nn.Module, args: Any, output: Any, calls: Any = calls, found: Any = centers) -> None:
            if next(calls) == layer.call:
                maps = output if isinstance(output, Tensor) else output[0]
                found.append(maps[:, :, height // 2, width // 2].sum())

        inputs = images[start : start + BATCH_SIZE].detach().requires_grad_()
        handle = module.register_forward_hook(keep)
        try:
            with torch.enable_grad():
                model(inputs.clone())  # a copy, lest the first layer changes the inputs in place
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(centers[0], inputs)
        total += gradient.abs().mean(1).sum(0).double().cpu()
    return (total / len(images)).numpy()


def effective_area(contributions: Contributions) -> NDArray[np.bool_]:
    """Which pixels contribute more than THRESHOLD of the peak; none where there is no finite peak."""
    peak = contributions.max()
    if not math.isfinite(peak):
        return np.zeros(contributions.shape, dtype=bool)
    return np.asarray(contributions > THRESHOLD * peak)


def effective_side(contributions: Contributions) -> float | None:
    """The side in pixels of a square as large as the effective area; None where that is empty."""
    num_pixels = int(effective_area(contributions).sum())
    return math.sqrt(num_pixels) if num_pixels else None


class ReceptiveField(Analysis):
    """How much of the image each variant's features can see, and how much of that counts."""

    def __init__(self, *, num_images: Count = 64) -> None:
        self.num_images = num_images

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields pictures of up to four variants each, a table of all, and tables of their layers."""
        left_out = LeftOut()
        fields = _fields(subject)
        seen = {name: self._look(subject, name, *fields[name], left_out) for name in subject.variants()}
        shown = [name for name, found in seen.items() if found.untrained or found.trained]
        pictures = _portions(shown)
        for number, names in enumerate(pictures, start=1):
            which = f" ({number} of {len(pictures)})" if len(pictures) > 1 else ""
            drawn = {name: seen[name] for name in names}
            yield Figure(
                name="receptive_field" if len(pictures) == 1 else f"receptive_field_{number}",
                title=f"Effective receptive fields{which}",
                caption=self._caption(drawn) + left_out.note(),
                figure=_draw(drawn),
            )
        yield self._table(seen, left_out.note() + subject.diverged_note())
        yield from _layer_tables(seen)

    def _look(
        self,
        subject: Subject,
        name: str,
        in_shape: tuple[int, int, int],
        layers: Sequence[LayerField],
        left_out: LeftOut,
    ) -> _Seen:
        """Measures the variant's effective fields; what cannot be read is told to `left_out`."""
        found = _Seen(in_shape, layers)
        layer = found.last
        for run in subject.trained()[name]:
            if layer is None:
                break
            try:
                images = self._images(subject.loader(run))
                for contributions, trained in ((found.untrained, False), (found.trained, True)):
                    model = subject.model(run, trained=trained).requires_grad_(False)
                    contributions[run.seed] = contributions_of(model, layer, images)
            except DamagedError:
                left_out.add(run.label, "its weights cannot be read")
            except CnnbenchError as error:  # its data set is no longer there
                left_out.add(name, error)
                break
        return found

    def _images(self, loader: "Loader") -> Tensor:
        """Validation images from all over the split, which may be in the order of its classes."""
        val = loader.dataset.val
        rows = torch.linspace(0, len(val) - 1, min(self.num_images, len(val)), device=loader.device)
        return loader.normalize(val.gather(rows.long())[0])

    def _caption(self, drawn: Mapping[str, _Seen]) -> str:
        seeds = {name: found.seed for name, found in drawn.items()}
        of = ", ".join(f"{name} seed {seed}" for name, seed in seeds.items())
        if len(set(seeds.values())) == 1:
            of = f"one seed, {min(seeds.values())}"
        text = (
            "How strongly the central position of the last feature layer reacts to each pixel: the absolute "
            "gradient, channels summed, averaged over up to "
            f"{self.num_images} validation images and divided by its peak ({of}); before training and with "
            "the best weights. The color scale is the same for all and follows the square root, so that weak "
            "contributions show. Solid box: the theoretical field; the edges that lie outside the image are "
            f"not seen. Dashed: a square as large as the area above {100 * THRESHOLD:.2f} % of the peak and "
            "about its center; its side stands below each panel."
        )
        return text + _beyond(drawn) + _everywhere(drawn)

    def _table(self, seen: Mapping[str, _Seen], note: str) -> Table:
        rows = [_row(name, found) for name, found in seen.items()]
        num_seeds = sorted({len(found.trained) for found in seen.values() if found.trained})
        text = (
            "The last feature layer is the last one that puts out a map of more than one position, before "
            "pooling over the whole image or flattening. The theoretical field (height × width) is all that "
            "a position can see, padding included; the stride is the distance between two positions. The "
            "effective field is the side of a square as large as the area that contributes more than "
            f"{100 * THRESHOLD:.2f} % of the peak (Luo et al. 2016), over up to {self.num_images} validation "
            "images; the last column compares it, after training, with the theoretical one."
        )
        if num_seeds == [1]:
            text += " One seed each, hence no standard deviation."
        elif num_seeds:
            text += f" Mean and standard deviation over {' or '.join(map(str, num_seeds))} seeds."
        without = [name for name, found in seen.items() if found.last is None and not found.problem]
        if without:
            text += f" Without a feature map, so that every unit sees the whole image: {', '.join(without)}."
        unknown = [f"{name} {found.problem}" for name, found in seen.items() if found.problem]
        if unknown:
            text += f" Unknown: {'; '.join(unknown)}."
        return Table(
            name="receptive_field",
            title="Receptive fields of the last feature layer",
            caption=text + _beyond(seen) + _everywhere(seen) + note,
            columns=[
                "variant", "last feature layer", "image (pixels)", "stride (pixels)",
                "theoretical field (pixels)", "effective, untrained (pixels)", "± untrained",
                "effective, trained (pixels)", "± trained", "trained / theoretical (%)", "seeds",
            ],
            rows=rows,
        )  # fmt: skip


def _fields(subject: Subject) -> dict[str, tuple[tuple[int, int, int], list[LayerField]]]:
    """For each variant the shape of its images and its layers' fields; equal models are looked at once."""
    known: dict[tuple[str, tuple[int, int, int], int], list[LayerField]] = {}
    found = {}
    for name, runs in subject.variants().items():
        config = subject.config(runs[0])
        in_shape, num_classes = describe_dataset(config.data, subject.datasets.root, config.plugins)
        key = (config.model.model_dump_json(), in_shape, num_classes)
        if key not in known:
            known[key] = receptive_fields_of(config.model, in_shape, num_classes, config.plugins)
        found[name] = (in_shape, known[key])
    return found


def _beyond(seen: Mapping[str, _Seen]) -> str:
    names = []
    for name, found in seen.items():
        size = found.last.size if found.last else None
        if size and (size[0] > found.in_shape[1] or size[1] > found.in_shape[2]):
            names.append(name)
    if not names:
        return ""
    return (
        " The theoretical field is larger than the image, at whose edge the effective one must end: "
        f"{', '.join(names)}."
    )


def _everywhere(seen: Mapping[str, _Seen]) -> str:
    names = [name for name, found in seen.items() if found.last and _shares(found.last)]
    if not names:
        return ""
    return (
        " Beyond the field of its place each position also depends on the image as a whole (+), by a gate or "
        f"the statistics of a norm: {', '.join(names)}."
    )


def _shares(layer: LayerField) -> bool:
    return any(axis.everywhere is not None for axis in layer.axes)


def _row(name: str, found: _Seen) -> list[Cell]:
    _, *image = found.in_shape
    layer = found.last
    if layer is None or layer.size is None or layer.stride is None:
        words = "unknown" if found.problem else "no feature map"
        return [name, None, _times(image), None, words, None, None, None, None, None, 0]
    before, after = (
        [side for each in contributions.values() if (side := effective_side(each)) is not None]
        for contributions in (found.untrained, found.trained)
    )
    theoretical = math.sqrt(math.prod(layer.size))
    return [
        name,
        _layer_name(layer),
        _times(image),
        _stride(layer.stride),
        _field(layer),
        *_mean_and_deviation(before),
        *_mean_and_deviation(after),
        round(100 * fmean(after) / theoretical, 1) if after else None,
        len(after),
    ]


def _mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    mean = round(fmean(values), 2) if values else None
    return mean, round(stdev(values), 2) if len(values) > 1 else None


def _times(sizes: Sequence[int]) -> str:
    return " × ".join(map(str, sizes))


def _layer_name(layer: LayerField) -> str:
    again = f", call {layer.call + 1}" if layer.call else ""
    return f"{layer.name} ({layer.kind}{again})"


def _stride(stride: tuple[Fraction, Fraction]) -> Cell:
    height, width = (str(value) for value in stride)
    if height != width:
        return f"{height} × {width}"
    return int(height) if stride[0].denominator == 1 else float(stride[0])


def _field(layer: LayerField) -> str:
    """The layer's field in words."""
    if layer.problem:
        return "unknown"
    if layer.size is None:
        sizes = [axis.num_pixels or 0 for axis in layer.axes]
        return "whole image" if layer.whole_image else f"{_times(sizes)}, the same everywhere"
    if not _shares(layer):
        return _times(layer.size)
    return f"{_times(layer.size)} + {'whole' if layer.whole_image else 'part of the'} image"


def _short_field(layer: LayerField | None) -> str:
    if layer is None or layer.size is None:
        return "unknown"
    return _times(layer.size) + (" +" if _shares(layer) else "")


def _layer_tables(seen: Mapping[str, _Seen]) -> Iterator[Table]:
    """A table for each different list of fields, under all variants that have it."""
    groups: dict[tuple[tuple[Cell, ...], ...], list[str]] = {}
    for name, found in seen.items():
        groups.setdefault(tuple(_layer_rows(found.layers)), []).append(name)
    for number, (rows, names) in enumerate(groups.items(), start=1):
        image = sorted({_times(seen[name].in_shape[1:]) for name in names})
        shared = (
            " + whole image: by a gate or the statistics of a norm each position depends on all of it, too."
        )
        shared = shared if any("+" in str(row[3]) for row in rows) else ""
        yield Table(
            name="receptive_field_layers" if len(groups) == 1 else f"receptive_field_layers_{number}",
            title=f"Receptive fields, layer by layer: {', '.join(plots.short_names(names))}",
            caption=f"In the order of the calls, for images of {' and '.join(image)} pixels. Layers without "
            "weights between pixels or channels that leave the field as it is (activations, norms, dropout) "
            "are left out. Stride: pixels from one position to the next." + shared,
            columns=["layer", "kind", "map (height × width)", "field (pixels)", "stride (pixels)"],
            rows=rows,
            in_report=len(rows) <= MOST_PRINTED,
        )


def _layer_rows(layers: Sequence[LayerField]) -> Iterator[tuple[Cell, ...]]:
    for before, layer in pairwise([None, *layers]):
        assert layer is not None
        is_news = before is None or (before.axes, before.problem) != (layer.axes, layer.problem)
        if layer.mixes or is_news:
            yield (
                layer.name,
                layer.kind,
                _times(layer.output_shape[1:]) if layer.is_map else None,
                _field(layer),
                None if layer.stride is None else _stride(layer.stride),
            )


def _portions(names: Sequence[str]) -> list[list[str]]:
    """The variants in order, as many together as fit one picture, spread evenly."""
    num = math.ceil(len(names) / MOST_IN_A_PICTURE)
    ends = [len(names) * number // num for number in range(num + 1)] if num else []
    return [list(names[start:end]) for start, end in pairwise(ends)]


def _draw(drawn: Mapping[str, _Seen]) -> "MplFigure":
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
        f"{name}{', ' if is_single else chr(10)}field {_short_field(found.last)}"
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


def _draw_one(axes: "Axes", seen: _Seen, contributions: Contributions | None, norm: "Normalize") -> None:
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
