"""A search in stages as one table: every variant of every recipe that led here, and which gains are real.

All of it is judged by validation; test accuracy is shown for the last recipe only, whose question it answers,
and not where that recipe leaves test alone too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from statistics import fmean
from typing import TYPE_CHECKING

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.rise import MIN_RISE
from cnnbench.analyses.stage_entries import (
    Entry,
    Images,
    are_twins,
    entries_of,
    paired_test,
    typical_variances,
)
from cnnbench.statistics import SIGNIFICANT, Estimate, holm, written_p

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure


class Stages(Analysis):
    """All recipes that led to this one: what was tried, what was taken, and which differences are real."""

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields a picture and a table of all variants, and a table of the tested differences."""
        entries = list(entries_of(subject))
        if not entries:
            return
        yield Figure(
            name="stages",
            title="Validation accuracy over the stages",
            caption="Circles are mean validation accuracies with their 95 % intervals, triangles mean train "
            "accuracies, with the weights of the best epoch. Filled circles were carried on to the next "
            "stage; in the last stage, the best one is filled.",
            figure=_draw(entries),
        )
        yield _table(entries)
        yield _differences(entries)


def _best(entries: Sequence[Entry]) -> Entry:
    """The best mean; of equal ones the one with fewer multiply-adds."""
    return max(entries, key=lambda entry: (entry.val.mean, -(entry.macs or 0)))


def _table(entries: Sequence[Entry]) -> Table:
    best = _best(entries)
    final = _best([entry for entry in entries if entry.is_last]) if any(e.is_last for e in entries) else None
    rows: list[list[Cell]] = [
        [
            entry.stage,
            entry.variant,
            entry.differs or None,
            entry.val.num,
            entry.num_params,
            entry.macs,
            _accuracy(entry.val),
            _interval(entry.val),
            None if entry.train is None else f"{100 * entry.train:.1f}",
            None if entry.gap is None else f"{entry.gap:.1f}",
            f"{100 * fmean(entry.rises):.0f}" if entry.rises else None,
            f"{entry.num_overfit} of {len(entry.rises)}" if entry.rises else None,
            None if entry.test is None else f"{100 * entry.test:.1f}",
            ", ".join(_marks(entry, best, final)) or None,
        ]
        for entry in entries
    ]
    return Table(
        name="stages",
        title="All stages",
        caption=f"{_verdict(entries)} {_overfitting(entries)} Accuracies are means over seeds with the "
        "weights of the best epoch, ± the standard deviation; validation chose that epoch and the "
        "variants, and is therefore a bit too high. The rise is that of validation loss from its "
        "lowest epoch to the last.",
        columns=[
            "stage", "variant", "configuration", "seeds", "parameters", "multiply-adds", "validation (%)",
            "95 % interval (%)", "train (%)", "train − validation (points)", "rise of validation loss (%)",
            "seeds that overfit", "test (%)", "",
        ],
        rows=rows,
    )  # fmt: skip


def _marks(entry: Entry, best: Entry, final: Entry | None) -> Iterator[str]:
    """What became of a variant: carried on to the next stage, best of the last one, best of all."""
    if entry.taken:
        yield "taken"
    if entry is final:
        yield "best of the last stage"
    if entry is best:
        yield "best of all"


def _accuracy(estimate: Estimate) -> str:
    spread = "" if estimate.std is None else f" ± {100 * estimate.std:.1f}"
    return f"{100 * estimate.mean:.1f}{spread}"


def _interval(estimate: Estimate) -> str | None:
    if estimate.low is None or estimate.high is None:
        return None
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def _verdict(entries: Sequence[Entry]) -> str:
    """Which one is best, and which others cannot be told apart from it."""
    best = _best(entries)
    others = [entry for entry in entries if entry is not best]
    p_values = _corrected(combinations(entries, 2), typical_variances(entries))
    found = {entry.name: p_values.get(_key(best, entry)) for entry in others}
    tested = [name for name, p_value in found.items() if p_value is not None]
    tied = [name for name, p_value in found.items() if p_value is not None and p_value > SIGNIFICANT]
    said = f"Best by validation: {best.name}, {_accuracy(best.val)} %."
    if tied:
        said += f" Not to be told apart from it (corrected for {len(p_values)} pairs): {', '.join(tied)}."
    elif tested:
        said += f" It is better than each of the other {len(tested)} (corrected for {len(p_values)} pairs)."
    if tested and all(entry.val.num == 1 for entry in entries):
        said += " One seed each, so the luck of training is not counted."
    twins = [entry.name for entry in others if are_twins(best, entry)]
    if twins:
        said += f" The same runs: {', '.join(twins)}."
    if untested := [name for name, p_value in found.items() if p_value is None and name not in twins]:
        said += f" Not tested against it, for want of the same validation images: {', '.join(untested)}."
    return said


def _key(one: Entry, other: Entry) -> frozenset[int]:
    return frozenset((id(one), id(other)))


def _corrected(
    pairs: Iterable[tuple[Entry, Entry]], typical: Mapping[Images, float | None]
) -> dict[frozenset[int], float]:
    """Corrected p-values (Holm) of the pairs of entries that can be tested.

    Where the best of several is held against the others, all pairs of them belong in it: the same figures
    have said which one is best.
    """
    tests = {
        _key(one, other): test
        for one, other in pairs
        if (test := paired_test(one, other, typical)) is not None
    }
    return dict(zip(tests, holm([test.p_value for test in tests.values()]), strict=True))


def _overfitting(entries: Sequence[Entry]) -> str:
    """The signs of overfitting in numbers."""
    judged = [entry for entry in entries if entry.rises]
    found = [entry for entry in judged if 2 * entry.num_overfit > len(entry.rises)]
    said = ""
    if judged:
        named = f": {', '.join(entry.name for entry in found)}" if found else ""
        said = (
            f"Signs of overfitting: {len(found)} of {len(judged)} variants end with a validation loss more "
            f"than {100 * MIN_RISE:g} % above its lowest while train loss still falls, in more than half of "
            f"their seeds{named}."
        )
    gaps = [entry for entry in entries if entry.gap is not None]
    if gaps:
        widest, closest = max(gaps, key=_gap), min(gaps, key=_gap)
        said += (
            f" The gap between train and validation is largest in {widest.name} ({_gap(widest):.1f} points)"
        )
        said += (
            f" and smallest in {closest.name} ({_gap(closest):.1f} points).".replace("-", "−")
            if widest is not closest
            else "."
        )
    return said.strip()


def _gap(entry: Entry) -> float:
    return entry.gap if entry.gap is not None else 0.0


def _differences(entries: Sequence[Entry]) -> Table:
    """Within each stage the best against the others, and what was taken of each against the next."""
    pairs: list[tuple[str, Entry, Entry]] = []
    family: list[tuple[Entry, Entry]] = []
    numbers = sorted({entry.number for entry in entries})
    carried: list[Entry] = []
    for number in numbers:
        stage = [entry for entry in entries if entry.number == number]
        best = _best(stage)
        pairs += [("within a stage", best, entry) for entry in stage if entry is not best]
        family += combinations(stage, 2)
        carried.append(next((entry for entry in stage if entry.taken), best))
    pairs += [("from stage to stage", after, before) for before, after in pairwise(carried)]
    if len(carried) > 2:
        pairs.append(("from first to last", carried[-1], carried[0]))
    typical = typical_variances(entries)
    tests = [paired_test(one, other, typical) for _, one, other in pairs]
    family += [(one, other) for kind, one, other in pairs if kind != "within a stage"]
    p_values = _corrected(family, typical)
    rows: list[list[Cell]] = []
    num_real = 0
    for (kind, one, other), test in zip(pairs, tests, strict=True):
        if test is None:
            why = "the same runs" if are_twins(one, other) else "not tested: other validation images"
            rows.append([kind, one.name, other.name, None, None, None, why])
            continue
        p_value = p_values[_key(one, other)]
        real = p_value <= SIGNIFICANT
        num_real += real
        rows.append(
            [
                kind,
                one.name,
                other.name,
                f"{100 * test.difference:+.1f}".replace("-", "−"),
                f"{100 * test.low:.1f} to {100 * test.high:.1f}".replace("-", "−"),
                written_p(p_value).removeprefix("= "),
                "real" if real else "may be noise",
            ]
        )
    num_tested = sum(test is not None for test in tests)
    single = all(entry.val.num == 1 for entry in entries)
    return Table(
        name="stages_differences",
        title="Which differences are real",
        caption=f"{num_real} of {num_tested} differences in validation accuracy are beyond the noise: paired "
        "tests on the same validation images, p corrected (Holm) for all pairs of a stage and those between "
        "stages, intervals not corrected."
        + (" One seed each, so the luck of training is not counted." if single else ""),
        columns=["what", "one", "other", "difference (points)", "95 % interval (points)", "p", "verdict"],
        rows=rows,
    )


def _draw(entries: Sequence[Entry]) -> "MplFigure":
    best_of_last = _best([entry for entry in entries if entry.number == entries[-1].number])
    figure, (axes,) = plots.new_figure(height=max(2.4, 1.2 + 0.34 * len(entries)))
    plots.label_axes(axes, "accuracy (%)", "")
    axes.grid(False, axis="y")
    plots.note_above(axes, "circle: validation, with 95 % interval    triangle: train")
    places: list[float] = []
    for entry in entries:
        gap = 1.6 if places and entry.number != entries[len(places) - 1].number else 1.0
        places.append((places[-1] + gap) if places else 0.0)
    for place, entry in zip(places, entries, strict=True):
        color = plots.style_of(entry.number).color
        mean = 100 * entry.val.mean
        if entry.val.low is not None and entry.val.high is not None:
            low, high = 100 * entry.val.low, 100 * entry.val.high
            axes.plot([low, high], [place, place], color=color, linewidth=1.4, zorder=2)
        filled = entry.taken or entry is best_of_last
        axes.plot(
            [mean], [place], marker="o", markersize=8, color=color, zorder=4, linestyle="none",
            markerfacecolor=color if filled else "white", markeredgecolor=color, markeredgewidth=1.4,
        )  # fmt: skip
        if entry.train is not None:
            axes.plot(
                [100 * entry.train], [place], marker="^", markersize=7, color=color, zorder=3,
                linestyle="none", markeredgecolor="white", markeredgewidth=0.7,
            )  # fmt: skip
    names = plots.short_names([f"{entry.stage.rpartition('/')[2]}: {entry.variant}" for entry in entries], 40)
    axes.set_yticks(places, names)
    axes.set_ylim(places[-1] + 0.8, -0.8)
    return figure
