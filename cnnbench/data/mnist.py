"""MNIST (LeCun et al., 1998): 70,000 handwritten digits, 28x28 grey."""

from pathlib import Path

from cnnbench.data.base import Format, Source
from cnnbench.data.download import Progress
from cnnbench.data.idx import Sums, download_idx, load_idx

FOLDER = "MNIST"
# torchvision's sums (md5), which it would take longer to import than to read the images
PUBLISHED = {
    "train-images-idx3-ubyte.gz": Sums(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"
    ),
    "train-labels-idx1-ubyte.gz": Sums(
        "d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"
    ),
    "t10k-images-idx3-ubyte.gz": Sums("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte.gz": Sums("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
}
CLASSES = tuple("0123456789")


def describe(root: Path) -> Format:
    """The format of the images, known without the files."""
    return Format((1, 28, 28), 10)


def load(root: Path) -> Source:
    """60,000 training and 10,000 test images (1, 28, 28)."""
    return load_idx(root, "mnist", FOLDER, PUBLISHED, CLASSES)


def download(root: Path, progress: Progress | None = None) -> None:
    """Fetches and verifies the four original files."""
    from torchvision.datasets import MNIST

    download_idx(root, FOLDER, PUBLISHED, MNIST.mirrors, progress)
