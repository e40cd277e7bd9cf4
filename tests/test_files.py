"""Files are whole or not there, whatever happens while they are written."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnbench.files import make_folder, remove_partial, replacing, write


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def umask() -> Iterator[None]:
    """Puts the umask back after a test that sets it."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.mark.parametrize("content", ["größer ✓\n", b"\x00\xff\r\n", ""], ids=["text", "bytes", "empty"])
def test_write(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert listing(path.parent) == ["file.txt"]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old and longer")
    write(path, "new")
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["file.json"]


def test_the_old_content_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # renaming works within one file system only
        assert temporary.suffix == ".json"  # writers choose the format by it
        assert temporary.name.startswith(".")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError], ids=lambda error: error.__name__)
@pytest.mark.parametrize("existed", [True, False], ids=["existed", "new"])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: type[BaseException], existed: bool) -> None:
    path = tmp_path / "file.json"
    if existed:
        path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert listing(tmp_path) == (["file.json"] if existed else [])
    assert not existed or path.read_text() == "old"


def test_a_writer_may_replace_the_temporary_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with replacing(path) as temporary:
        temporary.unlink()
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["file.json"]


def test_a_writer_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path) as temporary:
        temporary.unlink()
    assert path.read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")
@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "file.json"
    os.umask(mask)
    write(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert os.umask(mask) == mask  # reading the umask did not change it


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path; from cnnbench.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write(path, "new")  # what the killed one left is in nobody's way
    assert path.read_text() == "new"
    assert len(listing(tmp_path)) == 2
    (tmp_path / ".hidden").touch()
    remove_partial(tmp_path)
    assert listing(tmp_path) == [".hidden", "file.json"]


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"file\.json"):
        write(path, "x")
    assert listing(tmp_path) == ["file.json"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that makes no folders")
def test_a_place_where_no_folder_can_be_made() -> None:
    for make in (make_folder, lambda path: write(path / "a.txt", "")):
        with pytest.raises(PermissionError, match=r"no folder can be made there: '/proc/nowhere"):
            make(Path("/proc/nowhere/at/all"))


def test_folders_above_are_made(tmp_path: Path) -> None:
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
