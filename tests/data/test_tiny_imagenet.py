"""Tiny ImageNet: the real images against OpenCV's decoder, and small folders for what can be amiss."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from cnnbench.data import describe_dataset, download_dataset, load_dataset, survey_dataset, tiny_imagenet
from cnnbench.data.loader import Loader
from cnnbench.data.tiny_imagenet import TinyImageNetDataset
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import DataConfig, Named

TEN = (
    "goldfish", "Persian cat", "golden retriever", "African elephant", "sports car", "trolleybus", "orange",
    "pizza", "lion", "teapot",
)  # fmt: skip
VAL = "val/val_annotations.txt"
MakeTiny = Callable[..., Path]


@pytest.fixture
def real_root(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real files, with what is decoded kept elsewhere."""
    (tmp_path / "tiny-imagenet-200").mkdir()
    for path in (data_root / "tiny-imagenet-200").iterdir():
        if not path.name.startswith("."):
            (tmp_path / "tiny-imagenet-200" / path.name).symlink_to(path)
    return tmp_path


def test_the_real_classes(real_root: Path) -> None:
    # the local copy has 10 of the 200 classes and a wnids.txt to match
    dataset = load_dataset(DataConfig(name="tiny_imagenet"), real_root)
    assert dataset.classes == TEN
    assert dataset.in_shape == (3, 64, 64)
    assert torch.bincount(dataset.train.all_targets()).tolist() == [450] * 10
    assert torch.bincount(dataset.val.all_targets()).tolist() == [50] * 10
    assert torch.bincount(dataset.test.all_targets()).tolist() == [50] * 10
    assert dataset.train.images.is_contiguous(memory_format=torch.channels_last)
    assert describe_dataset(DataConfig(name="tiny_imagenet"), real_root) == ((3, 64, 64), 10)
    assert survey_dataset("tiny_imagenet", real_root)[:2] == (5000, 500)


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_images_are_those_of_another_decoder(real_root: Path, split: Literal["train", "test"]) -> None:
    dataset = TinyImageNetDataset(real_root, split, ["teapot"])
    folder = real_root / "tiny-imagenet-200"
    if split == "train":
        files = sorted((folder / "train" / "n04398044" / "images").iterdir())
    else:
        lines = [line.split("\t") for line in (folder / VAL).read_text().splitlines()]
        names = sorted(line[0] for line in lines if line[1] == "n04398044")
        files = [folder / "val" / "images" / name for name in names]
    assert len(dataset) == len(files) == (500 if split == "train" else 50)
    num_grey = 0
    for index, file in enumerate(files):
        image, target = dataset[index]
        expected = cv2.cvtColor(cv2.imread(str(file), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        num_grey += cv2.imread(str(file), cv2.IMREAD_UNCHANGED).ndim == 2
        assert target == 0
        assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    if split == "train":
        assert num_grey > 0  # so that grey files have been met


def test_only_the_classes_asked_for_are_opened(tiny_root: Path) -> None:
    for path in (tiny_root / "tiny-imagenet-200").glob("*/n02123394/images/*"):
        path.write_bytes(b"damaged")
    config = DataConfig(name="tiny_imagenet", classes=["lion", "n01443537"], val_fraction=0.25)
    dataset = load_dataset(config, tiny_root)
    assert dataset.classes == ("lion", "goldfish")
    assert dataset.train.images.shape == (8, 3, 64, 64)
    levels = {int(dataset.train.targets[row]): int(dataset.train.images[row].max()) for row in range(8)}
    assert levels == {0: 160, 1: 0}  # as the folder was written
    assert dataset.test.targets.tolist() == [0, 0, 1, 1]
    assert dataset.test.images.amax((1, 2, 3)).tolist() == [169, 169, 9, 9]
    with pytest.raises(CnnbenchError, match=r"n02123394_0\.JPEG is not as published: it is no JPEG image"):
        load_dataset(DataConfig(name="tiny_imagenet"), tiny_root)


def test_it_is_a_dataset_like_any_other(tiny_root: Path) -> None:
    dataset = TinyImageNetDataset(
        tiny_root, classes=["Persian cat", "lion"], transform=lambda image: image / 255
    )
    images, targets = next(iter(DataLoader(dataset, batch_size=len(dataset))))
    assert len(dataset) == 8
    assert targets.tolist() == [0] * 4 + [1] * 4
    assert images.shape == (8, 3, 64, 64)
    assert images[:, 0, 0, 0].mul(255).round().tolist() == [80] * 4 + [160] * 4
    assert dataset.wnids == ("n02123394", "n02129165")
    with pytest.raises(CnnbenchError, match=r"train.*test.*not 'val'"):
        TinyImageNetDataset(tiny_root, "val")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["n02129165", "lion", "king of beasts", "lion, king of beasts, Panthera leo"]
)
def test_a_class_has_several_names(tiny_root: Path, name: str) -> None:
    dataset = TinyImageNetDataset(tiny_root, "test", [name])
    assert dataset.wnids == ("n02129165",)
    assert dataset.classes == ("lion",)


def test_equal_names_are_told_apart(tiny_root: Path) -> None:
    everything = TinyImageNetDataset(tiny_root, "test").classes
    assert everything == ("goldfish", "crane (n02012849)", "Persian cat", "crane (n03126707)", "lion")
    assert TinyImageNetDataset(tiny_root, "test", ["lion", "n03126707"]).classes == ("lion", "crane")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        pytest.param(
            ["lion", "gold fish"], "no class 'gold fish' among the 5 of .*did you mean 'goldfish'", id="near"
        ),
        pytest.param(["lion", "n01443538"], "did you mean 'n01443537'", id="number"),
        pytest.param(["persian cat", "lion"], "did you mean 'Persian cat'", id="capitals"),
        pytest.param(["lion", "zzz"], "give one of goldfish, crane", id="nothing near"),
        pytest.param(["lion", "entity"], "no class 'entity'", id="of WordNet, but not of the 200"),
        pytest.param(
            ["lion", "crane"], r"'crane' is ambiguous.* n02012849 \(crane\), n03126707", id="ambiguous"
        ),
        pytest.param(
            ["lion", "n02129165"], "class n02129165 twice: as 'lion' and as 'n02129165'", id="twice"
        ),
    ],
)
def test_wrong_classes(tiny_root: Path, classes: list[str], message: str) -> None:
    config = DataConfig(name="tiny_imagenet", classes=classes)
    for ask in (load_dataset, describe_dataset):
        with pytest.raises(CnnbenchError, match=message):
            ask(config, tiny_root)


def test_the_format_is_known_without_the_files(tmp_path: Path) -> None:
    assert describe_dataset(DataConfig(name="tiny_imagenet"), tmp_path) == ((3, 64, 64), 200)
    some = DataConfig(name="tiny_imagenet", classes=["goldfish", "lion", "pizza"], image_size=32)
    assert describe_dataset(some, tmp_path) == ((3, 32, 32), 3)


def test_a_missing_folder_and_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError) as caught:
        load_dataset(DataConfig(name="tiny_imagenet"), tmp_path)
    for part in ("wnids.txt", "val_annotations.txt", str(tmp_path), "cnnbench data tiny_imagenet", "--data"):
        assert part in str(caught.value)


def _edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return edit


def _write(file: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return write


def _remove(name: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(_remove("words.txt"), "tiny-imagenet-200 is not .*has no words.txt", id="no words"),
        pytest.param(_remove(VAL), f"has no {VAL}", id="no annotations"),
        pytest.param(_remove("train/n02129165"), "n02129165/images is not .*No such file", id="no class"),
        pytest.param(_remove("val/images"), "val/images is not .*No such file", id="no test images"),
        pytest.param(
            _remove("val/images/val_3.JPEG"), "line 7 names val_3.JPEG, which is not in", id="no test image"
        ),
        pytest.param(_write("wnids.txt", b"\n\n"), "it lists no class", id="no wnids"),
        pytest.param(
            _write("wnids.txt", b"n01443537\ngoldfish\n"), "line 2 is 'goldfish', no WordNet", id="no wnid"
        ),
        pytest.param(
            _write("wnids.txt", b"n01443537\nn01443537\n"), "line 2 lists n01443537 for the s", id="twice"
        ),
        pytest.param(
            _write("words.txt", b"n01443537\tg\xff"),
            r"is no text \(invalid start byte at byte 11",
            id="bytes",
        ),
        pytest.param(
            _edit("words.txt", "\tgold", " gold"), "words.txt is not .*line 2 is 'n01443537 gold", id="no tab"
        ),
        pytest.param(
            _edit(VAL, "val_1.JPEG\t", "val_1.JPEG "), "line 3 is 'val_1.JPEG n02012849.*with tabs", id="line"
        ),
        pytest.param(_edit(VAL, "n02012849", "crane"), r"line 3 is 'val_1.JPEG\\tcrane", id="no number"),
        pytest.param(_edit(VAL, "val_1.J", "../val_1.J"), r"line 3 is '\.\./val_1", id="elsewhere"),
        pytest.param(
            _edit(VAL, "val_1.J", "val_0.J"), "line 3 names val_0.JPEG for the second time", id="again"
        ),
        pytest.param(
            _edit("wnids.txt", "n02129165", "n02129165\nn04398044"), "no image of class n04398044", id="more"
        ),
    ],
)
def test_a_folder_that_is_not_as_published(
    tiny_root: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(tiny_root / "tiny-imagenet-200")
    for ask in (tiny_imagenet.load, tiny_imagenet.survey):
        with pytest.raises(CnnbenchError, match=message) as caught:
            ask(tiny_root)
        assert "cnnbench data tiny_imagenet" in str(caught.value)


def test_a_class_without_images_is_named(tiny_root: Path) -> None:
    for path in (tiny_root / "tiny-imagenet-200/train/n02129165/images").iterdir():
        path.unlink()
    with pytest.raises(CnnbenchError, match="n02129165/images is not as published: it has no JPEG images"):
        tiny_imagenet.survey(tiny_root)
    assert len(TinyImageNetDataset(tiny_root, classes=["goldfish"])) == 4


def test_test_images_of_classes_that_are_not_listed_are_left_out(tiny_root: Path) -> None:
    (tiny_root / "tiny-imagenet-200/wnids.txt").write_text("n02123394\r\nn01443537\r\n")
    source = tiny_imagenet.load(tiny_root)
    assert source.classes == ("Persian cat", "goldfish")
    assert source.test_targets.tolist() == [0, 0, 1, 1]


def test_augmentation_and_image_size(real_root: Path) -> None:
    augment = [
        Named(name="PadIfNeeded", min_height=72, min_width=72),
        Named(name="RandomCrop", height=64, width=64),
        Named(name="HorizontalFlip", p=1.0),
    ]
    config = DataConfig(name="tiny_imagenet", classes=["orange", "pizza"], augment=augment, batch_size=16)
    dataset = load_dataset(config, real_root)
    images, _ = next(Loader(dataset, config, torch.device("cpu")).train_batches(0, 1))
    assert images.shape == (16, 3, 64, 64)
    small = load_dataset(config.model_copy(update={"image_size": 32, "augment": []}), real_root)
    assert small.in_shape == (3, 32, 32)
    expected = torch.nn.functional.avg_pool2d(dataset.test.images.float(), 2)
    assert (small.test.images.float() - expected).abs().mean() < 6  # the same pictures, a little smoother


MEASURE = """
import resource, sys
from pathlib import Path
from cnnbench.data import load_dataset
from cnnbench.recipe.config import DataConfig
root, config = Path(sys.argv[1]), DataConfig(name="tiny_imagenet")
load_dataset(config.model_copy(update={"classes": ["n00000000", "n00000001"]}), root)  # libraries and buffers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(2):  # decoded, then from the cache
    dataset = load_dataset(config, root)
    held = dataset.train.images.nbytes + dataset.test.images.nbytes
    del dataset
print(held, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_images_stand_in_memory_once(make_tiny: MakeTiny) -> None:
    """12,288 bytes an image, as stated; what comes on top is one class once more, and small change."""
    root = make_tiny((), 0)
    folder = root / "tiny-imagenet-200"
    wnids = [f"n{number:08d}" for number in range(20)]
    (folder / "wnids.txt").write_text("\n".join(wnids))
    Image.new("RGB", (64, 64), (10, 200, 90)).save(one := folder / "one.JPEG")
    for wnid in wnids:
        (folder / "train" / wnid / "images").mkdir(parents=True)
        for index in range(500):
            (folder / "train" / wnid / "images" / f"{wnid}_{index}.JPEG").hardlink_to(one)
        (folder / "val" / "images" / f"{wnid}.JPEG").hardlink_to(one)
    (folder / VAL).write_text("".join(f"{wnid}.JPEG\t{wnid}\t0\t0\t63\t63\n" for wnid in wnids))
    done = subprocess.run([sys.executable, "-c", MEASURE, root], capture_output=True, text=True, check=True)
    held, grown = map(int, done.stdout.split())
    assert held == 10_020 * 12_288
    assert grown < 1.3 * held


def _publish(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder under root as an archive at the address that is downloaded from."""
    archive = root.parent / "published.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(root.rglob("*")):
            zipped.write(path, path.relative_to(root))
    monkeypatch.setattr(tiny_imagenet, "URL", archive.as_uri())
    monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


def test_download(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(tiny_root, monkeypatch)
    there = tmp_path / "elsewhere" / "data"
    survey = download_dataset("tiny_imagenet", there)
    assert survey == (20, 10, "5 of 200 classes, counted but not opened")
    assert {path.name for path in there.iterdir()} == {"tiny-imagenet-200", "tiny-imagenet-200.lock",
                                                       "tiny-imagenet-200.zip.lock"}  # fmt: skip
    assert (there / "tiny-imagenet-200" / "test" / "images").is_dir()
    assert torch.equal(tiny_imagenet.load(there).train_images, tiny_imagenet.load(tiny_root).train_images)


def test_a_folder_that_is_there_is_not_touched(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_imagenet, "URL", "http://127.0.0.1:9/nothing")
    assert download_dataset("tiny_imagenet", tiny_root)[:2] == (20, 10)
    (tiny_root / "tiny-imagenet-200" / "words.txt").unlink()
    with pytest.raises(CnnbenchError, match="move the folder tiny-imagenet-200 away"):
        download_dataset("tiny_imagenet", tiny_root)


def test_another_archive_is_not_unpacked(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _publish(tiny_root, monkeypatch)
    archive.write_bytes(archive.read_bytes()[:-1])
    monkeypatch.setattr("cnnbench.data.download.time.sleep", lambda _: None)
    with pytest.raises(CnnbenchError, match=r"md5 sum is .* instead of"):
        download_dataset("tiny_imagenet", tmp_path / "new")
    assert not (tmp_path / "new" / "tiny-imagenet-200").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(CnnbenchError, match="tiny-imagenet-200 cannot be written"):
        download_dataset("tiny_imagenet", tmp_path / "data")


def test_any_loader_may_take_the_classes(tmp_path: Path) -> None:
    """A loader with such a parameter is given them, and nothing is chosen among its classes any more."""
    (tmp_path / "own.py").write_text(OWN)
    config = DataConfig(name="own", classes=["b", "a"], val_fraction=0.5)
    dataset = load_dataset(config, tmp_path, [str(tmp_path / "own.py")])
    assert dataset.classes == ("class b", "class a")
    assert len(dataset.test) == 8
    assert describe_dataset(config, tmp_path, [str(tmp_path / "own.py")]) == ((1, 2, 2), 2)


OWN = """
from pathlib import Path
import torch
from cnnbench.data.base import Source

def load(root: Path, *, classes: list[str] | None = None) -> Source:
    names = tuple(f"class {name}" for name in classes or "abc")
    targets = torch.arange(4 * len(names)) % len(names)
    images = torch.zeros(len(targets), 1, 2, 2, dtype=torch.uint8)
    return Source(images, targets, images, targets, names)

DATASETS = {"own": load}
"""
