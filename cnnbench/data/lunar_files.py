"""Which files a folder of Moon pictures has: images with their masks, and the scene that each shows."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cnnbench.errors import CnnbenchError

FOLDERS = ("moon", "artificial-lunar-rocky-landscape-dataset")
RENDER, GROUND, MAPPING = "images/render", "images/ground", "mapping.csv"
COLUMNS = ("index", "source_image")


@dataclass(frozen=True)
class Pair:
    """An image with its mask."""

    number: str
    render: Path
    ground: Path


def find_place(root: Path, folder: str | None) -> Path:
    """The folder that holds both kinds of files; raises CnnbenchError where none does."""
    candidates = [root / Path(name).expanduser() for name in ((folder,) if folder else FOLDERS)]
    for place in candidates:
        if (place / RENDER).is_dir() and (place / GROUND).is_dir():
            return place
    wanted = " or ".join(str(place.absolute()) for place in candidates)
    raise CnnbenchError(
        f"The data set 'lunar' was not found: there is no {RENDER} with {GROUND} in {wanted}. Put the "
        "Artificial Lunar Landscape data set (kaggle.com/datasets/romainpessia/"
        "artificial-lunar-rocky-landscape-dataset) there, or name its place with --data and data.folder; or "
        "take `lunar_synthetic`, which is generated."
    )


def find_pairs(place: Path) -> tuple[list[Pair], list[str]]:
    """Images with their masks in order of their numbers, and what lacks its partner, or has two."""
    problems: list[str] = []
    renders = _by_number(place, RENDER, "render", problems)
    grounds = _by_number(place, GROUND, "ground", problems)
    both = sorted(renders.keys() & grounds.keys())
    problems += [
        f"{path.relative_to(place)} has no {partner}"
        for paths, others, partner in ((renders, grounds, "mask"), (grounds, renders, "image"))
        for number, path in sorted(paths.items())
        if number not in others
    ]
    return [Pair(number, renders[number], grounds[number]) for number in both], problems


def _by_number(place: Path, folder: str, prefix: str, problems: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted((place / folder).iterdir()):
        if path.suffix.lower() != ".png":
            continue
        number = path.stem.removeprefix(prefix)
        if number in found:
            problems.append(f"{path.relative_to(place)} and {found[number].name} have one number")
        else:
            found[number] = path
    return found


def find_sources(place: Path, pairs: Iterable[Pair]) -> tuple[dict[str, str], list[str]]:
    """The source of each image by number (the number itself without a mapping), and what is not mapped."""
    file = place / MAPPING
    if not (file.exists() or file.is_symlink()):  # a link to nowhere is a mapping that cannot be read
        return {pair.number: pair.number for pair in pairs}, []
    by_index, problems = _read_mapping(file)
    sources = {}
    for pair in pairs:
        if source := by_index.get(_digits(pair.number)):
            sources[pair.number] = source
        else:
            problems.append(f"{pair.render.relative_to(place)} has no source in {MAPPING}")
    return sources, problems


def _read_mapping(file: Path) -> tuple[dict[str, str], list[str]]:
    """Sources by the digits of their index, and indices that name two of them."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CnnbenchError(
            f"{file} cannot be read ({error}): it says which images show one scene"
        ) from error
    columns = rows[0] if rows else []
    if not {*COLUMNS} <= {*columns}:
        found = f"its first line has {', '.join(map(repr, columns[:5]))}" if columns else "it is empty"
        raise CnnbenchError(
            f"{file}: expected a table, comma-separated, with the columns index and source_image; {found}"
        )
    places = [columns.index(name) for name in COLUMNS]
    sources: dict[str, str] = {}
    problems = []
    for row in rows[1:]:
        index, source = (row[place] if place < len(row) else "" for place in places)
        if not index:
            continue
        index = _digits(Path(index).stem)
        if sources.setdefault(index, source) != source:
            problems.append(f"{MAPPING} names two sources of {index}: {sources[index]} and {source}")
            sources[index] = ""  # which is none
    return sources, problems


def _digits(name: str) -> str:
    """`7` of `render0007`."""
    return re.sub(r"^\D*0*(?=\d)", "", name)
