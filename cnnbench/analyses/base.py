"""The contract of an analysis: finished runs in, figures and tables out. It never prints, saves or trains."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnbench.recipe.config import JudgedOn, RunConfig
from cnnbench.runs import Run, encoder_weights

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure as MplFigure
    from torch import nn

    from cnnbench.data.datasets import Datasets
    from cnnbench.data.loader import Loader

Cell = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """A picture with the sentence that says what it shows; `name` becomes the file's name."""

    name: str
    title: str
    caption: str
    figure: "MplFigure"


@dataclass(frozen=True)
class Table:
    """A table with the sentence that says what it shows; a cell of None is shown as a dash.

    One that is too long to be read is not printed `in_report`, which then refers to its file.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    in_report: bool = True


@dataclass(frozen=True)
class Subject:
    """What an analysis looks at: the complete runs of a recipe, in its order of variants, seeds ascending.

    Models and data are loaded on request, on `device`. `stages` are the recipes that this one is built on, in
    the order in which they were run. Where it is `judged_on` val, test is not to be shown (see Recipe).
    """

    recipe: str
    title: str
    runs: Sequence[Run]
    datasets: "Datasets"
    device: "torch.device"
    stages: "Sequence[Stage]" = ()
    judged_on: JudgedOn = "test"

    def variants(self) -> dict[str, list[Run]]:
        """Runs by variant, in order."""
        grouped: dict[str, list[Run]] = {}
        for run in self.runs:
            grouped.setdefault(run.variant, []).append(run)
        return grouped

    def trained(self) -> dict[str, list[Run]]:
        """Runs that ended well by variant, in order; an empty list where all diverged."""
        return {
            name: [run for run in runs if _status(run) == "complete"]
            for name, runs in self.variants().items()
        }

    def diverged(self) -> dict[str, list[Run]]:
        """Runs that diverged by variant, in order; only variants that have such runs."""
        found = {
            name: [run for run in runs if _status(run) == "diverged"]
            for name, runs in self.variants().items()
        }
        return {name: runs for name, runs in found.items() if runs}

    def smoothed(self) -> list[str]:
        """The variants trained with label smoothing; train loss contains it, validation loss does not."""
        return self._trained_with("label_smoothing")

    def _trained_with(self, key: str) -> list[str]:
        return [
            name
            for name, runs in self.trained().items()
            if any(run.config()["train"].get(key) for run in runs)
        ]

    def resized_note(self) -> str:
        """A sentence on variants whose train images were smaller at first; none where there are none."""
        names = self._trained_with("progressive_resizing")
        if not names:
            return ""
        return (
            f" In the first epochs train images were smaller than validation's ({', '.join(names)}: "
            "progressive_resizing), so that the two do not compare there."
        )

    def leading(self) -> str:
        """The measure by which the runs are judged (`cnnbench.measures`): "iou" where all are of masks."""
        found = {str((run.result() or {}).get("leading", "accuracy")) for run in self.runs}
        return found.pop() if len(found) == 1 else "accuracy"

    def classes(self, run: Run) -> Sequence[str]:
        """The names of the classes in the run's data."""
        names = (run.result() or {}).get("classes")
        return list(names) if names else self.datasets.load(self.config(run).data).classes

    def config(self, run: Run) -> RunConfig:
        """The settings the run was trained with."""
        return RunConfig(**run.config(), plugins=list(self.datasets.plugins))

    def model(self, run: Run, *, trained: bool = True) -> "nn.Module":
        """The run's model in evaluation mode with its best weights, or as it was before training.

        Raises DamagedError where the weights cannot be read.
        """
        import torch

        from cnnbench.models import begin, build_model, fit_to
        from cnnbench.trained import load_trained

        config = self.config(run)
        dataset = self.datasets.load(config.data)
        if trained:
            return load_trained(run, config, dataset.in_shape, dataset.num_classes, self.device)
        torch.manual_seed(config.seed)
        model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
        begin(model, dataset.classes, encoder_weights(run, config))
        model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        fit_to(model, lambda: self.loader(run).begin_inputs(run.seed))
        return model.eval()

    def loader(self, run: Run) -> "Loader":
        """The run's data as its model sees it, in fp32."""
        from cnnbench.data.loader import Loader
        from cnnbench.models import takes_bytes

        config = self.config(run)
        dataset = self.datasets.load(config.data)
        as_bytes = takes_bytes(config.model, config.plugins)
        return Loader(dataset, config.data, self.device, plugins=config.plugins, as_bytes=as_bytes)

    def data_set(self, variant: str) -> str:
        """The name of a variant's data set; accuracies on different ones do not compare."""
        run = self.variants()[variant][0]
        return str(run.config()["data"]["name"])

    def diverged_note(self) -> str:
        """For the end of a caption: a sentence that names the diverged runs, or nothing."""
        named = [f"{name} seed {run.seed}" for name, runs in self.diverged().items() for run in runs]
        return f" Diverged, so not counted: {', '.join(named)}." if named else ""


@dataclass(frozen=True)
class Stage:
    """A recipe that another one is built on, and the variants that were taken from it."""

    subject: Subject
    taken: Sequence[str]


def _status(run: Run) -> str | None:
    result = run.result()
    return None if result is None else str(result["status"])


@dataclass(frozen=True)
class Untrained:
    """A variant before its training, for an analysis to try its options on."""

    variant: str
    model: "nn.Module"
    loader: "Loader"


class Analysis(ABC):
    """One question asked of finished runs; its options are the constructor's arguments."""

    needs_check = False  # whether `check` has something to try: models are built for it

    def check(self, variants: Iterable[Untrained]) -> None:
        """Raises CnnbenchError, before training, where no variant has what the options name."""
        raise NotImplementedError

    @abstractmethod
    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields figures and tables."""
