"""What a recipe would train, in numbers, without training it."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cnnbench import catalog
from cnnbench.checks.anatomy import check_names
from cnnbench.comparison.stages import solve
from cnnbench.data import describe_dataset, task_of
from cnnbench.data.base import TaskName
from cnnbench.errors import CnnbenchError, about
from cnnbench.models import build_model, takes_bytes
from cnnbench.models.failures import naming_failures
from cnnbench.models.summary import Summary, check_limits, summarize_config
from cnnbench.recipe.blame import of_variant, told_once
from cnnbench.recipe.config import Match, Named, Recipe, Variant
from cnnbench.recipe.mistakes import Mistake, RecipeError
from cnnbench.signatures import is_file_target
from cnnbench.tasks import check_task


def describe_plan(recipe: Recipe, data_root: Path, runs_dir: Path = Path("runs")) -> dict[str, Any]:
    """Every variant with its resolved settings, sizes for one image, and layers: plain values for JSON.

    Raises CnnbenchError where a model cannot be built, matched or taken from another recipe's runs, or
    exceeds its limits: all that is wrong with the variants at once.
    """
    recipe = solve(recipe, data_root, runs_dir)
    variants: list[dict[str, Any]] = []
    mistakes: list[Mistake] = []
    for index, variant in enumerate(recipe.variants):
        if not recipe.only or variant.name in recipe.only:
            try:
                variants.append(describe_variant(recipe, index, data_root))
            except RecipeError as error:
                mistakes += error.mistakes
    if mistakes:
        raise told_once(mistakes)
    check_names(recipe, data_root)
    return {
        "recipe": recipe.directory,
        "title": recipe.title,
        "question": recipe.question,
        "variants": variants,
    }


def describe_variant(recipe: Recipe, index: int, data_root: Path) -> dict[str, Any]:
    variant = recipe.variants[index]
    with of_variant(recipe, variant.name):
        with about("data"):
            in_shape, num_classes = describe_dataset(variant.data, data_root, recipe.plugins)
            task = task_of(variant.data, data_root, recipe.plugins)
        with about("model"), naming_failures(variant.model, in_shape, recipe.plugins):
            summary = summarize_config(variant.model, in_shape, num_classes, recipe.plugins)
        check_limits(summary, variant.limits)
        with about("model"):
            _check_batch(variant.model, in_shape, num_classes, recipe.plugins)
        _check_norms(summary, variant.data.batch_size)
        if not recipe.quick:  # whose epochs are too few for anything
            summary.tuning.check_epochs(variant.train.epochs)
        if task == "segmentation" and recipe.judged_on != "test":
            raise CnnbenchError("judged_on is for classification, but the data has masks: leave it out")
        check_task(task, variant.train, in_shape, num_classes, summary.output_shape)
        with about("train", "progressive_resizing"):
            _check_resizing(variant, in_shape, num_classes, task, recipe.plugins)
    return {
        "name": variant.name,
        "seeds": variant.seeds,
        "num_params": summary.num_params,
        "num_trained": summary.num_trained,
        "macs": summary.macs,
        "in_shape": list(in_shape),
        "output_shape": list(summary.output_shape),
        **variant.model_dump(mode="json", include={"data", "model", "train", "limits"}),
        "winner": None if variant.winner is None else variant.winner.model_dump(mode="json"),
        "match": None if variant.match is None else describe_match(variant.match),
        "layers": [asdict(layer) for layer in summary.layers],
    }


def _check_batch(
    model: Named, in_shape: tuple[int, int, int], num_classes: int, plugins: Sequence[str]
) -> None:
    """Raises CnnbenchError where a user's own model does not put out one row an image, with gradients."""
    target = catalog.target("model", model.name, tuple(plugins))
    if not is_file_target(target):
        return
    with naming_failures(model, in_shape, plugins):
        built = build_model(model, in_shape, num_classes, plugins).train()
        output = built(torch.zeros(2, *in_shape))
    if len(output) != 2:
        raise CnnbenchError(f"{target} puts out {len(output)} rows for a batch of 2 images: it must be 2")
    if any(parameter.requires_grad for parameter in built.parameters()) and not output.requires_grad:
        raise CnnbenchError(
            f"{target} cannot be trained: its output has no gradient, as after detach() or in no_grad"
        )


def _check_norms(summary: Summary, batch_size: int) -> None:
    """Raises CnnbenchError where a batch norm would see one value of each channel and nothing to compare."""
    for layer in summary.layers:
        if batch_size == 1 and layer.kind.startswith("BatchNorm") and math.prod(layer.output_shape[1:]) == 1:
            raise CnnbenchError(
                f"layer {layer.name} ({layer.kind}) cannot normalize a batch of one image: set "
                "data.batch_size to 2 or more, or take another norm"
            ).about("data", "batch_size")


def _check_resizing(
    variant: Variant,
    in_shape: tuple[int, int, int],
    num_classes: int,
    task: TaskName,
    plugins: Sequence[str],
) -> None:
    """Raises CnnbenchError where training images cannot be made so small, or the model takes no others."""
    if variant.train.progressive_resizing is None:
        return
    size = variant.train.progressive_resizing.size
    channels, height, width = in_shape
    if task == "segmentation":
        raise CnnbenchError("train.progressive_resizing is for classification, but the data has masks")
    if takes_bytes(variant.model, plugins):
        raise CnnbenchError(
            f"model {variant.model.name!r} has a preprocessing of its own, which brings every image to one "
            "size: leave train.progressive_resizing out"
        )
    if size >= min(height, width):
        raise CnnbenchError(
            f"train.progressive_resizing: {size} pixels are not fewer than those of the images, which are of "
            f"{height}×{width}"
        )
    shown = (channels, size, size)
    try:
        with naming_failures(variant.model, shown, plugins):
            summarize_config(variant.model, in_shape, num_classes, plugins, shown)
    except (RuntimeError, ValueError, CnnbenchError) as error:
        reason = str(error).partition("\n")[0]
        raise CnnbenchError(
            f"model {variant.model.name!r}, built for images of {height}×{width}, cannot be given some of "
            f"{size}×{size} ({reason}): take a model that averages over the image, or a larger size"
        ) from error


def describe_match(match: Match) -> dict[str, Any]:
    return {**match.model_dump(mode="json"), "difference_percent": 100 * match.difference}
