"""Photographs of ImageNet's classes, for test only: a folder of `NNN_wnid_name.JPEG`, NNN the class."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnbench.data.base import Format, Source
from cnnbench.data.pictures import MOST_PIXELS, Picture, UnreadableError, read_rgb, without_warnings
from cnnbench.errors import CnnbenchError
from cnnbench.imagenet import imagenet_classes
from cnnbench.memory import check_fits
from cnnbench.options import ImageSize

FOLDER = "imagenet-samples"
SIZE = 256  # what most networks of ImageNet resize the short side to
_NAME = re.compile(r"(\d{3})_(n\d{8})_.*\.jpe?g", re.IGNORECASE)


def describe(root: Path, *, size: int = SIZE, **_: object) -> Format:
    """The format of the images, known without the files."""
    return Format((3, size, size), len(imagenet_classes()))


def load(root: Path, *, size: ImageSize = SIZE) -> Source:
    """Squares of `size`: the short side resized to it by Pillow (bilinear, antialiased), the center cut out.

    A network that resizes the short side to 256 and cuts out the center sees exactly what it would see of the
    file. There are no training images: the same photographs stand for them, and training is refused.
    """
    files = sorted(path for path in (root / FOLDER).glob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    if not files:
        raise CnnbenchError(
            f"The data set 'imagenet_samples' is not under {root.absolute()}: there are no files "
            f"{FOLDER}/NNN_wnid_name.JPEG (NNN is the class, such as 000_n01440764_tench.JPEG). Copy some "
            "there, or name the folder that has them with --data or the environment variable CNNBENCH_DATA."
        )
    check_fits(3 * len(files) * size**2, f"{len(files):,} photographs of {size}×{size}", "lower data.size")
    targets = torch.tensor([_class_of(path) for path in files])
    images = torch.empty((len(files), 3, size, size), dtype=torch.uint8, memory_format=torch.channels_last)
    for row, path in enumerate(files):
        images[row] = _read(path, size)
    classes = tuple(each.name for each in imagenet_classes())
    return Source(images, targets, images, targets, classes, test_only=True)


def _class_of(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise CnnbenchError(
            f"{path}: expected a name such as 000_n01440764_tench.JPEG: class, WordNet id, name"
        )
    index, wnid = int(match[1]), match[2]
    if imagenet_classes()[index].wnid != wnid:
        raise CnnbenchError(
            f"{path}: class {index} of ImageNet is {imagenet_classes()[index].wnid}, not {wnid}: "
            "rename the file"
        )
    return index


def read_picture(path: Path, *, size: int = SIZE) -> Picture:
    """A picture as `load` sees it: the center square of `size`. Raises UnreadableError."""
    picture = read_rgb(path)
    image = picture.image
    width, height = image.size
    short, long = min(image.size), max(image.size)
    if short != size:
        other = int(size * long / short)
        if size * other > MOST_PIXELS:
            raise UnreadableError(
                f"is too long: with {size} pixels on the short side it has {other:,} on the other; cut it"
            )
        image = image.resize((size, other) if width <= height else (other, size), Image.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return picture._replace(image=image.crop((left, top, left + size, top + size)))


def _read(path: Path, size: int) -> Tensor:
    """(3, size, size) uint8."""
    try:
        with without_warnings():
            image = read_picture(path, size=size).image
    except UnreadableError as error:
        raise CnnbenchError(f"{path} {error}") from error
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
