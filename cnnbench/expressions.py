"""Formulas in a recipe: a small grammar of its own, read into a tree; nothing of a text is ever executed.

formula    = conjunction {"or" conjunction}          conjunction = negation {"and" negation}
negation   = "not" negation | comparison             comparison  = sum {("<" | "<=" | …) sum}
sum        = product {("+" | "-") product}           product     = factor {("*" | "/") factor}
factor     = ("+" | "-") factor | power              power       = atom ["**" factor]
atom       = number | "(" formula ")" | function "(" formula {"," formula} ")" | name ["(" name ")"]
"""

import math
import operator
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

MOST_CHARACTERS = 500
MOST_LEVELS = 30  # of parentheses, signs and negations within each other
FUNCTIONS: dict[str, Callable[..., float]] = {"abs": abs, "min": min, "max": max, "sqrt": math.sqrt}
_SINGLE = ("abs", "sqrt")
_ARITHMETIC: dict[str, Callable[[float, float], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
}  # fmt: skip
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
    "!=": operator.ne,
}  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:\.\w+)*)|(?P<sign>\*\*|<=|>=|==|!=|[-+*/()<>,]))"
)
_PATH = re.compile(r"\s*(\w+(?:\.\w+)*)\s*(?=\))")  # a layer may be called 0 or stages.0.1

Kind = Literal["number", "statement"]


class ExpressionError(Exception):
    """What is wrong with a text, from `start` to `end` of it; `near` is a name that may have been meant."""

    def __init__(self, message: str, start: int, end: int, near: str | None = None) -> None:
        super().__init__(message)
        self.message, self.start, self.end, self.near = message, start, end, near


class EvaluationError(Exception):
    """A formula has no value for these numbers."""


@dataclass(frozen=True)
class Quantity:
    """A name that stands for a number, with what stands in parentheses after it: `gradient(layer1)`."""

    name: str
    argument: str | None
    start: int
    end: int

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name}({self.argument})"


@dataclass(frozen=True)
class Number:
    """A number as it is written."""

    value: float
    start: int
    end: int


@dataclass(frozen=True)
class _Applied:
    """An operator or function and what it is applied to; of comparisons `signs` stand between the parts."""

    operation: str
    parts: "tuple[Node, ...]"
    start: int
    end: int
    signs: tuple[str, ...] = ()


Node = Quantity | Number | _Applied


@dataclass(frozen=True)
class Expression:
    """A formula that has been read."""

    text: str
    root: Node

    def quantities(self) -> list[Quantity]:
        """Every quantity in it once, in the order of the text."""
        found: dict[str, Quantity] = {}
        for quantity in _quantities(self.root):
            found.setdefault(str(quantity), quantity)
        return list(found.values())

    def bounds(self) -> Iterator[tuple[Quantity, Number]]:
        """Every quantity that stands alone beside a number in one of the outermost comparisons, with that."""
        for comparison in _comparisons(self.root):
            for pair in pairwise(comparison.parts):
                match pair:
                    case (Quantity() as quantity, Number() as number):
                        yield quantity, number
                    case (Number() as number, Quantity() as quantity):
                        yield quantity, number

    def value(self, lookup: Callable[[Quantity], float]) -> float | bool:
        """Its value, each quantity as `lookup` says. Raises EvaluationError where there is none."""
        with _no_value():
            return _value(self.root, lookup)

    def check_constants(self) -> None:
        """Raises ExpressionError for a part that names nothing and has no finite value, nor ever will."""
        for node in _constants(self.root):
            try:
                with _no_value():
                    if not math.isfinite(_value(node, _nothing)):
                        raise EvaluationError("a number grows beyond all bounds")
            except EvaluationError as error:
                raise ExpressionError(f"this part has no value: {error}", node.start, node.end) from None

    def sides(self, lookup: Callable[[Quantity], float]) -> list[tuple[str, float]]:
        """The text and value of what the outermost comparisons compare and is more than a name or number.

        Raises EvaluationError as `value` does.
        """
        with _no_value():
            return [
                (self.text[part.start : part.end], float(_value(part, lookup)))
                for comparison in _comparisons(self.root)
                for part in comparison.parts
                if isinstance(part, _Applied)
            ]


@contextmanager
def _no_value() -> Iterator[None]:
    """Python's complaints about arithmetic as EvaluationErrors."""
    try:
        yield
    except ZeroDivisionError:
        raise EvaluationError("it divides by zero") from None
    except OverflowError:
        raise EvaluationError("a number grows beyond all bounds") from None
    except ValueError:
        raise EvaluationError("it takes the square root of a negative number") from None


def parse(text: str, kind: Kind) -> Expression:
    """Reads a formula that is a number or a statement. Raises ExpressionError."""
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(
            f"is {len(text)} characters long; at most {MOST_CHARACTERS} are read", 0, len(text)
        )
    parser = _Parser(text)
    root = parser.disjunction()
    parser.end()
    if _kind(root) != kind:
        wanted = {"number": "a number", "statement": "a comparison, such as test_accuracy > 0.9"}[kind]
        raise ExpressionError(f"expected {wanted}", root.start, root.end)
    return Expression(text, root)


def _kind(node: Node) -> Kind:
    is_statement = isinstance(node, _Applied) and node.operation in ("and", "or", "not", "compare")
    return "statement" if is_statement else "number"


def _quantities(node: Node) -> Iterator[Quantity]:
    if isinstance(node, Quantity):
        yield node
    elif isinstance(node, _Applied):
        for part in node.parts:
            yield from _quantities(part)


def _constants(node: Node) -> Iterator[Node]:
    """The largest parts that are numbers and name no quantity."""
    if _kind(node) == "number" and not any(_quantities(node)):
        yield node
    elif isinstance(node, _Applied):
        for part in node.parts:
            yield from _constants(part)


def _nothing(quantity: Quantity) -> float:
    raise EvaluationError(f"{quantity} is not known")


def _comparisons(node: Node) -> Iterator[_Applied]:
    """The outermost comparisons, in the order of the text."""
    if isinstance(node, _Applied):
        if node.operation == "compare":
            yield node
        elif _kind(node) == "statement":
            for part in node.parts:
                yield from _comparisons(part)


def _value(node: Node, lookup: Callable[[Quantity], float]) -> float | bool:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Quantity):
        value = float(lookup(node))
        if math.isnan(value):
            raise EvaluationError(f"{node} is not a number")
        return value
    if node.operation in ("and", "or"):  # every part is evaluated, so that evidence is whole
        parts = [bool(_value(part, lookup)) for part in node.parts]
        return all(parts) if node.operation == "and" else any(parts)
    values = [_value(part, lookup) for part in node.parts]
    match node.operation:
        case "not":
            return not values[0]
        case "compare":
            pairs = zip(values, node.signs, values[1:], strict=False)
            return all(_ORDER[sign](left, right) for left, sign, right in pairs)
        case "minus":
            return -values[0]
        case "plus":
            return values[0]
    if node.operation in FUNCTIONS:
        return FUNCTIONS[node.operation](*values)
    result = _ARITHMETIC[node.operation](*values)
    if isinstance(result, complex):
        raise EvaluationError("it takes a root of a negative number")
    if math.isnan(result):
        raise EvaluationError("a part of it is not a number")
    return float(result)


class _Parser:
    """Recursive descent over one text; a level of the grammar is a method."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.level = 0
        self._advance()

    def _advance(self) -> None:
        """Reads the next token into `kind` and `token`; at the end both are empty."""
        self.last_end = self.at
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            rest = self.text[self.at :]
            self.start = self.at + len(rest) - len(rest.lstrip())
            if rest.strip():
                raise ExpressionError(_strange(rest.strip()), self.start, self.start + 1)
            self.kind, self.token, self.start = "", "", len(self.text.rstrip())
            return
        self.kind = str(found.lastgroup)
        self.token, self.start, self.at = found[self.kind], found.start(self.kind), found.end()

    def _fail(self, expected: str) -> ExpressionError:
        said = f"expected {expected}, found {self.token}" if self.token else f"ends where {expected} is due"
        return ExpressionError(said, self.start, self.start + max(len(self.token), 1))

    def _take(self, sign: str) -> None:
        if self.token != sign:
            raise self._fail(f'"{sign}"')
        self._advance()

    def end(self) -> None:
        if self.token:
            raise self._fail("an operator or the end")

    def disjunction(self) -> Node:
        return self._logic("or", lambda: self._logic("and", self._negation))

    def _logic(self, word: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self.token == word:
            self._advance()
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        for each in parts:
            _expect(each, "statement", f'"{word}" joins comparisons')
        return _Applied(word, tuple(parts), parts[0].start, parts[-1].end)

    def _negation(self) -> Node:
        if self.token != "not":
            return self._comparison()
        start = self.start
        operand = self._deeper(self._negation)
        _expect(operand, "statement", '"not" turns a comparison round')
        return _Applied("not", (operand,), start, operand.end)

    def _comparison(self) -> Node:
        parts, signs = [self._sum()], []
        while self.token in _ORDER:
            signs.append(self.token)
            self._advance()
            parts.append(self._sum())
        if not signs:
            return parts[0]
        for each in parts:
            _expect(each, "number", "numbers are compared")
        return _Applied("compare", tuple(parts), parts[0].start, parts[-1].end, tuple(signs))

    def _sum(self) -> Node:
        return self._left(("+", "-"), lambda: self._left(("*", "/"), self._factor))

    def _left(self, signs: tuple[str, ...], part: Callable[[], Node]) -> Node:
        node = part()
        while self.token in signs:
            sign = self.token
            self._advance()
            node = _arithmetic(sign, node, part())
        return node

    def _factor(self) -> Node:
        if self.token not in ("+", "-"):
            return self._power()
        word, start = ("minus" if self.token == "-" else "plus"), self.start
        operand = self._deeper(self._factor)
        _expect(operand, "number", "a sign stands before a number")
        return _Applied(word, (operand,), start, operand.end)

    def _power(self) -> Node:
        base = self._atom()
        if self.token != "**":
            return base
        return _arithmetic("**", base, self._deeper(self._factor))

    def _deeper(self, part: Callable[[], Node]) -> Node:
        """Takes the token that leads further in, and reads what is there."""
        self.level += 1
        if self.level > MOST_LEVELS:
            raise ExpressionError(
                f"is nested too deeply; at most {MOST_LEVELS} levels are read", self.start, self.start + 1
            )
        self._advance()
        node = part()
        self.level -= 1
        return node

    def _atom(self) -> Node:
        token, start = self.token, self.start
        if self.kind == "number":
            self._advance()
            return Number(float(token), start, start + len(token))
        if token == "(":
            node = self._deeper(self.disjunction)
            end = self.start + 1
            self._take(")")
            return replace(node, start=start, end=end)
        if self.kind != "name" or token in ("and", "or", "not"):
            raise self._fail("a number or a name")
        if token in FUNCTIONS:
            return self._function(token, start)
        self._advance()
        if self.token != "(":
            return Quantity(token, None, start, start + len(token))
        path = _PATH.match(self.text, self.at)
        if path is None:
            raise ExpressionError(
                f"expected one name in parentheses, such as {token}(layer1)", self.start, self.start + 1
            )
        self.at = path.end()
        self._advance()
        self._take(")")
        return Quantity(token, path[1], start, self.text.index(")", path.end()) + 1)

    def _function(self, name: str, start: int) -> Node:
        self._advance()
        if self.token != "(":
            raise self._fail(f'"(" after {name}')
        arguments = [self._deeper(self._sum)]
        while self.token == ",":
            arguments.append(self._deeper(self._sum))
        end = self.start + 1
        self._take(")")
        for each in arguments:
            _expect(each, "number", f"{name} takes numbers")
        if (len(arguments) == 1) != (name in _SINGLE):
            number = "one number" if name in _SINGLE else "two numbers or more"
            raise ExpressionError(f"{name} takes {number}", start, end)
        return _Applied(name, tuple(arguments), start, end)


def _arithmetic(sign: str, left: Node, right: Node) -> Node:
    for each in (left, right):
        _expect(each, "number", f'"{sign}" takes numbers')
    return _Applied(sign, (left, right), left.start, right.end)


def _expect(node: Node, kind: Kind, reason: str) -> None:
    if _kind(node) != kind:
        other = {"number": "a number", "statement": "a comparison"}
        found = other["statement" if kind == "number" else "number"]
        raise ExpressionError(f"{reason}, and this is {found}", node.start, node.end)


def _strange(rest: str) -> str:
    hints = {"=": "two numbers are compared by ==", "&": 'write "and"', "|": 'write "or"', "!": 'write "not"'}
    hint = hints.get(rest[0], "formulas have numbers, names, + - * / **, comparisons, and, or, not")
    return f"cannot read {rest[0]}: {hint}"
