"""How signal and gradient grow or fall from layer to layer before training, and why.

A layer's weight has as gradient the sum, over images and places, of products of the error that arrives at the
layer's output and the signal at its input. Its size per weight is therefore, exactly,

    RMS of the error x RMS of the signal x sqrt(number of summed products) x alignment,

where the alignment, what is left, is 1 for products of independent signs. Signal and error change by a gain
at each layer; without biases its square is fan_in (forward) or fan_out / stride² (backward) times the
variance of the weights, halved where ReLU follows (He et al. 2015, section 2.2).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.opening import LeftOut
from cnnbench.data import describe_dataset
from cnnbench.errors import CnnbenchError
from cnnbench.options import Count
from cnnbench.signals import NUM_IMAGES, LayerSignal, draw_signals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

Draws = Sequence[Sequence[LayerSignal]]  # of each draw the layers in order
Measure = Callable[[LayerSignal], float]
STEADY = 1.05  # gains between 1 / STEADY and STEADY leave a signal as it is

GRADIENTS: dict[str, Measure] = {
    "gradient norm (L2)": lambda layer: layer.gradient_norm,
    "gradient per weight (RMS)": lambda layer: layer.gradient_rms,
}
GAINS: dict[str, Measure] = {
    "forward gain": lambda layer: layer.forward_gain,
    "backward gain": lambda layer: layer.backward_gain,
}
# what the gradient of a weight is made of: exactly, for each draw
FACTORS: dict[str, Measure] = {
    "the error that arrives at its output": lambda layer: layer.error_rms,
    "the signal at its input": lambda layer: layer.input_rms,
    "the square root of how often a weight is used": lambda layer: math.sqrt(layer.num_uses),
    "the alignment of error and signal": lambda layer: layer.alignment,
    "the square root of its number of weights": lambda layer: math.sqrt(layer.num_weights),
}


class SignalPropagation(Analysis):
    """Gradients by layer before training on random images, and why they fall or grow."""

    def __init__(self, *, output: str | None = None, draws: Count = 20) -> None:
        self.output = output
        self.draws = draws

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields gradients and gains by layer as pictures, an explanation of each variant, and a table."""
        left_out = LeftOut()
        found: dict[str, Draws] = {}
        for name, runs in subject.variants().items():
            config = subject.config(runs[0])
            in_shape, num_classes = describe_dataset(config.data, subject.datasets.root, config.plugins)
            try:
                drawn = list(
                    draw_signals(
                        config.model, in_shape, num_classes, config.plugins, draws=self.draws,
                        output=self.output,
                    )
                )  # fmt: skip
            except CnnbenchError as error:
                left_out.add(name, error)
                continue
            found[name] = drawn
        styles = {name: plots.style_of(index) for index, name in enumerate(subject.variants())}
        what = f"the output of {self.output}" if self.output else "the model's output"
        how = (
            f"{self.draws} draws of weights and of {NUM_IMAGES} standard normal images, before training, "
            f"the same random numbers for every variant; the loss is the mean of the squares of {what}. "
            "Lines are geometric means over draws, bands lowest to highest draw; where lines coincide, the "
            "later variant's is the thinner one."
        )
        if found:
            yield Figure(
                name="signal_gradients",
                title="Gradients by layer on random images",
                caption=f"{how} The norm grows with the number of a layer's weights; the RMS is that of one "
                "weight, so the two may disagree on which layer has the larger gradient." + left_out.note(),
                figure=_draw(found, styles, GRADIENTS, line_at_1=False),
            )
            yield Figure(
                name="signal_gains",
                title="Gains by layer",
                caption=f"{how} Forward: RMS of the next layer's input (of the output after the last) "
                f"over that "
                "of this layer's. Backward: RMS of the gradient at this layer's input over that at the next "
                "one's. Above the line at 1 they grow, below it they fall." + left_out.note(),
                figure=_draw(found, styles, GAINS, line_at_1=True),
            )
        yield Table(
            name="why_gradients",
            title="Why the first layer's gradient is smaller or larger than the last's",
            caption="Said from the gains and sizes measured, geometric means over draws: the gradient of a "
            "layer's weights is the product of the factors named. Alignment: how far the products of "
            "error and "
            "signal that a weight's gradient sums over images and places add up instead of cancelling out "
            "(1 where their signs are independent)." + left_out.note(),
            columns=["variant", "first / last, norm", "first / last, per weight", "why"],
            rows=[_explained(name, drawn) for name, drawn in found.items()],
        )
        rows = [row for name, drawn in found.items() for row in _rows(name, drawn)]
        yield Table(
            name="signal_propagation",
            title="Signal and gradient by layer",
            caption="Geometric means over draws. Predicted: gains of a layer without biases that ReLU "
            "follows, sqrt(fan_in × variance / 2) forward and sqrt(fan_out × variance / 2) / stride "
            "backward, without the half where nothing follows; zeros at the borders, biases and errors that "
            "are aligned with the weights make the measured ones differ; a dash where anything else stands "
            "between a layer and the next (another activation, a norm, pooling, a shortcut)."
            + left_out.note(),
            columns=[
                "variant", "layer", "fan in", "fan out", "weight variance", "forward gain", "predicted "
                "forward",
                "backward gain", "predicted backward", "gradient norm", "gradient per weight",
            ],
            rows=rows,
        )  # fmt: skip


def mean_over(drawn: Draws, index: int, measure: Measure) -> float:
    """Geometric mean over draws of a measure of the layer at this place; NaN where one is not above 0."""
    values = [measure(layers[index]) for layers in drawn]
    if not all(value > 0 and math.isfinite(value) for value in values):
        return math.nan
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def predicted_gains(layer: LayerSignal, variance: float) -> tuple[float, float]:
    """Forward and backward gain of a layer without bias whose weights have this variance.

    NaN where neither ReLU nor nothing stands between it and the next.
    """
    share = {"relu": 0.5, "nothing": 1.0, "other": math.nan}[layer.between]
    forward = math.sqrt(layer.fans.fan_in * variance * share)
    return forward, math.sqrt(layer.fans.fan_out * variance * share) / layer.stride


def _explained(name: str, drawn: Draws) -> list[Cell]:
    norm, per_weight = (
        mean_over(drawn, 0, measure) / mean_over(drawn, -1, measure) for measure in GRADIENTS.values()
    )
    return [name, f"{norm:.3g}", f"{per_weight:.3g}", explanation(drawn)]


def explanation(drawn: Draws) -> str:
    """Why the first layer's gradient is smaller or larger than the last's, said from what was measured."""
    first, last = drawn[0][0].name, drawn[0][-1].name
    if len(drawn[0]) < 2:
        return "there is one layer alone, so nothing to compare"
    ratio = mean_over(drawn, 0, GRADIENTS["gradient norm (L2)"]) / mean_over(
        drawn, -1, GRADIENTS["gradient norm (L2)"]
    )
    factors = {
        name: mean_over(drawn, 0, measure) / mean_over(drawn, -1, measure)
        for name, measure in FACTORS.items()
    }
    if not all(math.isfinite(value) and value > 0 for value in (ratio, *factors.values())):
        return "a gradient is zero or not finite, so no ratio can be taken apart"
    parts = ", ".join(f"{name} ({value:.3g})" for name, value in factors.items())
    lower = ratio < 1
    strongest = max(factors, key=lambda name: -math.log(factors[name]) * (1 if lower else -1))
    against = [name for name, value in factors.items() if (value > STEADY if lower else value < 1 / STEADY)]
    sentences = [
        f"the gradient norm of {first} is {ratio:.3g} times that of {last}: the product of the ratios of "
        f"{parts}",
        f"the largest part of it is {strongest}"
        + (f"; the other way round {_listed(against)}" if against else ""),
        _course("the gradient on its way back", drawn, GAINS["backward gain"], range(1, len(drawn[0]))),
        _course("the signal on its way forward", drawn, GAINS["forward gain"], range(len(drawn[0]) - 1)),
    ]
    predicted = [
        predicted_gains(layer, mean_over(drawn, index, lambda each: each.weight_variance))
        for index, layer in enumerate(drawn[0])
    ]
    back = math.prod(backward for _, backward in predicted[1:])
    forth = math.prod(forward for forward, _ in predicted[:-1])
    if math.isfinite(back) and math.isfinite(forth):
        sentences.append(
            f"the variance of the weights and their fans alone predict ×{back:.3g} back and ×{forth:.3g} "
            f"forward"
        )
    return ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences) + "."


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"works {last}" if not others else f"work {', '.join(others)} and {last}"


def _course(what: str, drawn: Draws, gain: Measure, places: range) -> str:
    """How a signal changes over these layers, and by which gains."""
    gains = [mean_over(drawn, place, gain) for place in places]
    total = math.prod(gains)
    typical = total ** (1 / len(gains))
    way = "falls" if typical < 1 / STEADY else "grows" if typical > STEADY else "keeps about its size"
    layers = f"{drawn[0][places[0]].name} to {drawn[0][places[-1]].name}"
    listed = ", ".join(f"{each:.2f}" for each in gains)
    return f"{what} {way}: ×{total:.3g} over {layers} (gains {listed})"


def _rows(name: str, drawn: Draws) -> Iterator[list[Cell]]:
    for index, layer in enumerate(drawn[0]):
        variance = mean_over(drawn, index, lambda each: each.weight_variance)
        forward, backward = predicted_gains(layer, variance)
        cells: list[float] = [
            mean_over(drawn, index, lambda each: each.forward_gain),
            forward,
            mean_over(drawn, index, lambda each: each.backward_gain),
            backward,
            *(mean_over(drawn, index, measure) for measure in GRADIENTS.values()),
        ]
        yield [
            name, layer.name, layer.fans.fan_in, layer.fans.fan_out, f"{variance:.3g}",
            *(f"{value:.3g}" if math.isfinite(value) else None for value in cells),
        ]  # fmt: skip


def _draw(
    found: Mapping[str, Draws],
    styles: Mapping[str, plots.Style],
    measures: Mapping[str, Measure],
    *,
    line_at_1: bool,
) -> "MplFigure":
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, panels = plots.new_figure(1, len(measures), height=3.6)
    for axes, (words, measure) in zip(panels, measures.items(), strict=True):
        axes.set_yscale("log")
        axes.set_title(words, fontsize=plots.TEXT_SIZE, color=plots.INK, loc="left", fontweight="bold")
        for place, (name, drawn) in enumerate(found.items()):
            # equal lines, which one factor for all weights makes, must both be seen
            width = 4.0 - 2.6 * place / max(len(found) - 1, 1) if len(found) > 1 else 2.0
            _draw_variant(axes, drawn, measure, styles[name], width)
        axes.yaxis.set_minor_locator(NullLocator())
        if line_at_1:
            axes.axhline(1, color="#999999", linewidth=1, zorder=1)
            low, high = axes.get_ylim()
            if high < 300 * low:
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        _name_layers(axes, list(found.values()))
    handles = [
        panels[0].plot([], [], color=styles[name].color, marker=styles[name].marker, markersize=5)[0]
        for name in found
    ]
    figure.legend(
        handles, plots.short_names(list(found)), loc="outside lower center", ncols=min(len(found), 5),
        frameon=False, fontsize=plots.SMALL_SIZE, labelcolor=plots.INK,
    )  # fmt: skip
    return figure


def _draw_variant(axes: "Axes", drawn: Draws, measure: Measure, style: plots.Style, width: float) -> None:
    places = range(len(drawn[0]))
    mean = [mean_over(drawn, place, measure) for place in places]
    values = [[measure(layers[place]) for layers in drawn] for place in places]
    axes.fill_between(
        places, [min(each) for each in values], [max(each) for each in values], color=style.color, alpha=0.16,
        linewidth=0, zorder=1,
    )  # fmt: skip
    axes.plot(
        places, mean, color=style.color, linewidth=width, marker=style.marker, markersize=3.5 + width,
        markeredgecolor="white", markeredgewidth=0.6, zorder=3,
    )  # fmt: skip


def _name_layers(axes: "Axes", found: Sequence[Draws]) -> None:
    """Names of the layers where all variants have the same ones, else their numbers."""
    names = [[layer.name for layer in drawn[0]] for drawn in found]
    longest = max(names, key=len)
    same = all(each == longest for each in names)
    labels = plots.short_names(longest, 20) if same else [str(i + 1) for i in range(len(longest))]
    step = math.ceil(len(longest) / 24)
    axes.set_xticks(range(0, len(longest), step), labels[::step], fontsize=plots.SMALL_SIZE)
    if same and max(map(len, labels)) > 3:
        axes.tick_params(axis="x", rotation=90 if len(longest) > 8 or max(map(len, labels)) > 7 else 45)
    else:
        axes.set_xlabel("layer, in the order of calls", fontsize=plots.TEXT_SIZE, color=plots.INK)
