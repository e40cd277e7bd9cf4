"""Copies a report, with the pictures and tables it shows, to where it is to be read: docs/results."""

import re
from pathlib import Path

from cnnbench import files
from cnnbench.errors import CnnbenchError

LINKS = re.compile(r"\]\((figures/[^()\s]+\.png|tables/[^()\s]+\.csv|recipe\.toml|plan\.json)\)")


def publish(recipe_directory: Path, name: str, target: Path) -> Path:
    """Writes `target/name.md` and, in a directory of its name beside it, the files it refers to.

    Files that an earlier copy referred to and this one does not are removed. Raises CnnbenchError without a
    report.
    """
    report = recipe_directory / "report.md"
    if not report.is_file():
        raise CnnbenchError(f"no report in {recipe_directory}: run the recipe first")
    text = report.read_text(encoding="utf-8")
    page = target / f"{name}.md"
    folder = page.with_suffix("").name
    before = set(re.findall(rf"\({re.escape(folder)}/([^()\s]+)\)", _text_of(page)))
    used = set(LINKS.findall(text))
    for file in sorted(used):
        files.write(page.parent / folder / file, (recipe_directory / file).read_bytes())
    files.write(page, LINKS.sub(rf"]({folder}/\1)", text))
    for file in before - used:
        (page.parent / folder / file).unlink(missing_ok=True)
    return page


def _text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.is_file() else ""
