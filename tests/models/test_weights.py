"""Files of weights: found where they are looked for, read without running anything, refused with a reason."""

import contextlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file

from cnnbench.errors import CnnbenchError
from cnnbench.models import weights
from cnnbench.models.weights import (
    Published,
    WeightsAbsentError,
    find_file,
    find_published,
    misfit,
    not_real,
    read,
    without_number,
)

ALEXNET = Published(
    ["alexnet-owt-7be5be79.pth"], "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
)
VGG16 = Published(
    ["vgg16.tv_in1k.safetensors"],
    "https://huggingface.co/timm/vgg16.tv_in1k/resolve/main/model.safetensors",
    "timm/vgg16.tv_in1k",
)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine without weights and without network."""
    monkeypatch.setenv("CNNBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("CNNBENCH_WEIGHTS", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("CNNBENCH_OFFLINE", "1")
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path
    torch.hub.set_dir(before)


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.path, "run")


TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize("wrap", ["", "state_dict", "model"])
def test_what_torch_saved(tmp_path: Path, wrap: str) -> None:
    path = tmp_path / "a.pth"
    torch.save({wrap: TENSORS, "epoch": 3} if wrap else TENSORS, path)
    assert misfit(read(path), TENSORS) is None
    assert torch.equal(read(path)["a.weight"], TENSORS["a.weight"])


def test_the_older_format_of_torch(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read(tmp_path / "a.pth")["a.bias"], TENSORS["a.bias"])


def test_safetensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    assert torch.equal(read(tmp_path / "a.safetensors")["a.weight"], TENSORS["a.weight"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_file_cut_short(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a{suffix}"
    big = {"a.weight": torch.randn(200, 200)}
    save_file(big, path) if suffix == ".safetensors" else torch.save(big, path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(CnnbenchError, match="cut short"):
        read(path)


def test_every_cut_of_the_older_format_is_told_as_one(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a.weight": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CnnbenchError, match=r"a\.pth (cannot be read|is refused|holds no state_dict)"):
            read(path)
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(CnnbenchError):  # some bytes are of no consequence
            read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n<!DOCTYPE html><html>", "is a page of the web"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a pointer of Git LFS"),
    ],
)
def test_what_often_stands_in_the_place_of_weights(tmp_path: Path, content: bytes, said: str) -> None:
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CnnbenchError, match=said):
            read(tmp_path / name)


@pytest.mark.parametrize(
    "by",
    [
        torch.save,
        lambda content, path: path.write_bytes(pickle.dumps(content, 2)),
        lambda content, path: path.write_bytes(pickle.dumps(content, 4)),
    ],
)
@pytest.mark.filterwarnings("error")  # torch warns of some pickles, in words for others than users
def test_code_in_a_file_does_not_run(tmp_path: Path, by: object) -> None:
    trace = tmp_path / "trace"
    by({"a.weight": TENSORS["a.weight"], "b": Harmful(trace)}, tmp_path / "a.pth")  # type: ignore[operator]
    with pytest.raises(CnnbenchError, match="nothing in it was run"):
        read(tmp_path / "a.pth")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [([1, 2], "holds no state_dict"), ({}, "holds no state_dict"), ({"lr": 0.1}, "lr is no tensor")],
)
def test_a_file_of_something_else(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CnnbenchError, match=said):
        read(tmp_path / "a.pth")


def test_misfit() -> None:
    found = {"a.weight": torch.ones(3, 2), "c": torch.ones(()), "d": torch.ones(1)}
    assert misfit(found, TENSORS) == (
        "missing a.bias; unexpected c, d; of another shape: a.weight is 3×2 instead of 2×3"
    )


def test_a_name_is_looked_for_in_the_folders(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [nowhere / "own", nowhere / "data/weights", nowhere / "hub/checkpoints"]
    monkeypatch.setenv("CNNBENCH_WEIGHTS", str(places[0]))
    assert weights.folders() == places
    for place in reversed(places):  # the first one wins
        place.mkdir(parents=True)
        (place / "a.pth").touch()
        assert find_file("a.pth", "torchvision/alexnet") == place / "a.pth"
        (place / VGG16.files[0]).touch()
        assert find_published(VGG16, "timm/vgg16") == place / VGG16.files[0]
    assert find_file(str(places[2] / "a.pth"), "x") == places[2] / "a.pth"


def test_an_absent_file_is_said_with_its_places(nowhere: Path) -> None:
    with pytest.raises(WeightsAbsentError) as caught:
        find_file("a.pth", "torchvision/alexnet")
    for part in (
        "torchvision/alexnet",
        str(nowhere / "data/weights/a.pth"),
        "CNNBENCH_WEIGHTS, which is not set",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("published", [ALEXNET, VGG16], ids=["torchvision", "timm"])
def test_absent_weights_are_said_with_their_places(nowhere: Path, published: Published) -> None:
    with pytest.raises(WeightsAbsentError) as caught:
        find_published(published, "the model")
    said = str(caught.value)
    for part in (
        published.files[0],
        str(nowhere / "hub/checkpoints"),
        published.url,
        "CNNBENCH_OFFLINE forbids it",
    ):
        assert part in said
    assert ("Hugging Face cache" in said) == (published.repository is not None)


def test_a_network_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(request: object, timeout: float) -> None:
        asked.append(timeout)
        raise URLError(ConnectionRefusedError("Connection refused"))

    monkeypatch.delenv("CNNBENCH_OFFLINE")
    monkeypatch.setattr(weights, "urlopen", refuse)
    with pytest.raises(WeightsAbsentError, match=r"cannot be downloaded \(no answer: Connection refused\)"):
        find_published(ALEXNET, "the model")
    assert asked == [weights.TIMEOUT_SECONDS]


def test_nothing_asks_the_network_for_what_is_there(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNBENCH_OFFLINE")
    monkeypatch.setattr(weights, "urlopen", lambda *_, **__: pytest.fail("the network was asked"))
    (nowhere / "hub/checkpoints").mkdir(parents=True)
    (nowhere / "hub/checkpoints" / VGG16.files[0]).touch()
    assert find_published(VGG16, "the model").name == VGG16.files[0]


def test_a_file_must_be_what_its_name_says(nowhere: Path) -> None:
    """PyTorch puts the first eight digits of the SHA-256 into the name: those of "abc" are in FIPS 180-2."""
    folder = nowhere / "hub/checkpoints"
    folder.mkdir(parents=True)
    (folder / "net-ba7816bf.pth").write_bytes(b"abc")
    published = Published(["net-ba7816bf.pth"], "https://example.org/x", hashed=["net-ba7816bf.pth"])
    assert find_published(published, "net") == folder / "net-ba7816bf.pth"
    (folder / "net-ba7816bf.pth").write_bytes(b"abd")
    with pytest.raises(CnnbenchError, match=r"net-ba7816bf\.pth is damaged.* instead of ba7816bf; remove it"):
        find_published(published, "net")
    others = replace(published, hashed=[])
    assert find_published(others, "net") == folder / "net-ba7816bf.pth"


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.eye(3).to_sparse(), "a sparse or nested tensor"),
        (lambda: torch.eye(3).to_sparse_csr(), "a sparse or nested tensor"),
        (lambda: torch.empty(2, device="meta"), "a tensor without its values"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "a quantized tensor"),
    ],
    ids=["sparse", "sparse rows", "meta", "quantized"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_plain_numbers(
    tmp_path: Path, make: Callable[[], torch.Tensor], kind: str
) -> None:
    torch.save({"a.weight": make()}, tmp_path / "a.pth")
    with pytest.raises(CnnbenchError, match=rf"a\.pth cannot be used: a\.weight is {kind}"):
        read(tmp_path / "a.pth")


def test_what_is_learned_must_be_real_numbers() -> None:
    half = {"a.weight": TENSORS["a.weight"].half(), "a.bias": TENSORS["a.bias"].double()}
    assert misfit(half, TENSORS) is None
    assert not_real({**half, "a.num_batches_tracked": torch.tensor(3)}) is None
    assert not_real({**half, "b.running_var": torch.ones(2).cfloat()}) == (
        "b.running_var holds complex64, no floating point numbers"
    )
    assert (
        not_real({"a.weight": TENSORS["a.weight"].int()}) == "a.weight holds int32, no floating point numbers"
    )


def test_nan_counts_where_something_is_learned() -> None:
    assert without_number({"mask": torch.tensor(torch.nan), "a.bias": torch.ones(2)}) is None
    assert without_number({"a.bias": torch.tensor([1.0, torch.nan])}) == "a.bias"
