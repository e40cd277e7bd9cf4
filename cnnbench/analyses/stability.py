"""Stability of training: how much validation accuracy jumps from epoch to epoch (see `cnnbench.course`)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Figure, Subject, Table
from cnnbench.course import Jumps, stability_of, values_by_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure


def spread_over_seeds(seeds: Sequence[Mapping[int, float]]) -> float | None:
    """Sample standard deviation over seeds at one epoch, averaged over the second half of training.

    Only epochs that all seeds have count; None for fewer than two seeds.
    """
    if len(seeds) < 2:
        return None
    last = max(max(seed, default=0) for seed in seeds)
    spreads = []
    for epoch in range(max(last // 2 + 1, 1), last + 1):
        if all(epoch in seed for seed in seeds):
            values = [seed[epoch] for seed in seeds]
            center = math.fsum(values) / len(values)
            spreads.append(math.sqrt(math.fsum((v - center) ** 2 for v in values) / (len(values) - 1)))
    return math.fsum(spreads) / len(spreads) if spreads else None


class Stability(Analysis):
    """Which variants train smoothly, and which jump about."""

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields a picture of every jump, where there are enough epochs, and the table of their sizes."""
        word = measures.label(subject.leading())
        rows: list[list[str | int | float | None]] = []
        jumps: dict[str, list[Jumps]] = {}
        for name, runs in subject.trained().items():
            accuracies = [values_by_epoch(run, f"val_{subject.leading()}", 100.0) for run in runs]
            measured = [found for found in map(stability_of, accuracies) if found is not None]
            spread = spread_over_seeds(accuracies)
            jumps[name] = measured
            rows.append(
                [
                    name,
                    len(runs),
                    round(fmean([run.roughness for run in measured]), 2) if measured else None,
                    round(fmean([run.progress for run in measured]), 2) if measured else None,
                    round(max(run.largest_drop for run in measured), 2) if measured else None,
                    round(fmean([run.num_drops for run in measured]), 1) if measured else None,
                    round(fmean([len(run.changes) for run in measured]), 1) if measured else None,
                    round(spread, 2) if spread is not None else None,
                ]
            )
        definition = (
            f"Changes of validation {word} from one epoch to the next, in percentage points, over the second "
            "half of training. Roughness is how far they scatter about a straight line through them "
            "(residual standard deviation): progress that stays the same, or fades steadily, has none."
        )
        if any(jumps.values()):
            yield Figure(
                name="stability",
                title=f"Jumps of validation {word} between epochs",
                caption=f"{definition} One mark per epoch and seed; left of zero {word} fell. The bar is the "
                "mean change plus and minus the roughness: the shorter, the steadier."
                + subject.diverged_note(),
                figure=_draw(jumps, word),
            )
        few = [name for name, found in jumps.items() if not found]
        yield Table(
            name="stability",
            title="Stability of training",
            caption=f"{definition} Progress: the mean change. Drops: how often {word} fell, per "
            "seed. Spread over seeds: their standard deviation at one epoch, averaged over the same epochs."
            + (f" Too few epochs (5 are needed) or no trained run: {', '.join(few)}." if few else "")
            + subject.diverged_note(),
            columns=[
                "variant", "seeds", "roughness (points)", "progress per epoch (points)",
                "largest drop (points)",
                "drops per seed", "changes per seed", "spread over seeds (points)",
            ],
            rows=rows,
        )  # fmt: skip


def _draw(jumps: Mapping[str, Sequence[Jumps]], word: str) -> "MplFigure":
    figure, (axes,) = plots.new_figure(height=max(2.2, 1.1 + 0.5 * len(jumps)))
    plots.label_axes(axes, f"change of validation {word} from one epoch to the next (percentage points)", "")
    axes.axvline(0, color="#999999", linewidth=1, zorder=1)
    axes.grid(False, axis="y")
    plots.note_above(axes, "mark: one epoch of one seed    bar: mean change, plus and minus the roughness")
    for index, runs in enumerate(jumps.values()):
        style = plots.style_of(index)
        if not runs:
            axes.text(0, index, " too few epochs", fontsize=plots.SMALL_SIZE, color=plots.MUTED, va="center")
            continue
        middle = fmean([run.progress for run in runs])
        half = fmean([run.roughness for run in runs])
        axes.barh(index, 2 * half, left=middle - half, height=0.62, color=style.color, alpha=0.18, zorder=2)
        for end in (middle - half, middle + half):
            axes.plot([end, end], [index - 0.31, index + 0.31], color=style.color, linewidth=1.8, zorder=3)
        for seed, run in enumerate(
            runs
        ):  # each seed on a level of its own, so that equal changes stay visible
            level = index + (0.0 if len(runs) == 1 else 0.4 * (seed / (len(runs) - 1) - 0.5))
            axes.plot(
                run.changes, [level] * len(run.changes), marker=style.marker, color=style.color,
                markersize=5.5, markeredgecolor="white", markeredgewidth=0.6, linestyle="none", zorder=4,
            )  # fmt: skip
        drop = max(run.largest_drop for run in runs)
        axes.text(
            1.02, index, f"roughness {half:.2f}\nlargest drop {drop:.2f}",
            transform=axes.get_yaxis_transform(),
            fontsize=plots.SMALL_SIZE, color=plots.MUTED, va="center",
        )  # fmt: skip
    axes.set_yticks(range(len(jumps)), plots.short_names(list(jumps)))
    axes.set_ylim(len(jumps) - 0.5, -0.5)
    return figure
