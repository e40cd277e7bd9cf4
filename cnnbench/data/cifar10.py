"""CIFAR-10 (Krizhevsky, 2009): 60,000 color images 32x32 in ten classes, in its original Python files."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnbench.data.base import Format, Source
from cnnbench.data.download import Progress, fetch
from cnnbench.data.files import damaged, md5_of, missing, read_verified
from cnnbench.files import write

FOLDER = "cifar-10-batches-py"
# torchvision's sums (md5), which it would take longer to import than to read the images
TRAIN = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST = {"test_batch": "40351d587109b95175f43aff81a1287e"}
CHECKSUMS = TRAIN | TEST | {"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"}


def describe(root: Path) -> Format:
    """The format of the images, known without the files."""
    return Format((3, 32, 32), 10)


def load(root: Path) -> Source:
    """50,000 training and 10,000 test images; nothing is read that is not md5 for md5 the original."""
    folder = root / FOLDER
    absent = [folder / file for file in CHECKSUMS if not (folder / file).is_file()]
    if absent:
        layout = f"{FOLDER}/data_batch_1 ... data_batch_5, {FOLDER}/test_batch, {FOLDER}/batches.meta"
        raise missing("cifar10", absent, root, layout)

    def read(file: str) -> dict[str, Any]:
        return _unpickle(read_verified(folder / file, CHECKSUMS[file], "cifar10"))

    train_images, train_targets = _stack(map(read, TRAIN), 50_000)
    test_images, test_targets = _stack(map(read, TEST), 10_000)
    classes = tuple(read("batches.meta")["label_names"])
    return Source(train_images, train_targets, test_images, test_targets, classes)


def download(root: Path, progress: Progress | None = None) -> None:
    """Fetches the original archive and takes the verified batch files out of it."""
    from torchvision.datasets import CIFAR10

    folder = root / FOLDER
    if all((folder / file).is_file() and md5_of(folder / file) == md5 for file, md5 in CHECKSUMS.items()):
        return
    archive = root / CIFAR10.filename
    fetch([CIFAR10.url], archive, CIFAR10.tgz_md5, progress)
    with tarfile.open(archive) as tar:
        for file, md5 in CHECKSUMS.items():
            member = tar.extractfile(f"{FOLDER}/{file}")  # by name, so nothing lands elsewhere
            content = member.read() if member else b""
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                raise damaged(archive, "cifar10", f"{file} in it is not the original")
            write(folder / file, content)
    archive.unlink()


def _stack(batches: Iterable[dict[str, Any]], num_images: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32) laid out channels last, which is how batches are gathered, and targets (N,)."""
    images = torch.empty((num_images, 32, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    targets = torch.empty(num_images, dtype=torch.int64)
    start = 0
    for batch in batches:
        stop = start + len(batch["labels"])
        images[start:stop] = torch.from_numpy(batch["data"]).view(-1, 3, 32, 32)
        targets[start:stop] = torch.tensor(batch["labels"])
        start = stop
    return images, targets


class _ArrayUnpickler(pickle.Unpickler):
    """Knows arrays and plain values; any other name in a file is refused, so nothing from it can run."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # the same function, wherever this numpy keeps it
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 file")


def _unpickle(content: bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    return loaded
