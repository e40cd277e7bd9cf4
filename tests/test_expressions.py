"""Formulas: values against arithmetic done by hand, what has no value, what stands in them."""

import pytest

from cnnbench.expressions import EvaluationError, Quantity
from cnnbench.parsing import parse

VALUES = {
    "a": 2.0,
    "b": 3.0,
    "zero": 0.0,
    "variance(layer1)": 4.0,
    "variance(stages.0.1)": 5.0,
    "nan": float("nan"),
}


def lookup(quantity: Quantity) -> float:
    return VALUES[str(quantity)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("2 - 3 - 4", -5),
        ("16 / 4 / 2", 2),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("--3", 3),
        ("+a", 2),
        ("5e6 + 1_000 + .5", 5_001_000.5),
        ("a * b", 6),
        ("2 * variance(layer1)", 8),
        ("variance( stages.0.1 )", 5),
        ("min(a, b, 1) + max(a, b)", 4),
        ("sqrt(variance(layer1)) * abs(-3)", 6),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert parse(text, "number").value(lookup) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a < b", True),
        ("a >= b", False),
        ("1 < a < b <= 3", True),
        ("1 < a < 2", False),
        ("a == 2 and b != 2", True),
        ("a > b or a < b", True),
        ("a > b or b > a and a > 9", False),
        ("not a > b", True),
        ("not (a > b or b > a)", False),
        ("(a < b) and (1 + a) * 2 == 6", True),
        ("variance(layer1) / a > 1.9", True),
    ],
)
def test_statements(text: str, value: bool) -> None:
    assert parse(text, "statement").value(lookup) is value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a / zero", "divides by zero"),
        ("zero ** -1", "divides by zero"),
        ("sqrt(-a)", "square root of a negative"),
        ("(-a) ** 0.5", "root of a negative"),
        ("10 ** 999", "beyond all bounds"),
        ("nan + 1", "nan is not a number"),
        ("1e999 - 1e999", "not a number"),
    ],
)
def test_what_has_no_value(text: str, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        parse(text, "number").value(lookup)
    with pytest.raises(EvaluationError, match=said):
        parse(f"1 + {text} < 2", "statement").sides(lookup)


def test_quantities_come_once_in_order() -> None:
    expression = parse("b > variance(layer1) and variance(layer1) + b > a", "statement")
    assert list(map(str, expression.quantities())) == ["b", "variance(layer1)", "a"]
    found = expression.quantities()[1]
    assert expression.text[found.start : found.end] == "variance(layer1)"


def test_sides_are_what_is_more_than_a_name() -> None:
    expression = parse("1 < (a + b) / a < 3 and not b - a > sqrt(variance(layer1))", "statement")
    assert expression.sides(lookup) == [("(a + b) / a", 2.5), ("b - a", 1.0), ("sqrt(variance(layer1))", 2.0)]
