"""match_params: what it may name, and how mistakes in it are told. Nothing is solved here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnbench.recipe import MatchParams, RecipeError, load_recipe, recipe_schema

START = """\
[data]
name = "synthetic"
[model]
name = "cnn"
[[variants]]
name = "3x3"
"""
FIVE = '[[variants]]\nname = "5x5"\nmodel.kernel_size = 5\n'
SEVEN = '[[variants]]\nname = "7x7"\nmodel.kernel_size = 7\n'
GOOD = START + FIVE + 'match_params = {like = "3x3"}\n' + SEVEN
PLUGIN = """\
from cnnbench.options import Widths

class Scalable:
    def __init__(self, in_shape, num_classes, *, widths: Widths = [3]): ...

class Computed:
    def __init__(self, in_shape, num_classes, *, widths: list[int] = list(range(3))): ...

class Texts:
    def __init__(self, in_shape, num_classes, *, widths: list[str] = ["a"]): ...

MODELS = {"scalable": Scalable, "computed": Computed, "texts": Texts}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        (tmp_path / "own.py").write_text(PLUGIN, encoding="utf-8")
        path = tmp_path / "r.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def messages(path: Path, *args: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, *args)
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("line", "tolerance"),
    [
        pytest.param('match_params = {like = "3x3"}', 0.02, id="default"),
        pytest.param('match_params = {like = "3x3", tolerance = 0.1}', 0.1, id="tolerance"),
        pytest.param('match_params.like = "3x3"', 0.02, id="dotted"),
        pytest.param('[variants.match_params]\nlike = "3x3"', 0.02, id="table of its own"),
    ],
)
def test_as_written(write: Write, line: str, tolerance: float) -> None:
    original, five, seven = load_recipe(write(f"{START}{FIVE}{line}\n{SEVEN}")).variants
    assert five.match_params == MatchParams(like="3x3", tolerance=tolerance)
    assert original.match_params is seven.match_params is five.match is None
    assert five.model.options["widths"] == [32, 64]  # solved later, where models can be counted


@pytest.mark.parametrize(
    ("override", "likes", "tolerances"),
    [
        pytest.param("match_params.tolerance=0.1", ["3x3", None], [0.1, None], id="of all matched ones"),
        pytest.param("variants.5x5.match_params.tolerance=0.1", ["3x3", None], [0.1, None], id="of one"),
        pytest.param(
            "variants.7x7.match_params.like=3x3", ["3x3", "3x3"], [0.02, 0.02], id="of one that had none"
        ),
        pytest.param('variants.5x5.match_params={like = "7x7"}', ["7x7", None], [0.02, None], id="table"),
        pytest.param("variants.5x5.match_params.like=7x7", ["7x7", None], [0.02, None], id="another one"),
    ],
)
def test_set(write: Write, override: str, likes: list[str | None], tolerances: list[float | None]) -> None:
    _, *others = load_recipe(write(GOOD), [override]).variants
    asked = [variant.match_params for variant in others]
    assert [each and each.like for each in asked] == likes
    assert [each and each.tolerance for each in asked] == tolerances


def test_quick_and_only_leave_it(write: Write) -> None:
    recipe = load_recipe(write(GOOD), quick=True, only=["5x5"])
    assert recipe.variants[1].match_params == MatchParams(like="3x3")


def with_match(table: str, model: str = "") -> str:
    return f"{START}{FIVE}{model}match_params = {table}\n{SEVEN}"


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        pytest.param(
            with_match('{like = "3x3", toleranse = 0.1}'),
            "10:31",
            'unknown key "toleranse" in match_params\n{}\n    did you mean \'tolerance\'?',
            id="key",
        ),
        pytest.param(
            with_match('{like = "3x4"}'),
            "10:24",
            "unknown variant \"3x4\"\n{}\n    did you mean '3x3'?",
            id="unknown variant",
        ),
        pytest.param(
            with_match('{like = "basic"}'),
            "10:24",
            'unknown variant "basic"; expected one of 3x3, 7x7',
            id="nothing near",
        ),
        pytest.param(
            with_match('{like = "5x5"}'),
            "10:24",
            '"5x5" cannot be like itself: name another variant, one of 3x3, 7x7',
            id="itself",
        ),
        pytest.param(
            GOOD + 'match_params = {like = "5x5"}\n',
            "14:24",
            '"5x5" is itself matched to "3x3": name "3x3"',
            id="one that is matched",
        ),
        pytest.param(with_match("{like = 3}"), "10:24", "expected text in quotes, found 3", id="number"),
        pytest.param(
            with_match('{like = ["3x3"]}'), "10:24", 'expected text in quotes, found ["3x3"]', id="list"
        ),
        pytest.param(
            with_match("{}"), "10:1", "like is missing: expected text in quotes", id="nothing in it"
        ),
        pytest.param(with_match("{tolerance = 0.1}"), "10:1", "like is missing", id="like is missing"),
        pytest.param(
            with_match('"3x3"'), "10:16", 'expected a table such as {like = "…"}, found "3x3"', id="text"
        ),
        *(
            pytest.param(
                with_match(f'{{like = "3x3", tolerance = {value}}}'),
                "10:43",
                f"expected a number greater than 0 and less than 1, found {found}",
                id=f"tolerance {value}",
            )
            for value, found in [
                ("2", "2"), ("1.0", "1.0"), ("0", "0"), ("-0.1", "-0.1"), ("true", "true"),
                ('"2 %"', '"2 %"'), ("nan", "nan (not a number)"), ("inf", "inf (infinite)"),
            ]
        ),
        pytest.param(
            START + '[[variants]]\nname = "w"\nmodel = "wide_resnet"\nmatch_params = {like = "3x3"}\n',
            "10:1",
            "wide_resnet has no option widths to scale; these models have: mlp, cnn, resnet",
            id="model without widths",
        ),
        pytest.param(
            'match_params = {like = "3x3"}\n' + START + FIVE,
            "1:1",
            'unknown key "match_params" in the recipe; it belongs in a variant, beside its model',
            id="for all variants",
        ),
        pytest.param(
            START + FIVE + 'model.match_params = {like = "3x3"}\n',
            "10:7",
            'unknown option "match_params" of cnn; it belongs in a variant, beside its model',
            id="within the model",
        ),
        pytest.param(
            START + FIVE + 'like = "3x3"\n',
            "10:1",
            'unknown key "like" in a variant; it belongs in match_params of a variant',
            id="without match_params",
        ),
    ],
)  # fmt: skip
def test_mistake(write: Write, text: str, place: str, said: str) -> None:
    path = write(text)
    (message,) = messages(path)
    _, source, caret, *_ = message.split("\n")
    line, column = map(int, place.split(":"))
    assert message.startswith(f"{path}:{place}: {said}".replace("{}", f"{source}\n{caret}"))
    assert source == "    " + text.split("\n")[line - 1]
    assert caret.index("^") == 4 + column - 1


def test_a_circle_of_two(write: Write) -> None:
    text = with_match('{like = "7x7"}') + 'match_params = {like = "5x5"}\n'
    first, second = messages(write(text))
    assert ':10:24: "7x7" is itself matched to "5x5": name one that is not matched\n' in first
    assert ':14:24: "5x5" is itself matched to "7x7": name one that is not matched\n' in second


def test_a_chain_ends_at_the_original(write: Write) -> None:
    nine = '[[variants]]\nname = "9x9"\nmodel.kernel_size = 9\nmatch_params.like = "7x7"\n'
    seven, last = messages(write(GOOD + 'match_params = {like = "5x5"}\n' + nine))
    assert '"5x5" is itself matched to "3x3": name "3x3"' in seven
    assert '"7x7" is itself matched to "5x5": name "3x3"' in last


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param('{name = "scalable"}', "", id="default"),
        pytest.param(
            "{name = 'scalable', widths = []}", "the list of widths of scalable is empty", id="empty"
        ),
        pytest.param(
            '{name = "computed"}', "the widths of computed must be written in the recipe", id="computed"
        ),
        pytest.param('{name = "computed", widths = [4]}', "", id="written"),
        pytest.param(
            '{name = "computed", widths = [0]}',
            "the widths of computed are no list of whole numbers of at least 1: [0]",
            id="zero",
        ),
        pytest.param('{name = "texts"}', 'no list of whole numbers of at least 1: ["a"]', id="texts"),
    ],
)
def test_a_plugin(write: Write, model: str, said: str) -> None:
    text = (
        'plugins = ["own.py"]\n' + START + f'[[variants]]\nname = "p"\nmodel = {model}\n'
        'match_params = {like = "3x3"}\n'
    )
    if not said:
        assert load_recipe(write(text)).variants[1].match_params is not None
        return
    (message,) = messages(write(text))
    assert f"r.toml:11:1: {said}" in message or said in message
    assert message.split("\n")[1] == '    match_params = {like = "3x3"}'


def test_models_of_plugins_are_among_those_with_widths(write: Write) -> None:
    text = (
        'plugins = ["own.py"]\n' + START + '[[variants]]\nname = "w"\nmodel = "wide_resnet"\n'
        'match_params = {like = "3x3"}\n'
    )
    (message,) = messages(write(text))
    assert (
        "these models have: mlp, cnn, resnet, conv_stack, whitened_cnn, unet, scalable, computed, texts"
        in message
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        pytest.param("match_params.toleranc=0.1", "did you mean 'tolerance'?", id="key"),
        pytest.param("match_params.tolerance=2", "greater than 0 and less than 1, found 2", id="value"),
        pytest.param("variants.5x5.match_params.like=3x4", "did you mean '3x3'?", id="unknown variant"),
        pytest.param("variants.7x7.match_params.like=7x7", "cannot be like itself", id="itself"),
        pytest.param("match_params=3", "expected a table, found 3", id="number"),
        pytest.param("variants.5x5.match_params=3x3", 'expected a table, found "3x3"', id="text"),
        pytest.param("tolerance=0.1", "did you mean 'match_params.tolerance'?", id="table forgotten"),
        pytest.param("variants.7x7.match_params.tolerance=0.1", "like is missing", id="nothing to be like"),
        pytest.param("variants.5x5.model=wide_resnet", "wide_resnet has no option widths", id="model"),
    ],
)
def test_wrong_set(write: Write, override: str, said: str) -> None:
    (message,) = messages(write(GOOD), [override])
    assert said in message
    if "model" not in override:
        assert message.startswith(f"--set {override}: ")


def test_set_for_all_where_none_is_matched(write: Write) -> None:
    (message,) = messages(write(START + FIVE), ["match_params.tolerance=0.1"])
    assert "no variant has match_params; to give it to one, set variants.NAME.match_params.tol" in message


@pytest.mark.parametrize("section", ["limits", "train", "match_params"])
def test_bare_text_for_a_section_without_names(write: Write, section: str) -> None:
    (message,) = messages(write(GOOD), [f"{section}=fast"])
    assert 'expected a table, found "fast"' in message


def test_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    import tomli

    validator = jsonschema.Draft202012Validator(recipe_schema())
    assert validator.is_valid(tomli.loads(GOOD))
    for wrong in (
        with_match("{}"),
        with_match('{like = "3x3", tolerance = 1}'),
        with_match('{like = "3x3", toleranse = 0.1}'),
        'match_params = {like = "3x3"}\n' + START,
    ):
        assert not validator.is_valid(tomli.loads(wrong))


def test_schema_knows_the_key() -> None:
    schema = recipe_schema()
    assert schema["$defs"]["variant"]["properties"]["match_params"] == {"$ref": "#/$defs/match_params"}
    table = schema["$defs"]["match_params"]
    assert (sorted(table["properties"]), table["required"]) == (["like", "tolerance"], ["like"])
    assert table["properties"]["tolerance"]["default"] == 0.02
