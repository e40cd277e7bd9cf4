"""MNIST's file format (IDX, LeCun et al.) and the data sets published in it, read without unpacking."""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnbench.data.base import Source
from cnnbench.data.download import Progress, fetch
from cnnbench.data.files import damaged, md5_of, missing, read_verified


@dataclass(frozen=True)
class Sums:
    """md5 sums of a published .gz file and of what is in it."""

    packed: str
    unpacked: str


# of each file, in the order in which they are read
Published = Mapping[str, Sums]


def load_idx(root: Path, name: str, kept_in: str, published: Published, classes: tuple[str, ...]) -> Source:
    """A data set of MNIST's form from `<kept_in>/raw`: the original .gz files or unpacked."""
    folder = root / kept_in / "raw"
    absent = [folder / file for file in published if _present(folder / file) is None]
    if absent:
        layout = f"{kept_in}/raw/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte.gz"
        raise missing(name, absent, root, layout)
    arrays = [_read(folder / file, sums, name) for file, sums in published.items()]
    train_images, train_targets, test_images, test_targets = arrays
    pairs = (("train", train_images, train_targets), ("t10k", test_images, test_targets))
    for split, images, targets in pairs:
        fit = images.ndim == 3 and targets.shape == images.shape[:1] and targets.max() < len(classes)
        if not fit:
            path = folder / f"{split}-labels-idx1-ubyte"
            raise damaged(path, name, "its labels do not fit the images beside it")
    return Source(
        _images(train_images), _targets(train_targets), _images(test_images), _targets(test_targets), classes
    )


def download_idx(
    root: Path, kept_in: str, published: Published, mirrors: Sequence[str], progress: Progress | None
) -> None:
    """Fetches what is missing or altered of the four files; one that is there unpacked is not missing."""
    folder = root / kept_in / "raw"
    for file, sums in published.items():
        unpacked = (folder / file).with_suffix("")
        if unpacked.is_file() and not (folder / file).is_file() and md5_of(unpacked) == sums.unpacked:
            continue
        fetch([f"{mirror}{file}" for mirror in mirrors], folder / file, sums.packed, progress)


def parse_idx(content: bytes, path: Path, name: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """The array in an IDX file: 0, 0, type 8 (bytes), rank, a big-endian size per axis, then the values."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise damaged(path, name, "it does not begin like an IDX file of bytes")
    rank = content[3]
    start = 4 + 4 * rank
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    expected = start + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise damaged(path, name, f"it holds {len(content):,} bytes instead of {expected:,}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _present(packed: Path) -> Path | None:
    """The .gz file, else the unpacked one beside it."""
    return next((path for path in (packed, packed.with_suffix("")) if path.is_file()), None)


def _read(packed: Path, sums: Sums, name: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    path = _present(packed) or packed
    if path != packed:
        return parse_idx(read_verified(path, sums.unpacked, name), path, name)
    try:
        content = gzip.decompress(read_verified(path, sums.packed, name))
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, name, str(error)) from error
    return parse_idx(content, path, name)


def _images(array: "np.ndarray[Any, np.dtype[np.uint8]]") -> Tensor:
    return torch.from_numpy(array[:, None].copy())  # (N, 1, H, W)


def _targets(array: "np.ndarray[Any, np.dtype[np.uint8]]") -> Tensor:
    return torch.from_numpy(array.astype(np.int64))
