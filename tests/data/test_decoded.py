"""The cache of decoded images: when it is used, when it is not, and where it lies."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnbench.data.decoded import Decoder, Pixels, cache_folders
from cnnbench.errors import CnnbenchError


class CountingDecoder(Decoder):
    """Counts the files it opens."""

    opened = 0

    def decode(self, path: Path) -> Pixels:
        self.opened += 1
        return super().decode(path)


def unusable(path: Path, problem: str) -> CnnbenchError:
    return CnnbenchError(f"{path.name}: {problem}")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (8, 6), (80 * index,) * 3).save(folder / f"{index}.JPEG", quality=100)
    return folder


def read(decoder: Decoder, folder: Path, group: str = "group") -> Pixels:
    names = sorted(os.listdir(folder))
    pixels = np.empty((len(names), 6, 8, 3), dtype=np.uint8)
    decoder.read(group, folder, names, pixels)
    return pixels


def test_files_are_opened_once(images: Path, tmp_path: Path) -> None:
    decoder = CountingDecoder(6, 8, [tmp_path / "cache"], unusable)
    first, again = read(decoder, images), read(decoder, images)
    assert decoder.opened == 3
    assert first[:, 0, 0, 0].tolist() == [0, 80, 160]
    assert np.array_equal(first, again)
    read(decoder, images, "another group")
    assert decoder.opened == 6


def _add(folder: Path) -> None:
    Image.new("RGB", (8, 6)).save(folder / "3.JPEG")


def _rename(folder: Path) -> None:
    (folder / "0.JPEG").rename(folder / "9.JPEG")


def _alter(folder: Path) -> None:
    """Another image of the same length and time of change, as an unpacked archive may leave it."""
    path = folder / "1.JPEG"
    before, length = path.stat(), path.stat().st_size
    Image.new("RGB", (8, 6), (120,) * 3).save(path, quality=100)
    path.write_bytes(path.read_bytes().ljust(length, b"\0")[:length])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (length, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("change", "levels"),
    [
        pytest.param(_add, [0, 80, 160, 0], id="added"),
        pytest.param(lambda folder: (folder / "0.JPEG").unlink(), [80, 160], id="removed"),
        pytest.param(_rename, [80, 160, 0], id="renamed"),
        pytest.param(_alter, [0, 120, 160], id="altered"),
    ],
)
def test_changes_are_noticed(images: Path, tmp_path: Path, change: object, levels: list[int]) -> None:
    decoder = Decoder(6, 8, [tmp_path / "cache"], unusable)
    read(decoder, images)
    change(images)  # type: ignore[operator]
    assert read(decoder, images)[:, 0, 0, 0].tolist() == levels
    assert len(list((tmp_path / "cache").iterdir())) == 1  # what is out of date is removed


@pytest.mark.parametrize("content", [b"", b"no array", None], ids=["empty", "other", "truncated"])
def test_a_damaged_cache_is_written_anew(images: Path, tmp_path: Path, content: bytes | None) -> None:
    decoder = CountingDecoder(6, 8, [tmp_path / "cache"], unusable)
    expected = read(decoder, images)
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1] if content is None else content)
    assert np.array_equal(read(decoder, images), expected)
    assert np.array_equal(read(decoder, images), expected)
    assert decoder.opened == 6


def test_an_array_that_would_run_code_is_not_loaded(images: Path, tmp_path: Path) -> None:
    decoder = CountingDecoder(6, 8, [tmp_path / "cache"], unusable)
    read(decoder, images)
    (cached,) = (tmp_path / "cache").iterdir()
    np.save(cached, np.array([{}], dtype=object), allow_pickle=True)
    read(decoder, images)
    assert decoder.opened == 6


def test_the_next_place_where_the_first_cannot_be_written(images: Path, tmp_path: Path) -> None:
    (tmp_path / "first").write_text("a file, so no folder can be made here")
    decoder = CountingDecoder(6, 8, [tmp_path / "first", tmp_path / "second"], unusable)
    read(decoder, images)
    read(decoder, images)
    assert decoder.opened == 3
    assert len(list((tmp_path / "second").iterdir())) == 1


def test_without_any_place_files_are_decoded_each_time(images: Path, tmp_path: Path) -> None:
    (tmp_path / "first").write_text("a file")
    decoder = CountingDecoder(6, 8, [tmp_path / "first" / "within"], unusable)
    assert np.array_equal(read(decoder, images), read(decoder, images))
    assert decoder.opened == 6


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, other = tmp_path / "data", tmp_path / "other" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = cache_folders(data)
    assert first == data / ".decoded"
    assert second.parent == tmp_path / "cache" / "cnnbench"
    assert cache_folders(other)[1] != second
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says is to be ignored
    assert len(cache_folders(data)) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folders(data)[1].parent == tmp_path / ".cache" / "cnnbench"


def test_an_image_of_another_size(images: Path, tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError, match=r"0\.JPEG: it is 8×6 pixels instead of 64×64"):
        Decoder(64, 64, [], unusable).read("g", images, ["0.JPEG"], np.empty((1, 64, 64, 3), dtype=np.uint8))


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "x.JPEG", "PNG")
    with pytest.raises(CnnbenchError, match=r"x\.JPEG: it is no JPEG image"):
        Decoder(6, 8, [], unusable).decode(tmp_path / "x.JPEG")


def test_damage_ends_in_a_message_or_an_image(images: Path) -> None:
    original = (images / "1.JPEG").read_bytes()
    rng = random.Random(0)
    decoder = Decoder(6, 8, [], unusable)
    messages = []
    for trial in range(400):
        content = bytearray(original)
        if trial % 2:
            del content[rng.randrange(len(content)) :]
        for _ in range(rng.randrange(3)):
            if content:
                content[rng.randrange(len(content))] = rng.randrange(256)
        (images / "damaged.JPEG").write_bytes(content)
        try:
            assert decoder.decode(images / "damaged.JPEG").shape == (6, 8, 3)
        except CnnbenchError as error:
            messages.append(str(error))
    assert len(messages) > 150
    assert all(message.startswith("damaged.JPEG: it ") for message in messages)


def test_a_file_that_is_gone_is_named(images: Path) -> None:
    with pytest.raises(CnnbenchError, match=r"7\.JPEG: No such file"):
        Decoder(6, 8, [], unusable).read("g", images, ["7.JPEG"], np.empty((1, 6, 8, 3), dtype=np.uint8))
