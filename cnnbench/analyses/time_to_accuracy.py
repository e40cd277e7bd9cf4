"""Time to accuracy: how many seconds after the start of a run its validation accuracy reaches a goal.

Every second counts: loading the data, building the model, training, validation, and saving. Validation
is after each epoch, so a goal is reached at the end of one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.accuracies import result_of
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.course import values_by_epoch
from cnnbench.options import Shares
from cnnbench.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

# Points below the lowest goal that are in view, or below where a run ends: what is lower passes in seconds.
ROOM, ROOM_BELOW_AN_END = 25, 5
TIMES_NOTE = "Times compare only between runs on the same, otherwise idle, machine."


@dataclass(frozen=True)
class Course:
    """One run: seconds since its start and validation accuracy (fractions) after each epoch, from epoch 0."""

    run: Run
    seconds: Sequence[float]
    accuracies: Sequence[float]

    def until(self, goal: float) -> float | None:
        """Seconds until the accuracy first was as high, or None where it never was."""
        pairs = zip(self.seconds, self.accuracies, strict=True)
        return next((seconds for seconds, accuracy in pairs if accuracy >= goal), None)


def course_of(run: Run, measure: str = "accuracy") -> Course | None:
    """The course of a run; None where its history has no `wall_seconds` (as those of old) or no accuracy.

    And where it was interrupted: what was done twice, or lost, is in no row.
    """
    if (run.result() or {}).get("sittings", 1) > 1:
        return None
    accuracies = values_by_epoch(run, f"val_{measure}")
    seconds = values_by_epoch(run, "wall_seconds")
    epochs = [row["epoch"] for row in run.history()]
    if not epochs or any(epoch not in accuracies or epoch not in seconds for epoch in epochs):
        return None
    total = 0.0
    so_far = [total := total + seconds[epoch] for epoch in epochs]
    return Course(run, so_far, [accuracies[epoch] for epoch in epochs])


class TimeToAccuracy(Analysis):
    """Seconds from the start of a run until validation reaches a goal, and of the whole run."""

    def __init__(self, *, goals: Shares = [0.9]) -> None:  # noqa: B006
        self.goals = sorted(set(goals))

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields a picture of accuracy against time, a table of the goals, and one of the whole runs."""
        measure = subject.leading()
        word = measures.label(measure)
        trained = subject.trained()
        found = {
            name: [course for run in runs if (course := course_of(run, measure)) is not None]
            for name, runs in trained.items()
        }
        known = {name: courses for name, courses in found.items() if courses}
        if not known:
            return
        unknown = [name for name in trained if len(found[name]) < len(trained[name])]
        note = (
            f" Not all seconds are known of {', '.join(unknown)} (interrupted, or of an older version)."
            if unknown
            else ""
        )
        note += subject.diverged_note()
        yield Figure(
            name="time_to_accuracy",
            title=f"Validation {word} against time",
            caption=f"Validation {word} after each epoch against the seconds since the run was begun, all "
            "that it did counted; a line is a seed. Gray: the goals; what lies far below is not in view. "
            + TIMES_NOTE
            + note,
            figure=_draw(
                known, {name: plots.style_of(list(found).index(name)) for name in known}, self.goals, word
            ),
        )
        yield _goals_table(known, self.goals, word, note)
        yield _whole_table(known, measure, word, note, "val" if subject.judged_on == "val" else "test")


def _goals_table(
    known: Mapping[str, Sequence[Course]], goals: Sequence[float], word: str, note: str
) -> Table:
    rows: list[list[Cell]] = []
    for name, courses in known.items():
        for goal in goals:
            reached = [course.until(goal) for course in courses]
            seconds = [each for each in reached if each is not None]
            complete = len(seconds) == len(reached)
            rows.append(
                [
                    name,
                    f"{100 * goal:g} %",
                    f"{len(seconds)} of {len(reached)}",
                    round(fmean(seconds), 1) if complete else None,
                    round(stdev(seconds), 1) if complete and len(seconds) > 1 else None,
                ]
            )
    return Table(
        "time_to_accuracy_goals",
        f"Seconds until a validation {word}",
        f"Seconds since the run was begun until the first epoch whose validation {word} is the goal or more, "
        "mean and standard deviation over seeds; a dash where not every seed reached it. Of few validation "
        "images a goal is sometimes reached by luck: the next table has the test images. "
        + TIMES_NOTE
        + note,
        ["variant", "goal", "seeds that reached it", "time (s)", "standard deviation (s)"],
        rows,
    )


def _whole_table(
    known: Mapping[str, Sequence[Course]], measure: str, word: str, note: str, split: str
) -> Table:
    name_of = {"val": "validation", "test": "test"}[split]
    rows: list[list[Cell]] = []
    for name, courses in known.items():
        results = [result_of(course.run) for course in courses]
        judged = [100 * result["metrics"][f"{split}_{measure}"] for result in results]
        whole = [course.seconds[-1] for course in courses]
        training = fmean([result["train_seconds"] for result in results])
        validation = fmean([result["val_seconds"] for result in results])
        several = len(courses) > 1
        rows.append(
            [
                name,
                len(courses),
                round(fmean(judged), 2),
                round(stdev(judged), 2) if several else None,
                round(fmean(whole), 1),
                round(stdev(whole), 1) if several else None,
                round(training, 1),
                round(validation, 1),
                round(fmean(whole) - training - validation, 1),
            ]
        )
    return Table(
        "time_to_accuracy_whole",
        "The whole of each run",
        f"{name_of.capitalize()} {word} of the weights that were kept, and all seconds from the start of a "
        "run to its last epoch, means and standard deviations over seeds; so many of them for training, "
        "validation, and the rest: loading data, building, saving. " + TIMES_NOTE + note,
        [
            "variant", "seeds", f"{name_of} {word} (%)", "standard deviation", "time (s)",
            "standard deviation (s)", "training (s)", "validation (s)", "rest (s)",
        ],
        rows,
    )  # fmt: skip


def _draw(
    known: Mapping[str, Sequence[Course]],
    styles: Mapping[str, plots.Style],
    goals: Sequence[float],
    word: str,
) -> "MplFigure":
    figure, (axes,) = plots.new_figure(1, 1)
    ends = []
    for name, courses in known.items():
        style = styles[name]
        for place, course in enumerate(courses):
            axes.plot(
                course.seconds, [100 * each for each in course.accuracies], color=style.color, linewidth=1.6,
                alpha=1 if place == 0 else 0.55, marker=style.marker, markersize=4, markeredgecolor="white",
                markeredgewidth=0.5, zorder=3,
            )  # fmt: skip
        ends.append((courses[0].seconds[-1], 100 * courses[0].accuracies[-1], name, style))
    for goal in goals:
        axes.axhline(100 * goal, color="#999999", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    plots.label_axes(axes, "seconds since the start of the run", f"validation {word} (%)")
    axes.set_xlim(left=0)
    values = [100 * each for courses in known.values() for course in courses for each in course.accuracies]
    lowest_end = min(100 * course.accuracies[-1] for courses in known.values() for course in courses)
    low = max(min(values), min(100 * min(goals) - ROOM, lowest_end - ROOM_BELOW_AN_END))
    axes.set_ylim(low, max(*values, 100 * max(goals)) + 0.05 * ROOM)
    plots.label_ends(axes, ends)
    return figure
