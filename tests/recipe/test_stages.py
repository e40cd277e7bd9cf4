"""`best_of` as it is read: what it may name and override, and what is said where it may not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cnnbench.recipe import Named, Recipe, RecipeError, load_recipe
from cnnbench.recipe.stages import candidates, load_stages, stage_files, with_options

DATA = '[data]\nname = "digits"\n'
BASE = (
    DATA
    + """
[[variants]]
name = "four"
model = {name = "resnet", widths = [8, 16, 32, 64], blocks = [1, 1, 1, 1]}

[[variants]]
name = "three"
model = {name = "resnet", widths = [16, 32, 64], blocks = [1, 1, 1], activation = "gelu"}
"""
)
NEXT = DATA + '[[variants]]\nname = "a"\nmodel = {best_of = "s/base"}\n'

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name=text)` writes recipes under recipes/s and returns the last one's path."""

    def make(**texts: str) -> Path:
        folder = tmp_path / "recipes/s"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        return folder / f"{name}.toml"

    return make


def load(path: Path, *overrides: str) -> Recipe:
    return load_recipe(path, overrides)


def said(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        load_recipe(path, overrides)
    return str(error.value)


def test_a_model_is_left_open(write: Write) -> None:
    (variant,) = load(write(base=BASE, next=NEXT.replace('"s/base"', '"s/base", dropout = 0.5'))).variants
    assert variant.best_of is not None
    assert variant.winner is None
    assert variant.best_of.recipe == "s/base"
    assert variant.best_of.file.name == "base.toml"
    assert variant.best_of.options == {"dropout": 0.5}
    assert variant.model.name == "best_of", "a stand-in that no model is called"
    assert [(len(model.options["widths"]), model.options["dropout"]) for model in variant.best_of.models] == [
        (4, 0.5),
        (3, 0.5),
    ]


def test_candidates_multiply_along_a_chain_and_equal_ones_count_once(write: Write) -> None:
    two = NEXT + '[[variants]]\nname = "b"\nmodel = {best_of = "s/base", norm = "group"}\n'
    path = write(base=BASE, next=two, last=NEXT.replace("s/base", "s/next"))
    assert len(candidates(load(path))) == 4  # two models, with either norm
    same = NEXT + '[[variants]]\nname = "b"\nmodel = {best_of = "s/base", norm = "batch"}\n'
    assert len(candidates(load(write(next=same)))) == 2


def test_recipes_whose_runs_are_reused(write: Write) -> None:
    path = write(base=BASE, other=BASE, next='reuse = ["s/base", "s/other"]\n' + BASE)
    recipe = load(path)
    assert recipe.reuse == ["s/base", "s/other"]
    assert stage_files(path) == []
    assert load_stages(recipe, load) == [], "they need not have been run"


def test_mistakes_in_what_is_reused(write: Write) -> None:
    text = said(write(base=BASE, next='reuse = ["s/bass", "s/next", "../base"]\n' + BASE))
    assert 'next.toml:1:10: no recipe "s/bass" in ' in text
    assert "did you mean 's/base'?" in text
    assert "next.toml:1:20: is this recipe itself, whose runs are reused anyway" in text
    assert 'no recipe "../base" in ' in text
    for wrong in ('"s/base"', "3", '["s/base", 3]'):
        text = said(write(next=f"reuse = {wrong}\n" + BASE))
        assert "next.toml:1:9: expected a list of names of recipes, found " in text


def test_stages_in_the_order_they_are_run(write: Write) -> None:
    path = write(base=BASE, next=NEXT, last=NEXT.replace("s/base", "s/next"))
    assert [stage.name for stage in load_stages(load(path), load)] == ["s/base", "s/next"]
    assert [file.stem for file in stage_files(path)] == ["next"]


def test_a_variant_overrides_what_all_share(write: Write) -> None:
    shared = DATA + '[model]\nbest_of = "s/base"\nactivation = "elu"\n'
    more = shared + (
        '[[variants]]\nname = "a"\n'
        '[[variants]]\nname = "b"\nmodel = {norm = "group"}\n'
        '[[variants]]\nname = "c"\nmodel = {name = "mlp", widths = [4]}\n'
        '[[variants]]\nname = "d"\nmodel = {best_of = "s/other"}\n'
    )
    variants = load(write(base=BASE, other=BASE, next=more)).variants
    options = [None if each.best_of is None else each.best_of.options for each in variants]
    assert options == [{"activation": "elu"}, {"activation": "elu", "norm": "group"}, None, {}]
    assert variants[2].model.name == "mlp"


def test_a_winner_in_place_of_a_model_that_all_share(write: Write) -> None:
    text = (
        DATA + '[model]\nname = "mlp"\nwidths = [4]\n[[variants]]\nname = "a"\nmodel = {best_of = "s/base"}\n'
    )
    (variant,) = load(write(base=BASE, next=text)).variants
    assert variant.best_of is not None
    assert variant.best_of.options == {}


def test_set_chooses_another_recipe(write: Write) -> None:
    path = write(base=BASE, other=BASE, next=NEXT)
    (variant,) = load(path, "model.best_of=s/other").variants
    assert variant.best_of is not None
    assert variant.best_of.recipe == "s/other"
    assert "--set model.best_of=s/othr: no recipe" in said(path, "model.best_of=s/othr")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param('{best_of = "s/bas"}', ['no recipe "s/bas" in ', "did you mean 's/base'?"], id="near"),
        pytest.param('{best_of = "base"}', ["did you mean 's/base'?"], id="without its folder"),
        pytest.param('{best_of = "s/base.toml"}', ["did you mean 's/base'?"], id="with its ending"),
        pytest.param('{best_of = "../s/base"}', ["no recipe"], id="from outside"),
        pytest.param('{best_of = "quite/another"}', ["expected s/base"], id="far"),
        pytest.param("{best_of = 3}", ["expected the name of another recipe in quotes, found 3"], id="type"),
        pytest.param(
            '{best_of = "s/base", name = "mlp"}', ["name and best_of exclude each other"], id="both"
        ),
        pytest.param(
            '{best_of = "s/base", activatoin = "elu"}',
            ['unknown option "activatoin" of resnet, a model of s/base', "did you mean 'activation'?"],
            id="option",
        ),
        pytest.param(
            '{best_of = "s/base", activation = "ellu"}',
            ["expected one of ", "did you mean 'elu'?"],
            id="value",
        ),
        pytest.param(
            '{best_of = "s/base", blocks = [1, 1, 1]}',
            ["blocks has 3 entries, but a model of s/base that may win has 4 stages"],
            id="too short",
        ),
        pytest.param('{best_of = "s/next"}', ["in a circle: next → next"], id="itself"),
    ],
)
def test_mistakes(write: Write, model: str, expected: list[str]) -> None:
    path = write(base=BASE, next=DATA + f'[[variants]]\nname = "a"\nmodel = {model}\n')
    message = said(path)
    for text in expected:
        assert text in message
    assert f"{path}:5:" in message, "line of the model"
    assert "^" in message


def test_a_circle_of_several(write: Write) -> None:
    first = NEXT.replace("s/base", "s/c")
    path = write(a=first, b=NEXT.replace("s/base", "s/a"), c=NEXT.replace("s/base", "s/b"))
    assert "in a circle: c → b → a → c" in said(path)


def test_a_circle_through_a_sweep(write: Write) -> None:
    swept = f'{DATA}[sweep]\nmodel.best_of = ["s/base", "s/b"]\n'
    path = write(base=BASE, a=swept, b=swept.replace('s/b"', 's/a"'))
    assert "in a circle: b → a → b" in said(path)
    assert [file.stem for file in stage_files(path)] == ["base", "a"]
    tables = f'{DATA}[sweep]\nmodel = ["mlp", {{best_of = "s/base"}}]\n'
    assert [file.stem for file in stage_files(write(base=BASE, c=tables))] == ["base"]


def test_a_winner_can_start_otherwise(write: Write) -> None:
    path = write(base=BASE, next=NEXT.replace('"s/base"', '"s/base", init = "he"'))
    (variant,) = load(path).variants
    assert variant.best_of is not None
    assert [model.options["init"]["scheme"] for model in variant.best_of.models] == ["he", "he"]
    model, _ = with_options(candidates(load(path.with_name("base.toml")))[0], variant.best_of.options, [])
    assert model.options["init"]["scheme"] == "he"
    assert 'did you mean "he"' in said(path, "model.init=hee") or "'he'" in said(path, "model.init=hee")


def test_a_circle_further_up_ends_too(write: Write) -> None:
    path = write(
        b=NEXT.replace("s/base", "s/c"), c=NEXT.replace("s/base", "s/b"), a=NEXT.replace("s/base", "s/b")
    )
    assert '"s/b" has mistakes of its own: ' in said(path)


def test_mistakes_of_the_other_recipe(write: Write) -> None:
    path = write(base=BASE.replace("digits", "digitz"), next=NEXT)
    assert '"s/base" has mistakes of its own: ' in said(path)
    assert 'base.toml:2:8: unknown dataset "digitz"' in said(path)


def test_widths_of_a_winner_are_not_scaled(write: Write) -> None:
    text = NEXT + 'match_params = {like = "b"}\n[[variants]]\nname = "b"\nmodel = "mlp"\n'
    assert "a model with best_of has the widths of the winner" in said(write(base=BASE, next=text))


def test_a_plugin_of_the_other_recipe_is_known(write: Write) -> None:
    path = write(
        base='plugins = ["mine.py"]\n' + DATA + '[[variants]]\nname = "a"\nmodel = {name = "mine"}\n',
        next=NEXT.replace('"s/base"', '"s/base", size = 3'),
    )
    (path.parent / "mine.py").write_text(
        "class Mine:\n    def __init__(self, in_shape, num_classes, *, size: int = 1): ...\n"
        "MODELS = {'mine': Mine}\n"
    )
    recipe = load(path)
    assert [Path(plugin).name for plugin in recipe.plugins] == ["mine.py"]
    assert recipe.variants[0].best_of is not None
    assert recipe.variants[0].best_of.models == [Named(name="mine", size=3)]


RESNET = Named(name="resnet", widths=[8, 16, 32], blocks=[1, 1, 1])
CNN = Named(name="cnn", widths=[8, 16], convs=1, kernel_size=3, head=[128])


@pytest.mark.parametrize(
    ("model", "options", "expected", "num_cut"),
    [
        pytest.param(RESNET, {"blocks": [3, 4, 6, 3]}, {"blocks": [3, 4, 6]}, 1, id="cut"),
        pytest.param(RESNET, {"blocks": [2, 2, 2]}, {"blocks": [2, 2, 2]}, 0, id="fits"),
        pytest.param(
            RESNET,
            {"widths": [4, 8, 16, 32], "blocks": [1, 1, 1, 1]},
            {"widths": [4, 8, 16, 32], "blocks": [1, 1, 1, 1]},
            0,
            id="all set anew",
        ),
        pytest.param(CNN, {"convs": [1, 2, 3]}, {"convs": [1, 2]}, 1, id="cnn"),
        pytest.param(
            CNN, {"convs": 4, "widths": [4, 8, 16]}, {"convs": 4, "widths": [4, 8, 16]}, 0, id="number"
        ),
        pytest.param(CNN, {"head": [64, 32, 16]}, {"head": [64, 32, 16]}, 0, id="no list of stages"),
    ],
)
def test_lists_are_cut_to_the_stages(
    model: Named, options: dict[str, object], expected: dict[str, object], num_cut: int
) -> None:
    found, sentences = with_options(model, options, [])
    assert found == Named(name=model.name, **{**model.options, **expected})
    assert len(sentences) == num_cut


def test_a_cut_is_told() -> None:
    _, (sentence,) = with_options(RESNET, {"blocks": [3, 4, 6, 3]}, [])
    assert sentence == (
        "the model has 3 stages, so of blocks = [3, 4, 6, 3] the first 3 entries are used: [3, 4, 6]"
    )
