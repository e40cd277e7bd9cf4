"""Precision, recall and F1 of each class on the test images, seed by seed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.confusions import Counts, of_equal_classes, read_confusions
from cnnbench.options import Count
from cnnbench.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

Measure = Literal["f1", "precision", "recall"]
Values = NDArray[np.float64]

LABELS: dict[Measure, str] = {"f1": "F1", "precision": "precision", "recall": "recall"}
MEASURES: tuple[Measure, ...] = ("precision", "recall", "f1")  # as tables have them
MOST_PER_PICTURE = 8
MOST_ROWS = 60  # of a table that is printed in the report


@dataclass(frozen=True)
class ClassScores:
    """Fractions by class, NaN where a class has no test image; support counts the test images."""

    precision: Values
    recall: Values
    f1: Values
    support: NDArray[np.int64]
    never_predicted: NDArray[np.bool_]


def scores_of(counts: Counts) -> ClassScores:
    """The scores in one confusion matrix. The precision of a class that is never predicted is 0.

    Classes without a test image say nothing of the model: their scores are NaN, and means pass over them.
    """
    right, predicted, support = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(predicted + support, 1)
    known = support > 0
    precision, recall, f1 = (np.where(known, values, np.nan) for values in (precision, recall, f1))
    return ClassScores(precision, recall, f1, support, known & (predicted == 0))


class PerClass(Analysis):
    """Which classes each variant finds, and which it misses.

    `measure` is what the picture shows; where there are many classes, so many of the best and of the worst.
    """

    def __init__(self, *, measure: Measure = "f1", num_classes: Count = 15) -> None:
        self.measure: Measure = measure
        self.num_classes = num_classes

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields pictures of up to eight variants each, the macro averages, and the scores of every class."""
        confusions = read_confusions(subject)
        if not confusions.counts:
            return
        scores = {name: [scores_of(counts) for counts in found] for name, found in confusions.counts.items()}
        groups = of_equal_classes(confusions.classes)
        pictures = [
            (group, group[start : start + MOST_PER_PICTURE])
            for group in groups
            for start in range(0, len(group), MOST_PER_PICTURE)
        ]
        order = list(confusions.counts)
        for number, (group, shown) in enumerate(pictures, start=1):
            which = f" ({number} of {len(pictures)})" if len(pictures) > 1 else ""
            picture = _Picture(
                self.measure,
                confusions.classes[group[0]],
                {name: _stacked(scores[name], self.measure) for name in group},
                shown,
                {name: plots.style_of(order.index(name)) for name in shown},
                self.num_classes,
            )
            yield Figure(
                name="per_class" if len(pictures) == 1 else f"per_class_{number}",
                title=f"{LABELS[self.measure].capitalize()} of each class on the test images{which}",
                caption=picture.caption()
                + _support_note([run for name in group for run in scores[name]], confusions.unit)
                + confusions.note,
                figure=picture.draw(),
            )
        yield _averages(scores, confusions.classes, confusions.note)
        yield _scores(scores, confusions.classes, confusions.unit, confusions.note)


def _stacked(runs: Sequence[ClassScores], measure: Measure) -> Values:
    """(num_runs, num_classes), in %."""
    stacked: Values = 100 * np.stack([getattr(run, measure) for run in runs])
    return stacked


def _support_note(runs: Sequence[ClassScores], unit: str) -> str:
    """How far chance alone may move the lowest recall there is, were it of the rarest class.

    The longer arm of Wilson's interval, which is longest at p = 0.5. Nothing is said of pixels: those of one
    image are no independent cases.
    """
    if unit != "images":
        return ""
    seen = runs[0].support > 0
    fewest = int(runs[0].support[seen].min())
    lowest = max(min(float(run.recall[seen].min()) for run in runs), 0.5)
    low, high = wilson(round(lowest * fewest), fewest)
    points = 100 * max(lowest - low, high - lowest)
    return (
        f" The rarest class has {fewest:,} test images: their choice alone moves a recall by up to "
        f"±{points:.{1 if points < 1 else 0}f} points (95 %)."
    )


def _averages(
    scores: Mapping[str, Sequence[ClassScores]], classes: Mapping[str, Sequence[str]], note: str
) -> Table:
    rows: list[list[Cell]] = []
    for name, runs in scores.items():
        stacked = [_stacked(runs, measure) for measure in MEASURES]
        macro = [np.nanmean(values, axis=1) for values in stacked]  # (num_runs,) each
        f1 = stacked[MEASURES.index("f1")].mean(axis=0)  # (num_classes,)
        worst, best = int(np.nanargmin(f1)), int(np.nanargmax(f1))
        rows.append(
            [
                name,
                len(runs),
                *(cell for values in macro for cell in (round(float(values.mean()), 2), _std(values))),
                f"{classes[name][best]} ({f1[best]:.1f})",
                f"{classes[name][worst]} ({f1[worst]:.1f})",
            ]
        )
    return Table(
        name="per_class_averages",
        title="Averages over the classes",
        caption="Macro averages on the test images: every class counts alike. Means over seeds; ± is their "
        "standard deviation. Best and worst class by F1." + _undefined_note(scores, classes) + note,
        columns=[
            "variant", "seeds", "precision (%)", "± precision", "recall (%)", "± recall", "F1 (%)", "± F1",
            "best class", "worst class",
        ],
        rows=rows,
    )  # fmt: skip


def _scores(
    scores: Mapping[str, Sequence[ClassScores]], classes: Mapping[str, Sequence[str]], unit: str, note: str
) -> Table:
    counted = "test images" if unit == "images" else f"{unit} of the test images"
    rows: list[list[Cell]] = []
    for name, runs in scores.items():
        stacked = [_stacked(runs, measure) for measure in MEASURES]
        for place, label in enumerate(classes[name]):
            known = runs[0].support[place] > 0
            rows.append(
                [
                    name,
                    label,
                    int(runs[0].support[place]),
                    *(
                        cell
                        for values in stacked
                        for cell in (
                            round(float(values[:, place].mean()), 2) if known else None,
                            _std(values[:, place]) if known else None,
                        )
                    ),
                ]
            )
    return Table(
        name="per_class",
        title="Scores of each class",
        caption="On the test images, means over seeds; ± is their standard deviation. Support is the number "
        f"of {counted} of the class. Precision: how much of what was called so is so. Recall: how much of "
        "the class was found. F1: their harmonic mean." + _undefined_note(scores, classes) + note,
        columns=[
            "variant", "class", "support", "precision (%)", "± precision", "recall (%)", "± recall", "F1 (%)",
            "± F1",
        ],
        rows=rows,
        in_report=len(rows) <= MOST_ROWS,
    )  # fmt: skip


def _std(values: Values) -> float | None:
    return round(float(values.std(ddof=1)), 2) if len(values) > 1 else None


def _undefined_note(
    scores: Mapping[str, Sequence[ClassScores]], classes: Mapping[str, Sequence[str]], most: int = 3
) -> str:
    """Names what a reader must know of classes that no prediction or no image names."""
    never, unseen = [], set()
    for name, runs in scores.items():
        missed = np.flatnonzero(np.any([run.never_predicted for run in runs], axis=0)).tolist()
        if missed:
            named = ", ".join(classes[name][place] for place in missed[:most])
            number = "1 class" if len(missed) == 1 else f"{len(missed)} classes"
            never.append(f"{name} {number} ({named}{', …' if len(missed) > most else ''})")
        unseen |= {classes[name][place] for place in np.flatnonzero(runs[0].support == 0).tolist()}
    text = ""
    if never:
        text += (
            f" Never predicted by at least one seed, so that its precision counts as 0: {', '.join(never)}."
        )
    if unseen:
        text += f" Classes without a test image have no scores and count in no mean: {len(unseen)}."
    return text


@dataclass(frozen=True)
class _Picture:
    """Some variants of a group with the same classes; all of the group set the order and the axis.

    `values` are in %, (num_runs, num_classes) for each variant of the group.
    """

    measure: Measure
    classes: Sequence[str]
    values: Mapping[str, Values]
    shown: Sequence[str]
    styles: Mapping[str, plots.Style]
    num_ends: int

    def places(self) -> tuple[list[int], int]:
        """Classes to be drawn, best first, and how many are left out after the first `num_ends`."""
        means = np.mean([values.mean(axis=0) for values in self.values.values()], axis=0)
        order = [int(place) for place in np.argsort(-means, kind="stable") if not np.isnan(means[place])]
        left_out = len(order) - 2 * self.num_ends
        if left_out <= 0:
            return order, 0
        return order[: self.num_ends] + order[-self.num_ends :], left_out

    def caption(self) -> str:
        """What is seen, without notes."""
        several = any(len(self.values[name]) > 1 for name in self.shown)
        _, left_out = self.places()
        ends = f" Only the {self.num_ends} best and the {self.num_ends} worst are shown." if left_out else ""
        return (
            f"Classes by {LABELS[self.measure]}, averaged over all variants, the best above.{ends} "
            + ("Marks are means over seeds, lines go from the lowest to the highest. " if several else "")
            + f"The axis begins at {self.low():g} %."
        )

    def low(self) -> float:
        """Where the axis begins, the same in all pictures of the group."""
        places, _ = self.places()
        lowest = min(float(values[:, places].min()) for values in self.values.values())
        step = next((each for each in (1, 2, 5) if 100 - lowest <= 8 * each), 10)
        return max(0.0, step * math.floor((lowest - step / 5) / step))

    def draw(self) -> "MplFigure":
        places, left_out = self.places()
        row_height = min(0.14 + 0.06 * len(self.shown), 8.0 / len(places))
        figure, (axes,) = plots.new_figure(height=max(2.2, 0.9 + row_height * len(places)))
        plots.label_axes(axes, f"{LABELS[self.measure]} (%)", "")
        axes.grid(False, axis="y")
        for row in range(0, len(places), 2):
            axes.axhspan(row - 0.5, row + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
        for rank, name in enumerate(self.shown):
            offset = 0.76 * ((rank + 0.5) / len(self.shown) - 0.5)
            self._draw_one(axes, self.values[name][:, places], self.styles[name], offset)
        if left_out:
            axes.axhline(self.num_ends - 0.5, color=plots.INK, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
            plots.note_above(axes, f"dashed: {left_out} classes between the two ends are left out")
        small = row_height < 0.22
        axes.set_yticks(
            range(len(places)),
            plots.short_names([str(self.classes[place]) for place in places], 20),
            fontsize=7.5 if small else plots.TEXT_SIZE,
        )
        axes.set_ylim(len(places) - 0.5, -0.5)
        margin = 0.015 * (100 - self.low())
        axes.set_xlim(self.low() - margin, 100 + margin)
        self._name_variants(axes)
        return figure

    def _draw_one(self, axes: "Axes", values: Values, style: plots.Style, offset: float) -> None:
        rows = np.arange(values.shape[1]) + offset
        if len(values) > 1:
            axes.hlines(
                rows, values.min(axis=0), values.max(axis=0), color=style.color, linewidth=1.3, zorder=2
            )
        axes.plot(
            values.mean(axis=0), rows, color=style.color, marker=style.marker, markersize=6,
            markeredgecolor="white", markeredgewidth=0.6, linestyle="none", zorder=3, clip_on=False,
        )  # fmt: skip

    def _name_variants(self, axes: "Axes") -> None:
        from matplotlib.lines import Line2D

        keys = [
            Line2D([], [], color=self.styles[name].color, marker=self.styles[name].marker, markersize=6,
                   linestyle="none", label=short)
            for name, short in zip(self.shown, plots.short_names(list(self.shown)), strict=True)
        ]  # fmt: skip
        axes.legend(
            handles=keys, loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False,
            fontsize=plots.SMALL_SIZE, labelcolor=plots.INK, handletextpad=0.3,
        )  # fmt: skip
