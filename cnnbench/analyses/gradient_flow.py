"""Gradients by layer and epoch: whether the signal of the loss reaches the first layers.

What is judged is a layer's mean absolute gradient against that of the last layer at the same epoch. The
last layer is the measure because it has its gradient from the loss at first hand: that of cross entropy by
a logit is at most 1, whatever the depth. On the way back the gradient is multiplied layer by layer (Bengio,
Simard and Frasconi 1994; Glorot and Bengio 2010). The median or the largest layer would not do: where
gradients shrink by one factor at each layer, the last layers are far above the median and explode by that
measure; and where one layer explodes, all others vanish beside the largest.

A layer's gradient vanishes where it is zero or below 1/1000 of the last layer's, and explodes where it is
above 1000 times that, or not finite. The layers of a network that trains well can differ by factors of 10
to 100, since their weights are scaled differently and used at many places or at one: 1000 is beyond that.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.curves import Curve, curve_of, draw_curve
from cnnbench.runs import DamagedError, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

FACTOR = 1000.0
RULE = (
    f"A layer's gradient vanishes where its mean absolute value is zero or below 1/{FACTOR:g} of the last "
    f"layer's at that epoch, and explodes where it is above {FACTOR:g} times that or not finite; factors of "
    "10 to 100 between layers are ordinary."
)
MEASURES = {"mean_abs": "mean absolute gradient", "norm": "norm of the gradient"}
MOST_PER_PICTURE = 6
MOST_NAMED = 24  # layers whose names fit below a panel of half the width
MOST_MARKED = 16  # layers whose points do not run into each other
MOST_LINES = 12  # epochs that can be told apart in a panel
MOST_ROWS = 60  # of a table that is printed in the report

State = Literal["ordinary", "vanishes", "explodes"]
Value = float | None  # None: it was not finite


def state_of(value: Value, last: Value) -> State:
    """The rule of this module for a layer's mean absolute gradient, given the last layer's.

    Where the last layer's is zero or not finite, no ratio exists: only the value itself is judged.
    """
    if value is None:
        return "explodes"
    if value == 0:
        return "vanishes"
    if not last:
        return "ordinary"
    if value < last / FACTOR:
        return "vanishes"
    return "explodes" if value > FACTOR * last else "ordinary"


def geometric_mean(values: Sequence[float]) -> float:
    """exp of the mean of the logarithms; all values must be above zero."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


@dataclass(frozen=True)
class Gradients:
    """What one run's probes measured: values by epoch and layer, layers in the order of the model."""

    run: Run
    layers: list[str]
    mean_abs: dict[int, dict[str, Value]]
    norm: dict[int, dict[str, Value]]

    @property
    def last_epoch(self) -> int:
        return max(self.mean_abs)

    def ratio(self, epoch: int) -> Value:
        """Mean absolute gradient of the first layer over that of the last; None where it has no meaning."""
        first, last = (self.mean_abs[epoch].get(layer) for layer in (self.layers[0], self.layers[-1]))
        return first / last if first and last else None

    def states(self, epoch: int) -> dict[str, State]:
        """The rule, for each layer."""
        values = self.mean_abs[epoch]
        last = values.get(self.layers[-1])
        return {layer: state_of(values[layer], last) for layer in self.layers if layer in values}


def gradients_of(run: Run) -> Gradients | None:
    """The gradients that a run recorded; None where it recorded none. Raises DamagedError."""
    rows = [row for row in run.probes() if row.get("gradients")]
    if not rows:
        return None
    mean_abs, norm = (
        {row["epoch"]: {layer: each.get(key) for layer, each in row["gradients"].items()} for row in rows}
        for key in ("mean_abs", "norm")
    )
    return Gradients(run, list(rows[0]["gradients"]), mean_abs, norm)


class GradientFlow(Analysis):
    """Whether gradients vanish or explode on their way back to the first layer."""

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields gradients by layer in pictures of up to six variants, their trend, and two tables."""
        found: dict[str, list[Gradients]] = {}
        missing, damaged = [], []
        for name, runs in subject.variants().items():
            for run in runs:
                try:
                    gradients = gradients_of(run)
                except DamagedError:
                    damaged.append(run.label)
                    continue
                if gradients is None:
                    missing.append(run.label)
                else:
                    found.setdefault(name, []).append(gradients)
        note = _note(subject, missing, damaged)
        styles = {name: plots.style_of(index) for index, name in enumerate(subject.variants())}
        yield from _figures(found, note)
        if found and any(run.last_epoch for runs in found.values() for run in runs):
            yield Figure(
                name="gradient_flow_trend",
                title="Gradient of the first layer against the last",
                caption="Mean absolute gradient of the first layer divided by that of the last, after each "
                "epoch (0 is the untrained model): at 1 both are alike, far below it little of the loss "
                f"reaches the first layer. Dotted, where in view: 1/{FACTOR:g}, below which it vanishes, and "
                f"{FACTOR:g}, above which it explodes." + _seeds_note(found, "bands") + note,
                figure=_draw_trend(found, styles),
            )
        yield _summary(subject, found, note)
        if found:
            yield _by_layer(found, note)


def _note(subject: Subject, missing: Sequence[str], damaged: Sequence[str]) -> str:
    note = ""
    if missing:
        note += f" Without gradients (older runs, or nothing to train): {', '.join(missing)}."
    if damaged:
        note += f" Gradients could not be read, so not counted: {', '.join(damaged)}."
    lost = [run.label for runs in subject.diverged().values() for run in runs]
    if lost:
        note += f" Diverged, and counted up to the epoch before: {', '.join(lost)}."
    return note


def _seeds_note(found: Mapping[str, Sequence[Gradients]], bands: str) -> str:
    if all(len(runs) == 1 for runs in found.values()):
        return " One seed each."
    return f" Lines are geometric means over seeds, {bands} lowest to highest seed."


def _figures(found: Mapping[str, Sequence[Gradients]], note: str) -> Iterator[Figure]:
    names = list(found)
    portions = [names[start : start + MOST_PER_PICTURE] for start in range(0, len(names), MOST_PER_PICTURE)]
    gaps = any(
        not value
        for runs in found.values()
        for run in runs
        for values in run.mean_abs.values()
        for value in values.values()
    )
    for measure, words in MEASURES.items():
        scale = _limits([_values(run, measure) for runs in found.values() for run in runs])
        for number, shown in enumerate(portions, start=1):
            which = f" ({number} of {len(portions)})" if len(portions) > 1 else ""
            part = f"_{number}" if len(portions) > 1 else ""
            yield Figure(
                name=f"gradient_flow_{measure}{part}",
                title=f"{words.capitalize()} by layer{which}",
                caption=(
                    "For each weight of a layer, on average: "
                    if measure == "mean_abs"
                    else "Of all weights of a layer together (L2), so that it grows with their number: "
                )
                + "the gradient on one fixed batch of train images, not augmented, from the first layer "
                "(left) to the last, in the order in which the model lists them. One line per epoch, from "
                f"the untrained model (dashed) to the last (thick); of more than {MOST_LINES} epochs some."
                + _seeds_note(found, "the band, of the last epoch,")
                + (" Where a line has a gap, the gradient was zero or not finite." if gaps else "")
                + note,
                figure=_draw_layers({name: found[name] for name in shown}, measure, scale),
            )


def _values(gradients: Gradients, measure: str) -> dict[int, dict[str, Value]]:
    values: dict[int, dict[str, Value]] = getattr(gradients, measure)
    return values


def _limits(measured: Sequence[Mapping[int, Mapping[str, Value]]]) -> tuple[float, float]:
    """From the smallest to the largest value that a logarithm has, with some room."""
    known = [
        value for run in measured for values in run.values() for value in values.values() if value is not None
    ]
    known = [value for value in known if value > 0] or [1.0]
    return min(known) / 2, max(known) * 2


def _summary(subject: Subject, found: Mapping[str, Sequence[Gradients]], note: str) -> Table:
    rows: list[list[Cell]] = []
    for name in subject.variants():
        runs = found.get(name, [])
        if not runs:
            rows.append([name, 0, *[None] * 9])
            continue
        ratios = [[run.ratio(0) if 0 in run.mean_abs else None for run in runs]]
        ratios.append([run.ratio(run.last_epoch) for run in runs])
        rows.append(
            [
                name,
                len(runs),
                len(runs[0].layers),
                runs[0].layers[0],
                runs[0].layers[-1],
                *(_over_seeds(values) for values in ratios),
                *(
                    _num_layers(runs, when, state)
                    for state in ("vanishes", "explodes")
                    for when in (lambda run: 0, lambda run: run.last_epoch)
                ),
            ]
        )
    return Table(
        name="gradient_flow",
        title="Gradients of the first and the last layer",
        caption="Ratio: mean absolute gradient of the first layer divided by that of the last (geometric "
        "mean over seeds; a dash where one of them is zero or not finite), in the untrained model and after "
        f"the last epoch. {RULE} Counted are layers that do so in at least one seed." + note,
        columns=[
            "variant", "seeds", "layers", "first layer", "last layer", "ratio, untrained",
            "ratio, last epoch", "vanishing, untrained", "vanishing, last epoch", "exploding, untrained",
            "exploding, last epoch",
        ],
        rows=rows,
    )  # fmt: skip


def _over_seeds(values: Sequence[Value]) -> float | None:
    """Their geometric mean; None where one is missing or there is none above zero."""
    known = [value for value in values if value]
    return float(f"{geometric_mean(known):.3g}") if known and len(known) == len(values) else None


def _num_layers(runs: Sequence[Gradients], when: Callable[[Gradients], int], state: State) -> int:
    layers = {
        layer
        for run in runs
        if when(run) in run.mean_abs
        for layer, found in run.states(when(run)).items()
        if found == state
    }
    return len(layers)


def _by_layer(found: Mapping[str, Sequence[Gradients]], note: str) -> Table:
    rows: list[list[Cell]] = []
    for name, runs in found.items():
        for layer in runs[0].layers:
            untrained = [run.mean_abs[0].get(layer) for run in runs if 0 in run.mean_abs]
            trained = [run.mean_abs[run.last_epoch].get(layer) for run in runs]
            rows.append(
                [
                    name,
                    layer,
                    _over_seeds(untrained),
                    _over_seeds(trained),
                    *(_epochs(runs, layer, state) for state in ("vanishes", "explodes")),
                ]
            )
    return Table(
        name="gradient_flow_by_layer",
        title="Gradients of each layer",
        caption="Mean absolute gradient in the untrained model and after the last epoch (geometric mean over "
        "seeds; a dash where it is zero or not finite in one), and the epochs at which it vanishes or "
        f"explodes in at least one seed. {RULE}" + note,
        columns=["variant", "layer", "untrained", "last epoch", "vanishes at epochs", "explodes at epochs"],
        rows=rows,
        in_report=len(rows) <= MOST_ROWS,
    )


def _epochs(runs: Sequence[Gradients], layer: str, state: State) -> str | None:
    """Such as "0–3, 7": the epochs at which a layer is in that state in at least one seed."""
    epochs = sorted(
        {epoch for run in runs for epoch in run.mean_abs if run.states(epoch).get(layer) == state}
    )
    spans: list[list[int]] = []
    for epoch in epochs:
        if spans and spans[-1][1] == epoch - 1:
            spans[-1][1] = epoch
        else:
            spans.append([epoch, epoch])
    return ", ".join(str(low) if low == high else f"{low}–{high}" for low, high in spans) or None


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
        found = [_values(run, measure).get(epoch, {}).get(layer) for run in runs]
        values = [value for value in found if value] or [math.nan]
        mean.append(geometric_mean(values))
        low.append(min(values))
        high.append(max(values))
    return mean, low, high


def _draw_layers(
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


def _draw_trend(found: Mapping[str, Sequence[Gradients]], styles: Mapping[str, plots.Style]) -> "MplFigure":
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
    curve = curve_of(logarithms, "range")
    mean, low, high = ([math.exp(value) for value in each] for each in (curve.mean, curve.low, curve.high))
    return Curve(curve.epochs, mean, low, high, curve.num_seeds)
