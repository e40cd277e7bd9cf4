"""The recipe language: what it merges, what it overrides, and how it speaks of mistakes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnbench.recipe import RecipeError, RunConfig, load_recipe, recipe_schema
from cnnbench.recipe.config import DataConfig
from cnnbench.recipe.merging import OF_ANY_DATA
from cnnbench.recipe.overrides import directory_suffix, parse_overrides

GOOD = """\
title = "Blocks"
question = "Which one?"

[data]
name = "synthetic"
batch_size = 64

[train]
epochs = 8
lr = 0.1
seeds = [3, 4]
optimizer = {name = "sgd", momentum = 0.8}

[[variants]]
name = "basic"
model = {name = "resnet", block = "basic", widths = [8, 16], blocks = [1, 1]}

[[variants]]
name = "mlp"
model = "mlp"
train.epochs = 4
train.optimizer.nesterov = false
"""
ONE_VARIANT = '[[variants]]\nname = "a"\nmodel = "mlp"\n'
DATA = '[data]\nname = "synthetic"\n'

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "r.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def messages(path: Path | str, *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, *args, **kwargs)
    return [str(mistake) for mistake in caught.value.mistakes]


# --- what a recipe becomes


def test_good_recipe(write: Write) -> None:
    recipe = load_recipe(write(GOOD))
    basic, mlp = recipe.variants
    assert (recipe.name, recipe.directory, recipe.title) == ("r", "r", "Blocks")
    assert [analysis.name for analysis in recipe.analyses] == [
        "learning_curves",
        "accuracy_vs_cost",
        "confusion_matrix",
        "stability",
    ]
    assert (basic.train.epochs, mlp.train.epochs) == (8, 4)
    assert basic.train.lr == mlp.train.lr == 0.1
    assert mlp.train.optimizer.options == {"momentum": 0.8, "nesterov": False}
    assert basic.train.optimizer.options == {"momentum": 0.8, "nesterov": True}
    assert basic.model.name == "resnet"
    assert basic.model.options["widths"] == [8, 16]
    assert basic.model.options["stem"] == "3x3"  # a default, filled in
    assert basic.data.batch_size == 64
    assert recipe.text == GOOD


def test_runs_are_variant_major_and_survive_json(write: Write) -> None:
    runs = load_recipe(write(GOOD)).run_configs()
    assert [(run.variant, run.seed) for run in runs] == [("basic", 3), ("basic", 4), ("mlp", 3), ("mlp", 4)]
    for run in runs:
        assert RunConfig.model_validate_json(run.model_dump_json()) == run
        assert RunConfig.model_validate(run.model_dump(mode="json")) == run


@pytest.mark.parametrize(
    ("shared", "own", "options"),
    [
        pytest.param(
            '{name = "cnn", dropout = 0.5}',
            "{widths = [4]}",
            {"dropout": 0.5, "widths": [4]},
            id="key by key",
        ),
        pytest.param(
            '{name = "cnn", dropout = 0.5}', '{name = "cnn", widths = [4]}', {"dropout": 0.5}, id="same name"
        ),
        pytest.param(
            '{name = "cnn", dropout = 0.5}', '"mlp"', {"dropout": 0.0}, id="another name starts afresh"
        ),
        pytest.param("{dropout = 0.5}", '"mlp"', {"dropout": 0.5}, id="shared options without a name"),
    ],
)
def test_variant_overrides_the_model(write: Write, shared: str, own: str, options: dict[str, Any]) -> None:
    text = f'model = {shared}\n{DATA}[[variants]]\nname = "a"\nmodel = {own}\n'
    resolved = load_recipe(write(text)).variants[0].model.options
    assert {key: resolved[key] for key in options} == options


@pytest.mark.parametrize(
    ("shared", "own", "name", "lr"),
    [
        pytest.param(
            'optimizer = {name = "sgd", momentum = 0.5}', 'optimizer = "adam"', "adam", 0.2, id="optimizer"
        ),
        pytest.param(
            'optimizer = "sgd"', "optimizer.momentum = 0.5", "sgd", 0.2, id="option of a short form"
        ),
        pytest.param("", "optimizer.beta1 = 0.5", "adam", 0.2, id="option of the default"),
        pytest.param(
            "optimizer.beta1 = 0.5", 'optimizer.name = "sgd"', "sgd", 0.2, id="default's options dropped"
        ),
    ],
)
def test_variant_overrides_the_optimizer(write: Write, shared: str, own: str, name: str, lr: float) -> None:
    text = f"{DATA}[train]\nlr = 0.2\n{shared}\n{ONE_VARIANT}train.{own}\n" if own else ""
    train = load_recipe(write(text)).variants[0].train
    assert (train.optimizer.name, train.lr) == (name, lr)


def test_another_data_set_keeps_what_any_can_have(write: Write) -> None:
    """What is counted in pixels or images, or made for what the images show, goes with the data set."""
    of_the_data = {"name", "classes", "image_size", "val_size", "augment"}
    assert DataConfig.model_fields.keys() - of_the_data == OF_ANY_DATA
    shared = (
        'data = {name = "lunar", size = 64, batch_size = 7, val_size = 20, limit = 90, image_size = 48, '
        'augment = ["HorizontalFlip"]}\n'
    )
    for variant, overrides in (('data.name = "lunar_synthetic"\n', []), ("", ["data.name=lunar_synthetic"])):
        path = write(f"{shared}{ONE_VARIANT}{variant}")
        data = load_recipe(path, overrides).variants[0].data
        assert data.options["size"] == 128
        assert (data.batch_size, data.limit, data.val_size, data.val_fraction) == (7, 90, None, 0.1)
        assert (data.image_size, data.augment) == (None, [])
    data = (
        load_recipe(path, ["data.name=digits", "data.val_fraction=0.2", "data.batch_size=8"]).variants[0].data
    )
    assert (data.batch_size, data.val_size, data.val_fraction, data.classes) == (8, None, 0.2, None)


def test_a_mistake_in_what_another_data_set_keeps_is_shown_where_it_stands(write: Write) -> None:
    path = write(f'{DATA}batch_size = 0\n{ONE_VARIANT}data.name = "digits"\n')
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert f"{path}:3:14" in str(error.value)


def test_another_data_set_leaves_the_options_of_the_first(write: Write) -> None:
    text = f'{DATA}batch_size = 7\nclasses = ["pattern 0", "pattern 1"]\nnoise = 0.1\n'
    data = load_recipe(write(f'{text}{ONE_VARIANT}data.name = "digits"\n')).variants[0].data
    assert (data.name, data.batch_size, data.classes, data.options) == ("digits", 7, None, {})


@pytest.mark.parametrize(
    ("shared", "own", "split"),
    [
        pytest.param("", "", (0.1, None), id="default"),
        pytest.param("val_size = 50", "", (None, 50), id="size"),
        pytest.param("val_size = 50", "data.val_fraction = 0.2", (0.2, None), id="fraction over size"),
        pytest.param("val_fraction = 0.2", "data.val_size = 50", (None, 50), id="size over fraction"),
    ],
)
def test_one_way_to_cut_validation(write: Write, shared: str, own: str, split: tuple[Any, Any]) -> None:
    data = load_recipe(write(f"{DATA}{shared}\n{ONE_VARIANT}{own}\n")).variants[0].data
    assert (data.val_fraction, data.val_size) == split


def test_limits_and_seeds_of_a_variant(write: Write) -> None:
    text = f"limits = {{max_params = 5}}\n{DATA}{ONE_VARIANT}limits.max_macs = 6\ntrain.seeds = [9]\n"
    variant = load_recipe(write(text)).variants[0]
    assert (variant.limits.max_params, variant.limits.max_macs, variant.seeds) == (5, 6, [9])


def test_augmentations_ours_and_albumentations(write: Write) -> None:
    text = f'{DATA}augment = ["HorizontalFlip", {{name = "Affine", scale = [0.9, 1.1]}}]\n{ONE_VARIANT}'
    ours, theirs = load_recipe(write(text)).variants[0].data.augment
    assert ours.options == {"p": 0.5}
    assert theirs.options == {"scale": [0.9, 1.1]}  # their defaults stay theirs


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()], ids=["BOM", "CRLF"]
)
def test_byte_order_mark_and_crlf_are_fine(write: Write, content: bytes) -> None:
    assert [variant.name for variant in load_recipe(write(content)).variants] == ["basic", "mlp"]


@pytest.mark.parametrize(
    ("file", "name"),
    [("recipes/3_2.toml", "3_2"), ("recipes/lunar/1_unet.toml", "lunar/1_unet"), ("elsewhere/x.toml", "x")],
    ids=["top", "series", "outside"],
)
def test_name_mirrors_recipes(write: Write, file: str, name: str) -> None:
    recipe = load_recipe(write(GOOD, file))
    assert recipe.name == recipe.directory == name


# --- less of it


def test_quick(write: Write) -> None:
    recipe = load_recipe(write(GOOD), quick=True)
    assert recipe.directory == "r+quick"
    assert [(v.train.epochs, v.data.limit, v.seeds) for v in recipe.variants] == [(2, 2000, [3])] * 2


def test_quick_never_raises_and_yields_to_set(write: Write) -> None:
    text = GOOD.replace("epochs = 8", "epochs = 0").replace("batch_size = 64", "limit = 10\nval_size = 9")
    basic, mlp = load_recipe(write(text), ["variants.mlp.train.epochs=5"], quick=True).variants
    assert (basic.train.epochs, basic.data.limit, mlp.train.epochs) == (0, 10, 5)
    assert (basic.data.val_size, basic.data.val_fraction) == (
        None,
        0.1,
    )  # 9 of 10 would leave nothing to train on


@pytest.mark.parametrize(("count", "seeds"), [(1, [3]), (2, [3, 4]), (4, [3, 4, 5, 6])])
def test_seeds(write: Write, count: int, seeds: list[int]) -> None:
    recipe = load_recipe(write(GOOD), seeds=count)
    assert recipe.variants[0].seeds == seeds
    assert recipe.directory == "r"


def test_only(write: Write) -> None:
    recipe = load_recipe(write(GOOD), only=["mlp"])
    assert [config.variant for config in recipe.run_configs()] == ["mlp"] * len(recipe.run_configs())
    assert [variant.name for variant in recipe.variants] == ["basic", "mlp"]  # both stay in the plan
    assert recipe.directory == "r"


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [({"only": ["mpl"]}, "did you mean 'mlp'?"), ({"seeds": 0}, "at least 1")],
    ids=["only", "seeds"],
)
def test_wrong_narrowing(write: Write, kwargs: dict[str, Any], said: str) -> None:
    (message,) = messages(write(GOOD), **kwargs)
    assert said in message


# --- --set


@pytest.mark.parametrize(
    ("override", "found", "values"),
    [
        pytest.param("train.epochs=1", lambda v: v.train.epochs, [1, 1], id="wins over a variant's own"),
        pytest.param(
            "train.lr = 1", lambda v: v.train.lr, [1.0, 1.0], id="blanks, whole number for a number"
        ),
        pytest.param("data.augment=[]", lambda v: v.data.augment, [[], []], id="empty list"),
        pytest.param("train.optimizer=adam", lambda v: v.train.optimizer.name, ["adam"] * 2, id="bare text"),
        pytest.param(
            "train.optimizer.momentum=0.1",
            lambda v: v.train.optimizer.options["momentum"],
            [0.1] * 2,
            id="in a sub-table",
        ),
        pytest.param("variants.mlp.train.epochs=1", lambda v: v.train.epochs, [8, 1], id="one variant"),
        pytest.param(
            "model.blocks=[2, 2]", lambda v: v.model.options.get("blocks"), [[2, 2], None], id="where it fits"
        ),
        pytest.param("train.seeds=[7]", lambda v: v.seeds, [[7], [7]], id="seeds"),
        pytest.param("model=mlp", lambda v: v.model.name, ["mlp", "mlp"], id="whole section"),
        pytest.param(
            "data.val_size=50", lambda v: v.data.val_fraction, [None, None], id="other way to split"
        ),
        pytest.param("limits.max_params=9", lambda v: v.limits.max_params, [9, 9], id="limits"),
        pytest.param(
            "train.early_stopping.patience=3",
            lambda v: v.train.early_stopping.patience,
            [3, 3],
            id="new table",
        ),
    ],
)
def test_set(write: Write, override: str, found: Callable[[Any], Any], values: list[Any]) -> None:
    assert [found(variant) for variant in load_recipe(write(GOOD), [override]).variants] == values


OWN = """\
data = {name = "tiny_imagenet", classes = ["goldfish", "pizza"]}
train.optimizer = {name = "sgd", momentum = 0.8}
model = {name = "resnet", stem = "7x7"}

[[variants]]
name = "flipped"
data.augment = ["HorizontalFlip"]
train.optimizer.momentum = 0.7
model = {widths = [8, 16], blocks = [1, 1]}

[[variants]]
name = "elsewhere"
data = {name = "digits", limit = 90}
train.optimizer = {name = "adam", beta1 = 0.8}
model = {name = "mlp", widths = [4]}
"""


def test_another_unit_for_all_variants_keeps_what_each_sets_in_it(write: Write) -> None:
    """Else variants that differ in that alone would be the same, and said to be compared."""
    path = write(OWN)
    flipped, elsewhere = load_recipe(
        path, ["data=synthetic", "train.optimizer.name=muon", "model=cnn"]
    ).variants
    assert (flipped.data.name, flipped.data.classes) == ("synthetic", None)
    assert [each.name for each in flipped.data.augment] == ["HorizontalFlip"]
    assert (flipped.train.optimizer.name, flipped.train.optimizer.options["momentum"]) == ("muon", 0.7)
    assert (flipped.model.name, flipped.model.options["widths"]) == ("cnn", [8, 16])  # blocks it has not
    # what a variant says of a unit of its own goes with that
    assert (elsewhere.data.name, elsewhere.train.optimizer.name, elsewhere.model.name) == (
        "synthetic",
        "muon",
        "cnn",
    )
    assert elsewhere.data.limit == 90
    assert elsewhere.train.optimizer.options["momentum"] != 0.7
    assert elsewhere.model.options["widths"] != [4]


def test_variants_that_differ_in_augmentation_keep_both(write: Write) -> None:
    path = write(OWN.replace('"pizza"]}', '"pizza"], augment = ["VerticalFlip"]}'))
    flipped, elsewhere = load_recipe(path, ["data=synthetic"]).variants
    assert [each.name for each in flipped.data.augment] == ["HorizontalFlip"]
    assert elsewhere.data.augment == []  # it has named a data set of its own
    path = write(path.read_text().replace('{name = "digits", limit = 90}', "{limit = 90}"))
    _, elsewhere = load_recipe(path, ["data=synthetic"]).variants
    assert [each.name for each in elsewhere.data.augment] == ["VerticalFlip"]


def test_what_another_encoder_can_have_stays(write: Write) -> None:
    text = (
        'data = {name = "lunar_synthetic"}\n'
        'model = {name = "unet", widths = [4, 8], '
        'encoder = {name = "resnet", widths = [4, 8], blocks = [1, 1]}}\n'
        '[[variants]]\nname = "a"\nmodel.encoder.blocks = [2, 2]\n'
        '[[variants]]\nname = "b"\nmodel.encoder.activation = "tanh"\n'
    )
    a, b = load_recipe(write(text), ["model.encoder.name=cnn"]).variants
    assert (a.model.options["encoder"]["name"], b.model.options["encoder"]["activation"]) == ("cnn", "tanh")
    assert "blocks" not in a.model.options["encoder"]


@pytest.mark.parametrize("option", ["pretrained = true", 'weights = "a.pth"'])
def test_weights_that_are_loaded_do_not_start_otherwise(write: Write, option: str) -> None:
    model = f'{{name = "timm/resnet18", init = "he", {option}}}'
    path = write(f"{DATA}{ONE_VARIANT}".replace('"mlp"', model))
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    key = option.partition(" ")[0]
    assert f"init says how random weights start, and those of {key} take their place" in str(error.value)


def test_what_no_unit_can_have_is_a_mistake_with_another_one_too(write: Write) -> None:
    path = write(OWN.replace("blocks = [1, 1]", "blokcs = [1, 1]"))
    with pytest.raises(RecipeError) as error:
        load_recipe(path, ["model=cnn"])
    assert ':9:28: unknown option "blokcs" of cnn' in str(error.value)


def test_set_of_the_recipe_itself(write: Write) -> None:
    recipe = load_recipe(write(GOOD), ["title=Two words", 'analyses=["stability"]'])
    assert (recipe.title, [analysis.name for analysis in recipe.analyses]) == ("Two words", ["stability"])


@pytest.mark.parametrize(
    ("overrides", "quick", "suffix"),
    [
        pytest.param([], False, "", id="none"),
        pytest.param(["train.epochs=2"], False, "+train.epochs=2", id="one"),
        pytest.param(["train.lr=1", "train.epochs=2"], True, "+quick+train.epochs=2+train.lr=1", id="sorted"),
        pytest.param(
            ["train.epochs=3", "train.epochs = 2"], False, "+train.epochs=2", id="the last one holds"
        ),
        pytest.param(["model.blocks=[1, 1]"], False, "+model.blocks=1,1", id="list"),
        pytest.param(["data.augment=[]"], False, "+data.augment=", id="empty list"),
    ],
)
def test_directory(write: Write, overrides: list[str], quick: bool, suffix: str) -> None:
    assert load_recipe(write(GOOD), overrides, quick=quick).directory == f"r{suffix}"


def test_directory_is_safe_short_and_tells_apart(write: Write) -> None:
    path = write(GOOD)
    overrides = [[f"title={letter}/../{'long ' * 30}"] for letter in "ab"] + [["title=ä"], ["title=ö"]]
    directories = [load_recipe(path, override).directory for override in overrides]
    assert len(set(directories)) == 4
    for directory in directories:
        assert "/" not in directory
        assert directory.isascii()
        assert len(directory) <= len("r") + 60


@pytest.mark.parametrize(
    ("override", "said"),
    [
        pytest.param("train.epoch=1", "did you mean 'epochs'?", id="unknown key"),
        pytest.param("model.block_s=[1]", "did you mean 'blocks'?", id="unknown option"),
        pytest.param(
            "train.optimizer.momentun=1", "did you mean 'momentum'?", id="unknown option of a sub-table"
        ),
        pytest.param("trian.epochs=1", "did you mean 'train.epochs'?", id="unknown section"),
        pytest.param("epochs=1", "did you mean 'train.epochs'?", id="section forgotten"),
        pytest.param("variants.mpl.train.lr=1", "did you mean 'mlp'?", id="unknown variant"),
        pytest.param(
            "train.epochs=fast",
            'expected a whole number of at least 0 and at most 1,000,000, found "fast"',
            id="wrong type",
        ),
        pytest.param(
            "train.epochs=-1",
            "expected a whole number of at least 0 and at most 1,000,000, found -1",
            id="out of range",
        ),
        pytest.param("train.lr=nan", "expected a number greater than 0, found nan", id="nan"),
        pytest.param("train.epochs", "expected KEY=VALUE", id="no value"),
        pytest.param("=1", "expected KEY=VALUE", id="no key"),
        pytest.param("model=3", "expected a table, found 3", id="section of the wrong type"),
        pytest.param("train.lr.x=3", "unknown key", id="too deep"),
        pytest.param("variants=[]", "only the file says which variants there are", id="variants"),
        pytest.param("variants.mlp.trian.lr=3", "mean 'variants.mlp.train.lr'?", id="section of a variant"),
        pytest.param("variants.mlp.name=b", "such as variants.mlp.train.lr", id="name of a variant"),
        pytest.param(
            "variants.mlp.epochs=3", "did you mean 'variants.mlp.train.epochs'?", id="key of a variant"
        ),
        pytest.param(
            "variants.mlp.title=x", "one of data, model, train, limits, match_params", id="title of one"
        ),
        pytest.param("train.epochs=1000001", "at most 1,000,000", id="epochs without end"),
        pytest.param("data.batch_size=1000001", "at most 1,000,000", id="batch of everything"),
        pytest.param("title=3", "expected text in quotes, found 3", id="number as a title"),
    ],
)
def test_wrong_set(write: Write, override: str, said: str) -> None:
    (message,) = messages(write(GOOD), [override])
    assert message.startswith(f"--set {override}: ")
    assert said in message


# --- mistakes


def with_train(line: str) -> str:
    return f"{DATA}[train]\n{line}\n{ONE_VARIANT}"


def with_data(line: str) -> str:
    return f"{DATA}{line}\n{ONE_VARIANT}"


def with_model(line: str) -> str:
    return f'{DATA}[[variants]]\nname = "a"\n{line}\n'


def with_name(name: str) -> str:
    return f'{DATA}[[variants]]\nname = {name}\nmodel = "mlp"\n'


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        pytest.param(
            "titel = 'x'\n" + DATA + ONE_VARIANT, "1:1", "did you mean 'title'?", id="key of the recipe"
        ),
        pytest.param(
            "epochs = 1\n" + DATA + ONE_VARIANT,
            "1:1",
            "it belongs in [train]",
            id="key of a section at the top",
        ),
        pytest.param(
            "title = 3\n" + DATA + ONE_VARIANT, "1:9", "expected text in quotes, found 3", id="title"
        ),
        pytest.param(
            'judged_on = "vall"\n' + DATA + ONE_VARIANT, "1:13", "did you mean 'val'?", id="judged_on"
        ),
        pytest.param(
            'judged_on = "val"\nanalyses = ["learning_curves", "per_class"]\n' + DATA + ONE_VARIANT,
            "2:32",
            "per_class shows test images",
            id="an analysis of test in a recipe that leaves it alone",
        ),
        pytest.param(
            "judged_on = true\n" + DATA + ONE_VARIANT,
            "1:13",
            "expected one of test, val, val_then_test, found true",
            id="judged_on of a truth",
        ),
        pytest.param(with_train("epoch = 1"), "4:1", "did you mean 'epochs'?", id="key of a section"),
        pytest.param(with_data("zzz = 1"), "3:1", "expected one of name, batch_size", id="nothing near"),
        pytest.param(
            with_train("epochs = -1"),
            "4:10",
            "a whole number of at least 0 and at most 1,000,000, found -1",
            id="negative epochs",
        ),
        pytest.param(
            with_train("epochs = 1.0"),
            "4:10",
            "a whole number of at least 0 and at most 1,000,000, found 1.0",
            id="1.0 epochs",
        ),
        pytest.param(
            with_train("epochs = true"),
            "4:10",
            "a whole number of at least 0 and at most 1,000,000, found true",
            id="true epochs",
        ),
        pytest.param(
            with_data("image_size = 4097"), "3:14", "and at most 4,096, found 4097", id="image size"
        ),
        pytest.param(
            with_data("batch_size = 0"),
            "3:14",
            "a whole number of at least 1 and at most 1,000,000, found 0",
            id="batch size 0",
        ),
        pytest.param(
            with_train('lr = "fast"'), "4:6", 'a number greater than 0, found "fast"', id="lr of text"
        ),
        pytest.param(with_train("lr = nan"), "4:6", "found nan (not a number)", id="lr nan"),
        pytest.param(with_train("lr = inf"), "4:6", "found inf (infinite)", id="lr inf"),
        pytest.param(with_train("lr = 0"), "4:6", "a number greater than 0, found 0", id="lr 0"),
        pytest.param(
            with_train("label_smoothing = 1"), "4:19", "of at least 0 and less than 1", id="label smoothing"
        ),
        pytest.param(with_train('precision = "fp8"'), "4:13", 'one of "auto", "fp32"', id="choice"),
        pytest.param(
            with_train("seeds = []"),
            "4:9",
            "a list of whole numbers of at least 0 and at most 4,294,967,295, 1 or more",
            id="no seeds",
        ),
        pytest.param(
            with_train("seeds = [4294967296]"), "4:10", "at most 4,294,967,295", id="more than torch takes"
        ),
        pytest.param(with_train("seeds = [1, 2, 1]"), "4:9", "the same seed twice", id="a seed twice"),
        pytest.param(
            with_train("seeds = [1, 'x']"), "4:13", "a whole number of at least 0", id="element of a list"
        ),
        pytest.param(with_train("early_stopping = {}"), "4:1", "patience is missing", id="missing key"),
        pytest.param(
            with_train("early_stopping = {patience = 0}"), "4:30", "of at least 1, found 0", id="nested value"
        ),
        pytest.param(
            with_train("early_stopping = {patience = 1, patienc = 1}"),
            "4:33",
            "did you mean 'patience'?",
            id="nested key",
        ),
        pytest.param(
            with_train("progressive_resizing = {size = 8, untl = 0.5}"),
            "4:35",
            "did you mean 'until'?",
            id="nested key of another table",
        ),
        pytest.param(
            with_train("progressive_resizing = {size = 8, until = 1}"), "4:43", "less than 1", id="all epochs"
        ),
        pytest.param(with_train('keep = "lats"'), "4:8", "did you mean 'last'?", id="one of two words"),
        pytest.param(
            with_train("early_stopping = 3"), "4:18", "expected a table, found 3", id="number for a table"
        ),
        pytest.param(with_train('optimizer = "adm"'), "4:13", "did you mean 'adam'?", id="optimizer"),
        pytest.param(
            with_train("optimizer = 3"), "4:13", "expected a name, or a table", id="optimizer of number"
        ),
        pytest.param(
            with_train("optimizer.momentum = 1"),
            "4:11",
            'unknown option "momentum" of adam',
            id="option of another",
        ),
        pytest.param(
            with_train('optimizer = {name = "sgd", momentum = 2}'),
            "4:39",
            "less than 1, found 2",
            id="option out of range",
        ),
        pytest.param(
            with_train("optimizer.lr = 1"), "4:11", "lr is set in [train]", id="lr in the optimizer"
        ),
        pytest.param(with_train('schedule = "cosin"'), "4:12", "did you mean 'cosine'?", id="schedule"),
        pytest.param(
            with_data('augment = ["HorizontalFip"]'),
            "3:12",
            "did you mean 'HorizontalFlip'?",
            id="augmentation",
        ),
        pytest.param(
            with_data('augment = ["GaussNois"]'),
            "3:12",
            "did you mean 'GaussNoise'?",
            id="augmentation of theirs",
        ),
        pytest.param(
            with_data('augment = [{name = "Affine", scal = 1}]'),
            "3:30",
            "did you mean 'scale'?",
            id="option of theirs",
        ),
        pytest.param(
            with_data(
                'augment = [\n  "HorizontalFlip",\n  {name = "RandomCrop", width = 4, height = "x"},\n]'
            ),
            "5:45",
            "a whole number",
            id="option of an augmentation",
        ),
        pytest.param(with_data("augment = 3"), "3:11", "expected a list of names", id="augment of number"),
        pytest.param(
            with_data("val_size = 5\nval_fraction = 0.5"), "3:1", "exclude each other", id="two ways to split"
        ),
        pytest.param(with_data('classes = ["a"]'), "3:11", "2 or more of them", id="one class"),
        pytest.param('data.name = "cifar"\n' + ONE_VARIANT, "1:13", "did you mean 'cifar10'?", id="data set"),
        pytest.param(
            "data = 3\n" + ONE_VARIANT, "1:8", "expected a table such as [data]", id="number for a section"
        ),
        pytest.param(
            DATA + '[[variants]]\nname = "a"\n', "3:1", "the model needs a name: one of mlp", id="no model"
        ),
        pytest.param(with_model('model = "resnt"'), "5:9", "did you mean 'resnet'?", id="model"),
        pytest.param(
            with_model("model.name = 3"), "5:14", "expected the name of a model, found 3", id="name of number"
        ),
        pytest.param(
            with_model('model = {name = "mlp", blocks = 1}'), "5:24", "unknown option", id="option of a model"
        ),
        pytest.param(
            with_model('model = {name = "resnet", block = "basics"}'),
            "5:35",
            "did you mean 'basic'?",
            id="option's choice",
        ),
        pytest.param(
            with_model('model = {name = "resnet", widths = [\n16,\n"x"]}'),
            "7:1",
            "whole number",
            id="option on other line",
        ),
        pytest.param(
            'analyses = ["stabilty"]\n' + DATA + ONE_VARIANT,
            "1:13",
            "did you mean 'stability'?",
            id="analysis",
        ),
        pytest.param(
            'analyses = "stability"\n' + DATA + ONE_VARIANT,
            "1:12",
            "a list of analyses",
            id="analyses of text",
        ),
        pytest.param(
            DATA + "[variants]\nname = 'a'\n", "3:1", "[[variants]] (double brackets)", id="single brackets"
        ),
        pytest.param(
            "variants = [1]\n" + DATA, "1:13", "expected a table with a name", id="variant of number"
        ),
        pytest.param(
            with_name('"mlp"') + "trian = 1\n", "6:1", "did you mean 'train'?", id="key of a variant"
        ),
        pytest.param(
            DATA + '[[variants]]\nmodel = "mlp"\n',
            "3:1",
            "this variant needs a name",
            id="variant without a name",
        ),
        pytest.param(
            with_name("3"), "4:8", "expected text in quotes, found 3", id="variant's name of number"
        ),
        pytest.param(
            with_name('"a"') + '[[variants]]\nname = "a"\nmodel = "mlp"\n', "7:8", "two variants", id="twice"
        ),
        pytest.param(
            with_name('"a"') + '[[variants]]\nname = "A"\nmodel = "mlp"\n',
            "7:8",
            "two variants",
            id="in capitals",
        ),
        *(
            pytest.param(
                with_name(f"'{name}'"), "4:8", "cannot be a directory's", id=f"name {name or 'empty'}"
            )
            for name in ["a/b", "..", "", "a b", "-a", "a.", "con", "NUL.txt", "lpt1", "ä", "a\\b", "x" * 81]
        ),
        pytest.param(
            "limits.max_params = 0\n" + DATA + ONE_VARIANT, "1:21", "at least 1, found 0", id="limit of 0"
        ),
        pytest.param(
            "limits.max_param = 1\n" + DATA + ONE_VARIANT,
            "1:8",
            "did you mean 'max_params'?",
            id="key of limits",
        ),
        pytest.param(
            'plugins = ["gone.py"]\n' + DATA + ONE_VARIANT,
            "1:12",
            "was not found",
            id="plugin that is missing",
        ),
        pytest.param(
            'plugins = "gone.py"\n' + DATA + ONE_VARIANT,
            "1:11",
            "a list of Python files",
            id="plugins of text",
        ),
    ],
)
def test_mistake(write: Write, text: str, place: str, said: str) -> None:
    path = write(text)
    (message,) = messages(path)
    first, source, caret, *_ = message.split("\n")
    line, column = map(int, place.split(":"))
    assert first.startswith(f"{path}:{place}: ")
    assert said in message
    assert source == "    " + text.split("\n")[line - 1]
    assert caret.index("^") == 4 + column - 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(DATA, "no variants: add a [[variants]] entry", id="variants"),
        pytest.param("variants = []\n" + DATA, "no variants: add a [[variants]] entry", id="empty variants"),
        pytest.param(ONE_VARIANT + ONE_VARIANT.replace('"a"', '"b"'), "no data set: add [data]", id="data"),
    ],
)
def test_something_is_missing(write: Write, text: str, said: str) -> None:
    path = write(text)
    (message,) = messages(path)
    assert message.startswith(f"{path}: {said}")


def test_all_mistakes_at_once_in_order_and_each_only_once(write: Write) -> None:
    text = (
        GOOD.replace("epochs = 8", "epochs = -8")
        .replace('"mlp"\ntrain', '"mpl"\ntrain')
        .replace("title", "titel")
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(text), ["train.lr=fast"])
    *in_file, on_command_line = caught.value.mistakes
    assert [mistake.mark.line for mistake in in_file if mistake.mark] == [1, 9, 20]
    assert on_command_line.place == "--set train.lr=fast"
    assert str(caught.value).count("did you mean") == 2


def test_a_shared_section_that_no_variant_uses_is_checked_too(write: Write) -> None:
    (message,) = messages(write(f'model = {{name = "cnn", widhts = [1]}}\n{DATA}{ONE_VARIANT}'))
    assert ":1:24:" in message


@pytest.mark.parametrize(
    ("text", "place", "source"),
    [
        pytest.param("title = \n", ":1:9:", "title = ", id="no value"),
        pytest.param("a = 1\nb = = 2\n", ":2:5:", "b = = 2", id="two equals signs"),
        pytest.param("a = 1\na = 2\n", ":2:", "a = 2", id="key twice"),
        pytest.param("[data\nname = 1\n", ":1:6:", "[data", id="open bracket"),
        pytest.param('a = "x\n', ":1:7:", 'a = "x', id="open string"),
        pytest.param("a = [1,\n", ":1:", "a = [1,", id="ends too early"),
        pytest.param("a = 1\r\nb = ?\r\n", ":2:5:", "b = ?", id="CRLF"),
    ],
)
def test_broken_toml(write: Write, text: str, place: str, source: str) -> None:
    path = write(text)
    (message,) = messages(path)
    assert message.startswith(f"{path}{place}")
    assert "not valid TOML" in message
    assert message.split("\n")[1] == f"    {source}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"# nothing\n\n", "is empty", id="only a comment"),
        pytest.param(b"title = 'x'\nquestion = '\xe4'\n", ":2:13: not UTF-8 text (byte 24)", id="Latin-1"),
        pytest.param(GOOD.encode("utf-16"), ":1:1: not UTF-8 text (byte 0)", id="UTF-16"),
    ],
)
def test_unreadable_file(write: Write, content: bytes, said: str) -> None:
    (message,) = messages(write(content))
    assert said in message


def test_missing_file_and_directory(write: Write, tmp_path: Path) -> None:
    path = write(GOOD, "blocks.toml")
    (missing,) = messages(tmp_path / "block.toml")
    assert "no such file" in missing
    assert str(path) in missing
    (unlike,) = messages(tmp_path / "zebra.toml")
    assert str(path) not in unlike
    (directory,) = messages(tmp_path)
    assert "is a directory" in directory


# --- plugins

PLUGIN = '''\
"""A user's own units."""
from cnnbench.options import Count

raise RuntimeError("never imported to validate a recipe")

class Mine:
    """My model."""
    def __init__(self, in_shape, num_classes, *, width: Count = 3): ...

MODELS = {"mine": Mine}
'''


def test_plugin(write: Write, tmp_path: Path) -> None:
    write(PLUGIN, "my.py")
    text = f'plugins = ["my.py"]\n{DATA}[[variants]]\nname = "a"\nmodel = {{name = "mine", width = 4}}\n'
    recipe = load_recipe(write(text))
    (run,) = recipe.run_configs()
    assert run.model.options == {"width": 4}
    assert run.plugins == [str(tmp_path / "my.py")]
    assert "plugins" not in run.model_dump()
    (message,) = messages(write(text.replace('"mine"', '"mien"')))
    assert "did you mean 'mine'?" in message
    (message,) = messages(write(text.replace("= 4", "= 0")))
    assert "a whole number of at least 1, found 0" in message
    write(PLUGIN.replace("num_classes, *, width", "num_classes, width"), "my.py")
    (message,) = messages(write(text))
    assert "width of Mine is no option: only what stands after a * is" in message
    write("def load(root, size=3): ...\nDATASETS = {'own': load}\n", "my.py")
    text = 'plugins = ["my.py"]\n[data]\nname = "own"\nsize = 4\n[[variants]]\nname = "a"\nmodel = "mlp"\n'
    (message,) = messages(write(text))
    assert "size of load is no option: only what stands after a * is" in message


# --- for editors


def test_schema_covers_the_catalog() -> None:
    from cnnbench import catalog

    schema = recipe_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for kind, table in catalog.KINDS.items():
        unit = schema["$defs"]["data" if kind == "dataset" else kind]
        assert set(table) <= {choice.get("const") for choice in unit["anyOf"][0]["oneOf"]}
    resnet = next(
        rule["then"]["properties"]
        for rule in schema["$defs"]["model"]["anyOf"][1]["allOf"]
        if rule["if"]["properties"]["name"]["const"] == "resnet"
    )
    assert resnet["block"]["enum"] == ["basic", "bottleneck"]
    assert resnet["widths"]["items"] == {"minimum": 1, "type": "integer"}
    assert "in_shape" not in resnet
    assert set(schema["else"]["properties"]) >= {"title", "data", "train", "model", "variants", "limits"}
    assert {"epochs", "seeds", "optimizer", "lr"} <= set(schema["$defs"]["train"]["properties"])


def test_schema_agrees_with_the_loader() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    import tomli

    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(tomli.loads(GOOD))
    for text in (
        GOOD.replace("epochs", "epoch"),
        GOOD.replace("= 8", "= -8"),
        GOOD.replace('"mlp"\ntrain', '"mpl"\ntrain'),
        GOOD.replace("block =", "blok ="),
        DATA,
    ):
        assert not validator.is_valid(tomli.loads(text))


def test_nothing_heavy_is_imported(write: Write) -> None:
    path = write(GOOD.replace("batch_size = 64", 'augment = ["HorizontalFlip", "Affine"]'))
    code = (
        "import sys; from cnnbench.recipe import load_recipe, recipe_schema\n"
        f"load_recipe({str(path)!r}); recipe_schema()\n"
        "print(sorted({'torch', 'numpy', 'albumentations', 'torchvision', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_toml_that_is_nested_too_deeply(write: Write) -> None:
    with pytest.raises(RecipeError, match="nested too deeply"):
        load_recipe(write("a = " + "[" * 10_000 + "]" * 10_000))


@pytest.mark.parametrize("name", ["figures", "Report.md", "plan.json", "complete"])
def test_a_variant_cannot_take_the_place_of_the_report(write: Write, name: str) -> None:
    with pytest.raises(RecipeError, match="the report writes"):
        load_recipe(write(GOOD.replace('"mlp"', f'"{name}"', 1)))


# --- models of libraries


def with_model(model: str) -> str:
    return f'[data]\nname = "digits"\n[[variants]]\nname = "a"\nmodel = {model}\n'


def test_a_model_of_a_library(write: Write) -> None:
    path = write(with_model('{name = "timm/resnet50.tv_in1k", pretrained = true, head = "cifar10"}'))
    (variant,) = load_recipe(path).variants
    assert variant.model.name == "timm/resnet50.tv_in1k"
    assert variant.model.options == {
        "pretrained": True, "weights": None, "head": "cifar10", "image_size": None, "freeze": False,
        "unfreeze_epoch": None, "lr_factor": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "said", "near"),
    [
        ('"timm/resnet50.tv_in1l"', 'unknown model "timm/resnet50.tv_in1l"', "timm/resnet50.tv_in1k"),
        ('"timm/resnt50"', 'unknown model "timm/resnt50"', "timm/resnet50"),
        ('"torchvision/alexnt"', 'unknown model "torchvision/alexnt"', "torchvision/alexnet"),
        ('{name = "timm/vgg16", pretraind = true}', "unknown key", "pretrained"),
        ('{name = "timm/vgg16", head = "cifar"}', 'expected one of "new", "imagenet", "cifar10"', "cifar10"),
    ],
)
def test_mistakes_in_a_model_of_a_library(write: Write, model: str, said: str, near: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(with_model(model)))
    text = str(caught.value)
    assert said.replace("unknown key", "unknown option") in text
    assert f"did you mean '{near}'?" in text
    assert ":5:" in text


def test_schema_takes_models_of_libraries() -> None:
    rules = recipe_schema()["$defs"]["model"]["anyOf"][1]["allOf"]
    (rule,) = [each for each in rules if "pattern" in each["if"]["properties"]["name"]]
    assert rule["if"]["properties"]["name"]["pattern"] == "^(timm|torchvision)/"
    assert rule["then"]["properties"]["head"]["enum"] == ["new", "imagenet", "cifar10"]


SGD = 'train.optimizer={name="sgd", momentum=0.5}'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([SGD, "train.optimizer=sgd"], ["train.optimizer=sgd"]),  # the momentum stays
        (["train={epochs=2}", "train={lr=0.1}"], ["train={lr=0.1}"]),
        (["model.widths=[[4],[4,8]]"], ["model.widths=[[4,4],[8]]"]),
        (["title=a b"], ["title=ab"]),
    ],
)
def test_what_is_asked_for_otherwise_goes_elsewhere(one: list[str], other: list[str]) -> None:
    assert directory_suffix(parse_overrides(one), False) != directory_suffix(parse_overrides(other), False)


def test_the_last_of_equal_keys_names_the_directory() -> None:
    overrides = parse_overrides(["train.lr=0.1", "train.lr=0.2", "sweep.train.lr=[1e-3, 3e-3]"])
    assert directory_suffix(overrides, False) == "+sweep.train.lr=1e-3,3e-3+train.lr=0.2"


@pytest.mark.parametrize(
    ("override", "seeds"),
    [
        ("variants.mlp.train.seeds=[5, 6]", [[3], [5, 6]]),
        ("train={seeds=[5, 6]}", [[5, 6], [5, 6]]),
        ("train.seeds=[5, 6]", [[5, 6], [5, 6]]),
        ("train.lr=0.5", [[3], [3]]),
    ],
)
def test_quick_leaves_the_seeds_alone_that_were_asked_for(
    write: Write, override: str, seeds: list[list[int]]
) -> None:
    recipe = load_recipe(write(GOOD), [override], quick=True)
    assert [variant.seeds for variant in recipe.variants] == seeds


@pytest.mark.parametrize("key", ['"sweep".train.lr', "sweep.'train'.lr", "sweep . train . lr"])
def test_names_in_a_key_may_be_quoted_as_in_toml(write: Write, key: str) -> None:
    recipe = load_recipe(write(DATA + ONE_VARIANT), [f"{key}=[1, 2]"])
    assert [variant.train.lr for variant in recipe.variants] == [1, 2]


def test_a_name_with_dots_can_be_set(write: Write) -> None:
    """A layer within stages, and a variant whose name has dots, quoted or not."""
    text = DATA + '[model]\nname = "resnet"\nwidths = [4]\nblocks = [1]\n[[variants]]\nname = "v1.5"\n'
    layer = "model.init.variance.'stages.0.0.conv1'=0.5"
    for key in ("", "variants.v1.5.", 'variants."v1.5".'):
        (variant,) = load_recipe(write(text), [key + layer]).variants
        assert variant.model.options["init"]["variance"] == {"stages.0.0.conv1": 0.5}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["variants.mlp=3"], "set a key of it, such as variants.mlp.train.epochs"),
        (["sweep.mode=zip"], "nothing is swept"),
        (["train.epochs=" + "9" * 5000], "expected a whole number"),
        (["train.lr=" + "[" * 500], "expected a number greater than 0"),
        (["train.optimizer.momentun=0.5"], "unknown key"),
    ],
    ids=["a variant", "a sweep of nothing", "digits", "brackets", "once each"],
)
def test_more_that_cannot_be_set(write: Write, overrides: list[str], said: str) -> None:
    (message,) = messages(write(GOOD), overrides)
    assert message.startswith(f"--set {overrides[0][:20]}")
    assert said in message
    assert message.count("nesterov") <= 1


def test_seeds_end_where_pytorch_s_do(write: Write) -> None:
    path = write(DATA + "[train]\nseeds = [4294967295]\n" + ONE_VARIANT)
    assert messages(path, seeds=2) == ["--seeds 2: a counts on from seed 4294967295, beyond 4294967295"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DATA + "[train]\nepochs = " + "9" * 5000 + "\n" + ONE_VARIANT, "a number is too long to be read"),
        (DATA + "[train]\nepochs = 0x" + "f" * 5000 + "\n" + ONE_VARIANT, "more than 40 digits"),
        ('plugins = ["a\\u0000.py"]\n' + DATA + ONE_VARIANT, "null"),
        ("limit = 5\n" + DATA + ONE_VARIANT, 'unknown key "limit" in the recipe; it belongs in [data]'),
        (
            DATA + '[[variants]]\nname = "a"\nmodel = {name = "mlp", initt = "he"}\n',
            "did you mean 'init'",
        ),
    ],
    ids=["digits", "hexadecimal digits", "no file's name", "another section's key", "init"],
)
def test_more_mistakes(write: Write, text: str, said: str) -> None:
    (message,) = messages(write(text))
    assert said in message
