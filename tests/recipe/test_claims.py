"""Claims in a recipe: what they may name, and where a mistake in one is shown."""

from pathlib import Path

import pytest

from cnnbench.recipe import load_recipe
from cnnbench.recipe.mistakes import RecipeError

RECIPE = """[data]
name = "digits"
[model]
name = "mlp"
[[variants]]
name = "plain"
[[variants]]
name = "wide"
model = {widths = [512]}
"""


def load(tmp_path: Path, claims: str) -> list[tuple[str, list[str], list[str]]]:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + claims)
    return [(claim.text, claim.better, claim.than) for claim in load_recipe(path).claims]


def test_claims_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
[[claims]]
text = "Width helps."
better = ["wide"]
than = ["plain"]
[[claims]]
text = "It does not."
better = ["plain"]
than = ["wide"]
"""
    assert load(tmp_path, text) == [
        ("Width helps.", ["wide"], ["plain"]),
        ("It does not.", ["plain"], ["wide"]),
    ]


def test_a_recipe_needs_none(tmp_path: Path) -> None:
    assert load(tmp_path, "") == []


def test_a_stage_of_a_search_claims_nothing_of_test(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    claim = 'text = "x"\nbetter = ["wide"]\nthan = ["plain"]\nmetric = "test_accuracy"\n'
    path.write_text(f'judged_on = "val"\n{RECIPE}[[claims]]\n{claim}')
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert ":15:10: test_accuracy is of the test images, which a recipe that is judged on val" in str(
        error.value
    )
    path.write_text(path.read_text().replace('"val"', '"val_then_test"'))
    assert load_recipe(path).claims[0].metric == "test_accuracy"


OTHERS = '[[variants]]\nname = "c"\n[[variants]]\nname = "d"\n'


def test_a_gain_is_held_against_another(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    claim = 'text = "x"\nbetter = ["wide"]\nthan = ["plain"]\nby_more_than = ["c", "d"]\n'
    path.write_text(f"{RECIPE}{OTHERS}[[claims]]\n{claim}")
    (found,) = load_recipe(path).claims
    assert found.by_more_than == ["c", "d"]
    assert found.variants == ["wide", "plain", "c", "d"]


@pytest.mark.parametrize(
    ("better", "by_more_than", "line", "said"),
    [
        ('["wide"]', '["c", "e"]', 18, 'unknown variant "e"'),
        ('["wide"]', '["c"]', 18, "a list of texts in quotes, 2 of them"),
        ('["wide"]', '["c", "d", "plain"]', 18, "a list of texts in quotes, 2 of them"),
        ('["wide"]', '"c"', 18, "a list of texts in quotes, 2 of them"),
        ('["wide"]', '["c", "plain"]', 18, '"plain" is in the claim already'),
        ('["wide"]', '["c", "c"]', 18, '"c" is in the claim already'),
        ('["wide", "c"]', '["c", "d"]', 16, "expected one variant beside by_more_than"),
    ],
)
def test_mistakes_in_a_gain(tmp_path: Path, better: str, by_more_than: str, line: int, said: str) -> None:
    path = tmp_path / "recipe.toml"
    claim = f'text = "x"\nbetter = {better}\nthan = ["plain"]\nby_more_than = {by_more_than}\n'
    path.write_text(f"{RECIPE}{OTHERS}[[claims]]\n{claim}")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert f"recipe.toml:{line}:" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("claim", "line", "said"),
    [
        ('text = "x"\nbetter = ["wdie"]\nthan = ["plain"]', 12, "did you mean 'wide'?"),
        ('text = "x"\nbetter = ["wide"]\nthan = ["plain", "wide"]', 13, "cannot be better than itself"),
        ('text = "x"\nbetter = "wide"\nthan = ["plain"]', 12, "found "),
        ('text = "x"\nbetter = []\nthan = ["plain"]', 12, "found "),
        ('text = 3\nbetter = ["wide"]\nthan = ["plain"]', 11, "found 3"),
        ('better = ["wide"]\nthan = ["plain"]', 10, "text is missing"),
        ('text = "x"\nbetter = ["wide"]\nthen = ["plain"]', 13, "did you mean 'than'?"),
        (
            'text = "x"\nbetter = ["wide"]\nthan = ["plain"]\nmetric = "train_second"',
            14,
            "did you mean 'train_seconds'?",
        ),
        (
            'text = "x"\nbetter = ["wide"]\nthan = ["plain"]\nmetric = "macs"',
            14,
            "macs is known before training, so there is nothing to claim",
        ),
    ],
    ids=[
        "unknown variant",
        "itself",
        "no list",
        "empty",
        "no text",
        "missing",
        "unknown key",
        "unknown metric",
        "known before",
    ],
)
def test_mistakes_are_shown_where_they_are(tmp_path: Path, claim: str, line: int, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, f"[[claims]]\n{claim}\n")
    assert f"recipe.toml:{line}:" in str(caught.value)
    assert said in str(caught.value)


def test_single_brackets_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="double brackets"):
        load(tmp_path, '[claims]\ntext = "x"\n')
