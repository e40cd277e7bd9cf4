"""`encoder` as it is read: a network by name or another recipe's, how it is trained, and mistakes in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnbench import catalog
from cnnbench.recipe import Recipe, RecipeError, load_recipe, recipe_schema
from cnnbench.recipe.defaults import with_defaults
from cnnbench.recipe.encoders import architecture, encoder_options, tuning_of
from cnnbench.recipe.stages import load_stages, stage_files
from cnnbench.recipe.tuning import Tuning

CLASSIFIER = """
[data]
name = "digits"
[model]
name = "resnet"
widths = [4, 6]
blocks = [1, 1]
[[variants]]
name = "plain"
[[variants]]
name = "wide"
model.widths = [8, 12]
[[variants]]
name = "mlp"
model = {name = "mlp"}
"""
MASKS = """
[data]
name = "lunar_synthetic"
size = 16
[train]
epochs = 3
[[variants]]
name = "a"
model = {name = "unet", widths = [4, 6], encoder = ENCODER}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(encoder)` writes recipes/s/classifier and recipes/s/masks, and returns the latter's path."""

    def make(encoder: str = "", *, masks: str = MASKS, **others: str) -> Path:
        folder = tmp_path / "recipes/s"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {"classifier": CLASSIFIER, "masks": masks, **others}.items():
            (folder / f"{name}.toml").write_text(text.replace("ENCODER", encoder), encoding="utf-8")
        return folder / "masks.toml"

    return make


def load(path: Path, *overrides: str, quick: bool = False) -> Recipe:
    return load_recipe(path, overrides, quick=quick)


def encoder_of(path: Path, *overrides: str, quick: bool = False) -> dict[str, Any]:
    (variant,) = load(path, *overrides, quick=quick).variants
    table: dict[str, Any] = variant.model.options["encoder"]
    return table


def said(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        load_recipe(path, overrides)
    return str(error.value)


NOT_TUNED = {"freeze": False, "unfreeze_epoch": None, "lr_factor": 1.0}


def test_a_network_by_name_has_all_its_options(write: Write) -> None:
    table = encoder_of(write('{name = "resnet", widths = [4, 6], blocks = [1, 1], freeze = true}'))
    assert {key: table[key] for key in ("name", "widths", "blocks", "stem", "freeze")} == {
        "name": "resnet", "widths": [4, 6], "blocks": [1, 1], "stem": "3x3", "freeze": True
    }  # fmt: skip
    assert set(architecture(table).options) == {o.name for o in catalog.options("model", "resnet")}
    assert tuning_of(table) == Tuning(freeze=True)


def test_a_name_alone_is_enough(write: Write) -> None:
    assert encoder_of(write('"wide_resnet"')) == {
        "name": "wide_resnet", "depth": 16, "widen_factor": 4, "conv": "standard", "norm": "batch",
        "activation": "relu", "attention": "none", "dropout": 0.0, **NOT_TUNED,
    }  # fmt: skip


def test_a_network_of_timm(write: Write) -> None:
    assert encoder_of(write('{name = "timm/resnet18", pretrained = true, lr_factor = 0.1}')) == {
        "name": "timm/resnet18", "pretrained": True, "weights": None, **NOT_TUNED, "lr_factor": 0.1
    }  # fmt: skip


def test_one_that_another_recipe_has_trained(write: Write) -> None:
    path = write('{run = "s/classifier", variant = "wide", unfreeze_epoch = 2, lr_factor = 0.1}')
    (variant,) = load(path).variants
    assert variant.model.options["encoder"] == {
        "run": "s/classifier", "variant": "wide", "freeze": False, "unfreeze_epoch": 2, "lr_factor": 0.1
    }  # fmt: skip
    asked = variant.encoder_of
    assert asked is not None
    assert (asked.recipe, asked.file.stem, asked.option) == ("s/classifier", "classifier", "encoder")
    assert asked.variant == "wide"
    assert [model.options["widths"] for model in asked.models] == [[8, 12]]
    assert variant.best_of is None


def test_without_a_variant_it_is_the_winner_or_the_only_one(write: Write) -> None:
    cnns = CLASSIFIER.partition('[[variants]]\nname = "mlp"')[0]
    asked = load(write('{run = "s/classifier"}', classifier=cnns)).variants[0].encoder_of
    assert asked is not None
    assert asked.variant is None
    assert [model.options["widths"] for model in asked.models] == [[4, 6], [8, 12]]
    one = cnns.partition('[[variants]]\nname = "wide"')[0]
    asked = load(write('{run = "s/classifier"}', classifier=one)).variants[0].encoder_of
    assert asked is not None
    assert asked.variant == "plain"


def test_the_other_recipe_comes_first(write: Write) -> None:
    path = write('{run = "s/classifier", variant = "plain"}')
    assert [file.stem for file in stage_files(path)] == ["classifier"]
    assert [stage.name for stage in load_stages(load(path), load)] == ["s/classifier"]


SHARED = """
[data]
name = "lunar_synthetic"
[model]
name = "unet"
encoder = {run = "s/classifier", variant = "plain", freeze = true}
[[variants]]
name = "frozen"
[[variants]]
name = "wide"
model.encoder.variant = "wide"
[[variants]]
name = "tuned"
model.encoder = {freeze = false, lr_factor = 0.1}
[[variants]]
name = "scratch"
model.encoder = {name = "resnet", norm = "group"}
[[variants]]
name = "cnn"
model.encoder = "cnn"
"""


def test_variants_override_key_by_key_and_another_network_starts_afresh(write: Write) -> None:
    variants = load(write(masks=SHARED)).variants
    tables = {each.name: each.model.options["encoder"] for each in variants}
    of_run = {"run": "s/classifier", "variant": "plain", "freeze": True, "unfreeze_epoch": None}
    assert tables["frozen"] == {**of_run, "lr_factor": 1.0}
    assert tables["wide"] == {**of_run, "variant": "wide", "lr_factor": 1.0}
    assert tables["tuned"] == {**of_run, "freeze": False, "lr_factor": 0.1}
    assert (tables["scratch"]["name"], tables["scratch"]["norm"]) == ("resnet", "group")
    assert "run" not in tables["scratch"]
    assert not tables["scratch"]["freeze"]
    assert tables["cnn"]["name"] == "cnn"


def test_what_variants_share_need_not_be_complete(write: Write) -> None:
    text = MASKS.replace("[train]", '[model]\nname = "unet"\nencoder = {freeze = true}\n[train]')
    table = encoder_of(
        write(masks=text.replace('name = "unet", widths = [4, 6], encoder = ENCODER', 'encoder.name = "cnn"'))
    )
    assert (table["name"], table["freeze"]) == ("cnn", True)


def test_settings_of_the_command_line(write: Write) -> None:
    path = write('{run = "s/classifier", variant = "plain", freeze = true}')
    assert encoder_of(path, "model.encoder.variant=wide")["variant"] == "wide"
    assert encoder_of(path, "model.encoder=cnn")["name"] == "cnn"
    assert "--set model.encoder.run=s/clasifier: no recipe" in said(path, "model.encoder.run=s/clasifier")


def test_a_setting_for_all_is_for_those_that_have_an_encoder(write: Write) -> None:
    own = '[[variants]]\nname = "own"\nmodel = "unet"\n'
    path = write('{name = "cnn"}', masks=MASKS + own)
    a, b = load(path, "model.encoder.freeze=true").variants
    assert (a.model.options["encoder"]["freeze"], b.model.options["encoder"]) == (True, None)
    _, b = load(path, "variants.own.model.encoder.name=cnn").variants
    assert b.model.options["encoder"]["name"] == "cnn"
    assert 'unknown key "freeze" in variants.own.model.encoder.freeze' in said(
        path, "variants.own.model.encoder.freeze=true"
    )


def test_encoders_can_be_swept(write: Write) -> None:
    sweep = (
        '[data]\nname = "lunar_synthetic"\n[model]\nname = "unet"\n[sweep]\n'
        'model.encoder = ["cnn", {name = "resnet"}, {run = "s/classifier", variant = "wide"}]\n'
        'names = ["a", "b", "c"]\n'
    )
    variants = load(write(masks=sweep)).variants
    assert [each.name for each in variants] == ["a", "b", "c"]
    assert [each.encoder_of is not None for each in variants] == [False, False, True]


def test_the_quick_form_lets_go_in_its_last_epoch(write: Write) -> None:
    path = write('{name = "cnn", unfreeze_epoch = 3}')
    assert encoder_of(path)["unfreeze_epoch"] == 3
    assert encoder_of(path, quick=True)["unfreeze_epoch"] == 2


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        pytest.param("3", ["expected a table such as {run = ", "found 3", "^"], id="type"),
        pytest.param("{freeze = true}", ["an encoder needs a run or a name, such as"], id="nothing"),
        pytest.param('{name = "resnett"}', ['unknown model "resnett"', "did you mean 'resnet'?"], id="name"),
        pytest.param("{name = 3}", ["expected the name of a model, found 3"], id="no name"),
        pytest.param(
            '{name = "mlp"}',
            ["mlp has no stages, so it cannot be an encoder", "one of cnn, resnet, wide_resnet, timm/NAME"],
            id="no stages",
        ),
        pytest.param('"unet"', ["unet has no stages, so it cannot be an encoder"], id="itself"),
        pytest.param(
            '{name = "torchvision/resnet18"}',
            ["torchvision/resnet18 has no stages by name, so it cannot be an encoder: take timm/resnet18"],
            id="torchvision",
        ),
        pytest.param(
            '{name = "torchvision/alexnet"}',
            ["torchvision/alexnet has no stages, so it cannot be an encoder", "one of cnn, resnet"],
            id="torchvision alone",
        ),
        pytest.param(
            '{name = "timm/resnet81"}',
            ['unknown model "timm/resnet81"', "did you mean 'timm/resnet"],
            id="timm",
        ),
        pytest.param(
            '{name = "timm/resnet18", pretraind = true}',
            ['unknown option "pretraind" of the encoder timm/resnet18', "did you mean 'pretrained'?"],
            id="option of timm's",
        ),
        pytest.param(
            '{name = "timm/resnet18", pretrained = true, weights = "a.pth"}',
            ["pretrained = true and weights exclude each other"],
            id="both weights",
        ),
        pytest.param(
            '{name = "resnet", freez = true}',
            ['unknown option "freez" of the encoder resnet', "did you mean 'freeze'?"],
            id="option",
        ),
        pytest.param(
            '{name = "resnet", widths = ["4"]}',
            ['expected a whole number of at least 1, found "4"'],
            id="value",
        ),
        pytest.param(
            '{name = "resnet", freeze = "yes"}', ['expected true or false, found "yes"'], id="value of tuning"
        ),
        pytest.param(
            '{name = "resnet", lr_factor = 0}', ["expected a number greater than 0, found 0"], id="factor"
        ),
        pytest.param(
            '{name = "resnet", unfreeze_epoch = 0}', ["expected a whole number of at least 1"], id="epoch"
        ),
        pytest.param(
            '{name = "resnet", freeze = true, unfreeze_epoch = 2}',
            ["freeze = true holds for every epoch: leave it out, or unfreeze_epoch"],
            id="never and late",
        ),
        pytest.param(
            '{run = "s/classifier", variant = "wide", freeze = true, lr_factor = 0.1}',
            ["with freeze = true nothing is learned at any rate"],
            id="never and slowly",
        ),
        pytest.param(
            '{run = "s/classifier", variant = "wide", unfreeze_epoch = 4}',
            ["of 3 epochs none is epoch 4, so nothing would be unfrozen"],
            id="too late",
        ),
        pytest.param(
            '{run = "s/clasifier"}', ['no recipe "s/clasifier" in ', "did you mean 's/classifier'?"], id="run"
        ),
        pytest.param('{run = "s/masks"}', ["in a circle: masks → masks"], id="circle"),
        pytest.param("{run = 3}", ["expected text in quotes, found 3"], id="no run"),
        pytest.param(
            '{run = "s/classifier", variant = "wde"}',
            ['unknown variant "wde" of s/classifier', "did you mean 'wide'?"],
            id="variant",
        ),
        pytest.param(
            '{run = "s/classifier"}',
            ["no encoder comes from s/classifier: mlp has no stages"],
            id="may be no encoder",
        ),
        pytest.param(
            '{run = "s/classifier", variant = "wide", name = "resnet"}',
            ["name and run exclude each other"],
            id="run and name",
        ),
        pytest.param(
            '{run = "s/classifier", variant = "wide", widths = [4]}',
            ['unknown key "widths" in an encoder with run'],
            id="options of the run's",
        ),
        pytest.param(
            '{name = "cnn", variant = "wide"}', ['unknown option "variant" of the'], id="no variant"
        ),
    ],
)  # fmt: skip
def test_mistakes(write: Write, encoder: str, expected: list[str]) -> None:
    message = said(write(encoder))
    for text in expected:
        assert text in message
    assert "masks.toml:9:" in message
    assert message.count("^") >= 1


def test_each_mistake_is_told_once_and_where_it_stands(write: Write) -> None:
    message = said(write('{name = "resnet", freez = true, blocks = "one"}'))
    assert message.count("masks.toml:9:") == 2
    line = (
        'model = {name = "unet", widths = [4, 6], encoder = {name = "resnet", freez = true, blocks = "one"}}'
    )
    assert f"masks.toml:9:{line.index('freez') + 1}: unknown option" in message


def test_a_winner_does_not_get_an_encoder_from_a_run(write: Write) -> None:
    text = MASKS.replace('name = "unet", widths = [4, 6]', 'best_of = "s/other"')
    message = said(
        write('{run = "s/classifier", variant = "wide"}', masks=text, other=MASKS.replace("ENCODER", '"cnn"'))
    )
    assert "best_of and an encoder from a run do not go together" in message


def test_a_model_of_the_users_own(write: Write) -> None:
    plugin = """
from torch import nn
from cnnbench.options import Encoder
class Mine(nn.Module):
    def __init__(self, in_shape, num_classes, *, width: int = 4):
        super().__init__()
        self.stages = nn.Sequential()
class Masks(nn.Module):
    def __init__(self, in_shape, num_classes, *, backbone: Encoder | None = None): ...
MODELS = {"mine": Mine, "masks": Masks}
"""
    text = 'plugins = ["mine.py"]\n' + MASKS.replace(
        "encoder = ENCODER", 'encoder = {name = "mine", width = 8}'
    )
    path = write(masks=text)
    (path.parent / "mine.py").write_text(plugin)
    table = encoder_of(path)
    assert (table["name"], table["width"]) == ("mine", 8)
    text = text.replace("unet", "masks").replace("widths = [4, 6], encoder = ", "backbone = ")
    (variant,) = load(write(masks=text)).variants
    assert variant.model.options["backbone"] == {**table, "width": 8}


def test_only_models_with_stages_can_be_encoders() -> None:
    found = {name for name in catalog.names("model") if catalog.has_stages(name)}
    assert found == {"cnn", "resnet", "wide_resnet"}
    assert encoder_options(catalog.MODELS["unet"]) == ["encoder"]
    assert not any(encoder_options(catalog.MODELS[name]) for name in catalog.MODELS if name != "unet")


def test_old_settings_get_the_options_that_have_come_since(write: Write) -> None:
    for encoder in (
        '{name = "resnet"}',
        '{name = "timm/resnet18"}',
        '{run = "s/classifier", variant = "wide"}',
    ):
        (config,) = load(write(encoder)).run_configs()
        settings = config.model_dump(mode="json")
        older = config.model_dump(mode="json")
        for key in ("stem", "weights", "lr_factor"):
            older["model"]["encoder"].pop(key, None)
        assert with_defaults(older) == settings == with_defaults(settings)
    (config,) = load(write('"cnn"', masks=MASKS.replace(", encoder = ENCODER", ""))).run_configs()
    older = config.model_dump(mode="json")
    assert older["model"].pop("encoder") is None
    assert with_defaults(older)["model"]["encoder"] is None


@pytest.mark.parametrize(
    ("encoder", "is_valid"),
    [
        ("resnet", True),
        ({"name": "resnet", "widths": [4, 6], "freeze": True}, True),
        ({"name": "timm/resnet18", "pretrained": True, "lr_factor": 0.1}, True),
        ({"run": "a/b", "variant": "c", "unfreeze_epoch": 2}, True),
        ({"freeze": True}, True),  # of a variant: the name stands in the recipe's own section
        ("mlp", False),
        ({"name": "resnet", "widht": [4]}, False),
        ({"name": "timm/resnet18", "widths": [4]}, False),
        ({"run": "a/b", "widths": [4]}, False),
        ({"run": "a/b", "lr_factor": 0}, False),
        (3, False),
    ],
    ids=str,
)
def test_editors_are_told_the_same(encoder: object, is_valid: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(recipe_schema())
    model = {"name": "unet", "encoder": encoder}
    recipe = {"data": "lunar_synthetic", "variants": [{"name": "a", "model": model}]}
    assert validator.is_valid(recipe) == is_valid


@pytest.mark.parametrize("option", ["freeze = true", "unfreeze_epoch = 2"])
def test_a_frozen_encoder_of_timm_needs_weights(write: Write, option: str) -> None:
    message = said(write(f'{{name = "timm/resnet18", {option}}}'))
    assert "these would be random: set pretrained = true" in message
    assert encoder_of(write(f'{{name = "timm/resnet18", pretrained = true, {option}}}'))["pretrained"]
