"""MNIST's file format (IDX, LeCun et al.) and the data sets published in it, read without unpacking."""

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cnnbench.data.base import Source
from cnnbench.data.download import Progress, fetch
from cnnbench.data.files import damaged, md5_of, missing, read_bytes, read_verified

if TYPE_CHECKING:
    from torchvision.datasets import MNIST


# md5 sums of the published .gz files and of what is in them
UNPACKED = {
    "f68b3c2dcbeaaa9fbdd348bbdeb94873": "6bbc9ace898e44ae57da46a324031adb",  # MNIST
    "d53e105ee54ea40749a09fcbcd1e9432": "a25bea736e30d166cdddb491f175f624",
    "9fb629c4189551a2d022fa330f9573f3": "2646ac647ad5339dbf082846283269ea",
    "ec29112dd5afa0611ce80d1b7f02629c": "27ae3e4e09519cfbb04c329615203637",
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d": "f4a8712d7a061bf5bd6d2ca38dc4d50a",  # FashionMNIST
    "25c81989df183df01b3e8a0aad5dffbe": "9018921c3c673c538a1fc5bad174d6f9",
    "bef4ecab320f06d8554ea6380940ec79": "8181f5470baa50b63fa0f6fddb340f0a",
    "bb300cfdad3c16e7a12a480ee83cd310": "15d484375f8d13e6eb1aabb0c3f46965",
}


def load_idx(root: Path, name: str, published: "type[MNIST]", classes: tuple[str, ...]) -> Source:
    """A data set of torchvision's MNIST family from `<Class>/raw`: the original .gz files or unpacked."""
    folder = root / published.__name__ / "raw"
    absent = [folder / file for file, _ in published.resources if _present(folder / file) is None]
    if absent:
        layout = f"{published.__name__}/raw/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte.gz"
        raise missing(name, absent, root, layout)
    arrays = [_read(folder / file, md5, name) for file, md5 in published.resources]
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


def download_idx(root: Path, published: "type[MNIST]", progress: Progress | None) -> None:
    """Fetches what is missing or altered of the four files; one that is there unpacked is not missing."""
    folder = root / published.__name__ / "raw"
    for file, md5 in published.resources:
        unpacked = (folder / file).with_suffix("")
        if unpacked.is_file() and not (folder / file).is_file() and md5_of(unpacked) == UNPACKED.get(md5):
            continue
        fetch([f"{mirror}{file}" for mirror in published.mirrors], folder / file, md5, progress)


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


def _read(packed: Path, md5: str, name: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    path = _present(packed) or packed
    if path != packed:
        expected = UNPACKED.get(md5)
        content = read_bytes(path) if expected is None else read_verified(path, expected, name)
        return parse_idx(content, path, name)
    try:
        content = gzip.decompress(read_verified(path, md5, name))
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, name, str(error)) from error
    return parse_idx(content, path, name)


def _images(array: "np.ndarray[Any, np.dtype[np.uint8]]") -> Tensor:
    return torch.from_numpy(array[:, None].copy())  # (N, 1, H, W)


def _targets(array: "np.ndarray[Any, np.dtype[np.uint8]]") -> Tensor:
    return torch.from_numpy(array.astype(np.int64))
