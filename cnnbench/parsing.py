"""Formulas in a recipe: a small grammar of its own, read into a tree.

formula    = conjunction {"or" conjunction}          conjunction = negation {"and" negation}
negation   = "not" negation | comparison             comparison  = sum {("<" | "<=" | …) sum}
sum        = product {("+" | "-") product}           product     = factor {("*" | "/") factor}
factor     = ("+" | "-") factor | power              power       = atom ["**" factor]
atom       = number | "(" formula ")" | function "(" formula {"," formula} ")" | name ["(" name ")"]
"""

import re
from collections.abc import Callable
from dataclasses import replace

from cnnbench.expressions import (
    COMPARISONS,
    FUNCTIONS,
    Applied,
    Expression,
    ExpressionError,
    Kind,
    Node,
    Number,
    Quantity,
    kind_of,
)

MOST_CHARACTERS = 500
MOST_LEVELS = 30  # of parentheses, signs and negations within each other
_SINGLE = ("abs", "sqrt")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:\.\w+)*)|(?P<sign>\*\*|<=|>=|==|!=|[-+*/()<>,]))"
)
_PATH = re.compile(r"\s*(\w+(?:\.\w+)*)\s*(?=\))")  # a layer may be called 0 or stages.0.1


def parse(text: str, kind: Kind) -> Expression:
    """Reads a formula that is a number or a statement. Raises ExpressionError."""
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(
            f"is {len(text)} characters long; at most {MOST_CHARACTERS} are read", 0, len(text)
        )
    parser = _Parser(text)
    root = parser.disjunction()
    parser.end()
    if kind_of(root) != kind:
        wanted = {"number": "a number", "statement": "a comparison, such as test_accuracy > 0.9"}[kind]
        raise ExpressionError(f"expected {wanted}", root.start, root.end)
    return Expression(text, root)


class _Parser:
    """Recursive descent over one text; a level of the grammar is a method."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.level = 0
        self._advance()

    def _advance(self) -> None:
        """Reads the next token into `kind` and `token`; at the end both are empty."""
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
        return Applied(word, tuple(parts), parts[0].start, parts[-1].end)

    def _negation(self) -> Node:
        if self.token != "not":
            return self._comparison()
        start = self.start
        operand = self._deeper(self._negation)
        _expect(operand, "statement", '"not" turns a comparison round')
        return Applied("not", (operand,), start, operand.end)

    def _comparison(self) -> Node:
        parts, signs = [self._sum()], []
        while self.token in COMPARISONS:
            signs.append(self.token)
            self._advance()
            parts.append(self._sum())
        if not signs:
            return parts[0]
        for each in parts:
            _expect(each, "number", "numbers are compared")
        return Applied("compare", tuple(parts), parts[0].start, parts[-1].end, tuple(signs))

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
        return Applied(word, (operand,), start, operand.end)

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
        return Applied(name, tuple(arguments), start, end)


def _arithmetic(sign: str, left: Node, right: Node) -> Node:
    for each in (left, right):
        _expect(each, "number", f'"{sign}" takes numbers')
    return Applied(sign, (left, right), left.start, right.end)


def _expect(node: Node, kind: Kind, reason: str) -> None:
    if kind_of(node) != kind:
        other = {"number": "a number", "statement": "a comparison"}
        found = other["statement" if kind == "number" else "number"]
        raise ExpressionError(f"{reason}, and this is {found}", node.start, node.end)


def _strange(rest: str) -> str:
    hints = {"=": "two numbers are compared by ==", "&": 'write "and"', "|": 'write "or"', "!": 'write "not"'}
    hint = hints.get(rest[0], "formulas have numbers, names, + - * / **, comparisons, and, or, not")
    return f"cannot read {rest[0]}: {hint}"
