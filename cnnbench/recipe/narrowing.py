"""Less of a recipe: quick trials, fewer or more seeds, some of the variants."""

from collections.abc import Sequence
from typing import Any

from cnnbench.options import LARGEST_SEED
from cnnbench.recipe.config import DataConfig, Recipe, TrainConfig
from cnnbench.recipe.merging import Layer, merge
from cnnbench.recipe.mistakes import Mistake, RecipeError, choices, nearest
from cnnbench.recipe.toml_positions import Path

QUICK_EPOCHS = 2
QUICK_LIMIT = 2000


def quickened(layers: dict[str, Layer]) -> dict[str, Layer]:
    """Few epochs on little data; what is not a number is left for the checker to complain about."""
    data, train = layers["data"], layers["train"]
    epochs = train.values.get("epochs", TrainConfig.model_fields["epochs"].default)
    limit = data.values.get("limit", QUICK_LIMIT)
    changes: dict[str, Any] = {}
    if type(limit) is int and limit >= 1:
        changes["limit"] = limit = min(limit, QUICK_LIMIT)
        val_size = data.values.get("val_size")
        if type(val_size) is int and val_size * 2 > limit:
            changes["val_fraction"] = DataConfig.model_fields["val_fraction"].default
    origins: dict[Path, Path] = {(key,): data.origin(()) for key in changes}
    layers = {**layers, "data": merge(data, Layer("data", changes, origins))}
    if type(epochs) is int and epochs > QUICK_EPOCHS:
        few = Layer("train", {"epochs": QUICK_EPOCHS}, {("epochs",): train.origin(("epochs",))})
        layers["train"] = merge(train, few)
        layers["model"] = _unfrozen_in_time(layers["model"])
    return layers


def _unfrozen_in_time(model: Layer) -> Layer:
    """What would be let go after the few epochs is let go in the last of them."""
    for path in [(), *((key,) for key, value in model.values.items() if isinstance(value, dict))]:
        table = model.values[path[0]] if path else model.values
        late = table.get("unfreeze_epoch")
        if type(late) is int and late > QUICK_EPOCHS:
            changes: dict[str, Any] = {"unfreeze_epoch": QUICK_EPOCHS}
            where = (*path, "unfreeze_epoch")
            changes = {path[0]: changes} if path else changes
            model = merge(model, Layer("model", changes, {where: model.origin(where)}))
    return model


def narrowed(recipe: Recipe, seeds: int | None, only: Sequence[str]) -> Recipe:
    """The recipe with this many seeds, and only these variants to train; the others stay in its plan."""
    names = [variant.name for variant in recipe.variants]
    mistakes = [
        Mistake(f"--only {name}", f"no such variant; expected {choices(names)}", None, nearest(name, names))
        for name in only
        if name not in names
    ]
    if seeds is not None and seeds < 1:
        mistakes.append(Mistake(f"--seeds {seeds}", "expected a whole number of at least 1"))
    if mistakes:
        raise RecipeError(mistakes)
    variants = recipe.variants
    if seeds is not None:
        for variant in variants:
            if _continued(variant.seeds, seeds)[-1] > LARGEST_SEED:
                message = f"{variant.name} counts on from seed {max(variant.seeds)}, beyond {LARGEST_SEED}"
                raise RecipeError([Mistake(f"--seeds {seeds}", message)])
        variants = [v.model_copy(update={"seeds": _continued(v.seeds, seeds)}) for v in variants]
    return recipe.model_copy(update={"variants": variants, "only": list(only), "num_seeds": seeds})


def _continued(seeds: list[int], count: int) -> list[int]:
    """The first `count` seeds, counting on from the largest where the list is too short."""
    missing = max(0, count - len(seeds))
    return [*seeds[:count], *range(max(seeds) + 1, max(seeds) + 1 + missing)]
