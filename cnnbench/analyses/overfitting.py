"""Overfitting: how far train runs ahead of validation, epoch by epoch and with the weights that are kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.curves import (
    BANDS,
    CUT_NOTE,
    MASKS_NOTE,
    NO_TRAIN_REASON,
    Curve,
    curve_of,
    draw_curve,
)
from cnnbench.analyses.rise import MIN_RISE, rise_of
from cnnbench.course import values_by_epoch
from cnnbench.options import Band
from cnnbench.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

MOST_IN_ONE = 6  # variants that still can be told apart in one picture
SPLITS = {"train": "^", "val": "s", "test": "o"}  # and how they are drawn
NAMES = {"val": "validation", "test": "test"}
HISTORY_NOTE = (
    "Train values of an epoch are averages over its augmented batches, with dropout and while the weights "
    "change, so a gap can start below zero."
)


@dataclass(frozen=True)
class _Gaps:
    """What is drawn of one variant: accuracy in points, train - validation; loss, validation - train."""

    name: str
    style: plots.Style
    accuracy: Curve
    loss: Curve
    at_the_end: list[float]  # of accuracy in points, at each seed's own last epoch


class Overfitting(Analysis):
    """How far each variant does better on what it was trained on than on what it was not."""

    def __init__(self, *, band: Band = "range") -> None:
        self.band: Band = band

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields the gap by epoch and the accuracy of the kept weights, each as picture and table."""
        measure = subject.leading()
        word = measures.label(measure)
        gaps = [
            _Gaps(
                name,
                plots.style_of(index),
                curve_of(by_seed, self.band),
                curve_of([_gap(run, "val_loss", "train_loss") for run in runs], self.band),
                [seed[max(seed)] for seed in by_seed if seed],
            )
            for index, (name, runs) in enumerate(subject.trained().items())
            for by_seed in [[_gap(run, f"train_{measure}", f"val_{measure}", 100.0) for run in runs]]
        ]
        yield from self._figures(subject, gaps)
        yield _by_epoch(subject, gaps)
        kept = {
            name: {split: _accuracies(runs, split, measure) for split in _splits(subject)}
            for name, runs in subject.trained().items()
        }
        splits = "train and validation" if subject.judged_on == "val" else "train, validation and test"
        last = splits.rpartition(" ")[2]
        if any(values for splits in kept.values() for values in splits.values()):
            yield Figure(
                name="overfitting_kept_weights",
                title=f"{word[0].upper()}{word[1:]} of the kept weights on {splits}",
                caption="The weights that were kept, on images that are not augmented: the farther train "
                f"stands to the right of {last}, the less of what was learned holds for new images. Small "
                "marks are seeds, large ones their means." + subject.diverged_note(),
                figure=_draw_kept(kept, word),
            )
        yield _kept_weights(subject, kept)

    def _figures(self, subject: Subject, gaps: Sequence[_Gaps]) -> Iterator[Figure]:
        word = measures.label(subject.leading())
        known = [gap for gap in gaps if gap.accuracy.epochs or gap.loss.epochs]
        pictures = [known[start : start + MOST_IN_ONE] for start in range(0, len(known), MOST_IN_ONE)]
        cut = _is_cut([gap.accuracy for gap in known]) or _is_cut([gap.loss for gap in known])
        several = any(gap.loss.num_seeds > 1 for gap in known)
        both = any(gap.accuracy.epochs for gap in known)
        caption = (
            (f"Left: train minus validation {word} after each epoch. Right: v" if both else "V")
            + f"alidation minus train loss{'' if both else ' after each epoch'}. Above zero, train is ahead. "
            + (f"Lines are means over seeds, bands {BANDS[self.band]}. " if several else "One seed each. ")
            + (f"{CUT_NOTE} " if any(gap.loss.is_cut or gap.accuracy.is_cut for gap in gaps) else "")
            + HISTORY_NOTE
            + _masks_note(subject, gaps)
            + (" What is far out in the first half leaves the picture." if cut else "")
            + _smoothing_note(subject)
            + subject.resized_note()
            + subject.diverged_note()
        )
        for number, shown in enumerate(pictures, start=1):
            which = f" ({number} of {len(pictures)})" if len(pictures) > 1 else ""
            yield Figure(
                name="overfitting" if len(pictures) == 1 else f"overfitting_{number}",
                title=f"The gap between train and validation{which}",
                caption=caption,
                figure=_draw_gaps(shown, known, word),
            )


def _splits(subject: Subject) -> list[str]:
    """Those that may be looked at."""
    return [split for split in SPLITS if split != "test" or subject.judged_on != "val"]


def _gap(run: Run, upper: str, lower: str, scale: float = 1.0) -> dict[int, float]:
    """One column of the history minus another by epoch, where both are known."""
    above, below = values_by_epoch(run, upper, scale), values_by_epoch(run, lower, scale)
    return {epoch: value - below[epoch] for epoch, value in above.items() if epoch in below}


def _accuracies(runs: Sequence[Run], split: str, measure: str) -> list[float]:
    """The measure of the kept weights in % for each run that has one."""
    metrics = [(run.result() or {}).get("metrics", {}) for run in runs]
    return [100 * value for each in metrics if (value := each.get(f"{split}_{measure}")) is not None]


def _masks_note(subject: Subject, gaps: Sequence[_Gaps]) -> str:
    if subject.leading() == "accuracy" or not any(gap.loss.epochs for gap in gaps):
        return ""
    if any(gap.accuracy.epochs for gap in gaps):
        return f" {MASKS_NOTE}"
    return f" Of {measures.label(subject.leading())} there is no gap by epoch: {NO_TRAIN_REASON}"


def _smoothing_note(subject: Subject) -> str:
    smoothed = subject.smoothed()
    if not smoothed:
        return ""
    return (
        f" Trained with label smoothing, which train loss contains and validation loss does not, so that the "
        f"loss gap is too low: {', '.join(smoothed)}."
    )


def _by_epoch(subject: Subject, gaps: Sequence[_Gaps]) -> Table:
    word = measures.label(subject.leading())
    rows: list[list[Cell]] = []
    for gap, runs in zip(gaps, subject.trained().values(), strict=True):
        rises = [
            rise
            for run in runs
            if (rise := rise_of(values_by_epoch(run, "train_loss"), values_by_epoch(run, "val_loss")))
        ]
        curve = gap.accuracy
        largest = max(range(len(curve.mean)), key=curve.mean.__getitem__) if curve.epochs else None
        num_overfit = sum(rise.overfits for rise in rises)
        rows.append(
            [
                gap.name,
                len(runs),
                None if largest is None else round(curve.mean[largest], 2),
                None if largest is None else curve.epochs[largest],
                round(fmean(gap.at_the_end), 2) if gap.at_the_end else None,
                *(
                    [
                        round(fmean([rise.lowest for rise in rises]), 4),
                        round(fmean([rise.lowest_epoch for rise in rises]), 1),
                        round(fmean([rise.last for rise in rises]), 4),
                        round(100 * fmean([rise.share for rise in rises]), 1),
                        num_overfit,
                        "yes" if 2 * num_overfit > len(rises) else "no",
                    ]
                    if rises
                    else [None] * 6
                ),
            ]
        )
    any_cut = any(gap.accuracy.is_cut for gap in gaps)
    return Table(
        name="overfitting",
        title="Overfitting by epoch",
        caption=f"The gap is train minus validation {word}, of the mean over seeds"
        + (", as far as all of them go; at the last epoch each seed's own" if any_cut else "")
        + ". The lowest validation "
        "loss, the epochs it took until then, the last loss and the rise from the one to the other are means "
        "over seeds. Loss rises in a seed whose validation loss ends more than "
        f"{100 * MIN_RISE:g} % above its lowest while train loss ends lower than it was there; in a variant "
        "where it does in more than half of its seeds. That is one sign of overfitting, train far above test "
        f"is another. Loss can rise while {word} stands still: the mistakes then become more confident, not "
        "more. "
        + HISTORY_NOTE
        + _masks_note(subject, gaps)
        + _smoothing_note(subject)
        + subject.resized_note()
        + subject.diverged_note(),
        columns=[
            "variant", "seeds", "largest gap (points)", "at epoch", "gap at the last epoch (points)",
            "lowest validation loss", "epochs until then", "last validation loss", "rise (%)",
            "seeds whose loss rises", "loss rises",
        ],
        rows=rows,
    )  # fmt: skip


def _kept_weights(subject: Subject, kept: dict[str, dict[str, list[float]]]) -> Table:
    word = measures.label(subject.leading())
    rows: list[list[Cell]] = []
    for name, runs in subject.trained().items():
        gaps = [_differences(runs, split, subject.leading()) for split in _splits(subject)[1:]]
        rows.append(
            [
                name,
                len(runs),
                *(round(fmean(values), 2) if values else None for values in kept[name].values()),
                *(
                    cell
                    for values in gaps
                    for cell in (
                        round(fmean(values), 2) if values else None,
                        round(stdev(values), 2) if len(values) > 1 else None,
                    )
                ),
            ]
        )
    return Table(
        name="overfitting_kept_weights",
        title=f"{word[0].upper()}{word[1:]} of the kept weights",
        caption="Means over seeds, measured once with the weights that were kept, without augmentation; ± "
        "is the standard deviation over seeds of the gap before it. Where validation chose the epoch it is "
        "a bit too high, so train − validation is a bit too small"
        + ("; test was not looked at." if subject.judged_on == "val" else "; test chose nothing.")
        + subject.diverged_note(),
        columns=[
            "variant", "seeds", "train (%)",
            *(f"{NAMES[split]} (%)" for split in _splits(subject)[1:]),
            *(
                column
                for split in _splits(subject)[1:]
                for column in (f"train − {NAMES[split]} (points)", f"± {NAMES[split]} gap")
            ),
        ],
        rows=rows,
    )  # fmt: skip


def _differences(runs: Sequence[Run], split: str, measure: str) -> list[float]:
    """The measure on train minus that on the split, in points, for each run that has both."""
    pairs = [(_accuracies([run], "train", measure), _accuracies([run], split, measure)) for run in runs]
    return [train[0] - other[0] for train, other in pairs if train and other]


def _draw_gaps(shown: Sequence[_Gaps], all_gaps: Sequence[_Gaps], word: str) -> "MplFigure":
    """Accuracy left, loss right, or loss alone; axes span what all pictures show, so that these compare."""
    from matplotlib.ticker import MaxNLocator

    panels = [("accuracy", f"train − validation {word} (points)"), ("loss", "validation − train loss")]
    if not any(gap.accuracy.epochs for gap in all_gaps):
        del panels[0]
    figure, grid = plots.new_figure(1, len(panels))
    for axes, (measure, label) in zip(grid, panels, strict=True):
        plots.label_axes(axes, "epoch", label)
        axes.axhline(0, color="#999999", linewidth=1, zorder=1)
        for gap in shown:
            draw_curve(axes, getattr(gap, measure), gap.style)
        curves: list[Curve] = [getattr(gap, measure) for gap in all_gaps]
        _set_limits(axes, curves)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ends = [
        (curve.epochs[-1], curve.mean[-1], gap.name, gap.style)
        for gap in shown
        if (curve := gap.loss if gap.loss.epochs else gap.accuracy).epochs
    ]
    plots.label_ends(grid[-1], ends)
    return figure


def _set_limits(axes: "Axes", curves: Sequence[Curve]) -> None:
    epochs = [epoch for curve in curves for epoch in curve.epochs] or [1]
    low, high = _span(curves)
    room = 0.06 * (high - low) or 1.0
    margin = 0.04 * max(max(epochs) - min(epochs), 5)
    axes.set_xlim(min(epochs) - margin, max(epochs) + margin)
    axes.set_ylim(low - room, high + room)


def _span(curves: Sequence[Curve]) -> tuple[float, float]:
    """From where to where the axis goes.

    A start far below zero, or the spread of one early epoch, would leave no room for what comes of it.
    """
    lows = [(epoch, low) for curve in curves for epoch, low in zip(curve.epochs, curve.low, strict=True)]
    last = max((epoch for epoch, _ in lows), default=0)
    highs = [(epoch, high) for curve in curves for epoch, high in zip(curve.epochs, curve.high, strict=True)]
    means = [value for curve in curves for value in curve.mean]
    high = max((0.0, *means, *(value for epoch, value in highs if epoch > last / 2)))
    late = min((0.0, *(low for epoch, low in lows if epoch > last / 2)))
    lowest = min((0.0, *(low for _, low in lows)))
    return max(lowest, min(late, -high)), high


def _is_cut(curves: Sequence[Curve]) -> bool:
    low, high = _span(curves)
    return any(value < low for curve in curves for value in curve.low) or any(
        value > high for curve in curves for value in curve.high
    )


def _draw_kept(kept: dict[str, dict[str, list[float]]], word: str) -> "MplFigure":
    figure, (axes,) = plots.new_figure(height=max(2.2, 1.1 + 0.5 * len(kept)))
    plots.label_axes(axes, f"{word} (%)", "")
    axes.grid(False, axis="y")
    tested = any("test" in splits for splits in kept.values())
    plots.note_above(axes, "triangle: train    square: validation" + ("    circle: test" if tested else ""))
    for index, splits in enumerate(kept.values()):
        color = plots.style_of(index).color
        # each split on a level of its own, so that equal accuracies stay visible
        levels = {split: index + 0.24 * (place - 1) for place, split in enumerate(splits) if splits[split]}
        if not levels:
            axes.text(
                0.01, index, "not measured", transform=axes.get_yaxis_transform(), va="center",
                fontsize=plots.SMALL_SIZE, color=plots.MUTED,
            )  # fmt: skip
        means = [fmean(splits[split]) for split in levels]
        axes.plot(means, list(levels.values()), color=color, linewidth=1.2, alpha=0.5, zorder=2)
        for (split, level), mean in zip(levels.items(), means, strict=True):
            values, marker = splits[split], SPLITS[split]
            if len(values) > 1:
                axes.plot(
                    values, [level] * len(values), color=color, marker=marker, markersize=4, alpha=0.55,
                    linestyle="none", markeredgewidth=0, zorder=3,
                )  # fmt: skip
            axes.plot(
                [mean], [level], color=color, marker=marker, markersize=8, markeredgecolor="white",
                markeredgewidth=0.9, zorder=4,
            )  # fmt: skip
    axes.set_yticks(range(len(kept)), plots.short_names(list(kept)))
    axes.set_ylim(len(kept) - 0.5, -0.5)
    return figure
