"""Shows what happens in a recipe, event by event, on the console."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

from cnnbench import measures
from cnnbench.job import Damaged, Resumed
from cnnbench.live import RunDisplay
from cnnbench.recipe.config import Recipe
from cnnbench.running.events import Event, Failed, Finished, Notice, Reported, Skipped, Started, Working
from cnnbench.runs import Run
from cnnbench.training import Epoch, Remark, Step


@dataclass
class InTraining:
    """A run in work: after which epoch it began here, and when."""

    started: Started
    first_epoch: int = 0
    start: float = field(default_factory=perf_counter)


class Follower:
    """Turns events into rows, bars and lines; knows how far each variant is.

    With several runs at a time each line names its run, since their lines mix.
    """

    def __init__(self, recipe: Recipe, several: bool = False, fresh: bool = False) -> None:
        asked = [each for each in recipe.variants if not recipe.only or each.name in recipe.only]
        self.display = RunDisplay(recipe.title, [variant.name for variant in asked])
        self.seeds = {variant.name: len(variant.seeds) for variant in asked}
        self.done = dict.fromkeys(self.seeds, 0)
        self.in_training: dict[str, InTraining] = {}  # by the run's label
        self.several, self.fresh = several, fresh
        self.judged_on = recipe.judged_on

    def follow(self, events: Iterator[Event]) -> Reported:
        """Consumes the events to their end, and returns the last one."""
        with self.display.live():
            for event in events:
                match event:
                    case Reported():
                        return event
                    case Notice(text):
                        self.display.note(text, "yellow")
                    case Skipped(variant, reason):
                        self.display.note(f"{variant} is skipped: {reason}", "yellow")
                        self._row(variant, "skipped")
                    case Failed(run, message):
                        self._leave(run)
                        self.display.note(f"{run.label}: {message}", "red")
                        self._row(run.variant, "failed")
                    case Started():
                        self._on_start(event)
                    case Finished():
                        self._on_finish(event)
                    case Working():
                        self._on_work(event)
        raise AssertionError("a recipe ends with its report")

    @property
    def saved(self) -> str:
        """A sentence about what is on disk, for a user who interrupts."""
        if not self.in_training:
            return "nothing was in training"
        labels = " and ".join(self.in_training)
        verb, whose = ("is", "its") if len(self.in_training) == 1 else ("are", "their")
        without = " without --fresh" * self.fresh  # with it all would begin anew
        command = f"the same command{without}"
        return f"{labels} {verb} saved up to {whose} last finished epoch; {command} goes on from there"

    def _row(self, variant: str, now: str, *cells: str) -> None:
        self.display.set_row(variant, f"{self.done[variant]}/{self.seeds[variant]}", now, *cells)

    def _on_start(self, event: Started) -> None:
        self.in_training[event.run.label] = InTraining(event)
        self._row(event.run.variant, f"seed {event.run.seed}")
        self.display.line(f"[{event.index}/{event.total}] {event.run.label}")

    def _on_finish(self, event: Finished) -> None:
        self.done[event.run.variant] += 1
        leading = event.result.get("leading", "accuracy")
        split, words = ("test", "test") if self.judged_on == "test" else ("val", "validation")
        accuracy = event.result["metrics"].get(f"{split}_{leading}")
        label = self.display.measure = measures.label(leading)
        said = event.result["message"] if accuracy is None else f"{words} {label} {accuracy:.2%}"
        epoch = event.result["best_epoch"]
        kept = ", complete already" if event.reused else "" if epoch is None else f", best epoch {epoch}"
        complete = self.done[event.run.variant] == self.seeds[event.run.variant]
        now = "done" if complete else ""
        val_accuracy = event.result["metrics"].get(f"val_{leading}")
        if val_accuracy is None:
            self._row(event.run.variant, now)
        else:
            self._row(event.run.variant, now, str(event.result["best_epoch"]), f"{val_accuracy:.2%}")
        self._leave(event.run)
        self.display.note(f"{event.run.label}: {said}{kept}", "yellow" if accuracy is None else "green")

    def _on_work(self, event: Working) -> None:
        match event.event:
            case Resumed(epoch):
                if event.run.label in self.in_training:
                    self.in_training[event.run.label].first_epoch = epoch
                self.display.note(f"{event.run.label} goes on after epoch {epoch}")
            case Damaged(message):
                self.display.note(f"{event.run.label}: {message}", "yellow")
            case Remark(text):
                self.display.note(f"{event.run.label}: {text}")
            case Epoch() as row:
                self._show_epoch(event, row)
            case Step() as step:
                self._show_step(event.run, step)

    def _show_epoch(self, event: Working, row: Epoch) -> None:
        speed = "" if row.images_per_second is None else f"{row.images_per_second:,.0f}"
        label = self.display.measure = measures.label(row.measure)
        self._row(event.run.variant, f"seed {event.run.seed}", str(row.epoch), f"{row.leading:.2%}", speed)
        trained = (
            "untrained" if row.train_loss is None else f"train loss {row.train_loss:.3f}, {speed} images/s"
        )
        whose = f"{event.run.label}, " if self.several else "  "
        self.display.line(f"{whose}epoch {row.epoch}: val {label} {row.leading:.2%}, {trained}")

    def _leave(self, run: Run) -> None:
        """The run is over, one way or the other."""
        self.in_training.pop(run.label, None)
        self.display.hide_bar(run.label)

    def _show_step(self, run: Run, step: Step) -> None:
        here_now = self.in_training.get(run.label)
        if here_now is None:
            return
        epochs = here_now.started.config.train.epochs
        done = (step.epoch - 1) * step.num_steps + step.step
        total = epochs * step.num_steps
        here = done - here_now.first_epoch * step.num_steps
        left = (perf_counter() - here_now.start) / max(here, 1) * (total - done)
        speed = f"{step.num_images / step.seconds:,.0f} images/s"
        self.display.set_bar(
            run.label,
            f"{run.label}, epoch {step.epoch} of {epochs}",
            done,
            total,
            speed,
            f"{duration(left)} left",
        )


def duration(seconds: float) -> str:
    """Rounded for reading: 42 s, 3 min 10 s, 1 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
