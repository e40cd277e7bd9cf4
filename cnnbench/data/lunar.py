"""Pictures of the Moon with masks of its rocks, in the layout of the Artificial Lunar Landscape data set.

Pessia and Ishigami (2019), kaggle.com/datasets/romainpessia/artificial-lunar-rocky-landscape-dataset:
`images/render/renderNNNN.png` are the inputs, `images/ground/groundNNNN.png` their masks.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnbench.data.base import Format, Source
from cnnbench.data.decoded import NamingDecoder, Pixels, cache_folders
from cnnbench.data.files import listed
from cnnbench.data.lunar_files import Pair, find_pairs, find_place, find_sources
from cnnbench.data.near_copies import SIDE, exact_copies, joined, largest_group, near_copies
from cnnbench.data.pictures import as_rgb
from cnnbench.data.split import cut_by_group
from cnnbench.errors import CnnbenchError
from cnnbench.memory import check_fits
from cnnbench.options import Count, ImageSize, OnProblem, Share

if TYPE_CHECKING:
    from PIL.Image import Image

TASK = "segmentation"
CLASSES = ("ground", "rock")
EIGHT_BITS = ("1", "L", "LA", "P", "RGB", "RGBA")  # PIL's names of what an 8-bit PNG can hold
MOST_TOLD = 20  # files in a message that asks for them to be mended


class UnusableError(Exception):
    """An image that cannot be used, and why."""


class PairDecoder(NamingDecoder):
    """Reads images with their masks as rows of bytes, which `parts` takes apart; zeros if unusable."""

    def __init__(self, size: int, place: Path) -> None:
        super().__init__(
            size, size, cache_folders(place), lambda path, problem: CnnbenchError(f"{path}: {problem}")
        )
        self.size, self.place = size, place
        self.shape = (4 * size**2 + SIDE**2,)

    def read_pairs(self, pairs: Sequence[Pair]) -> tuple[Pixels, dict[int, str]]:
        """All pairs (N, bytes), and what is wrong with those that cannot be used, by their places."""
        names = [str(path.relative_to(self.place)) for pair in pairs for path in (pair.render, pair.ground)]
        rows = np.zeros((len(pairs), *self.shape), dtype=np.uint8)
        self.read(f"pairs-{self.size}-{len(pairs)}", self.place, names, rows)
        # Of what was unusable, maybe for a moment only, the cache has nothing: what is dark is read again.
        problems: dict[int, str] = {}
        for place in np.flatnonzero(~self.parts(rows)[2].any(1)).tolist():
            found = self._read(pairs[place])
            if isinstance(found, UnusableError):
                problems[place] = str(found)
            else:
                rows[place] = found
        return rows, problems

    def parts(self, rows: Pixels) -> tuple[Pixels, Pixels, Pixels]:
        """Images (N, size, size, 3), masks (N, size, size) and small grey pictures (N, SIDE²) of rows."""
        both, small = np.split(rows, [4 * self.size**2], axis=1)
        both = both.reshape(len(rows), self.size, self.size, 4)
        return both[..., :3], both[..., 3], small

    def decode_all(self, folder: Path, names: Sequence[str], into: Pixels) -> None:
        """Of two names each the pair; what is unusable stays as it is in `into`."""
        pairs = [
            Pair("", folder / first, folder / second)
            for first, second in zip(names[::2], names[1::2], strict=True)
        ]
        with ThreadPoolExecutor() as pool:  # decoding lets go of the interpreter
            for index, found in enumerate(pool.map(self._read, pairs)):
                if not isinstance(found, UnusableError):
                    into[index] = found

    def _read(self, pair: Pair) -> "NDArray[Any] | UnusableError":
        return _read(pair.render, pair.ground, self.size, self.place)


def describe(root: Path, *, size: ImageSize = 128, **_: object) -> Format:
    """The format that `load` makes with these options."""
    return Format((3, size, size), len(CLASSES))


def load(
    root: Path,
    *,
    folder: str | None = None,
    size: ImageSize = 128,
    num_images: Count | None = None,
    test_fraction: Share = 0.2,
    problems: OnProblem = "refuse",
) -> Source:
    """Photographs or renderings of the Moon with binary masks: rock is what is neither ground nor sky.

    `folder` lies under `root`; without it the first known one that is there is taken. Images are resized to
    `size` a side (bilinear, masks nearest), once: pixels are kept in `.decoded` beside them while the files
    are the same. Of many, `num_images` takes as many, spread over their order. Images of one scene stay in
    one split: those of which a `mapping.csv` (index, source_image) says so, and those that are nearly the
    same picture. An image without its mask, of another size than it, or unreadable is an error, or left out
    (`problems = "skip"`).
    """
    place = find_place(root, folder)
    pairs, found = find_pairs(place)
    if num_images is not None and num_images < len(pairs):
        pairs = [pairs[index] for index in np.linspace(0, len(pairs) - 1, num_images).round().astype(int)]
    sources, unmapped = find_sources(place, pairs)
    found += unmapped
    decoder = PairDecoder(size, place)
    check_fits(
        2 * len(pairs) * decoder.shape[0],  # as they are read, and in their splits
        f"{place}: {len(pairs):,} images of {size}×{size} with their masks",
        "lower data.size or data.num_images",
    )
    rows, unusable = decoder.read_pairs(pairs)
    found += unusable.values()
    if found and problems == "refuse":
        told = listed(found, MOST_TOLD, "; ")
        raise CnnbenchError(
            f"The data set 'lunar' in {place}: {told}. Mend these files, or leave them out with "
            'data.problems = "skip".'
        )
    kept = [index for index, pair in enumerate(pairs) if index not in unusable and pair.number in sources]
    if len(kept) < 2:
        why = f" ({listed(found, separator='; ')})" if found else ""
        raise CnnbenchError(
            f"The data set 'lunar' in {place} has {len(kept)} usable pairs of PNG files{why}: two are needed."
        )
    if len(kept) < len(pairs):
        rows = rows[kept]
    pixels, rocks, small = decoder.parts(rows)
    images, masks = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(rocks)
    scenes, note = _scenes([sources[pairs[index].number] for index in kept], small)
    groups = torch.from_numpy(scenes)
    left_out = f"lunar: left out because {listed(found, separator='; ')}" if found else None
    notes = tuple(each for each in (left_out, note) if each is not None)
    rest, test = cut_by_group(groups, max(1, round(test_fraction * len(kept))), num_least=2)
    return Source(
        images[rest], masks[rest], images[test], masks[test],
        CLASSES, train_groups=groups[rest], test_groups=groups[test], notes=notes,
    )  # fmt: skip


def _scenes(sources: Sequence[str], small: Pixels) -> tuple[NDArray[np.int64], str | None]:
    """A group (N,) for each image: those of one source, and near copies of each other, have the same.

    Where likeness would make a group of more than a tenth, it says nothing of scenes: then those of one
    source and exact copies alone, and a note that says so.
    """
    groups = np.unique(sources, return_inverse=True)[1].astype(np.int64)
    largest = max(2, len(groups) // 10)
    alike = near_copies(small, largest)
    if alike is not None:
        together = joined(groups, alike)
        if largest_group(together) <= max(largest, largest_group(groups)):
            return together, None
    return joined(groups, exact_copies(small)), (
        f"lunar: of {len(groups)} pictures more than {largest} would be one scene by their likeness, so of "
        "like ones only exact copies are kept in one split"
    )


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


def _read(render: Path, ground: Path, size: int, place: Path) -> "NDArray[Any] | UnusableError":
    """The row (bytes,) of a pair: red, green, blue and rock of each pixel, then the small grey picture.

    That is of the file's own pixels: what is alike must not depend on `size`. An error is returned, for
    others go on.
    """
    from PIL.Image import Resampling, fromarray

    try:
        image, mask = (_open(path, place) for path in (render, ground))
        if image.size != mask.size:
            raise UnusableError(
                f"{render.relative_to(place)} is {image.width}×{image.height}, "
                f"but its mask {mask.width}×{mask.height}"
            )
    except UnusableError as error:
        return error
    rock = fromarray(rock_mask(mask).astype(np.uint8)).resize((size, size), Resampling.NEAREST)
    upright = as_rgb(image)
    resized = upright.resize((size, size), Resampling.BILINEAR)
    small = upright.convert("L").resize((SIDE, SIDE), Resampling.BOX)
    both = np.concatenate([np.asarray(resized), np.asarray(rock)[:, :, None]], axis=2)
    return np.concatenate([both.ravel(), np.asarray(small).ravel()])


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
