"""Shows what happens in a recipe, event by event, on the console."""

from collections.abc import Iterator
from time import perf_counter

from cnnbench import measures
from cnnbench.console import RunDisplay
from cnnbench.job import Damaged, Resumed
from cnnbench.recipe.config import Recipe
from cnnbench.runner import Event, Failed, Finished, Notice, Reported, Skipped, Started, Working
from cnnbench.training import Epoch, Remark, Step


class Follower:
    """Turns events into rows, bars and lines; knows how far each variant is."""

    def __init__(self, recipe: Recipe) -> None:
        asked = [each for each in recipe.variants if not recipe.only or each.name in recipe.only]
        self.display = RunDisplay(recipe.title, [variant.name for variant in asked])
        self.seeds = {variant.name: len(variant.seeds) for variant in asked}
        self.done = dict.fromkeys(self.seeds, 0)
        self.started: Started | None = None
        self.first_epoch = 0
        self.start = perf_counter()

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
        if self.started is None:
            return "nothing was in training"
        label = self.started.run.label
        return f"{label} is saved up to its last finished epoch; the same command goes on from there"

    def _row(self, variant: str, now: str, *cells: str) -> None:
        self.display.set_row(variant, f"{self.done[variant]}/{self.seeds[variant]}", now, *cells)

    def _on_start(self, event: Started) -> None:
        self.started = event
        self.first_epoch = 0
        self.start = perf_counter()
        self._row(event.run.variant, f"seed {event.run.seed}")
        self.display.line(f"[{event.index}/{event.total}] {event.run.label}")

    def _on_finish(self, event: Finished) -> None:
        self.done[event.run.variant] += 1
        leading = event.result.get("leading", "accuracy")
        accuracy = event.result["metrics"].get(f"test_{leading}")
        label = self.display.measure = measures.label(leading)
        said = event.result["message"] if accuracy is None else f"test {label} {accuracy:.2%}"
        epoch = event.result["best_epoch"]
        kept = ", complete already" if event.reused else "" if epoch is None else f", best epoch {epoch}"
        complete = self.done[event.run.variant] == self.seeds[event.run.variant]
        now = "done" if complete else ""
        val_accuracy = event.result["metrics"].get(f"val_{leading}")
        if val_accuracy is None:
            self._row(event.run.variant, now)
        else:
            self._row(event.run.variant, now, str(event.result["best_epoch"]), f"{val_accuracy:.2%}")
        self.display.hide_bar()
        self.display.note(f"{event.run.label}: {said}{kept}", "yellow" if accuracy is None else "green")

    def _on_work(self, event: Working) -> None:
        match event.event:
            case Resumed(epoch):
                self.first_epoch = epoch
                self.display.note(f"{event.run.label} goes on after epoch {epoch}")
            case Damaged(message):
                self.display.note(f"{event.run.label}: {message}", "yellow")
            case Remark(text):
                self.display.note(f"{event.run.label}: {text}")
            case Epoch() as row:
                self._show_epoch(event, row)
            case Step() as step:
                self._show_step(step)

    def _show_epoch(self, event: Working, row: Epoch) -> None:
        speed = "" if row.images_per_second is None else f"{row.images_per_second:,.0f}"
        label = self.display.measure = measures.label(row.measure)
        self._row(event.run.variant, f"seed {event.run.seed}", str(row.epoch), f"{row.leading:.2%}", speed)
        trained = (
            "untrained" if row.train_loss is None else f"train loss {row.train_loss:.3f}, {speed} images/s"
        )
        self.display.line(f"  epoch {row.epoch}: val {label} {row.leading:.2%}, {trained}")

    def _show_step(self, step: Step) -> None:
        if self.started is None:
            return
        epochs = self.started.config.train.epochs
        done = (step.epoch - 1) * step.num_steps + step.step
        total = epochs * step.num_steps
        here = done - self.first_epoch * step.num_steps
        left = (perf_counter() - self.start) / max(here, 1) * (total - done)
        speed = f"{step.num_images / step.seconds:,.0f} images/s"
        self.display.set_bar(
            f"{self.started.run.label}, epoch {step.epoch} of {epochs}",
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
