"""MNIST (LeCun et al., 1998): 70,000 handwritten digits, 28x28 grey."""

from pathlib import Path

from cnnbench.data.base import Format, Source
from cnnbench.data.download import Progress
from cnnbench.data.idx import download_idx, load_idx


def describe(root: Path) -> Format:
    """The format of the images, known without the files."""
    return Format((1, 28, 28), 10)


def load(root: Path) -> Source:
    """60,000 training and 10,000 test images (1, 28, 28)."""
    from torchvision.datasets import MNIST

    return load_idx(root, "mnist", MNIST, tuple("0123456789"))


def download(root: Path, progress: Progress | None = None) -> None:
    """Fetches and verifies the four original files."""
    from torchvision.datasets import MNIST

    download_idx(root, MNIST, progress)
