"""What the variants of a sweep are called: their values, in characters that a directory's name may have."""

import re
from collections.abc import Sequence
from typing import Any

from cnnbench.recipe.merging import NAMED

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


def name_parts(keys: tuple[str, ...], values: Sequence[Any], label: str) -> list[str]:
    """What each value of a swept key adds to a name: "lr-0.001", or for a unit its own name, "sgd".

    Tables of one unit are told apart by their options: "sgd-momentum-0.9".
    """
    is_unit = keys in NAMED or (keys[-1] == "name" and keys[:-1] in NAMED)
    texts = [_text(value, with_options=False) for value in values]
    if len({text.lower() for text in texts}) < len(texts):
        texts = [_text(value, with_options=True) for value in values]
    return [
        text if is_unit and not _is_nameless(value) else f"{label}-{text}"
        for value, text in zip(values, texts, strict=True)
    ]


def _is_nameless(value: Any) -> bool:
    return isinstance(value, dict) and "name" not in value


def _text(value: Any, *, with_options: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "-".join(_text(item, with_options=with_options) for item in value) or "none"
    if isinstance(value, dict):
        name = [_text(value["name"], with_options=with_options)] if "name" in value else []
        options = [
            f"{key}-{_text(item, with_options=with_options)}" for key, item in value.items() if key != "name"
        ]
        return "-".join([*name, *(options if with_options or not name else [])])
    return _UNSAFE.sub("_", str(value)).strip("_") or "_"
