"""Names of variants: each is a directory's on every system, and no two are alike but for capitals."""

import re
from collections.abc import Mapping
from typing import Any

from cnnbench.recipe.checking import Checker
from cnnbench.recipe.mistakes import found
from cnnbench.recipe.toml_positions import Path

LONGEST = 80
# what stands beside the variants in the directory of a recipe
_OWN_NAMES = {"figures", "tables", "plan.json", "recipe.toml", "report.md", "report.html", "complete"}
_SAFE_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,{LONGEST - 1}}}")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # on Windows


def check_name(check: Checker, name: Any, where: Path, taken: dict[str, str]) -> str | None:
    """The name, which is then `taken` (by its small letters); None, and a mistake noted, if it cannot be."""
    problem = name_problem(name, taken)
    if problem is not None:
        check.add(where, problem)
        return None
    taken[name.lower()] = name
    return str(name)


def name_problem(name: Any, taken: Mapping[str, str]) -> str | None:
    """Why this cannot be the name of a variant; None where it can."""
    if not isinstance(name, str):
        return f"expected text in quotes, found {found(name)}"
    if name.lower() in _OWN_NAMES:
        return f"{found(name)} is the name of a file or folder that the report writes; choose another"
    if not _SAFE_NAME.fullmatch(name) or name.endswith(".") or _RESERVED.fullmatch(name):
        return (
            f"the name {found(name)} cannot be a directory's: use letters, digits, . _ + - "
            f"(at most {LONGEST}), beginning with a letter or digit and not ending in a dot, "
            "and no name that Windows reserves"
        )
    if name.lower() in taken:
        capitals = "" if taken[name.lower()] == name else ", but for capitals"
        return f"two variants are called {found(name)}{capitals}"
    return None
