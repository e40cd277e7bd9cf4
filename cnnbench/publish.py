"""Copies a report, with its pictures, tables and runs without their weights, to where it is to be read."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from cnnbench import files
from cnnbench.errors import CnnbenchError
from cnnbench.runs import RECORDS, Run

LINKS = re.compile(r"\]\((figures/[^()\s]+\.png|tables/[^()\s]+\.csv|recipe\.toml|plan\.json)\)")


def publish(recipe_directory: Path, name: str, target: Path, runs: Sequence[Run]) -> Path:
    """Writes `target/name.md` and, in a directory of its name beside it, the files it refers to and the runs.

    Of the runs, which lie in `recipe_directory`, all is copied but the weights, so that with `--runs target`
    they can be reported, compared and built on. Files and runs that an earlier copy had and this one does not
    are removed. Raises CnnbenchError without a report, and where runs of another kind stand in the way.
    """
    report = recipe_directory / "report.md"
    if not report.is_file():
        raise CnnbenchError(f"no report in {recipe_directory}: run the recipe first")
    text = report.read_text(encoding="utf-8")
    page = target / f"{name}.md"
    folder = page.with_suffix("").name
    linked = quote(folder)  # blanks or brackets would end a link
    in_place = (page.parent / folder).resolve() == recipe_directory.resolve()
    copied = () if in_place else runs
    copies = {page.parent / folder / run.path.relative_to(recipe_directory): run for run in copied}
    for place in copies:
        if more := _more_than_records(place):
            raise CnnbenchError(
                f"{place} holds a run with {more[0]}, not a copy of one: save to another folder"
            )
    before = set(re.findall(rf"\({re.escape(linked)}/([^()\s]+)\)", _text_of(page)))
    used = set(LINKS.findall(text)) | ({"plan.json", "recipe.toml"} if runs else set())
    for file in sorted(used):
        files.write(page.parent / folder / file, (recipe_directory / file).read_bytes())
    files.write(page, LINKS.sub(rf"]({linked}/\1)", text))
    for file in before - used:
        (page.parent / folder / file).unlink(missing_ok=True)
    for place, run in copies.items():
        files.remove_partial(place)
        run.copy_records(place)
    for result in () if in_place else (page.parent / folder).glob("*/seed*/result.json"):
        if result.parent not in copies and not _more_than_records(result.parent):
            _remove_records(result.parent)
    return page


def _more_than_records(place: Path) -> list[str]:
    """The files in a run's directory that no copy of a run has, nor one that was interrupted."""
    names = sorted(path.name for path in place.glob("*"))
    return [name for name in names if name not in RECORDS and not name.startswith(files.PARTIAL)]


def _remove_records(place: Path) -> None:
    """Removes a copied run, and the folder of its variant where it was the last."""
    for name in reversed(RECORDS):
        (place / name).unlink(missing_ok=True)
    place.rmdir()
    if not any(place.parent.iterdir()):
        place.parent.rmdir()


def _text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.is_file() else ""
