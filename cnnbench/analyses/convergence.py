"""Speed of convergence: how many epochs, and seconds of training, until a share of the best accuracy.

A run has reached a target at the first epoch whose validation accuracy is as high, whatever comes after.
The target is a share of the run's own best accuracy, or of the best of all variants on the same data (as a
mean over seeds). Variants compare by the latter: a poor one is soon at its own best.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.course import values_by_epoch
from cnnbench.options import Shares
from cnnbench.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

TOLERANCE = 1e-9  # of an accuracy: 0.9 times 0.7 is more than 0.63 in floating point
FALLING = ("cosine", "one_cycle")
MOST_ROWS = 40  # of a table that is printed in the report


def first_reaching(accuracies: Mapping[int, float], target: float) -> int | None:
    """The first epoch with at least this accuracy, or None where it is never reached."""
    return min((epoch for epoch, value in accuracies.items() if value >= target - TOLERANCE), default=None)


@dataclass(frozen=True)
class Progress:
    """One run: validation accuracy (fractions) and seconds of training so far, by epoch."""

    run: Run
    accuracies: Mapping[int, float]
    seconds: Mapping[int, float]

    @property
    def best(self) -> float:
        """The highest validation accuracy."""
        return max(self.accuracies.values())


def progress_of(run: Run, measure: str = "accuracy") -> Progress | None:
    """The progress of a run; None where no validation accuracy is known.

    Seconds are known up to the first epoch without a time; epoch 0, the untrained model, takes none.
    """
    accuracies = values_by_epoch(run, f"val_{measure}")
    times = values_by_epoch(run, "train_seconds")
    seconds = {0: 0.0}
    epoch = 1
    while epoch in times:
        seconds[epoch] = seconds[epoch - 1] + times[epoch]
        epoch += 1
    return Progress(run, accuracies, seconds) if accuracies else None


@dataclass(frozen=True)
class _Reached:
    """When the seeds of a variant reached a share of a target: one entry per seed, None where it did not."""

    share: float
    target: float  # accuracy as a fraction, a mean over seeds where each has its own
    epochs: list[int | None]
    seconds: list[float | None]

    @property
    def num_reached(self) -> int:
        return sum(epoch is not None for epoch in self.epochs)


_ByVariant = Mapping[str, Sequence[_Reached]]  # in the order of the shares


class Convergence(Analysis):
    """How soon each variant comes close to the best accuracy, its own and that of the best variant."""

    def __init__(self, *, shares: Shares = [0.9, 0.95, 0.99]) -> None:  # noqa: B006
        self.shares = sorted(set(shares))

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields one picture, a table for either kind of target, and a table of the single runs."""
        measure = subject.leading()
        word = measures.label(measure)
        progress = {
            name: [found for run in runs if (found := progress_of(run, measure)) is not None]
            for name, runs in subject.trained().items()
        }
        known = {name: runs for name, runs in progress.items() if runs}
        if not known:
            return
        best = _common_best(subject, known)
        # at its own best a run arrives always: that row is the epoch of the best accuracy
        to_best = sorted({*self.shares, 1.0})
        own = {name: [_reached(runs, share) for share in to_best] for name, runs in known.items()}
        common = {
            name: [_reached(runs, share, share * best[name]) for share in self.shares]
            for name, runs in known.items()
        }
        unknown = [name for name in progress if name not in known]
        note = _falling_rate_note(subject)
        note += f" No validation {word} is known of {', '.join(unknown)}." if unknown else ""
        note += subject.diverged_note()
        several = any(len(runs) > 1 for runs in known.values())
        seeds = "Large marks are means over seeds, drawn where every seed got there; small ones are seeds."
        yield Figure(
            name="convergence",
            title=f"Epochs until a share of the best validation {word}",
            caption=f"Left: of the best {word} of each run itself; the ring is the first epoch that has it. "
            "Right: of the best of all variants on the same data, which is a mean over seeds; a cross beyond "
            f"the last epoch stands for seeds that did not reach it. {seeds if several else 'One seed each.'}"
            + note,
            figure=_draw(
                {name: plots.style_of(list(progress).index(name)) for name in known},
                own,
                common,
                last=max(1, *(max(run.accuracies) for runs in known.values() for run in runs)),
            ),
        )
        yield _table(
            "convergence_own_best",
            "Convergence to the run's own best",
            f"Epochs and seconds of training until validation {word} first reached a share of the run's own "
            "best, means over seeds; 100 % is the first epoch that has it. A variant that ends low is soon "
            "there: compare by the next table." + note,
            own,
        )
        yield _table(
            "convergence_common_best",
            "Convergence to the best of all variants",
            f"Epochs and seconds of training until validation {word} first reached a share of the best of "
            f"all variants on the same data: the highest of their means over seeds of the best {word}. A "
            "dash stands where not every seed reached it. Times compare only between runs on the same, "
            "otherwise idle, machine." + note,
            common,
        )
        yield _by_seed(known, own, common, note, word)


def _falling_rate_note(subject: Subject) -> str:
    """A sentence where the rate falls to the end, which puts the best epoch there."""
    falling = [
        name
        for name, runs in subject.trained().items()
        if any(run.config()["train"].get("schedule", {}).get("name") in FALLING for run in runs)
    ]
    if not falling:
        return ""
    who = "" if len(falling) == len(subject.trained()) else f" of {', '.join(falling)}"
    return (
        f" The learning rate{who} falls until the last epoch, which puts the best epoch near the end "
        "whatever the variant: compare how soon shares of it are reached, not when it is."
    )


def _common_best(subject: Subject, progress: Mapping[str, Sequence[Progress]]) -> dict[str, float]:
    """For each variant the best accuracy among those with the same data set and classes."""
    means = {name: fmean([run.best for run in runs]) for name, runs in progress.items()}
    data = {
        name: (runs[0].run.config()["data"]["name"], tuple(subject.classes(runs[0].run)))
        for name, runs in progress.items()
    }
    return {name: max(means[other] for other in means if data[other] == data[name]) for name in means}


def _reached(runs: Sequence[Progress], share: float, target: float | None = None) -> _Reached:
    """When each run reached the target, or the share of its own best where none is given."""
    targets = [share * run.best if target is None else target for run in runs]
    epochs = [first_reaching(run.accuracies, each) for run, each in zip(runs, targets, strict=True)]
    seconds = [
        None if epoch is None else run.seconds.get(epoch) for run, epoch in zip(runs, epochs, strict=True)
    ]
    return _Reached(share, fmean(targets), epochs, seconds)


def _complete(values: Sequence[float | None]) -> list[float]:
    """The values, or none at all where one is missing: a mean of the fast seeds alone would flatter."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _table(name: str, title: str, caption: str, reached: _ByVariant) -> Table:
    rows: list[list[Cell]] = []
    for variant, found in reached.items():
        for each in found:
            epochs, seconds = _complete(each.epochs), _complete(each.seconds)
            rows.append(
                [
                    variant,
                    _percent(each.share),
                    round(100 * each.target, 2),
                    f"{each.num_reached} of {len(each.epochs)}",
                    round(fmean(epochs), 1) if epochs else None,
                    f"{min(epochs)} to {max(epochs)}" if len(epochs) > 1 else None,
                    round(fmean(seconds), 2) if seconds else None,
                ]
            )
    columns = [
        "variant", "share", "target (%)", "seeds that reached it", "epochs", "fewest to most",
        "training time (s)",
    ]  # fmt: skip
    return Table(name, title, caption, columns, rows)


def _by_seed(
    progress: Mapping[str, Sequence[Progress]], own: _ByVariant, common: _ByVariant, note: str, word: str
) -> Table:
    first = next(iter(progress))
    rows: list[list[Cell]] = []
    for name, runs in progress.items():
        for place, run in enumerate(runs):
            best_seconds = own[name][-1].seconds[place]
            rows.append(
                [
                    name,
                    run.run.seed,
                    round(100 * run.best, 2),
                    *(each.epochs[place] for each in own[name]),
                    None if best_seconds is None else round(best_seconds, 2),
                    *(each.epochs[place] for each in common[name]),
                ]
            )
    return Table(
        name="convergence_by_seed",
        title="Convergence of each seed",
        caption=f"Epochs until the shares of the run's own best validation {word} (the time is that until "
        "100 %), and of the best of all variants; a dash where it was not reached." + note,
        columns=[
            "variant", "seed", f"best {word} (%)",
            *(f"{_percent(each.share)} of own" for each in own[first]),
            "training time (s)",
            *(f"{_percent(each.share)} of all variants'" for each in common[first]),
        ],
        rows=rows,
        in_report=len(rows) <= MOST_ROWS,
    )  # fmt: skip


def _draw(styles: Mapping[str, plots.Style], own: _ByVariant, common: _ByVariant, last: int) -> "MplFigure":
    from matplotlib.ticker import MaxNLocator

    shares = [each.share for each in next(iter(own.values()))]
    height = 1.3 + (0.14 + 0.11 * len(shares)) * len(own)
    figure, grid = plots.new_figure(1, 2, height=max(2.4, height), share_axes=True)
    for axes, reached, title in (
        (grid[0], own, "of the run's own best"),
        (grid[1], common, "of the best of all variants"),
    ):
        plots.label_axes(axes, "epoch", "")
        axes.grid(False, axis="y")
        axes.set_title(title, loc="left", fontsize=plots.TEXT_SIZE, color=plots.INK)
        for index, (name, found) in enumerate(reached.items()):
            if index % 2 == 0:
                axes.axhspan(index - 0.5, index + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
            for rank, each in enumerate(found):
                level = index + 0.8 * ((rank + 0.5) / len(shares) - 0.5)
                ring = reached is own and each.share == 1
                _draw_level(axes, level, each.epochs, 1.08 * last, styles[name], ring=ring)
    grid[0].set_yticks(range(len(own)), plots.short_names(list(own), 20))
    grid[0].set_ylim(len(own) - 0.5, -0.5)
    grid[0].set_xlim(-0.05 * last, 1.13 * last)
    grid[0].xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    levels = ", ".join(_percent(share) for share in shares)
    figure.suptitle(
        f"in each row, from above: {levels} (ring: best epoch)    cross: not reached by every seed",
        x=0.01, ha="left", fontsize=plots.SMALL_SIZE, color=plots.MUTED,
    )  # fmt: skip
    return figure


def _draw_level(
    axes: "Axes",
    level: float,
    epochs: Sequence[int | None],
    beyond: float,
    style: plots.Style,
    *,
    ring: bool = False,
) -> None:
    """Seeds small with a line from first to last, their mean large; a cross at `beyond` for those without."""
    known = [epoch for epoch in epochs if epoch is not None]
    if len(epochs) > 1 and known:
        axes.plot(
            [min(known), max(known)], [level] * 2, color=style.color, linewidth=1.1, alpha=0.6, zorder=2
        )
        axes.plot(
            known, [level] * len(known), color=style.color, marker="o", markersize=2.8, linestyle="none",
            alpha=0.7, markeredgewidth=0, zorder=3,
        )  # fmt: skip
    if len(known) == len(epochs):
        axes.plot(
            [fmean(known)], [level], color=style.color, marker="o" if ring else style.marker, markersize=6,
            markerfacecolor="white" if ring else style.color,
            markeredgecolor=style.color if ring else "white", markeredgewidth=1.4 if ring else 0.6, zorder=4,
        )  # fmt: skip
    else:
        axes.plot(
            [beyond], [level], color=style.color, marker="x", markersize=5.5, markeredgewidth=1.6, zorder=4
        )
