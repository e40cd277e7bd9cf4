"""Checks in a recipe: what they may say, and that a mistake is shown inside its expression."""

from pathlib import Path

import pytest

from cnnbench.comparison.quantities import KNOWN, MORE
from cnnbench.expressions import ExpressionError
from cnnbench.recipe import load_recipe, recipe_schema
from cnnbench.recipe.checks import QUANTITIES, read_expression
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
[[checks]]
text = "x"
"""


def load(tmp_path: Path, check: str) -> list[dict[str, object]]:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + check)
    return [check.model_dump() for check in load_recipe(path).checks]


def test_a_check_with_its_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, 'expression = "test_accuracy > 0.9"\n') == [
        {"text": "x", "expression": "test_accuracy > 0.9", "variants": None, "draws": 100, "share": 0.95,
         "output": None}
    ]  # fmt: skip


def test_a_stage_of_a_search_checks_nothing_of_test(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'judged_on = "val"\n{RECIPE}expression = "val_loss < 2 and test_loss < 2"\n')
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert ":13:32: test_loss is of the test images, which a recipe that is judged on val" in str(error.value)
    path.write_text(f'judged_on = "val"\n{RECIPE}expression = "val_gap < 0.1 and test_gap < 0.1"\n')
    with pytest.raises(RecipeError, match=":13:33: test_gap is of the test images"):
        load_recipe(path)


def test_a_random_one_takes_draws(tmp_path: Path) -> None:
    text = (
        'expression = "gradient(first) < gradient(last)"\nvariants = ["wide"]\ndraws = 7\noutput = "hidden"\n'
    )
    (check,) = load(tmp_path, text)
    assert (check["variants"], check["draws"], check["output"]) == (["wide"], 7, "hidden")


@pytest.mark.parametrize(
    ("check", "line", "column", "said"),
    [
        ('expression = "test_acuracy > 0.9"', 12, 15, "did you mean 'test_accuracy'?"),
        ('expression = "num_params <= 5e6 and macs <"', 12, 43, "ends where"),
        ("expression = 'gradient < 1'", 12, 15, "gradient(layer1)"),
        ('expression = "1 < macs(first)"', 12, 23, "takes no layer"),
        ('expression = "test_loss < gradient(first)"', 12, 15, "make two of it"),
        ('expression = "1 < 2"', 12, 15, "names no quantity"),
        ('expression = """\nmacs > 1 and\n  mcas < 2"""', 14, 3, "did you mean 'macs'?"),
        ('expression = "macs > \\u0031 + x"', 12, 14, "unknown quantity x"),  # escapes: the whole value
        ("expression = 3", 12, 14, "found 3"),
        ('expression = "test_accuracy > 90"', 12, 31, "is written as a share: 0.9 for 90 %"),
        (
            'expression = "macs > 9 and 2 < test_gap < 5"',
            12,
            28,
            "test_gap is written as a share: 0.02 for 2 %",
        ),
        ('expression = "macs > 1"\nvariants = ["wild"]', 13, 13, "unknown variant"),
        ('expression = "macs > 1"\nvariants = []', 13, 12, "1 or more"),
        ('expression = "macs > 1"\ndraws = 5', 13, 1, "names none"),
        ('expression = "gradient(a) > 1"\ndraws = 0', 13, 9, "at least 1"),
        ('expression = "gradient(a) > 1"\nshare = 1.0', 13, 9, "less than 1"),
        ('expresion = "macs > 1"', 12, 1, "did you mean 'expression'?"),
    ],
)
def test_mistakes_are_shown_where_they_are(
    tmp_path: Path, check: str, line: int, column: int, said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, f"{check}\n")
    assert f"recipe.toml:{line}:{column}:" in str(caught.value)
    assert said in str(caught.value)


def test_what_is_no_share_may_stand_beside_any_number(tmp_path: Path) -> None:
    """Nor is a number the bound of a share where it belongs to the next comparison, or is reckoned with."""
    text = "test_loss < 3 and 100 * test_accuracy > 90 and val_accuracy <= 1 and num_params > 1e3"
    (check,) = load(tmp_path, f'expression = "{text}"\n')
    assert check["expression"] == text


def test_the_caret_stands_below_the_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, 'expression = "macs > 1 and test_acuracy > 0.9"\n')
    lines = str(caught.value).splitlines()
    place = lines[1].index("test_acuracy")
    assert lines[2] == " " * place + "^" * len("test_acuracy")


def test_single_brackets_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("[[checks]]", "[checks]"))
    with pytest.raises(RecipeError, match="double brackets"):
        load_recipe(path)


def test_every_quantity_of_the_comparison_can_be_checked() -> None:
    of_runs = {name for name, known in QUANTITIES.items() if not known.of_layer}
    assert of_runs == {*KNOWN, *MORE}  # a run of another task has no IoU, and the check says so
    for name, quantity in (KNOWN | MORE).items():
        assert QUANTITIES[name].is_share == quantity.is_proportion, name


def test_the_schema_knows_checks_and_initializations() -> None:
    schema = recipe_schema()
    assert schema["else"]["properties"]["checks"]["items"] == {"$ref": "#/$defs/check"}
    assert schema["$defs"]["check"]["required"] == ["text", "expression"]
    init = schema["$defs"]["init"]["anyOf"]
    assert init[0]["enum"] == ["default", "he", "xavier"]
    assert set(init[1]["properties"]) == {"scheme", "scale", "variance"}
    _, table = schema["$defs"]["model"]["anyOf"]
    assert all("init" in each["then"]["properties"] for each in table["allOf"])


@pytest.mark.parametrize(
    ("expression", "part", "said"),
    [
        ("num_params < 1/0", "1/0", "it divides by zero"),
        ("sqrt(-1) < num_params", "sqrt(-1)", "square root of a negative number"),
        ("9**9**9**9 < num_params", "9**9**9**9", "beyond all bounds"),
        ("num_params < 1e999", "1e999", "beyond all bounds"),
        ("num_params > 3 or macs * (2 - 5)**0.5 > 1", "(2 - 5)**0.5", "root of a negative number"),
    ],
)
def test_a_part_that_never_has_a_value(expression: str, part: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=f"this part has no value: .*{said}") as caught:
        read_expression(expression)
    start = expression.index(part)
    assert (caught.value.start, caught.value.end) == (start, start + len(part))
