"""Formulas as trees: what stands in them, and their value; nothing of a text is ever executed."""

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

FUNCTIONS: dict[str, Callable[..., float]] = {"abs": abs, "min": min, "max": max, "sqrt": math.sqrt}
_ARITHMETIC: dict[str, Callable[[float, float], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
}  # fmt: skip
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
    "!=": operator.ne,
}  # fmt: skip
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
class Applied:
    """An operator or function and what it is applied to; of comparisons `signs` stand between the parts."""

    operation: str
    parts: "tuple[Node, ...]"
    start: int
    end: int
    signs: tuple[str, ...] = ()


Node = Quantity | Number | Applied


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
                if isinstance(part, Applied)
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


def kind_of(node: Node) -> Kind:
    """Whether a formula is a number or a statement."""
    is_statement = isinstance(node, Applied) and node.operation in ("and", "or", "not", "compare")
    return "statement" if is_statement else "number"


def _quantities(node: Node) -> Iterator[Quantity]:
    if isinstance(node, Quantity):
        yield node
    elif isinstance(node, Applied):
        for part in node.parts:
            yield from _quantities(part)


def _constants(node: Node) -> Iterator[Node]:
    """The largest parts that are numbers and name no quantity."""
    if kind_of(node) == "number" and not any(_quantities(node)):
        yield node
    elif isinstance(node, Applied):
        for part in node.parts:
            yield from _constants(part)


def _nothing(quantity: Quantity) -> float:
    raise EvaluationError(f"{quantity} is not known")


def _comparisons(node: Node) -> Iterator[Applied]:
    """The outermost comparisons, in the order of the text."""
    if isinstance(node, Applied):
        if node.operation == "compare":
            yield node
        elif kind_of(node) == "statement":
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
            return all(COMPARISONS[sign](left, right) for left, sign, right in pairs)
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
