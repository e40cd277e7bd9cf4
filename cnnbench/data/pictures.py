"""A user's own picture, whatever its format, as upright RGB of eight bits; nothing of it is run."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# What PIL may open: not EPS, for which it would start another program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib",
    ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
])  # fmt: skip
MOST_PIXELS = 100_000_000  # as RGB 300 MB; reading one with alpha or 16 bits takes a few times that
ORIENTATION = 0x0112  # the tag of EXIF; from 5 on, height and width are exchanged
WHITE = (255, 255, 255, 255)


class UnreadableError(Exception):
    """A file that cannot be used as a picture; the message goes on where its name ended."""


class Picture(NamedTuple):
    """A picture in RGB, and the (width, height) that its file has when it stands upright."""

    image: Image.Image
    file_size: tuple[int, int]


def read_stretched(path: Path, height: int, width: int) -> Picture:
    """The picture resized to this height and width (bilinear, antialiased), whatever its proportions.

    A JPEG several times as large is decoded at 1/2, 1/4 or 1/8, as long as twice the size asked for remains.
    """
    picture = read_rgb(path, at_least=(2 * width, 2 * height))
    if picture.image.size == (width, height):
        return picture
    return picture._replace(image=picture.image.resize((width, height), Image.Resampling.BILINEAR))


def read_rgb(path: Path, at_least: tuple[int, int] | None = None) -> Picture:
    """The picture upright and in RGB; of an animation or a file of many pages the first one.

    What is transparent is laid on white. Grey of 16 bits is divided by 257. CMYK is converted by plain
    subtraction, without color profiles. JPEGs may come smaller than they are, down to `at_least` (width,
    height). To be called within `without_warnings`. Raises UnreadableError.
    """
    if not path.is_file():
        raise UnreadableError(_absence(path))
    try:
        with Image.open(path, formats=FORMATS) as image:
            size = image.size
            if size[0] * size[1] > MOST_PIXELS:
                raise UnreadableError(_too_large(size))
            if at_least is not None:
                image.draft(None, at_least)
            image.load()
            turned, upright = _upright(image)
            upright = as_rgb(upright)
    except Image.DecompressionBombError as error:
        raise UnreadableError(_too_large(None)) from error
    except UnidentifiedImageError as error:
        raise UnreadableError(
            f"cannot be read as an image: it is of no known format ({', '.join(FORMATS)})"
        ) from error
    # besides OSError these are PIL's words for files that are cut short or altered
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, EOFError, OverflowError,
            struct.error) as error:  # fmt: skip
        reason = getattr(error, "strerror", None) or error
        raise UnreadableError(f"cannot be read as an image: {reason}") from error
    return Picture(upright, size[::-1] if turned else size)


def _upright(image: Image.Image) -> tuple[bool, Image.Image]:
    """Whether height and width change places, and the image turned as its EXIF says."""
    try:
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return turned, ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, OverflowError, struct.error):
        return False, image  # pixels that can be read are not refused for a damaged note beside them


@contextmanager
def without_warnings() -> Iterator[None]:
    """PIL warns of odd tags, which harm nothing, and of sizes, of which those beyond MOST_PIXELS are refused.

    Filters belong to the whole process: where threads read, this stands around all of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def as_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB: what is transparent lies on white, 16 bits become 8. Raises UnreadableError."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba).convert("RGB")
    if image.mode.startswith("I"):  # I;16 and its kin, or I, 32 bits that mostly hold 16
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise UnreadableError("has values beyond 16 bits: save it with 8")
        image = Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise UnreadableError("has floating point values, and none is known to be white: save it with 8 bits")
    return image.convert("RGB")


def _too_large(size: tuple[int, int] | None) -> str:
    found = "more than that" if size is None else f"{size[0]:,}×{size[1]:,}"
    return f"is too large: at most {MOST_PIXELS:,} pixels are read, and it has {found}; make it smaller"


def _absence(path: Path) -> str:
    """Why there is no file to open: asked of the system, for is_file says no more than no."""
    try:
        path.stat()
    except OSError as error:
        link = "is a link to nowhere" if path.is_symlink() else "is not there"
        return link if isinstance(error, FileNotFoundError) else f"cannot be opened: {error.strerror}"
    return "is a folder: name the pictures in it" if path.is_dir() else "is no file"
