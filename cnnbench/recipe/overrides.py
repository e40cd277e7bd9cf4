"""`--set KEY=VALUE`: what it asks for, where in it a mistake stands, and the directory its runs go to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import tomli

from cnnbench.recipe.merging import Layer, merge, names_unit, part, written
from cnnbench.recipe.mistakes import Mistake, RecipeError
from cnnbench.recipe.toml_positions import Mark

_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")
_QUOTES = re.compile("[\\s\\[\\]\"']+")
_LONGEST_SUFFIX = 60


@dataclass(frozen=True)
class Override:
    """One `--set`; `number` is its position on the command line."""

    text: str
    key: str
    value: Any
    number: int

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
    except tomli.TOMLDecodeError:
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
    asked = {override.key: override.text.partition("=")[2].strip() for override in overrides}
    parts = ["quick"] * quick + [f"{key}={value}" for key, value in sorted(asked.items())]
    exact = "".join(f"+{part}" for part in parts)
    plain = _QUOTES.sub("", exact)
    safe = _UNSAFE.sub("_", plain).rstrip(".")
    if safe == plain and len(safe) <= _LONGEST_SUFFIX:
        return safe
    return f"{safe[: _LONGEST_SUFFIX - 9]}-{sha256(exact.encode()).hexdigest()[:8]}"
