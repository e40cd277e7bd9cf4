"""Pictures of what inference costs: bars of time and memory, and accuracy against both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.accuracies import accuracy_of
from cnnbench.analyses.base import Figure, Subject
from cnnbench.statistics import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure


@dataclass(frozen=True)
class Costs:
    """Of one variant: one image alone, and at the batch size with the highest throughput."""

    latency_ms: float
    images_per_second: float
    memory_one_mib: float | None
    memory_best_mib: float | None


def cost_figures(
    costs: Mapping[str, Costs], subject: Subject, styles: Mapping[str, plots.Style], where: str
) -> Iterator[Figure]:
    """Bars of all costs, then what leads on test against latency and against memory."""
    yield Figure(
        name="inference_costs",
        title="Time and memory of inference",
        caption=f"Measured on {where}; the table below says how. Latency and the left memory are those of "
        "one image alone, throughput and the right memory those of the batch size with the highest "
        "throughput.",
        figure=_bars(costs, styles),
    )
    split, on = ("val", "validation") if subject.judged_on == "val" else ("test", "test")
    measure = subject.leading()
    word = measures.label(measure)
    accuracies = {name: accuracy_of(runs, measure, split) for name, runs in subject.trained().items()}
    for file, words, axis, values in (
        ("accuracy_vs_latency", "latency", "latency of one image (ms)",
         {name: each.latency_ms for name, each in costs.items()}),
        ("accuracy_vs_memory", "memory", "peak memory for one image (MiB)",
         {name: each.memory_one_mib for name, each in costs.items()}),
    ):  # fmt: skip
        points, drawn = [], []
        for name, value in values.items():
            estimate = accuracies.get(name)
            if estimate is not None and value is not None:
                points.append(Point(name, value, estimate.mean, estimate.low, estimate.high))
                drawn.append(styles[name])
        if points:
            yield Figure(
                name=file,
                title=f"{on.capitalize()} {word} against {words}",
                caption=f"Error bars are 95 % intervals of {word}. " + subject.diverged_note().strip(),
                figure=plots.cost_plot(points, x_label=axis, y_label=f"{on} {word} (%)", styles=drawn),
            )


def _bars(costs: Mapping[str, Costs], styles: Mapping[str, plots.Style]) -> "MplFigure":
    panels: Sequence[tuple[str, list[float | None]]] = [
        ("latency (ms)", [each.latency_ms for each in costs.values()]),
        ("throughput (images/s)", [each.images_per_second for each in costs.values()]),
        ("memory, one image (MiB)", [each.memory_one_mib for each in costs.values()]),
        ("memory, best batch (MiB)", [each.memory_best_mib for each in costs.values()]),
    ]
    panels = [panel for panel in panels if any(value is not None for value in panel[1])]
    rows = (len(panels) + 1) // 2
    figure, axes_list = plots.new_figure(rows, 2, height=rows * (0.85 + 0.3 * len(costs)))
    names = plots.short_names(list(costs), 18)
    for index, (axes, (label, values)) in enumerate(zip(axes_list, panels, strict=False)):
        plots.label_axes(axes, label, "")
        axes.grid(False, axis="y")
        known = [value or 0.0 for value in values]
        axes.barh(range(len(known)), known, height=0.65, color=[styles[name].color for name in costs])
        for row, value in enumerate(values):
            text = "not measured" if value is None else plots.quantity(value)
            axes.annotate(
                text, (value or 0.0, row), xytext=(3, 0), textcoords="offset points", va="center",
                fontsize=plots.SMALL_SIZE, color=plots.INK,
            )  # fmt: skip
        axes.set_xlim(0, 1.25 * max(known))  # room for the numbers
        axes.set_yticks(range(len(names)), names if index % 2 == 0 else [""] * len(names))
        axes.invert_yaxis()
    for axes in axes_list[len(panels) :]:
        axes.set_visible(False)
    return figure
