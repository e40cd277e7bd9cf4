"""Every recipe of the repository: it parses, its models can be built, and all of them can be trained."""

import csv
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cnnbench.comparison import compare, formats
from cnnbench.comparison.sentences import conclusions
from cnnbench.matching import solve
from cnnbench.models import build_model
from cnnbench.models.summary import check_limits, summarize_config
from cnnbench.plan import describe_plan
from cnnbench.recipe import DataConfig, Named, Recipe, Variant, load_recipe
from cnnbench.recipe.encoders import architecture
from cnnbench.running import run_recipe, stages_of

ROOT = Path(__file__).parents[1]
RECIPES = sorted(ROOT.glob("recipes/**/*.toml"))
each_recipe = pytest.mark.parametrize(
    "path", RECIPES, ids=[path.relative_to(ROOT / "recipes").as_posix() for path in RECIPES]
)


@lru_cache
def plan_of(path: Path) -> tuple[Recipe, dict[str, Any]]:
    recipe = solve(assuming(load_recipe(path), 0), ROOT / "data")
    return recipe, describe_plan(recipe, ROOT / "data")


def assuming(recipe: Recipe, index: int) -> Recipe:
    """The recipe with one of the models that may win in other recipes, which only their runs can tell."""
    return recipe.model_copy(update={"variants": [assumed(each, index) for each in recipe.variants]})


def assumed(variant: Variant, index: int) -> Variant:
    if variant.best_of is not None:
        return variant.model_copy(update={"model": variant.best_of.models[index], "best_of": None})
    if (asked := variant.encoder_of) is not None:
        encoder = {**variant.model.options[asked.option], **asked.models[index].model_dump()}
        del encoder["run"], encoder["variant"]  # the weights, for which there is no run here
        model = Named(name=variant.model.name, **{**variant.model.options, asked.option: encoder})
        return variant.model_copy(update={"model": model, "encoder_of": None})
    return variant


def test_there_are_recipes() -> None:
    """One for each section of each series, as the README's table says which."""
    sections = {path.relative_to(ROOT / "recipes").with_suffix("").as_posix() for path in RECIPES}
    assert sections >= {
        "quickstart",
        "1_1_mnist", "1_2_cifar10", "2_1_kernel_size", "2_2_depth", "3_1_custom_layers", "3_2_blocks",
        "tiny_imagenet/2_baseline", "tiny_imagenet/3_1_channels", "tiny_imagenet/3_2_num_blocks",
        "tiny_imagenet/3_3_activations", "tiny_imagenet/4_final",
        "fashion_mnist/1_mlp_vs_cnn", "fashion_mnist/2_cifar10_transfer_of_design",
        "lunar/1_classifier", "lunar/2_unet", "lunar/3_backbone",
        "weights/1_variance", "weights/2_gradients", "zero_shot/1_pretrained", "zero_shot/2_transfer",
    }  # fmt: skip


STUB = """#!/bin/sh
# stands for cnnbench: a recipe called "absent" cannot be run, the others leave their mark
echo "$@" >> calls
test "$1" = recipe || exit 0
case "$2" in *absent*) exit 2;; esac
name=${2#recipes/}; mkdir -p "runs/${name%.toml}"; touch "runs/${name%.toml}/complete"
"""


def test_make_all_runs_what_can_be_run_and_compares_it(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    for name in ("absent", "good"):
        (tmp_path / f"recipes/{name}.toml").touch()
    (tmp_path / "recipes/built.toml").write_text('model = {best_of = "good"}\n', encoding="utf-8")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    binaries = tmp_path / ".venv/bin"
    binaries.mkdir(parents=True)
    (binaries / "cnnbench").write_text(STUB, encoding="utf-8")
    (binaries / "cnnbench").chmod(0o755)
    (tmp_path / ".venv/.installed").touch()
    make_all = ["make", "all", "ARGS="]  # not those of `make test ARGS=...` around it
    done = subprocess.run(make_all, cwd=tmp_path, capture_output=True, text=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.removesuffix(" --runs runs") for call in calls] == [
        "recipe recipes/absent.toml", "recipe recipes/good.toml", "recipe recipes/built.toml",
        "compare runs/built runs/good",
    ]  # fmt: skip
    assert "no whole answer: runs/absent\n" in done.stdout
    assert done.returncode != 0
    (tmp_path / "recipes/absent.toml").unlink()
    (tmp_path / "calls").unlink()
    done = subprocess.run(make_all, cwd=tmp_path, capture_output=True, text=True)
    assert (tmp_path / "calls").read_text() == "compare runs/built runs/good\n"  # nothing is run again
    assert done.returncode == 0


SEARCH = """
judged_on = "{judged_on}"
analyses = ["overfitting", "accuracy_vs_cost"]
data = {{name = "digits", limit = 300, batch_size = 50}}
train = {{epochs = 1, seeds = [0, 1]}}
[[variants]]
name = "small"
model = {{name = "mlp", widths = [4]}}
[[variants]]
name = "large"
model = {{name = "mlp", widths = [64]}}
[[claims]]
text = "The larger one is slower."
better = ["small"]
than = ["large"]
metric = "train_seconds"
[[claims]]
text = "Nobody measures this of classes."
better = ["small"]
than = ["large"]
metric = "val_iou"
"""


@pytest.mark.parametrize(
    ("judged_on", "metric"), [("val", "val_accuracy"), ("val_then_test", "val_accuracy")]
)
def test_a_search_from_recipe_to_comparison(tmp_path: Path, judged_on: str, metric: str) -> None:
    path = tmp_path / "search.toml"
    path.write_text(SEARCH.format(judged_on=judged_on))
    outcome = run_recipe(load_recipe(path), runs_dir=tmp_path / "runs", device="cpu")
    assert outcome.comparison is not None
    assert outcome.comparison.metric.name == metric
    again = compare([outcome.directory])
    assert (again.metric.name, again.judged_on) == (metric, judged_on)
    assert conclusions(again) == conclusions(outcome.comparison)
    assert len(outcome.picked) == 1
    row = formats.to_rows(again)[0]
    assert (row["test_accuracy"]["mean"] is None) is (judged_on == "val")
    asked = compare([outcome.directory], metric="test_accuracy")  # who asks for it is told
    assert formats.to_rows(asked)[0]["test_accuracy"]["mean"] is not None
    slower, of_masks = outcome.claims
    assert "s of training time" in slower.evidence[0] or "do not compare" in slower.evidence[0]
    assert of_masks.verdict == "not tested"
    if judged_on == "val":
        assert "test accuracy" not in (outcome.directory / "report.md").read_text()
        with (outcome.directory / "tables/results.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["test_accuracy_mean"] for row in rows} == {""}
        assert all(float(row["val_accuracy_mean"]) > 0 for row in rows)


@pytest.mark.parametrize("name", ["1_variance", "2_gradients"])
def test_the_checks_of_the_weights_series_hold(name: str, tmp_path: Path) -> None:
    """They are about untrained networks on generated images: nothing has to be there for them."""
    recipe = load_recipe(ROOT / f"recipes/weights/{name}.toml", seeds=1)
    recipe = recipe.model_copy(update={"analyses": []})
    outcome = run_recipe(recipe, runs_dir=tmp_path, device="cpu")
    assert len(outcome.checks) > 3
    assert [check.text for check in outcome.checks if not check.holds] == []
    report = (tmp_path / f"weights/{name}/report.md").read_text()
    assert "Nothing was trained: these networks guess" in report
    assert "Highest test accuracy" not in report
    assert "★" not in report


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


def linear(*features: int) -> int:
    """Weights and biases of fully connected layers in a row."""
    return sum(inputs * outputs + outputs for inputs, outputs in pairwise(features))


def conv(*channels: int, size: int = 3) -> int:
    """Weights and biases of convolutions in a row."""
    return sum(inputs * outputs * size**2 + outputs for inputs, outputs in pairwise(channels))


def resnet_20(in_channels: int) -> int:
    """19 convolutions without biases, their norms, a 1x1 shortcut with norm into stages 2 and 3, the head."""
    channels = [in_channels, *[16] * 7, *[32] * 6, *[64] * 6]
    weights = sum(9 * inputs * outputs + 2 * outputs for inputs, outputs in pairwise(channels))
    return weights + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64) + linear(64, 10)


@pytest.mark.parametrize(
    ("recipe", "variant", "num_params"),
    [
        # the sums of the first two are known from the homework: 203,530 and 535,818
        ("1_mlp_vs_cnn", "simple-mlp", linear(784, 256, 10)),
        ("1_mlp_vs_cnn", "medium-mlp", linear(784, 512, 256, 10)),
        ("1_mlp_vs_cnn", "deep-mlp", linear(784, 1024, 512, 256, 128, 10)),
        ("1_mlp_vs_cnn", "basic-cnn", conv(1, 16, 32) + linear(32 * 7 * 7, 128, 10)),
        ("1_mlp_vs_cnn", "complex-cnn", conv(1, 32, 32, 64, 64) + linear(64 * 7 * 7, 256, 10)),
        ("1_mlp_vs_cnn", "residual-cnn", resnet_20(1)),
        ("2_cifar10_transfer_of_design", "mlp+cifar10", linear(3 * 32 * 32, 512, 256, 10)),
        ("2_cifar10_transfer_of_design", "cnn+cifar10", conv(3, 16, 32) + linear(32 * 8 * 8, 128, 10)),
        ("5_num_params", "widths-64", linear(784, 64, 10)),
        ("7_depth", "depth-16+relu", linear(784, *[128] * 16, 10)),
        # batch normalization: a scale and a shift take the place of each bias
        ("9_two_3x3_vs_5x5", "two-3x3", conv(1, 16, 16, 32, 32) + 16 + 16 + 32 + 32 + linear(32, 10)),
        ("9_two_3x3_vs_5x5", "one-5x5", conv(1, 16, 32, size=5) + 16 + 32 + linear(32, 10)),
        ("10_kernel_size", "kernel_size-7", conv(1, 16, 32, size=7) + linear(32 * 7 * 7, 128, 10)),
    ],
)
def test_parameters_counted_by_hand(recipe: str, variant: str, num_params: int) -> None:
    _, plan = plan_of(ROOT / f"recipes/fashion_mnist/{recipe}.toml")
    counted = {each["name"]: each["num_params"] for each in plan["variants"]}
    assert counted[variant] == num_params


def test_sizes_that_the_homework_states() -> None:
    assert (linear(784, 256, 10), linear(784, 512, 256, 10)) == (203_530, 535_818)


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("recipes/tiny_imagenet/*.toml")), ids=lambda path: path.stem
)
def test_whatever_wins_keeps_within_the_limits(path: Path) -> None:
    """The largest networks of a chain have three blocks in each stage: 4.4 million parameters."""
    recipe = load_recipe(path)
    for variant in recipe.variants:
        assert (variant.limits.max_params, variant.limits.max_channels) == (5_000_000, 512)
        for model in variant.best_of.models if variant.best_of else [variant.model]:
            if model.options["activation"] == "relu":  # the others have as many parameters
                check_limits(summarize_config(model, (3, 64, 64), 10), variant.limits)


@pytest.mark.parametrize("name", ["tiny_imagenet/4_final", "lunar/3_backbone"])
def test_make_runs_recipes_after_those_they_are_built_on(name: str, tmp_path: Path) -> None:
    target = tmp_path / f"runs/{name}+quick/complete"
    command = ["make", "--dry-run", str(target), f"RUNS={tmp_path}/runs", "QUICK=1", f"VENV={sys.prefix}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    order = re.findall(r"recipe recipes/(\S+)\.toml", done.stdout)
    stages = stages_of(load_recipe(ROOT / f"recipes/{name}.toml"))
    assert stages
    assert order == [stage.name for stage in stages] + [name]


def test_the_backbone_from_scratch_is_the_network_that_is_pretrained() -> None:
    """Whichever classifier wins, what the two are compared with differs from it in its weights alone."""
    variants = {each.name: each for each in load_recipe(ROOT / "recipes/lunar/3_backbone.toml").variants}
    scratch = architecture(variants["backbone-from-scratch"].model.options["encoder"])
    for name in ("backbone-frozen", "backbone-fine-tuned"):
        asked = variants[name].encoder_of
        assert asked is not None
        assert asked.models == [scratch]
    _, plan = plan_of(ROOT / "recipes/lunar/3_backbone.toml")
    assert [each["num_params"] for each in plan["variants"]] == [2_458_063] + 3 * [2_517_175]
    _, plan = plan_of(ROOT / "recipes/lunar/1_classifier.toml")
    assert [each["num_params"] for each in plan["variants"]] == [1_554_796] * 2


@each_recipe
def test_every_variant_can_be_trained(path: Path, tmp_path: Path) -> None:
    """The cheapest one for an epoch, through everything a run goes through; of the others a step.

    A recipe that trains nothing, having weights already, is tried by steps alone.
    """
    import torch
    import torch.nn.functional as F

    recipe, plan = plan_of(path)
    by_cost = sorted(zip(recipe.variants, plan["variants"], strict=True), key=lambda pair: pair[1]["macs"])
    if all(variant.train.epochs > 0 for variant in recipe.variants):
        train_one(recipe, *by_cost.pop(0), tmp_path)
    for variant, each in by_cost:
        model = build_model(variant.model, tuple(each["in_shape"]), each["output_shape"][0], recipe.plugins)
        images = torch.randn(2, *each["in_shape"], generator=torch.Generator().manual_seed(0))
        logits = model(images)
        assert list(logits.shape) == [2, *each["output_shape"]]
        (
            logits.square().mean() if logits.dim() == 4 else F.cross_entropy(logits, torch.tensor([0, 1]))
        ).backward()
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            assert parameter.grad is not None, f"{variant.name}: {name} has no gradient"
            assert parameter.grad.isfinite().all(), f"{variant.name}: {name}"


def train_one(recipe: Recipe, variant: Variant, plan: dict[str, Any], folder: Path) -> None:
    small = recipe.model_copy(
        update={"variants": [on_generated_images(variant, plan)], "analyses": [], "checks": []}
    )
    outcome = run_recipe(small, runs_dir=folder, data_dir=folder, device="cpu")
    assert outcome.failures == []
    assert outcome.comparison is not None
    (row,) = outcome.comparison.rows
    assert row.complete
    assert row.num_params == plan["num_params"]


def on_generated_images(variant: Variant, plan: dict[str, Any]) -> Variant:
    """The variant for one epoch, one seed, few generated images of the right shape, augmented as asked."""
    channels, height, width = plan["in_shape"]
    asked = variant.data
    train = variant.train.model_copy(update={"epochs": 1})
    if len(plan["output_shape"]) == 3:  # masks
        data = DataConfig(
            name="lunar_synthetic", num_images=20, size=height, batch_size=10, val_fraction=None, val_size=10,
            augment=asked.augment, normalize=asked.normalize,
        )  # type: ignore[call-arg]  # fmt: skip
        return variant.model_copy(update={"data": data, "train": train, "seeds": [0]})
    data = DataConfig(
        name="synthetic", num_images=40, num_classes=plan["output_shape"][0], channels=channels,
        height=height, width=width, batch_size=16, val_fraction=None, val_size=10,
        augment=asked.augment, normalize=asked.normalize,
    )  # type: ignore[call-arg]  # fmt: skip
    return variant.model_copy(update={"data": data, "train": train, "seeds": [0]})
