"""The files of a folder of classes: `train/CLASS/PICTURE` and `test/CLASS/PICTURE`. No picture is opened."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnnbench.data.files import listed
from cnnbench.data.pictures import SUFFIXES
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.mistakes import choices, nearest

LAYOUT = "train/CLASS/PICTURE and test/CLASS/PICTURE"


class ClassFiles(NamedTuple):
    """The pictures of a class in one split, sorted by name, and the names of what is none."""

    folder: Path
    files: Sequence[str]
    others: Sequence[str] = ()


class ImageClass(NamedTuple):
    name: str
    train: ClassFiles
    test: ClassFiles


def place_of(root: Path, path: str) -> Path:
    """The folder that `data.path` names: below `root`, unless it is absolute or begins with ~."""
    return root / Path(path).expanduser()


def class_names(place: Path, wanted: Sequence[str] | None = None) -> list[str]:
    """The wanted classes in this order, else all folders in train, sorted by name.

    Raises CnnbenchError where a folder is missing, test has a class that train lacks, or there is no such
    class.
    """
    if not place.is_dir():
        raise CnnbenchError(
            f"data.path: there is no folder {place.absolute()}; it must hold pictures as {LAYOUT}, and is "
            "looked for in the folder given by --data or CNNBENCH_DATA (else data/), unless it is absolute"
        )
    if not (place / "train").is_dir():
        inside = _folders(place)
        hint = f"; move {inside[0]} and the other classes into it" if inside else ""
        raise CnnbenchError(f"{place} has no folder train: it must hold pictures as {LAYOUT}{hint}")
    if not (place / "test").is_dir():
        raise CnnbenchError(
            f"{place} has no folder test: move about a fifth of the pictures of each class from train/CLASS "
            "to test/CLASS (validation is cut from train, but nothing may be trained on what is tested)"
        )
    if os.path.samefile(place / "train", place / "test"):
        raise CnnbenchError(f"{place}: train and test are one folder, so that the test would say nothing")
    known = _folders(place / "train")
    for name in _folders(place / "test"):
        if name not in known:
            near = nearest(name, known)
            hint = f", did you mean {near!r}?" if near else ";"
            raise CnnbenchError(
                f"{place}: test has the class {name!r}, which train has not{hint} a network answers only "
                "with classes it was trained on"
            )
    if wanted is not None:
        _check_wanted(wanted, known, place)
        return list(wanted)
    if len(known) < 2:
        raise CnnbenchError(
            f"{place / 'train'} has {len(known)} folders, one for each class: two classes are needed"
        )
    return known


def find_classes(place: Path, wanted: Sequence[str] | None = None) -> list[ImageClass]:
    """Classes with the names of their pictures; raises CnnbenchError for one without a picture in a split."""
    classes = []
    for name in class_names(place, wanted):
        splits = [_class_files(place / split / name) for split in ("train", "test")]
        for split, found in zip(("train", "test"), splits, strict=True):
            if not found.files:
                raise CnnbenchError(_empty(place, split, name, found))
        classes.append(ImageClass(name, *splits))
    return classes


def notes_of(place: Path, classes: Sequence[ImageClass]) -> list[str]:
    """What the user should know of files that are not used."""
    others = [
        shown(each.folder.relative_to(place) / name)
        for of_class in classes
        for each in (of_class.train, of_class.test)
        for name in each.others
    ]
    stray = [
        shown(Path(split) / entry.name)
        for split in ("train", "test")
        for entry in sorted(_entries(place / split), key=lambda entry: entry.name)
        if _is_picture(entry)
    ]
    notes = []
    if stray:
        notes.append(f"folder: left out, for they are in the folder of no class: {listed(stray)}")
    if others:
        notes.append(f"folder: left out, for their names are not those of pictures: {listed(others)}")
    if (place / "val").is_dir():
        notes.append(f"folder: {place / 'val'} is not used, since validation is cut from train")
    return notes


def shown(path: Path) -> str:
    """A path that can be printed, whatever bytes its name is of."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _check_wanted(wanted: Sequence[str], known: Sequence[str], place: Path) -> None:
    for number, name in enumerate(wanted):
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"it has {choices(known)}"
            problem = f"data.classes: {place / 'train'} has no class {name!r}; {hint}"
            raise CnnbenchError(problem).about("classes", number)
    if len(set(wanted)) < len(wanted):
        raise CnnbenchError("data.classes names a class twice").about("classes")


def _folders(place: Path) -> list[str]:
    """Names of the folders in a folder, sorted; links are followed, hidden ones left out."""
    names = [entry.name for entry in _entries(place) if os.path.isdir(entry)]
    for name in names:
        if not name.isprintable():
            raise CnnbenchError(
                f"{shown(place / name)!r}: rename this folder, for a class's name must be printable text"
            )
    return sorted(names)


def _class_files(folder: Path) -> ClassFiles:
    """What is in the folder of a class; folders within it are not looked into."""
    if not folder.is_dir():
        return ClassFiles(folder, ())
    files: list[str] = []
    others: list[str] = []
    for entry in _entries(folder):
        (files if _is_picture(entry) else others).append(entry.name)
    return ClassFiles(folder, sorted(files), sorted(others))


def _is_picture(entry: "os.DirEntry[str]") -> bool:
    return os.path.splitext(entry.name)[1].lower() in SUFFIXES and not os.path.isdir(entry)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise CnnbenchError(f"{folder} cannot be read ({error.strerror}): check its permissions") from error


def _empty(place: Path, split: str, name: str, found: ClassFiles) -> str:
    others = f" (it holds {listed([shown(Path(other)) for other in found.others])})" if found.others else ""
    if split == "test":
        way_out = f"move about a fifth of the pictures from train/{name} there"
    else:
        way_out = f"put some there, or remove the folders {name} from train and test"
    return f"{place}: the class {name!r} has no pictures in {split}/{name}{others}: {way_out}"
