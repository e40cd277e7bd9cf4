"""Files of images as bytes of pixels, each decoded once: the pixels of a group are kept in a cache."""

import hashlib
import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cnnbench import files
from cnnbench.data.files import read_bytes
from cnnbench.errors import CnnbenchError

Pixels = NDArray[np.uint8]  # (N, H, W, 3), or (H, W, 3) of one image
Unusable = Callable[[Path, str], CnnbenchError]  # the error for a file with this problem

_FORMAT = 1  # of the cache: raise it where the same files are to give other pixels


class Decoder:
    """Reads groups of JPEG files of one size as RGB, grey ones too."""

    def __init__(self, height: int, width: int, caches: Sequence[Path], unusable: Unusable) -> None:
        """Pixels are looked for in all `caches`, and kept in the first that can be written, if any can."""
        self.shape: tuple[int, ...] = (height, width, 3)
        self.caches = caches
        self.unusable = unusable

    def read(self, group: str, folder: Path, names: Sequence[str], into: Pixels) -> None:
        """Writes the images of these files to `into` (N, H, W, 3) in this order.

        What is cached for the `group` counts where the files' names, sizes and times are those of then.
        Raises CnnbenchError for a file that is no such JPEG.
        """
        file = f"{group}-{self._key(folder, names)}.npy"
        for cache in self.caches:
            cached = _load(cache / file)
            if cached is not None and cached.shape == into.shape and cached.dtype == into.dtype:
                into[:] = cached
                return
        self.decode_all(folder, names, into)
        self._keep(group, file, into)

    def decode_all(self, folder: Path, names: Sequence[str], into: Pixels) -> None:
        """Writes the images of these files to `into`, whatever is cached."""
        for index, name in enumerate(names):
            into[index] = self.decode(folder / name)

    def decode(self, path: Path) -> Pixels:
        """The image in a file as (H, W, 3)."""
        content = read_bytes(path)
        height, width = self.shape[:2]
        try:
            with Image.open(BytesIO(content), formats=["JPEG"]) as image:
                if image.size != (width, height):
                    found = "×".join(map(str, image.size))
                    raise self.unusable(path, f"it is {found} pixels instead of {width}×{height}")
                return np.asarray(image.convert("RGB"))
        except UnidentifiedImageError as error:
            raise self.unusable(path, "it is no JPEG image") from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise self.unusable(path, f"it cannot be decoded ({error})") from error

    def _key(self, folder: Path, names: Sequence[str]) -> str:
        """Changes with every file that is added, removed, renamed or written to, and with the decoder."""
        digest = hashlib.sha256(f"{_FORMAT} {self.shape} {PIL.__version__}".encode())
        for name in names:
            try:
                stat = os.stat(folder / name)
            except OSError as error:
                raise self.unusable(folder / name, error.strerror or str(error)) from error
            # ctime too: what unpacks or copies files may set the other time to that of the original
            digest.update(b"\0" + os.fsencode(name))  # a name need not be text
            digest.update(f"\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}".encode())
        return digest.hexdigest()[:20]

    def _keep(self, group: str, file: str, pixels: Pixels) -> None:
        for cache in self.caches:
            try:
                with files.replacing(cache / file) as temporary, temporary.open("wb") as stream:
                    np.save(stream, pixels, allow_pickle=False)
                for old in cache.glob(f"{group}-*.npy"):
                    if old.name != file:
                        old.unlink(missing_ok=True)
            except OSError:  # read-only or full: the next place, and without any the files are decoded anew
                continue
            return


class NamingDecoder(Decoder):
    """One whose `decode_all` goes on after a file that cannot be used, to name them all."""

    def read(self, group: str, folder: Path, names: Sequence[str], into: Pixels) -> None:
        """As of any decoder; where `decode_all` raises something, nothing of the group is kept."""
        if all((folder / name).is_file() for name in names):
            super().read(group, folder, names, into)
        else:  # a link to nowhere has no size and no time by which a cache could be found
            self.decode_all(folder, names, into)


def cache_folders(data: Path) -> list[Path]:
    """Where decoded images of the folder `data` may be kept: in it, else in the user's cache."""
    places = [data / ".decoded"]
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if user.is_absolute():
        of_this_folder = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:12]
        places.append(user / "cnnbench" / f"{data.name}-{of_this_folder}")
    return places


def _load(path: Path) -> Pixels | None:
    """The array in a file; None where there is none."""
    try:
        found: Pixels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found
