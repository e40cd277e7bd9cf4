"""Copies a report, with its pictures, tables and runs without their weights, to where it is to be read."""

import re
from collections.abc import Sequence
from pathlib import Path

from cnnbench import files
from cnnbench.errors import CnnbenchError
from cnnbench.runs import RECORDS, Run

LINKS = re.compile(r"\]\((figures/[^()\s]+\.png|tables/[^()\s]+\.csv|recipe\.toml|plan\.json)\)")


def publish(recipe_directory: Path, name: str, target: Path, runs: Sequence[Run]) -> Path:
    """Writes `target/name.md` and, in a directory of its name beside it, the files it refers to and the runs.

    Of the runs, which lie in `recipe_directory`, all is copied but the weights, so that with `--runs target`
    they can be reported, compared and built on. Files and runs that an earlier copy had and this one does not
    are removed. Raises CnnbenchError without a report.
    """
    report = recipe_directory / "report.md"
    if not report.is_file():
        raise CnnbenchError(f"no report in {recipe_directory}: run the recipe first")
    text = report.read_text(encoding="utf-8")
    page = target / f"{name}.md"
    folder = page.with_suffix("").name
    before = set(re.findall(rf"\({re.escape(folder)}/([^()\s]+)\)", _text_of(page)))
    used = set(LINKS.findall(text)) | ({"plan.json", "recipe.toml"} if runs else set())
    for file in sorted(used):
        files.write(page.parent / folder / file, (recipe_directory / file).read_bytes())
    files.write(page, LINKS.sub(rf"]({folder}/\1)", text))
    for file in before - used:
        (page.parent / folder / file).unlink(missing_ok=True)
    places = {page.parent / folder / run.path.relative_to(recipe_directory): run for run in runs}
    for place, run in places.items():
        run.copy_records(place)
    for result in (page.parent / folder).glob("*/seed*/result.json"):
        if result.parent not in places:
            _remove_records(result.parent)
    return page


def _remove_records(place: Path) -> None:
    """Removes a copied run, and its folders where nothing else is in them."""
    for name in reversed(RECORDS):
        (place / name).unlink(missing_ok=True)
    for folder in (place, place.parent):
        if not any(folder.iterdir()):
            folder.rmdir()


def _text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.is_file() else ""
