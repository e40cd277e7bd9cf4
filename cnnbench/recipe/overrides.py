"""`--set KEY=VALUE`: what it asks for, where in it a mistake stands, and the directory its runs go to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import tomli

from cnnbench.recipe.merging import Layer, merge, names_unit, part, written
from cnnbench.recipe.mistakes import Mistake, RecipeError
from cnnbench.recipe.toml_positions import Mark

_PART = re.compile(r"""\s*("[^"]*"|'[^']*'|[^.]*)\s*(?:\.|$)""")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")
_QUOTES = re.compile("[\\s\\[\\]\"']+")
_BETWEEN_VALUES = re.compile(r"\s*([\[\],=])\s*")
_LONGEST_SUFFIX = 60


@dataclass(frozen=True)
class Override:
    """One `--set`; `number` is its position on the command line."""

    text: str
    key: str
    value: Any
    number: int

    @cached_property
    def parts(self) -> list[str]:
        """The names in the key; one in quotes may have dots, as in TOML."""
        found = [match[1].strip() for match in _PART.finditer(self.key + ".")][:-1]  # nothing follows
        return [name[1:-1] if name[:1] in ("'", '"') else name for name in found]

    def within(self, variant: str) -> list[str] | None:
        """What follows `variants.NAME.` of this variant, whose name may have dots, if anything does."""
        for end in range(len(self.parts) - 1, 1, -1):
            if self.parts[0] == "variants" and ".".join(self.parts[1:end]) == variant:
                return self.parts[end:]
        return None

    def mark(self, on_value: bool) -> Mark:
        start = len(self.text) - len(self.text.partition("=")[2].lstrip()) if on_value else 0
        width = len(self.text) - start if on_value else len(self.key)
        return Mark(0, start + 1, max(1, width), self.text)

    def can_be_set(self, section: str, parts: Sequence[str]) -> bool:
        """Whether it sets a key, or as a whole section a table, or the name of a data set or model."""
        named = section in ("data", "model") and isinstance(self.value, str)
        return bool(parts) or isinstance(self.value, dict) or named

    def layer(self, section: str, parts: Sequence[str]) -> Layer:
        """What it sets in a section, as a layer over the others."""
        value = self.value
        for key in reversed(parts):
            value = {key: value}
        return written(section, value, (self.number,), at_once=True)


def parse_overrides(texts: Sequence[str]) -> list[Override]:
    """Raises RecipeError for what is not KEY=VALUE."""
    overrides, mistakes = [], []
    for number, text in enumerate(texts):
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            mark = Mark(0, 1, max(1, len(text)), text)
            mistakes.append(Mistake(f"--set {text}", "expected KEY=VALUE, such as train.epochs=2", mark))
        else:
            overrides.append(Override(text, key.strip(), _value(value.strip()), number))
    if mistakes:
        raise RecipeError(mistakes)
    return overrides


def _value(text: str) -> Any:
    """A TOML value; what is none is taken as bare text, so that `optimizer=sgd` needs no quotes."""
    try:
        document = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError):  # no TOML, or more digits or brackets than any setting has
        return text
    return document["value"] if document.keys() == {"value"} else text


def apply(layer: Layer, override: Override, parts: Sequence[str]) -> Layer:
    return merge(layer, override.layer(layer.section, parts))


def with_units(shared: Layer, asked: Sequence[tuple[Override, Sequence[str]]], own: Sequence[Any]) -> Layer:
    """What variants have in common, with the units asked for: what they set themselves belongs to these.

    `asked` are overrides of this section for all variants, with their keys in it; `own` what variants write
    of it. Where they differ in augmentation, that of those without one of their own stays too.
    """
    for override, parts in asked:
        if override.can_be_set(shared.section, parts) and names_unit(override.layer(shared.section, parts)):
            before, shared = shared, apply(shared, override, parts)
            if any("augment" in table for table in own if isinstance(table, dict)):
                shared = merge(shared, part(before, "augment"))
    return shared


def directory_suffix(overrides: Sequence[Override], quick: bool) -> str:
    """Such as "+quick+train.epochs=2", safe and short enough for a directory's name."""
    asked: dict[str, str] = {}
    merged = set()  # keys of which an earlier table is still part of what holds
    for override in overrides:
        text = override.text.partition("=")[2].strip()
        before = asked.get(override.key)
        asked[override.key] = text if before is None or override.key not in merged else f"{before};{text}"
        merged |= {override.key} if isinstance(override.value, dict) else set()
    parts = ["quick"] * quick + [f"{key}={value}" for key, value in sorted(asked.items())]
    exact = "".join(f"+{part}" for part in parts)
    plain = _QUOTES.sub("", exact)
    safe = _UNSAFE.sub("_", plain).rstrip(".")
    is_told_apart = not any(map(_loses_structure, asked.values()))
    if safe == plain and len(safe) <= _LONGEST_SUFFIX and is_told_apart:
        return safe
    return f"{safe[: _LONGEST_SUFFIX - 9]}-{sha256(exact.encode()).hexdigest()[:8]}"


def _loses_structure(text: str) -> bool:
    """Whether another value reads the same without brackets and blanks: lists in lists, words in a text."""
    return text.count("[") > 1 or bool(re.search(r"\s", _BETWEEN_VALUES.sub(r"\1", text)))
