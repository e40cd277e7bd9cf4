"""Small folders in the published layout of Tiny ImageNet."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WORDS = {
    "n01443537": "goldfish, Carassius auratus",
    "n02012849": "crane",
    "n02123394": "Persian cat",
    "n03126707": "crane",
    "n02129165": "lion, king of beasts, Panthera leo",
}
MakeTiny = Callable[..., Path]


def write_tiny(
    root: Path, wnids: tuple[str, ...] = tuple(WORDS), num_train: int = 4, num_test: int = 2
) -> Path:
    """Class k has images of one level, 40 k for training and 40 k + 9 for test; the fourth is a grey JPEG."""
    folder = root / "tiny-imagenet-200"
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "test" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    words = {"n00001740": "entity", **WORDS}
    (folder / "words.txt").write_text("".join(f"{wnid}\t{text}\n" for wnid, text in words.items()))
    lines = []
    for number, wnid in enumerate(wnids):
        (folder / "train" / wnid / "images").mkdir(parents=True)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for index in range(num_train):
            write_jpeg(folder / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", 40 * number, index == 3)
        for index in range(num_test):
            file = f"val_{number + index * len(wnids)}.JPEG"  # the classes in turn
            write_jpeg(folder / "val" / "images" / file, 40 * number + 9)
            lines.append(f"{file}\t{wnid}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def write_jpeg(path: Path, level: int, grey: bool = False, size: tuple[int, int] = (64, 64)) -> None:
    pixels = np.full((*size[::-1], *(() if grey else (3,))), level, dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=100)


@pytest.fixture
def make_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeTiny:
    """`make_tiny(wnids, num_train, num_test)` writes such a folder and returns its root."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user_cache"))
    return lambda *args, **options: write_tiny(tmp_path / "data", *args, **options)


@pytest.fixture
def tiny_root(make_tiny: MakeTiny) -> Path:
    """A folder with five classes, two of them called crane, of four training and two test images."""
    return make_tiny()
