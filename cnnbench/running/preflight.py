"""Refuses before training what would end a recipe hours later."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench.decisions import decide
from cnnbench.errors import CnnbenchError, about
from cnnbench.recipe.blame import of_analysis, of_variant
from cnnbench.running.events import Skipped
from cnnbench.running.reporting import make_analyses
from cnnbench.runs import Run, encoder_weights
from cnnbench.settings import DIGESTS

if TYPE_CHECKING:
    import torch

    from cnnbench.data.datasets import Datasets
    from cnnbench.recipe.config import Recipe, RunConfig


def check_models(recipe: "Recipe", root: Path, runs_dir: Path) -> None:
    """Raises CnnbenchError where a model cannot be built, is too large, or lacks what a check names."""
    from cnnbench.plan import describe_plan

    describe_plan(recipe, root, runs_dir)


def try_out(recipe: "Recipe", datasets: "Datasets", device: "torch.device") -> list[str]:
    """Raises now what would end the recipe hours later: unusable data, augmentation or precision.

    Returns what the data sets have to say, such as which files were left out.
    """
    from cnnbench.data.loader import Loader
    from cnnbench.precision import choose_precision

    tried = set()
    notes: dict[str, None] = {}
    for config in recipe.run_configs():
        if config.variant in tried:
            continue
        tried.add(config.variant)
        with of_variant(recipe, config.variant):
            with about("train", "precision"):
                choose_precision(config.train.precision, device)
            with about("data"):
                dataset = datasets.load(config.data)
                Loader(dataset, config.data, device, plugins=config.plugins)
            if dataset.test_only and config.train.epochs > 0:
                raise CnnbenchError(
                    f"data set {dataset.name!r} has test images only, and nothing is trained on those: "
                    "set train.epochs = 0"
                ).about("train", "epochs")
        notes |= dict.fromkeys(dataset.notes)
    return list(notes)


def check_analyses(recipe: "Recipe", datasets: "Datasets") -> None:
    """Raises CnnbenchError now, not after training, where an analysis names what no variant has."""
    import torch

    from cnnbench.analyses.base import Untrained
    from cnnbench.data.loader import Loader
    from cnnbench.models import build_model, takes_bytes

    device = torch.device("cpu")

    def untrained() -> Iterator[Untrained]:
        for config in {each.variant: each for each in recipe.run_configs()}.values():
            dataset = datasets.load(config.data)
            model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
            as_bytes = takes_bytes(config.model, config.plugins)
            loader = Loader(dataset, config.data, device, plugins=config.plugins, as_bytes=as_bytes)
            yield Untrained(config.variant, model.eval(), loader)

    for number, (_, analysis) in enumerate(make_analyses(recipe)):
        if analysis.needs_check:
            with of_analysis(recipe, number):
                analysis.check(untrained())


def check_images(recipe: "Recipe", directory: Path, datasets: "Datasets", fresh: bool = False) -> None:
    """Raises CnnbenchError where runs to stand side by side in the report have, or would have, other images.

    Finished ones of the whole recipe are looked at, also where `only` some of its variants are asked for.
    """
    from cnnbench.data.datasets import which_images

    asked = {(config.variant, config.seed) for config in recipe.run_configs()}
    finished: dict[str, list[Run]] = {}
    to_come: dict[str, RunConfig] = {}
    for config in recipe.model_copy(update={"only": ()}).run_configs():
        run = Run(directory / config.variant / f"seed{config.seed}")
        is_asked = (config.variant, config.seed) in asked
        if decide(run, config, fresh and is_asked).action == "reuse":
            finished.setdefault(which_images(config.data), []).append(run)
        elif is_asked:
            to_come.setdefault(which_images(config.data), config)
    for choice, runs in finished.items():
        named = "those that it has now"
        if choice in to_come:
            dataset = datasets.load(to_come[choice].data)
            known = {"digest": dataset.digest(), "pixels": dataset.pixels}
        else:
            known, named = {}, f"those of {runs[0].path}"
        for run in runs:
            images = (run.result() or {}).get("images") or {}
            # runs of older versions know less
            of_run = {key: images[key] for key in DIGESTS if key in images}
            if any(known.setdefault(key, value) != value for key, value in of_run.items()):
                raise CnnbenchError(
                    f"{run.path}: the images of its data set are not {named}: files have changed, or are "
                    "made or read by another version of Pillow or PyTorch or on another machine, and the two "
                    "could not be compared; put them back, or train all anew with --fresh"
                )


def without_weights(
    recipe: "Recipe", directory: Path, datasets: "Datasets", fresh: bool = False
) -> list[Skipped]:
    """The variants with a run to come whose pretrained weights are not there.

    Raises CnnbenchError where weights are there and cannot be used.
    """
    from cnnbench.models import begin, brings_weights, build_model
    from cnnbench.models.weights import WeightsAbsentError

    found: dict[str, Skipped] = {}
    tried = set()
    for config in recipe.run_configs():
        run = Run(directory / config.variant / f"seed{config.seed}")
        if config.variant in tried or not brings_weights(config.model, config.plugins):
            continue
        if decide(run, config, fresh).action == "reuse":
            continue
        tried.add(config.variant)
        dataset = datasets.load(config.data)
        with of_variant(recipe, config.variant), about("model"):
            try:
                model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
                begin(model, dataset.classes, encoder_weights(run, config))
            except WeightsAbsentError as error:
                found[config.variant] = Skipped(config.variant, str(error))
    return list(found.values())
