"""Pictures of the Moon with masks of its rocks, in the layout of the Artificial Lunar Landscape data set.

Pessia and Ishigami (2019), kaggle.com/datasets/romainpessia/artificial-lunar-rocky-landscape-dataset:
`images/render/renderNNNN.png` are the inputs, `images/ground/groundNNNN.png` their masks.
"""

import csv
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnbench.data.base import Format, Source
from cnnbench.data.split import cut_by_group
from cnnbench.errors import CnnbenchError
from cnnbench.options import Count, OnProblem, Share

if TYPE_CHECKING:
    from PIL.Image import Image

TASK = "segmentation"
CLASSES = ("ground", "rock")
FOLDERS = ("moon", "artificial-lunar-rocky-landscape-dataset")
RENDER, GROUND, MAPPING = "images/render", "images/ground", "mapping.csv"
EIGHT_BITS = ("1", "L", "LA", "P", "RGB", "RGBA")  # PIL's names of what an 8-bit PNG can hold
MOST_NAMED = 3


class UnusableError(Exception):
    """An image that cannot be used, and why."""


@dataclass(frozen=True)
class Pair:
    """An image with its mask."""

    number: str
    render: Path
    ground: Path


def describe(root: Path, *, size: Count = 128, **_: object) -> Format:
    """The format that `load` makes with these options."""
    return Format((3, size, size), len(CLASSES))


def load(
    root: Path,
    *,
    folder: str | None = None,
    size: Count = 128,
    num_images: Count | None = None,
    test_fraction: Share = 0.2,
    problems: OnProblem = "refuse",
) -> Source:
    """Photographs or renderings of the Moon with binary masks: rock is what is neither ground nor sky.

    `folder` lies under `root`; without it the first of FOLDERS that is there is taken. Images are resized to
    `size` a side (bilinear, masks nearest). Of many, `num_images` takes as many, spread over their order. A
    `mapping.csv` (index, source_image) says which images show one scene: these stay in one split. An image
    without its mask, of another size than it, or unreadable is an error, or left out (`problems = "skip"`).
    """
    place = _find(root, folder)
    pairs, found = _pairs(place)
    if num_images is not None and num_images < len(pairs):
        pairs = [pairs[index] for index in np.linspace(0, len(pairs) - 1, num_images).round().astype(int)]
    sources, unmapped = _sources(place, pairs)
    found += unmapped
    images, masks, kept = [], [], []
    with ThreadPoolExecutor() as pool:  # decoding lets go of the interpreter
        for pair, read in zip(pairs, pool.map(lambda each: _read(each, size, place), pairs), strict=True):
            if isinstance(read, UnusableError):
                found.append(str(read))
            elif pair.number in sources:
                images.append(read[0])
                masks.append(read[1])
                kept.append(sources[pair.number])
    if found and problems == "refuse":
        raise CnnbenchError(
            f"The data set 'lunar' in {place}: {_listed(found)}. Mend these files, or leave them out with "
            'data.problems = "skip".'
        )
    if len(kept) < 2:
        raise CnnbenchError(f"The data set 'lunar' in {place} has {len(kept)} usable pairs: two are needed.")
    groups = torch.from_numpy(np.unique(kept, return_inverse=True)[1].astype(np.int64))
    rest, test = cut_by_group(groups, max(1, round(test_fraction * len(kept))), num_least=2)
    all_images = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    all_masks = torch.from_numpy(np.stack(masks))
    notes = (f"lunar: left out because {_listed(found, MOST_NAMED)}",) if found else ()
    return Source(
        all_images[rest], all_masks[rest], all_images[test], all_masks[test],
        CLASSES, train_groups=groups[rest], test_groups=groups[test], notes=notes,
    )  # fmt: skip


def rock_mask(image: "Image") -> NDArray[np.bool_]:
    """True where an 8-bit mask (H, W) shows rock.

    Grey masks: any value above 0. Colored ones, as published: ground is black, sky red, rocks are blue or
    green, so rock is where green or blue is above 127 and above red.
    """
    if image.mode == "1":
        return np.asarray(image)
    if image.mode in ("L", "LA"):
        grey = np.asarray(image.getchannel(0))
        return np.asarray(grey > 0)
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), 2, 0)
    if (red == green).all() and (green == blue).all():  # grey, stored as color
        return np.asarray(red > 0)
    strongest = np.maximum(green, blue)
    return np.asarray((strongest > 127) & (strongest > red))


def _find(root: Path, folder: str | None) -> Path:
    candidates = [root / name for name in ((folder,) if folder else FOLDERS)]
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


def _pairs(place: Path) -> tuple[list[Pair], list[str]]:
    """Images with their masks in order of their numbers, and what lacks its partner."""
    renders = {_number(path, "render"): path for path in (place / RENDER).glob("*.png")}
    grounds = {_number(path, "ground"): path for path in (place / GROUND).glob("*.png")}
    both = sorted(renders.keys() & grounds.keys())
    alone = [
        f"{path.relative_to(place)} has no {partner}"
        for paths, others, partner in ((renders, grounds, "mask"), (grounds, renders, "image"))
        for number, path in sorted(paths.items())
        if number not in others
    ]
    return [Pair(number, renders[number], grounds[number]) for number in both], alone


def _number(path: Path, prefix: str) -> str:
    return path.stem.removeprefix(prefix)


def _read(pair: Pair, size: int, place: Path) -> "tuple[NDArray[Any], NDArray[Any]] | UnusableError":
    """Image (size, size, 3) and mask (size, size), uint8 each; an error is returned, for others go on."""
    from PIL.Image import Resampling, fromarray

    try:
        image, ground = (_open(path, place) for path in (pair.render, pair.ground))
        if image.size != ground.size:
            raise UnusableError(
                f"{pair.render.relative_to(place)} is {image.width}×{image.height}, "
                f"but its mask {ground.width}×{ground.height}"
            )
    except UnusableError as error:
        return error
    mask = fromarray(rock_mask(ground).astype(np.uint8)).resize((size, size), Resampling.NEAREST)
    resized = image.convert("RGB").resize((size, size), Resampling.BILINEAR)
    return np.asarray(resized), np.asarray(mask)


def _open(path: Path, place: Path) -> "Image":
    """The decoded image; raises UnusableError."""
    from PIL import Image

    name = path.relative_to(place)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
    # SyntaxError and EOFError: PIL's words for a broken PNG
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnusableError(f"{name} cannot be read ({error})") from error
    if image.mode not in EIGHT_BITS:
        raise UnusableError(f"{name} is no 8-bit image (PIL calls it {image.mode})")
    return image


def _sources(place: Path, pairs: Iterable[Pair]) -> tuple[dict[str, str], list[str]]:
    """The source of each image by number (the number itself without a mapping), and what is not mapped."""
    file = place / MAPPING
    if not file.exists():
        return {pair.number: pair.number for pair in pairs}, []
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CnnbenchError(
            f"{file} cannot be read ({error}): it says which images show one scene"
        ) from error
    if not rows or not {"index", "source_image"} <= rows[0].keys():
        raise CnnbenchError(f"{file}: expected a table with the columns index and source_image")
    by_index = {str(row["index"]).lstrip("0"): str(row["source_image"]) for row in rows}
    sources, unmapped = {}, []
    for pair in pairs:
        index = re.sub(r"^\D*0*", "", pair.number)
        if by_index.get(index):
            sources[pair.number] = by_index[index]
        else:
            unmapped.append(f"{pair.render.relative_to(place)} has no source in {MAPPING}")
    return sources, unmapped


def _listed(found: list[str], most: int = MOST_NAMED) -> str:
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more
