"""Every recipe of the repository: it parses, its models can be built, and all of them can be trained."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from cnnbench.matching import solve
from cnnbench.models import build_model
from cnnbench.plan import describe_plan
from cnnbench.recipe import DataConfig, Recipe, Variant, load_recipe
from cnnbench.runner import run_recipe

ROOT = Path(__file__).parents[1]
RECIPES = sorted(ROOT.glob("recipes/**/*.toml"))
each_recipe = pytest.mark.parametrize(
    "path", RECIPES, ids=[path.relative_to(ROOT / "recipes").as_posix() for path in RECIPES]
)


@lru_cache
def plan_of(path: Path) -> tuple[Recipe, dict[str, Any]]:
    recipe = solve(load_recipe(path), ROOT / "data")
    return recipe, describe_plan(recipe, ROOT / "data")


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"quickstart", "3_2_blocks"}


@each_recipe
def test_it_asks_a_question(path: Path) -> None:
    recipe, _ = plan_of(path)
    assert recipe.title
    assert recipe.question.endswith("?")
    assert recipe.directory == path.relative_to(ROOT / "recipes").with_suffix("").as_posix()
    assert len(recipe.variants) > 1
    assert recipe.analyses
    assert path.read_text(encoding="utf-8").startswith("# "), "a recipe begins with what it is for"


@each_recipe
def test_its_quick_form_is_a_reduced_one(path: Path) -> None:
    quick = load_recipe(path, quick=True)
    assert quick.directory.endswith("+quick")
    assert all(variant.train.epochs <= 2 and len(variant.seeds) == 1 for variant in quick.variants)
    assert all(variant.data.limit is not None for variant in quick.variants)


@each_recipe
def test_every_model_can_be_built(path: Path) -> None:
    recipe, plan = plan_of(path)
    assert [each["name"] for each in plan["variants"]] == [variant.name for variant in recipe.variants]
    for each in plan["variants"]:
        assert each["num_params"] > 0
        assert each["macs"] > 0
        assert sum(layer["num_params"] for layer in each["layers"]) == each["num_params"]


@each_recipe
def test_every_variant_can_be_trained(path: Path, tmp_path: Path) -> None:
    """The cheapest one for an epoch, through everything a run goes through; of the others a step."""
    import torch
    import torch.nn.functional as F

    recipe, plan = plan_of(path)
    by_cost = sorted(zip(recipe.variants, plan["variants"], strict=True), key=lambda pair: pair[1]["macs"])
    cheapest = on_generated_images(*by_cost[0])
    small = recipe.model_copy(update={"variants": [cheapest], "analyses": [], "checks": []})
    outcome = run_recipe(small, runs_dir=tmp_path, data_dir=tmp_path, device="cpu")
    assert outcome.failures == []
    assert outcome.comparison is not None
    (row,) = outcome.comparison.rows
    assert row.complete
    assert row.num_params == by_cost[0][1]["num_params"]
    for variant, each in by_cost[1:]:
        model = build_model(variant.model, tuple(each["in_shape"]), each["output_shape"][0], recipe.plugins)
        images = torch.randn(2, *each["in_shape"], generator=torch.Generator().manual_seed(0))
        logits = model(images)
        assert list(logits.shape) == [2, *each["output_shape"]]
        F.cross_entropy(logits, torch.tensor([0, 1])).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{variant.name}: {name} has no gradient"
            assert parameter.grad.isfinite().all(), f"{variant.name}: {name}"


def on_generated_images(variant: Variant, plan: dict[str, Any]) -> Variant:
    """The variant for one epoch, one seed, few generated images of the right shape, augmented as asked."""
    channels, height, width = plan["in_shape"]
    asked = variant.data
    data = DataConfig(
        name="synthetic", num_images=40, num_classes=plan["output_shape"][0], channels=channels,
        height=height, width=width, batch_size=16, val_fraction=None, val_size=10,
        augment=asked.augment, normalize=asked.normalize,
    )  # type: ignore[call-arg]  # fmt: skip
    train = variant.train.model_copy(update={"epochs": 1})
    return variant.model_copy(update={"data": data, "train": train, "seeds": [0]})
