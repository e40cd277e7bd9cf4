"""The published folder of Tiny ImageNet: which classes and files it has, and how classes are called."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cnnbench.data.files import missing, read_bytes
from cnnbench.errors import CnnbenchError, about
from cnnbench.recipe.mistakes import choices, nearest

NAME = "tiny_imagenet"
FOLDER = "tiny-imagenet-200"

_WNID = re.compile(r"n\d{8}")  # a WordNet number, as in n01443537
_SUFFIXES = (".jpeg", ".jpg")


class Images(NamedTuple):
    """JPEG files in one folder."""

    folder: Path
    files: Sequence[str]


class ImageClass(NamedTuple):
    """A class with its images. `test` is the published validation split, since test/ has no labels."""

    wnid: str
    name: str
    train: Images
    test: Images


def find_classes(root: Path, wanted: Sequence[str] | None = None) -> list[ImageClass]:
    """The wanted classes in this order, else all that wnids.txt lists; no image is opened.

    Raises CnnbenchError where there is no such class, or where files are missing or not as published.
    """
    folder = root / FOLDER
    chosen = choose(root, wanted)
    test = _test_files(folder, list(chosen))
    return [
        ImageClass(wnid, name, _train_files(folder, wnid), Images(folder / "val" / "images", test[wnid]))
        for wnid, name in chosen.items()
    ]


def choose(root: Path, wanted: Sequence[str] | None = None) -> dict[str, str]:
    """WordNet number -> name of the wanted classes in this order, else of all that wnids.txt lists."""
    folder = root / FOLDER
    texts = [folder / file for file in ("wnids.txt", "words.txt", "val/val_annotations.txt")]
    absent = [path for path in texts if not path.is_file()]
    if not folder.exists():
        raise missing(NAME, absent, root, f"{FOLDER}/train, {FOLDER}/val, {FOLDER}/wnids.txt and so on")
    if absent:
        raise unusable(folder, f"it has no {', '.join(str(path.relative_to(folder)) for path in absent)}")
    words = _read_words(folder, _read_wnids(folder))
    if wanted is None:
        return _short_names(words)
    said: dict[str, str] = {}
    for place, name in enumerate(wanted):
        with about("classes", place):
            wnid = _find(name, words, folder)
        if wnid in said:
            problem = f"data.classes names class {wnid} twice: as {said[wnid]!r} and as {name!r}"
            raise CnnbenchError(problem).about("classes", place)
        said[wnid] = name
    return _short_names({wnid: words[wnid] for wnid in said})


def unusable(path: Path, problem: str) -> CnnbenchError:
    """The error for a part of the folder that is not as published, with the way to a new one."""
    return CnnbenchError(
        f"{path} is not as published: {problem}. Copy the original there; or move the folder {FOLDER} "
        f"away and run `cnnbench data {NAME}` to download it anew."
    )


def _find(name: str, words: Mapping[str, str], folder: Path) -> str:
    """The class of this WordNet number, or of this name: all of its words, or one between the commas."""
    if name in words:
        return name
    found = [wnid for wnid, text in words.items() if name == text or name in text.split(", ")]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{wnid} ({words[wnid]})" for wnid in found)
        raise CnnbenchError(f"data.classes: {name!r} is ambiguous; give the number of one of {listed}")
    known = [word for text in words.values() for word in text.split(", ")]
    near = nearest(name, [*words, *known])
    hint = f"did you mean {near!r}?" if near else f"give {choices(_short_names(words).values())}"
    raise CnnbenchError(
        f"data.classes: there is no class {name!r} among the {len(words)} of {folder / 'wnids.txt'}; {hint}"
    )


def _short_names(words: Mapping[str, str]) -> dict[str, str]:
    """The first name of each class, with its number where two have the same."""
    first = {wnid: text.split(", ")[0] for wnid, text in words.items()}
    count = Counter(first.values())
    return {wnid: name if count[name] == 1 else f"{name} ({wnid})" for wnid, name in first.items()}


def _read_wnids(folder: Path) -> list[str]:
    path = folder / "wnids.txt"
    wnids: list[str] = []
    for number, line in _lines(path):
        wnid = line.strip()
        if not _WNID.fullmatch(wnid):
            raise unusable(path, f"line {number} is {line[:40]!r}, no WordNet number such as n01443537")
        if wnid in wnids:
            raise unusable(path, f"line {number} lists {wnid} for the second time")
        wnids.append(wnid)
    if not wnids:
        raise unusable(path, "it lists no class")
    return wnids


def _read_words(folder: Path, wnids: Sequence[str]) -> dict[str, str]:
    """ "goldfish, Carassius auratus" and the like, by WordNet number; the file has all of WordNet's nouns."""
    path = folder / "words.txt"
    found: dict[str, str] = {}
    listed = set(wnids)
    for number, line in _lines(path):
        wnid, tab, text = line.partition("\t")
        if not tab:
            raise unusable(path, f"line {number} is {line[:40]!r}, no WordNet number, tab and name")
        if wnid in listed:
            found[wnid] = text.strip()
    return {wnid: found.get(wnid) or wnid for wnid in wnids}


def _train_files(folder: Path, wnid: str) -> Images:
    images = folder / "train" / wnid / "images"
    files = _jpegs(images)
    if not files:
        raise unusable(images, f"it has no JPEG images, and {folder / 'wnids.txt'} lists the class")
    return Images(images, sorted(files))


def _test_files(folder: Path, wnids: Sequence[str]) -> dict[str, list[str]]:
    """The files in val/images of each of these classes."""
    path = folder / "val" / "val_annotations.txt"
    present = _jpegs(folder / "val" / "images")
    class_of: dict[str, str] = {}
    for number, line in _lines(path):
        file, *rest = line.split("\t")
        if not rest or not _WNID.fullmatch(rest[0]) or Path(file).name != file:
            wanted = "file name, WordNet number and four numbers, with tabs between them"
            raise unusable(path, f"line {number} is {line[:60]!r} instead of {wanted}")
        if file in class_of:
            raise unusable(path, f"line {number} names {file} for the second time")
        if file not in present:
            raise unusable(path, f"line {number} names {file}, which is not in {folder / 'val' / 'images'}")
        class_of[file] = rest[0]
    files: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for file, wnid in sorted(class_of.items()):
        if wnid in files:  # those of other classes are not asked for
            files[wnid].append(file)
    for wnid, of_class in files.items():
        if not of_class:
            raise unusable(path, f"it names no image of class {wnid}")
    return files


def _jpegs(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.name.lower().endswith(_SUFFIXES)}
    except OSError as error:
        raise unusable(folder, error.strerror or str(error)) from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers from 1."""
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise unusable(path, f"it is no text ({error.reason} at byte {error.start:,})") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line
