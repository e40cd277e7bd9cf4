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


def describe(root: Path) -> Format:
    """The format of the images, known without the files."""
    return Format((3, 32, 32), 10)


def load(root: Path) -> Source:
    """50,000 training and 10,000 test images; nothing is read that is not md5 for md5 the original."""
    from torchvision.datasets import CIFAR10

    checksums = _checksums()
    folder = root / FOLDER
    absent = [folder / file for file in checksums if not (folder / file).is_file()]
    if absent:
        layout = f"{FOLDER}/data_batch_1 ... data_batch_5, {FOLDER}/test_batch, {FOLDER}/batches.meta"
        raise missing("cifar10", absent, root, layout)

    def read(file: str) -> dict[str, Any]:
        return _unpickle(read_verified(folder / file, checksums[file], "cifar10"))

    train_images, train_targets = _stack(map(read, (file for file, _ in CIFAR10.train_list)), 50_000)
    test_images, test_targets = _stack(map(read, (file for file, _ in CIFAR10.test_list)), 10_000)
    classes = tuple(read(CIFAR10.meta["filename"])[CIFAR10.meta["key"]])
    return Source(train_images, train_targets, test_images, test_targets, classes)


def download(root: Path, progress: Progress | None = None) -> None:
    """Fetches the original archive and takes the verified batch files out of it."""
    from torchvision.datasets import CIFAR10

    checksums = _checksums()
    folder = root / FOLDER
    if all((folder / file).is_file() and md5_of(folder / file) == md5 for file, md5 in checksums.items()):
        return
    archive = root / CIFAR10.filename
    fetch([CIFAR10.url], archive, CIFAR10.tgz_md5, progress)
    with tarfile.open(archive) as tar:
        for file, md5 in checksums.items():
            member = tar.extractfile(f"{FOLDER}/{file}")  # by name, so nothing lands elsewhere
            content = member.read() if member else b""
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                raise damaged(archive, "cifar10", f"{file} in it is not the original")
            write(folder / file, content)
    archive.unlink()


def _checksums() -> dict[str, str]:
    from torchvision.datasets import CIFAR10

    files = {file: md5 for file, md5 in CIFAR10.train_list + CIFAR10.test_list}
    return files | {CIFAR10.meta["filename"]: CIFAR10.meta["md5"]}


def _stack(batches: Iterable[dict[str, Any]], num_images: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32) laid out channels last, which is how batches are gathered, and targets (N,)."""
    images = np.empty((num_images, 32, 32, 3), dtype=np.uint8)
    targets = np.empty(num_images, dtype=np.int64)
    start = 0
    for batch in batches:
        stop = start + len(batch["labels"])
        images[start:stop] = batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        targets[start:stop] = batch["labels"]
        start = stop
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(targets)


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
