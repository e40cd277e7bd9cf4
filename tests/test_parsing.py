"""The grammar of formulas: mistakes with their places, bounds."""

import pytest

from cnnbench.expressions import ExpressionError, Kind
from cnnbench.parsing import MOST_CHARACTERS, MOST_LEVELS, parse


@pytest.mark.parametrize(
    ("text", "kind", "where", "said"),
    [
        ("", "statement", (0, 1), "ends where a number or a name is due"),
        ("a <", "statement", (3, 4), "ends where"),
        ("a < b)", "statement", (5, 6), "expected an operator or the end, found )"),
        ("(a < b", "statement", (6, 7), 'ends where ")" is due'),
        ("a = b", "statement", (2, 3), "compared by =="),
        ("a < b & b < a", "statement", (6, 7), 'write "and"'),
        ("a.b < open('x')", "statement", (10, 11), "one name in parentheses, such as open(layer1)"),
        ("a[0] < 1", "statement", (1, 2), "cannot read ["),
        ("a + b", "statement", (0, 5), "expected a comparison"),
        ("a < b", "number", (0, 5), "expected a number"),
        ("a + (a < b)", "number", (4, 11), '"+" takes numbers'),
        ("a and b < a", "statement", (0, 1), '"and" joins comparisons'),
        ("not a", "statement", (4, 5), '"not" turns'),
        ("(a < b) < 1", "statement", (0, 7), "numbers are compared"),
        ("sqrt(a, b) < 1", "statement", (0, 10), "sqrt takes one number"),
        ("min(a) < 1", "statement", (0, 6), "min takes two numbers or more"),
        ("sqrt < 1", "statement", (5, 6), '"(" after sqrt'),
        ("gain(a + b) < 1", "statement", (4, 5), "one name in parentheses, such as gain(layer1)"),
        ("a b < 1", "statement", (2, 3), "expected an operator or the end, found b"),
    ],
)
def test_mistakes_say_where(text: str, kind: Kind, where: tuple[int, int], said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text, kind)
    assert said in caught.value.message
    assert (caught.value.start, caught.value.end) == where


def test_length_and_depth_are_bounded() -> None:
    deep = "(" * MOST_LEVELS + "a" + ")" * MOST_LEVELS
    assert parse(deep, "number").value(lambda _: 2.0) == 2
    with pytest.raises(ExpressionError, match="nested too deeply"):
        parse(f"({deep})", "number")
    with pytest.raises(ExpressionError, match="nested too deeply"):
        parse("-" * 200 + "1", "number")
    with pytest.raises(ExpressionError, match="nested too deeply"):
        parse("2 ** " * 90 + "2", "number")
    with pytest.raises(ExpressionError, match=f"at most {MOST_CHARACTERS}"):
        parse("a" * (MOST_CHARACTERS + 1), "number")
