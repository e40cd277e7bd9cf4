"""scikit-learn's 1,797 real handwritten digits (Alpaydin and Kaynak, 1998), 8x8 grey, already installed."""

import gzip
import hashlib
import io
import warnings
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnbench.data.base import Format, Source
from cnnbench.data.split import stratified_rows
from cnnbench.errors import CnnbenchError

TEST_SHARE = 0.2
FILE = "datasets/data/digits.csv.gz"  # in scikit-learn: 64 values from 0 to 16 and the class in each line
MD5 = "a0339c30a8a5312a1b6f9e5c719dcce5"  # of what is in it
COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # of each class, as scikit-learn documents them
DAMAGED = "the digits that come with scikit-learn are damaged or others: install scikit-learn anew"


def describe(root: Path) -> Format:
    """The format of the images, known without the files."""
    return Format((1, 8, 8), 10)


def load(root: Path) -> Source:
    """Images (1, 8, 8), 0..16 spread over 0..255; a fixed stratified fifth is test."""
    values, labels = _read()
    pixels = np.rint(values.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    images, targets = torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64))
    test = stratified_rows(targets, round(TEST_SHARE * len(targets)))
    in_test = torch.zeros(len(targets), dtype=torch.bool)
    in_test[torch.from_numpy(test)] = True
    return Source(images[~in_test], targets[~in_test], images[in_test], targets[in_test], tuple("0123456789"))


def _read() -> tuple[NDArray[Any], NDArray[Any]]:
    """Values (1797, 64) and classes (1797,), from the file itself: to import scikit-learn takes a second."""
    package = find_spec("sklearn")  # which imports nothing
    folders = (package and package.submodule_search_locations) or ()
    for file in (Path(folder, FILE) for folder in folders):
        try:
            content = gzip.decompress(file.read_bytes())
        except (OSError, EOFError, zlib.error):
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == MD5:
            rows = np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.uint8)
            return rows[:, :-1], rows[:, -1]
    return _read_by_scikit_learn()


def _read_by_scikit_learn() -> tuple[NDArray[Any], NDArray[Any]]:
    """The same, of a version that keeps them otherwise; CnnbenchError where they are not those known."""
    from sklearn.datasets import load_digits

    try:
        with warnings.catch_warnings(action="ignore"):  # of an empty file
            values, labels = load_digits(return_X_y=True)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise CnnbenchError(f"{DAMAGED} ({error})") from error
    if values.shape != (1797, 64) or np.bincount(labels.astype(int)).tolist() != COUNTS:
        raise CnnbenchError(DAMAGED)
    return values, labels
