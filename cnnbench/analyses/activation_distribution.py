"""How the activations of a layer are distributed, averaged over the image, and how far variants differ in it.

A network of convolutions and ReLU without biases is proportional to the weights of each of its layers: a
layer whose weights have k times the variance puts k times the variance on everything after it (He et al.
2015). That is what is expected of a variant, from the variances declared of its layers, where the network is
of this kind, which is tried out: each layer's weights are doubled in turn, and the activations must double.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table, Untrained
from cnnbench.analyses.capture import Layer, capture, convolutions, find_layer
from cnnbench.analyses.opening import LeftOut, check_one_has
from cnnbench.analyses.starting import declared_of
from cnnbench.errors import CnnbenchError
from cnnbench.models.initialization import layer_weights
from cnnbench.options import Count
from cnnbench.paired_tests import compare_means
from cnnbench.reading import DamagedError
from cnnbench.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

    from cnnbench.data.loader import Loader

NUM_TRIED = 4  # images on which it is tried out whether the activations are proportional to the weights
MOST_DRAWN = 8


@dataclass
class Activations:
    """Of one variant: by seed the values (images × channels), and what its layers' variances are."""

    layer: str
    values: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    variances: dict[str, float] | None = None  # of the layers it is proportional to; None: it is not

    def by_seed(self) -> dict[int, float]:
        """The variance of the values of each seed."""
        return {seed: float(values.var(ddof=1)) for seed, values in self.values.items()}


class ActivationDistribution(Analysis):
    """Histograms of a layer's activations after global average pooling, and the ratios of their variances."""

    def __init__(
        self,
        *,
        layer: str | None = None,
        num_images: Count = 256,
        bins: Count = 60,
        trained: bool = False,
    ) -> None:
        self.layer, self.num_images, self.bins, self.trained = layer, num_images, bins, trained
        self.needs_check = layer is not None

    def check(self, variants: Iterable[Untrained]) -> None:
        check_one_has(variants, lambda each: self._layer(each.model, _images(each.loader, NUM_TRIED)))

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields the histograms of all variants and seeds, and a table of variances and their ratios."""
        left_out = LeftOut()
        found: dict[str, Activations] = {}
        mistakes: list[str] = []
        for name, runs in (subject.trained() if self.trained else subject.variants()).items():
            for run in runs:
                try:
                    self._look(subject, run, found)
                except (CnnbenchError, DamagedError) as error:
                    mistakes.append(f"variant {name!r}: {error}")
                    left_out.add(run.label, error)
        if not found:
            if mistakes and self.layer is not None:
                raise CnnbenchError(mistakes[0])
            yield Table("activation_distribution", "Activations", left_out.note(), ["variant"], [])
            return
        when = "with the weights that were kept" if self.trained else "before training"
        of = ", ".join(dict.fromkeys(each.layer for each in found.values()))
        what = (
            f"Activations of {of}, averaged over each image's places (global average pooling), {when}: "
            f"one value "
            f"for each channel of each of up to {self.num_images} validation images."
        )
        styles = {name: plots.style_of(index) for index, name in enumerate(subject.variants())}
        drawn = dict(list(found.items())[:MOST_DRAWN])
        yield Figure(
            name="activation_distribution",
            title="Activations after global average pooling",
            caption=f"{what} Thin lines are seeds, the thick one is all seeds together; the scales are "
            f"the same "
            "in all panels. The largest 0.5 % of the values are not in view."
            + (
                f" Of {len(found)} variants the first {MOST_DRAWN} are drawn."
                if len(found) > len(drawn)
                else ""
            )
            + left_out.note(),
            figure=_draw(drawn, styles, self.bins),
        )
        yield _table(found, what, left_out.note())

    def _look(self, subject: Subject, run: Run, found: dict[str, Activations]) -> None:
        model = subject.model(run, trained=self.trained)
        loader = subject.loader(run)
        inputs = _images(loader, self.num_images)
        layer = self._layer(model, inputs)
        values = pooled(model, inputs, layer)
        each = found.setdefault(run.variant, Activations(str(layer)))
        each.values[run.seed] = values.flatten().numpy()
        if len(each.values) == 1 and not self.trained:
            layers = proportional_to(model, inputs[:NUM_TRIED], layer)
            declared = declared_of(subject, run)
            if layers and all(name in declared for name in layers):
                each.variances = {name: declared[name] for name in layers}

    def _layer(self, model: nn.Module, inputs: Tensor) -> Layer:
        if self.layer is not None:
            return find_layer(model, inputs, self.layer)
        layers = convolutions(model, inputs)
        if not layers:
            raise CnnbenchError("it has no convolution; name a layer")
        return layers[-1]


def _images(loader: "Loader", count: int) -> Tensor:
    """Validation images from all over the split, normalized."""
    return loader.spread_over(loader.dataset.val, count)


def pooled(model: nn.Module, inputs: Tensor, layer: Layer) -> Tensor:
    """What the layer puts out, (N, C), averaged over the places of an image where there are any."""
    outputs = capture(model, inputs, [layer.output])[layer.output].float().cpu()
    return outputs.mean(dim=tuple(range(2, outputs.dim()))) if outputs.dim() > 2 else outputs


def proportional_to(model: nn.Module, inputs: Tensor, layer: Layer) -> list[str] | None:
    """The layers whose weights the activations are proportional to; None where any acts otherwise."""
    before = pooled(model, inputs, layer)
    found = []
    for name, weight in layer_weights(model).items():
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(2)
            after = pooled(model, inputs, layer)
            weight.copy_(kept)
        if torch.allclose(after, 2 * before, rtol=1e-3, atol=1e-6 * float(before.abs().max())):
            found.append(name)
        elif not torch.equal(after, before):
            return None
    return found


def expected_ratio(variant: Activations, reference: Activations) -> float | None:
    """Variance over the reference's, from the declared variances; None where no rule is known to hold."""
    ours, theirs = variant.variances, reference.variances
    if ours is None or theirs is None or ours.keys() != theirs.keys() or variant.layer != reference.layer:
        return None
    return math.prod(ours[name] / theirs[name] for name in ours)


def _table(found: Mapping[str, Activations], what: str, note: str) -> Table:
    first, *_ = found
    rows: list[list[Cell]] = []
    for name, each in found.items():
        variances = list(each.by_seed().values())
        everything = np.concatenate(list(each.values.values()))
        row: list[Cell] = [
            name,
            len(variances),
            f"{everything.mean():.4g}",
            f"{_geometric_mean(variances):.4g}",
        ]
        rows.append([*row, *(_ratios(each, found[first]) if name != first else [None] * 4)])
    expected = any(row[6] is not None for row in rows)
    return Table(
        name="activation_distribution",
        title="Variance of the activations",
        caption=f"{what} Variance over all values of a seed, geometric mean over seeds. Ratios are to "
        f"{first!r}. Same seed: lowest to highest over seeds, each against the same seed, which draws the "
        "same random numbers. Other seeds: of the geometric means of variants that share no seed, with a "
        "95 % interval (Welch's t on logarithms) that counts the draw of the weights."
        + (
            " Expected: the product over layers of the ratios of declared variances (He et al. 2015); it was "
            "tried out that the activations are proportional to each of these layers' weights."
            if expected
            else " Nothing is expected of the ratios: either the weights are trained or not declared, or the "
            "activations are not proportional to each layer's weights (biases, norms, other activations), or "
            "the variants have other layers."
            if len(found) > 1
            else ""
        )
        + note,
        columns=[
            "variant", "seeds", "mean", "variance", "ratio, same seed", "ratio, other seeds", "expected",
            "expected is in the interval",
        ],
        rows=rows,
    )  # fmt: skip


def _ratios(variant: Activations, reference: Activations) -> list[Cell]:
    ours, theirs = variant.by_seed(), reference.by_seed()
    if not all(value > 0 for value in (*ours.values(), *theirs.values())):
        return [None] * 4
    same = sorted(ours[seed] / theirs[seed] for seed in ours if seed in theirs)
    expected = expected_ratio(variant, reference)
    logs = [[math.log(value) for value in each.values()] for each in (ours, theirs)]
    ratio = _geometric_mean(list(ours.values())) / _geometric_mean(list(theirs.values()))
    cells: list[Cell] = [f"{same[0]:.4g} to {same[-1]:.4g}" if same else None]
    if same:  # not independent: an interval about their ratio would say nothing of the draw
        return [*cells, None, _written(expected), None]
    if max(map(len, logs)) < 2:
        return [*cells, f"{ratio:.3g} (one seed each)", _written(expected), None]
    test = compare_means(*logs)
    low, high = math.exp(test.low), math.exp(test.high)
    inside = None if expected is None else "yes" if low <= expected <= high else "no"
    return [*cells, f"{ratio:.3g} ({low:.3g} to {high:.3g})", _written(expected), inside]


def _written(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _geometric_mean(values: Sequence[float]) -> float:
    if min(values) <= 0:
        return 0.0
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _draw(found: Mapping[str, Activations], styles: Mapping[str, plots.Style], bins: int) -> "MplFigure":
    figure, panels = plots.new_figure(len(found), 1, height=0.7 + 1.75 * len(found), share_axes=True)
    everything = np.concatenate([values for each in found.values() for values in each.values.values()])
    low, high = float(everything.min()), float(np.quantile(everything, 0.995))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    names = plots.short_names(list(found), 48)
    for axes, (variant, each), name in zip(panels, found.items(), names, strict=True):
        style = styles[variant]
        pooled_seeds = np.concatenate(list(each.values.values()))
        if len(each.values) > 1:
            for values in each.values.values():
                axes.stairs(_density(values, edges), edges, color=style.color, linewidth=0.7, alpha=0.45)
        density = _density(pooled_seeds, edges)
        axes.stairs(density, edges, color=style.color, linewidth=2, zorder=3)
        axes.stairs(density, edges, color=style.color, fill=True, alpha=0.14, zorder=1)
        spread = float(np.median([values.std(ddof=1) for values in each.values.values()]))
        axes.axvline(float(pooled_seeds.mean()), color=plots.INK, linewidth=1, linestyle=(0, (4, 2)))
        axes.set_title(
            f"{name}    mean (dashed) {pooled_seeds.mean():.3g}, standard deviation {spread:.3g}",
            fontsize=plots.SMALL_SIZE, color=plots.INK, loc="left",
        )  # fmt: skip
        plots.label_axes(axes, "", "density")
    plots.label_axes(panels[-1], "activation after global average pooling", "density")
    return figure


def _density(values: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of all values in a bin, per unit; values beyond the edges count in the whole."""
    counts, _ = np.histogram(values, bins=edges)
    density: NDArray[np.float64] = counts / (len(values) * np.diff(edges))
    return density
