"""Gradients by layer and epoch: whether the signal of the loss reaches the first layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.gradient_pictures import MEASURES, MOST_LINES, draw_layers, draw_trend
from cnnbench.analyses.gradients import (
    FACTOR,
    RULE,
    Gradients,
    State,
    Value,
    geometric_mean,
    gradients_of,
    values_of,
)  # fmt: skip
from cnnbench.reading import DamagedError

MOST_PER_PICTURE = 6
MOST_ROWS = 60  # of a table that is printed in the report


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
                figure=draw_trend(found, styles),
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
    return f" Lines are geometric means over the seeds that got there, {bands} lowest to highest seed."


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
        scale = _limits([values_of(run, measure) for runs in found.values() for run in runs])
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
                figure=draw_layers({name: found[name] for name in shown}, measure, scale),
            )


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
