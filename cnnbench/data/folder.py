"""A user's own images: `train/CLASS/PICTURE` and `test/CLASS/PICTURE`, a folder for each class."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from cnnbench.data.base import Format, Source, Survey
from cnnbench.data.decoded import NamingDecoder, Pixels, cache_folders
from cnnbench.data.files import listed
from cnnbench.data.folder_files import (
    ClassFiles,
    ImageClass,
    class_names,
    find_classes,
    notes_of,
    place_of,
    shown,
)
from cnnbench.data.pictures import UnreadableError, read_stretched, without_warnings
from cnnbench.errors import CnnbenchError
from cnnbench.memory import check_fits
from cnnbench.options import CommonSize

MOST_TOLD = 20  # files in a message that asks for them to be mended


class UnreadablePicturesError(Exception):
    """Files that cannot be used, each with what is wrong with it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(*problems)
        self.problems = problems


class PictureDecoder(NamingDecoder):
    """Reads pictures of any format and size at one size, on all cores; raises UnreadablePicturesError."""

    def __init__(self, size: int, place: Path) -> None:
        super().__init__(
            size, size, cache_folders(place), lambda path, problem: CnnbenchError(f"{shown(path)}: {problem}")
        )
        self.place = place

    def decode_all(self, folder: Path, names: Sequence[str], into: Pixels) -> None:
        def decode(index: int) -> str | None:
            path = folder / names[index]
            try:
                into[index] = np.asarray(read_stretched(path, *self.shape[:2]).image)
            except UnreadableError as error:
                return f"{shown(path.relative_to(self.place))} {error}"
            return None

        # Decoding and resizing let go of the interpreter; more threads than cores would only take memory.
        with without_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
            problems = list(filter(None, pool.map(decode, range(len(names)))))
        if problems:
            raise UnreadablePicturesError(problems)


def describe(root: Path, *, path: str, image_size: CommonSize, classes: list[str] | None = None) -> Format:
    """The format of the images; their classes are looked up, no picture is opened."""
    return Format((3, image_size, image_size), len(class_names(place_of(root, path), classes)))


def load(root: Path, *, path: str, image_size: CommonSize, classes: list[str] | None = None) -> Source:
    """Your own pictures in RGB, resized to `image_size` a side, whatever their proportions.

    `path` lies under `root`, unless it is absolute. Classes are the folders in train, sorted by name. What
    was decoded is kept in `.decoded` beside train, and counts while the files are the same. Raises
    CnnbenchError that names what cannot be read.
    """
    place = place_of(root, path)
    found = find_classes(place, classes)
    splits = {"train": [each.train for each in found], "test": [each.test for each in found]}
    num = sum(len(files.files) for of_split in splits.values() for files in of_split)
    check_fits(
        3 * num * image_size**2,
        f"{place}: {num:,} images of {image_size}×{image_size}",
        "lower data.image_size, or choose fewer data.classes",
    )
    decoder = PictureDecoder(image_size, place)
    pixels: dict[str, Pixels] = {}
    problems: list[str] = []
    for split, of_split in splits.items():
        pixels[split], unreadable = _read(decoder, split, of_split)
        problems += unreadable
    if problems:
        these = "this file" if len(problems) == 1 else "these files"
        raise CnnbenchError(f"{place}: {listed(problems, MOST_TOLD)}. Mend, replace or remove {these}.")
    images = {split: torch.from_numpy(of).permute(0, 3, 1, 2) for split, of in pixels.items()}
    targets = {
        split: torch.arange(len(found)).repeat_interleave(torch.tensor([len(of.files) for of in of_split]))
        for split, of_split in splits.items()
    }
    notes = [*notes_of(place, found), *_copies(found, pixels["train"], pixels["test"], place)]
    return Source(
        images["train"], targets["train"], images["test"], targets["test"],
        tuple(each.name for each in found), notes=tuple(notes),
    )  # fmt: skip


def survey(root: Path) -> Survey:
    """Raises CnnbenchError: which folder it is stands in a recipe."""
    raise CnnbenchError(
        "your own pictures: nothing to download; put them into a folder as train/CLASS/PICTURE and "
        "test/CLASS/PICTURE, and name that in a recipe by data.path"
    )


def _read(decoder: PictureDecoder, split: str, classes: Sequence[ClassFiles]) -> tuple[Pixels, list[str]]:
    """(N, size, size, 3) of all classes in turn, and what is wrong with files that cannot be read."""
    counts = [len(each.files) for each in classes]
    pixels = np.empty((sum(counts), *decoder.shape), dtype=np.uint8)
    problems: list[str] = []
    start = 0
    for each, count in zip(classes, counts, strict=True):
        # a class's name need not be one that a file of the cache can have
        name = hashlib.sha256(each.folder.name.encode()).hexdigest()[:12]
        group = f"{split}-{decoder.shape[0]}-{name}"
        try:
            decoder.read(group, each.folder, each.files, pixels[start : start + count])
        except UnreadablePicturesError as error:
            problems += error.problems
        start += count
    return pixels, problems


def _copies(found: Sequence[ImageClass], train: Pixels, test: Pixels, place: Path) -> list[str]:
    """Sentences where pictures of test, or of another class, are training pictures too.

    That is, pixel for pixel at this size.
    """
    trained: dict[bytes, tuple[str, str]] = {}
    twice: list[str] = []
    of_train = [(each.name, name) for each in found for name in each.train.files]
    for file, image in zip(of_train, train, strict=True):
        first = trained.setdefault(hashlib.blake2b(image).digest(), file)
        if first[0] != file[0]:
            twice.append(" is ".join(shown(Path(*each)) for each in (first, file)))
    files = [shown(each.test.folder.relative_to(place) / name) for each in found for name in each.test.files]
    copies = [
        file for file, image in zip(files, test, strict=True) if hashlib.blake2b(image).digest() in trained
    ]
    notes = []
    if copies:
        notes.append(
            f"folder: {len(copies)} of {len(files)} test pictures are in train too, which makes the test "
            f"easier than it should be: {listed(copies)}"
        )
    if twice:
        notes.append(
            f"folder: train has the same picture in two classes, of which one must be wrong: {listed(twice)}"
        )
    return notes
