"""FashionMNIST (Xiao et al., 2017): 70,000 pieces of clothing, 28x28 grey."""

from pathlib import Path

from cnnbench.data.base import Format, Source
from cnnbench.data.download import Progress
from cnnbench.data.idx import Sums, download_idx, load_idx

FOLDER = "FashionMNIST"
# torchvision's sums (md5), which it would take longer to import than to read the images
PUBLISHED = {
    "train-images-idx3-ubyte.gz": Sums(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"
    ),
    "train-labels-idx1-ubyte.gz": Sums(
        "25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"
    ),
    "t10k-images-idx3-ubyte.gz": Sums("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
    "t10k-labels-idx1-ubyte.gz": Sums("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
}
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def describe(root: Path) -> Format:
    """The format of the images, known without the files."""
    return Format((1, 28, 28), 10)


def load(root: Path) -> Source:
    """60,000 training and 10,000 test images (1, 28, 28)."""
    return load_idx(root, "fashion_mnist", FOLDER, PUBLISHED, CLASSES)


def download(root: Path, progress: Progress | None = None) -> None:
    """Fetches and verifies the four original files."""
    from torchvision.datasets import FashionMNIST

    download_idx(root, FOLDER, PUBLISHED, FashionMNIST.mirrors, progress)
