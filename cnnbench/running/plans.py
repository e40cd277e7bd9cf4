"""plan.json: what the directory of a recipe is going to hold."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench import files
from cnnbench.reading import DamagedError, read_json

if TYPE_CHECKING:
    from cnnbench.recipe.config import Recipe

# Stands in the directory while its report has every run that the recipe asks for: `make all` goes by it.
COMPLETE = "complete"


def write_plan(recipe: "Recipe", directory: Path, command: str, skipped: Mapping[str, str] = {}) -> None:
    """Writes what this directory is going to hold, why variants are skipped, and the recipe as read.

    What it held before is no longer a whole answer.
    """
    plan = {
        "recipe": recipe.directory,
        "command": command,
        "title": recipe.title,
        "question": recipe.question,
        "judged_on": recipe.judged_on,
        "analyses": [analysis.model_dump(mode="json") for analysis in recipe.analyses],
        "claims": [claim.model_dump(mode="json") for claim in recipe.claims],
        "checks": [check.model_dump(mode="json") for check in recipe.checks],
        "variants": [
            {**each, **({"skipped": skipped[each["name"]]} if each["name"] in skipped else {})}
            for each in recipe.planned()
        ],
    }
    (directory / COMPLETE).unlink(missing_ok=True)
    files.write(directory / "plan.json", json.dumps(plan, indent=2) + "\n")
    files.write(directory / "recipe.toml", recipe.text)


def another_recipe(recipe: "Recipe", directory: Path) -> list[str]:
    """A sentence where the directory's last plan was that of a recipe with another question, or none."""
    try:
        before = read_json(directory / "plan.json")
        title, question = str(before["title"]), str(before["question"])
    except (DamagedError, LookupError, TypeError):
        return []
    if (title, question) == (recipe.title, recipe.question):
        return []
    return [
        f"{directory} was the place of {title!r} ({question}): its report is written anew for "
        f"{recipe.title!r}, and runs with other settings are moved aside; give --runs DIR to keep both"
    ]


def skipped_before(directory: Path) -> dict[str, str]:
    """Why the last plan skipped which variants."""
    try:
        variants = read_json(directory / "plan.json")["variants"]
        return {each["name"]: str(each["skipped"]) for each in variants if each.get("skipped")}
    except (DamagedError, LookupError, TypeError, AttributeError):
        return {}  # no plan, or none of ours: what it said is written anew anyway
