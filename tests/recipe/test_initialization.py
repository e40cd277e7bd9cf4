"""Declared initializations as they are read: what they may say, and where a mistake is shown."""

from pathlib import Path

import pytest

from cnnbench.recipe import Recipe, load_recipe
from cnnbench.recipe.mistakes import RecipeError

RECIPE = """[data]
name = "digits"
[model]
name = "cnn"
init = {shared}
[[variants]]
name = "a"
model = {{init = {own}}}
"""


def load(tmp_path: Path, own: str, shared: str = '"default"', overrides: tuple[str, ...] = ()) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(shared=shared, own=own))
    return load_recipe(path, overrides)


@pytest.mark.parametrize(
    ("shared", "own", "expected"),
    [
        ('"default"', '"he"', {"scheme": "he", "scale": 1.0, "variance": {}}),
        ('{scheme = "he", scale = 2}', "{variance = {layer3 = 0.5}}",
         {"scheme": "he", "scale": 2.0, "variance": {"layer3": 0.5}}),
        ('{variance = {a = 1.0}}', '{variance = {"b.0" = "2 * a"}}',
         {"scheme": "default", "scale": 1.0, "variance": {"a": 1.0, "b.0": "2 * a"}}),
    ],
)  # fmt: skip
def test_it_merges_key_by_key(tmp_path: Path, shared: str, own: str, expected: dict[str, object]) -> None:
    assert load(tmp_path, own, shared).variants[0].model.options["init"] == expected


def test_a_model_without_one_has_none(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[data]\nname = "digits"\n[[variants]]\nname = "a"\nmodel = "cnn"\n')
    assert "init" not in load_recipe(path).variants[0].model.options


def test_it_can_be_set_for_one_call(tmp_path: Path) -> None:
    recipe = load(tmp_path, '"he"', overrides=("model.init=xavier",))
    assert recipe.variants[0].model.options["init"]["scheme"] == "xavier"


@pytest.mark.parametrize(
    ("own", "column", "said"),
    [
        ("3", 17, "expected a scheme"),
        ('"hee"', 17, "did you mean 'he'?"),
        ("{scale = 0.0}", 26, "greater than 0"),
        ("{shceme = 'he'}", 18, "did you mean 'scheme'?"),
        (
            "{variance = {layer1 = -1.0}}",
            39,
            "expected a number above zero or a formula in quotes, found -1.0",
        ),
        ("{variance = {stages.0.1 = 2.0}}", None, "a name with dots stands in quotes"),
        ("{variance = 2.0}", 29, "expected a table"),
        ("{variance = {layer1 = '2 *'}}", 43, "ends where"),
        ("{variance = {layer1 = '1 - 1'}}", 40, "above zero"),
        ("{variance = {layer1 = '1 / 0'}}", 40, "divides by zero"),
        ("{variance = {layer1 = 'layer2 > 1'}}", 40, "expected a number"),
        ("{variance = {layer1 = '2 / fanin(layer1)'}}", 44, "did you mean 'fan_in'?"),
        ("{variance = {layer1 = '2 / fan_in'}}", 44, "fan_in(layer1)"),
        ("{variance = {a = '2 * a'}}", 39, "depend on each other: a → a"),
        ("{variance = {a = 'b', b = '2 * a'}}", None, "depend on each other"),
    ],
)
def test_mistakes_are_shown_where_they_are(tmp_path: Path, own: str, column: int | None, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, own)
    assert said in str(caught.value)
    if column is not None:
        assert f"recipe.toml:8:{column}:" in str(caught.value), str(caught.value)
