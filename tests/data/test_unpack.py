"""An archive's folder is there whole or not at all, and nothing lands outside."""

import stat
import zipfile
from pathlib import Path

import pytest

from cnnbench.data.unpack import unpack_zip
from cnnbench.errors import CnnbenchError


def make(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return path


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_folder_is_unpacked(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"set/": b"", "set/one": b"1", "set/in/two": b"2"})
    (tmp_path / "out").mkdir()
    unpack_zip(archive, "set", tmp_path / "out", "some_set")
    assert everything(tmp_path / "out") == {"set", "set/one", "set/in", "set/in/two"}
    assert (tmp_path / "out/set/in/two").read_bytes() == b"2"
    assert (tmp_path / "out/set").stat().st_mode & 0o700 == 0o700


@pytest.mark.parametrize(
    "member",
    [
        "../outside",
        "set/../../outside",
        "/outside",
        "other/file",
        "set\\..\\outside",
        "C:/outside",
        "outside",
    ],
)
def test_nothing_lands_outside(tmp_path: Path, member: str) -> None:
    archive = make(tmp_path / "a.zip", {"set/one": b"1", member: b"2"})
    out = tmp_path / "in" / "out"
    out.mkdir(parents=True)
    with pytest.raises(
        CnnbenchError, match=r"a\.zip is truncated or altered: its member .* is not within set"
    ):
        unpack_zip(archive, "set", out, "some_set")
    assert everything(tmp_path) == {"a.zip", "in", "in/out"}


def test_a_link_is_no_way_out(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("set/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(link, str(tmp_path / "elsewhere"))
        zipped.writestr("set/other", b"1")
    (tmp_path / "out").mkdir()
    unpack_zip(tmp_path / "a.zip", "set", tmp_path / "out", "some_set")
    assert not (tmp_path / "out/set/link").is_symlink()


@pytest.mark.parametrize("damage", ["flipped", "cut", "no zip"])
def test_a_damaged_archive_leaves_nothing_behind(tmp_path: Path, damage: str) -> None:
    archive = make(tmp_path / "a.zip", {"set/one": b"1", "set/two": b"content" * 1000})
    content = bytearray(archive.read_bytes())
    if damage == "flipped":
        content[content.index(b"contentcontent")] ^= 1
    archive.write_bytes({"flipped": content, "cut": content[:-30], "no zip": b"text"}[damage])
    (tmp_path / "out").mkdir()
    with pytest.raises(CnnbenchError, match=r"a\.zip is truncated or altered.*`cnnbench data some_set`"):
        unpack_zip(archive, "set", tmp_path / "out", "some_set")
    assert everything(tmp_path / "out") == set()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-set-abc" / "set").mkdir(parents=True)
    unpack_zip(make(tmp_path / "a.zip", {"set/one": b"1"}), "set", tmp_path, "some_set")
    assert everything(tmp_path) == {"a.zip", "set", "set/one"}
