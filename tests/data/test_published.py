"""The real data sets, against what is known of them from elsewhere."""

import gzip
import hashlib
import os
import pickle
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cnnbench.data import (
    cifar10,
    digits,
    download_dataset,
    fashion_mnist,
    idx,
    load_dataset,
    mnist,
    survey_dataset,
)
from cnnbench.data import data_root as choose_root
from cnnbench.data.base import Source, Split
from cnnbench.data.prepare import channel_statistics
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import DataConfig


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def cifar10_source(data_root: Path) -> Source:
    return cifar10.load(data_root)


def statistics(source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    everything = torch.arange(len(source.train_targets))
    return channel_statistics(Split(source.train_images, source.train_targets, everything))


def test_cifar10(cifar10_source: Source) -> None:
    source = cifar10_source
    assert source.train_images.shape == (50_000, 3, 32, 32)
    assert source.test_images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(source.train_targets).tolist() == [5000] * 10
    assert torch.bincount(source.test_targets).tolist() == [1000] * 10
    assert source.classes[:2] == ("airplane", "automobile")
    mean, std = statistics(source)
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=5e-5)
    assert std == pytest.approx((0.2470, 0.2435, 0.2616), abs=5e-5)


def test_cifar10_is_torchvisions(cifar10_source: Source, data_root: Path) -> None:
    from torchvision.datasets import CIFAR10

    reference = CIFAR10(str(data_root), train=False)
    assert np.array_equal(cifar10_source.test_images.permute(0, 2, 3, 1).numpy(), reference.data)
    assert cifar10_source.test_targets.tolist() == reference.targets
    assert list(cifar10_source.classes) == reference.classes


def test_checksums_are_torchvisions() -> None:
    from torchvision import datasets

    published = [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]
    meta = datasets.CIFAR10.meta
    assert dict(published) | {meta["filename"]: meta["md5"]} == cifar10.CHECKSUMS
    for module in (mnist, fashion_mnist):
        family = getattr(datasets, module.FOLDER)
        assert dict(family.resources) == {file: sums.packed for file, sums in module.PUBLISHED.items()}
    assert list(fashion_mnist.CLASSES) == datasets.FashionMNIST.classes


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("module", "mean", "std", "first"),
    [
        pytest.param(mnist, 0.1307, 0.3081, [5, 0, 4, 1, 9], id="mnist"),
        pytest.param(fashion_mnist, 0.2860, 0.3530, [9, 0, 0, 3, 0], id="fashion_mnist"),
    ],
)
def test_mnist_family(data_root: Path, module: Any, mean: float, std: float, first: list[int]) -> None:
    source = module.load(data_root)
    assert source.train_images.shape == (60_000, 1, 28, 28)
    assert source.test_images.shape == (10_000, 1, 28, 28)
    assert source.train_targets[:5].tolist() == first
    assert len(source.classes) == 10
    assert [value for (value,) in statistics(source)] == pytest.approx([mean, std], abs=5e-5)


@pytest.mark.usefixtures("offline")
def test_unpacked_files_are_read_too(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (data_root / "MNIST" / "raw").glob("*.gz"):
        (raw / packed.name.removesuffix(".gz")).write_bytes(gzip.decompress(packed.read_bytes()))
    assert download_dataset("mnist", tmp_path) == (60_000, 10_000, "verified")
    assert mnist.load(tmp_path).test_targets[:5].tolist() == [7, 2, 1, 0, 4]

    images = raw / "t10k-images-idx3-ubyte"
    content = bytearray(images.read_bytes())
    fetched: list[str] = []
    monkeypatch.setattr(idx, "fetch", lambda *arguments: fetched.append(arguments[1].name))
    content[500] ^= 1
    for size in (1000, len(content)):  # cut short, and altered alone
        images.write_bytes(content[:size])
        with pytest.raises(CnnbenchError, match=r"t10k-images-idx3-ubyte is truncated or altered: its md5"):
            mnist.load(tmp_path)
        fetched.clear()
        mnist.download(tmp_path, None)
        assert fetched == ["t10k-images-idx3-ubyte.gz"]


@pytest.mark.usefixtures("offline")
def test_present_files_need_no_network(data_root: Path) -> None:
    download_dataset("cifar10", data_root)


@pytest.mark.parametrize(
    ("name", "file"),
    [("cifar10", "cifar-10-batches-py/data_batch_3"), ("mnist", "MNIST/raw/train-labels-idx1-ubyte.gz")],
)
@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_file_is_named(data_root: Path, tmp_path: Path, name: str, file: str, damage: str) -> None:
    source, copy = (data_root / file).parent, (tmp_path / file).parent
    copy.mkdir(parents=True)
    for original in source.iterdir():
        (copy / original.name).symlink_to(original)
    content = bytearray((data_root / file).read_bytes())
    (tmp_path / file).unlink()
    if damage == "truncated":
        del content[-1:]
    else:
        content[len(content) // 2] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CnnbenchError) as caught:
        load_dataset(DataConfig(name=name), tmp_path)
    message = str(caught.value)
    assert str(tmp_path / file) in message
    assert f"cnnbench data {name}" in message
    assert "md5 sum is" in message


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_1"),
        ("mnist", "MNIST/raw/train-images-idx3-ubyte.gz"),
        ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte.gz"),
    ],
)
def test_missing_files_and_the_ways_out(tmp_path: Path, name: str, first: str) -> None:
    with pytest.raises(CnnbenchError) as caught:
        load_dataset(DataConfig(name=name), tmp_path)
    message = str(caught.value)
    for part in (
        first,
        str(tmp_path),
        "--data",
        "CNNBENCH_DATA",
        "recipes/quickstart.toml",
        f"cnnbench data {name}",
    ):
        assert part in message


def test_cifar10_archive_is_taken_apart_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    archive = tmp_path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in ("test_batch", "unasked"):
            (tmp_path / file).write_bytes(b"content")
            tar.add(tmp_path / file, f"cifar-10-batches-py/{file}")
    checksums = {"test_batch": hashlib.md5(b"content").hexdigest()}
    monkeypatch.setattr(CIFAR10, "url", archive.as_uri())
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(cifar10, "CHECKSUMS", checksums)
    root = tmp_path / "data"
    cifar10.download(root)
    assert (root / "cifar-10-batches-py" / "test_batch").read_bytes() == b"content"
    assert {path.name for path in root.rglob("*") if path.suffix != ".lock"} == {
        "cifar-10-batches-py",
        "test_batch",
    }
    checksums["test_batch"] = "0" * 32
    with pytest.raises(CnnbenchError, match="test_batch in it is not the original"):
        cifar10.download(root)


def test_cifar10_validation_is_cut_by_class_and_never_from_test(data_root: Path) -> None:
    config = DataConfig(name="cifar10", limit=2000, classes=["cat", "dog", "frog", "ship"], val_size=400)
    dataset = load_dataset(config, data_root)
    assert torch.bincount(dataset.val.all_targets()).tolist() == [100] * 4
    assert torch.bincount(dataset.train.all_targets()).tolist() == [400] * 4
    assert torch.bincount(dataset.test.all_targets()).tolist() == [500] * 4
    assert torch.equal(dataset.val.rows, load_dataset(config, data_root).val.rows)


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


def test_nothing_from_a_file_is_executed() -> None:
    with pytest.raises(pickle.UnpicklingError, match="system has no place"):
        cifar10._unpickle(pickle.dumps(_Harmful()))


def test_digits_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    expected, expected_labels = load_digits(return_X_y=True)
    for elsewhere in (False, True):
        if elsewhere:  # of another version
            monkeypatch.setattr(digits, "FILE", "elsewhere.csv.gz")
        values, labels = digits._read()
        assert np.array_equal(values, expected)
        assert np.array_equal(labels, expected_labels)


@pytest.mark.parametrize("damage", ["cut", "empty", "altered", "short"])
def test_damaged_digits_are_told(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn
    from sklearn.datasets import load_digits

    file = Path(sklearn.__file__).parent / digits.FILE
    packed, content = file.read_bytes(), gzip.decompress(file.read_bytes())
    damaged = {
        "cut": packed[:5000],
        "empty": b"",
        "altered": gzip.compress(content[:-3] + b"77\n"),
        "short": gzip.compress(b"".join(content.splitlines(keepends=True)[:500])),
    }[damage]
    copy = tmp_path / digits.FILE
    copy.parent.mkdir(parents=True)
    copy.write_bytes(damaged)

    def reader(return_X_y: bool) -> Any:  # noqa: N803 (scikit-learn's name)
        rows = np.loadtxt(copy, delimiter=",", ndmin=2)
        return rows[:, :-1], rows[:, -1]

    monkeypatch.setattr("sklearn.datasets.load_digits", reader)
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(digits, "find_spec", lambda name: spec)
    with pytest.raises(CnnbenchError, match="the digits that come with scikit-learn are damaged or others"):
        load_dataset(DataConfig(name="digits"), tmp_path)
    assert load_digits is not reader


def test_what_is_refused_beside_files_is_no_mistake_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError("no name of a file")

    monkeypatch.setattr(idx, "_present", refused)
    with pytest.raises(PermissionError):
        load_dataset(DataConfig(name="mnist"), tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(idx, "_present", refused)
    for attempt in (
        lambda: load_dataset(DataConfig(name="mnist"), tmp_path),
        lambda: survey_dataset("mnist", tmp_path),
    ):
        with pytest.raises(CnnbenchError, match=r"idx3-ubyte.gz: Permission denied; check its permissions"):
            attempt()


def test_digits_are_read_without_scikit_learn() -> None:
    assert_not_imported("sklearn", "digits", Path("nowhere"))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_files_are_checked_without_torchvision(name: str, data_root: Path) -> None:
    assert_not_imported("torchvision", name, data_root)


def assert_not_imported(unneeded: str, name: str, data_root: Path) -> None:
    """To import it takes longer than to read the data set."""
    code = (
        "import sys; from pathlib import Path; from cnnbench.data import load_dataset\n"
        "from cnnbench.recipe.config import DataConfig\n"
        "load_dataset(DataConfig(name=sys.argv[1]), Path(sys.argv[2]))\n"
        "sys.exit(sys.argv[3] in sys.modules)"
    )
    command = [sys.executable, "-c", code, name, str(data_root), unneeded]
    subprocess.run(command, check=True)


def test_digits() -> None:
    dataset = load_dataset(DataConfig(name="digits"), Path("nowhere"))
    assert dataset.in_shape == (1, 8, 8)
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 1797
    assert len(dataset.test) == 359
    assert int(dataset.train.images.max()) == 255
    # as many of each class as scikit-learn documents: 178, 182, 177, 183, 181, 182, 181, 179, 174, 180
    counts = torch.bincount(dataset.train.targets) + torch.bincount(dataset.test.targets)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_synthetic_is_deterministic_and_learnable() -> None:
    config = DataConfig(name="synthetic", num_images=200, num_classes=3, channels=1, height=9, width=7)
    dataset, again = load_dataset(config, Path()), load_dataset(config, Path())
    assert dataset.in_shape == (1, 9, 7)
    assert torch.equal(dataset.train.images, again.train.images)
    images, targets = dataset.train.images.flatten(1).float(), dataset.train.targets
    centers = torch.stack([images[targets == number].mean(0) for number in range(3)])
    nearest = torch.cdist(dataset.test.images.flatten(1).float(), centers).argmin(1)
    assert (nearest == dataset.test.targets).float().mean().item() > 0.95


def test_root_is_the_option_else_the_variable_else_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CNNBENCH_DATA", str(tmp_path))
    assert choose_root(Path("here")) == Path("here")
    assert choose_root(None) == tmp_path
    monkeypatch.delenv("CNNBENCH_DATA")
    assert choose_root(None) == Path("data")
