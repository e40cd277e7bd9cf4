"""What a recipe would train, in numbers, without training it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnnbench.comparison.stages import solve
from cnnbench.data import describe_dataset, task_of
from cnnbench.errors import CnnbenchError
from cnnbench.models.failures import naming_failures
from cnnbench.models.summary import check_limits, summarize_config
from cnnbench.recipe.config import Match, Recipe
from cnnbench.tasks import check_task


def describe_plan(recipe: Recipe, data_root: Path, runs_dir: Path = Path("runs")) -> dict[str, Any]:
    """Every variant with its resolved settings, sizes for one image, and layers: plain values for JSON.

    Raises CnnbenchError where a model cannot be built, matched or taken from another recipe's runs, or
    exceeds its limits.
    """
    recipe = solve(recipe, data_root, runs_dir)
    return {
        "recipe": recipe.directory,
        "title": recipe.title,
        "question": recipe.question,
        "variants": [
            describe_variant(recipe, index, data_root)
            for index, variant in enumerate(recipe.variants)
            if not recipe.only or variant.name in recipe.only
        ],
    }


def describe_variant(recipe: Recipe, index: int, data_root: Path) -> dict[str, Any]:
    variant = recipe.variants[index]
    try:
        in_shape, num_classes = describe_dataset(variant.data, data_root, recipe.plugins)
        with naming_failures(variant.model, in_shape, recipe.plugins):
            summary = summarize_config(variant.model, in_shape, num_classes, recipe.plugins)
        check_limits(summary, variant.limits)
        if not recipe.quick:  # whose epochs are too few for anything
            summary.tuning.check_epochs(variant.train.epochs)
        task = task_of(variant.data, data_root, recipe.plugins)
        check_task(task, variant.train, in_shape, num_classes, summary.output_shape)
    except CnnbenchError as error:
        raise CnnbenchError(f"{recipe.path}: variant {variant.name!r}: {error}") from error
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


def describe_match(match: Match) -> dict[str, Any]:
    return {**match.model_dump(mode="json"), "difference_percent": 100 * match.difference}
