"""Mistakes in a recipe, in plain words: where, what was expected, what was found, what is near."""

import difflib
import math
import types
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from cnnbench.errors import CnnbenchError
from cnnbench.options import Meaning
from cnnbench.recipe.toml_positions import Mark

MIN_PART = 3  # letters: a shorter part of a name hints at nothing


@dataclass(frozen=True)
class Mistake:
    """One thing to mend. Without a mark it is the whole file's; a mark of line 0 is in a `--set`."""

    place: str
    message: str
    mark: Mark | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        if self.mark is None:
            lines = [f"{self.place}: {self.message}"]
        else:
            position = f":{self.mark.line}:{self.mark.column}" if self.mark.line else ""
            lines = [
                f"{self.place}{position}: {self.message}",
                f"    {self.mark.source}",
                f"    {_indent(self.mark)}{'^' * self.mark.width}",
            ]
        if self.suggestion is not None:
            lines.append(f"    did you mean {self.suggestion!r}?")
        return "\n".join(lines)


class RecipeError(CnnbenchError):
    """Every mistake found in a recipe and in what was set on the command line."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = sorted(mistakes, key=_place)
        super().__init__("\n\n".join(str(mistake) for mistake in self.mistakes))


def _place(mistake: Mistake) -> tuple[int, int]:
    """The order of the file; then what was set on the command line."""
    mark = mistake.mark
    return (0, 0) if mark is None else (mark.line or 1_000_000_000, mark.column)


def _indent(mark: Mark) -> str:
    """Blanks as wide as what stands before the mark: tabs stay tabs, wide characters count twice."""
    before = mark.source[: mark.column - 1]
    return "".join(
        "\t" if c == "\t" else " " * (1 + (unicodedata.east_asian_width(c) in "WF")) for c in before
    )


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known name most like this word, or the only one with a word that begins with it; None without."""
    by_lower = {name.lower(): name for name in known}
    text = str(word).lower()
    if found := difflib.get_close_matches(text, by_lower, n=1, cutoff=0.6):
        return by_lower[found[0]]
    containing = [
        name for lower, name in by_lower.items() if len(text) >= MIN_PART and f"_{text}" in f"_{lower}"
    ]
    return containing[0] if len(containing) == 1 else None


def choices(known: Iterable[str], most: int = 14) -> str:
    """ "one of a, b, c"; a long list is cut."""
    listed = list(known)
    if not listed:
        return "none here"
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return f"one of {', '.join(listed[:most])}{rest}" if len(listed) > 1 else listed[0]


def found(value: object) -> str:
    """The value as it would stand in the file, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan (not a number)" if math.isnan(value) else f"{value} (infinite)"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 40 else f'"{value[:37]}..."'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        inner = f"[{', '.join(found(item) for item in value)}]"
        return inner if len(inner) <= 50 else f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    return str(value)


def expected(annotation: Any, plural: bool = False) -> str:
    """What values an annotation accepts, in plain words."""
    bounds: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        for item in metadata:
            bounds += getattr(item, "metadata", [item])
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(expected(arg, plural) for arg in args if arg is not type(None)))
    if origin is Literal:
        listed = [found(arg) for arg in args]
        return f"one of {', '.join(listed)}" if len(listed) > 1 else listed[0]
    if origin is tuple and args[-1] is not ...:
        return _many(f"a list of {len(args)} values", f"lists of {len(args)} values", plural)
    if origin in (list, tuple):
        least = next((bound.min_length for bound in bounds if hasattr(bound, "min_length")), 0)
        most = next((bound.max_length for bound in bounds if hasattr(bound, "max_length")), None)
        some = f", {least} {'of them' if most == least else 'or more of them'}" if least else ""
        return _many("a list of ", "lists of ", plural) + expected(args[0], plural=True) + some
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if "name" in annotation.model_fields:
            return _many("a name, or a table with a name", "names, or of tables with a name", plural)
        return _many("a table", "tables", plural)
    words = {
        int: ("a whole number", "whole numbers"),
        float: ("a number", "numbers"),
        bool: ("true or false", "true or false"),
        str: ("text in quotes", "texts in quotes"),
    }
    if annotation in words:
        return words[annotation][plural] + _range(bounds)
    if origin is dict or annotation is dict:
        return _many("a table", "tables", plural)
    if annotation in (list, tuple):
        return _many("a list", "lists", plural)
    return _many("a value", "values", plural)


def _many(one: str, several: str, plural: bool) -> str:
    return several if plural else one


def _bound(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _range(bounds: list[Any]) -> str:
    words = {"ge": "of at least", "gt": "greater than", "le": "at most", "lt": "less than"}
    said = [
        f"{text} {_bound(getattr(b, key))}" for b in bounds for key, text in words.items() if hasattr(b, key)
    ]
    meanings = [f", {bound}" for bound in bounds if isinstance(bound, Meaning)]
    return (f" {' and '.join(said)}" if said else "") + "".join(meanings)
