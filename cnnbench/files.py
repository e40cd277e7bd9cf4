"""Files that are either wholly there or not at all, and the order of their names."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends well."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{PARTIAL}{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Makes a folder with those above it, where it is not there yet.

    Raises OSError, but never FileNotFoundError, which would read as if a folder above were missing.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # what /proc says of itself
        raise PermissionError(errno.EPERM, "no folder can be made there", str(path)) from error


def write(path: Path, content: str | bytes) -> None:
    """Writes the whole content, or leaves what was there."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_partial(directory: Path) -> None:
    """Removes what killed processes left half written; none may be writing there now."""
    for path in directory.glob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def natural_order(path: Path) -> list[tuple[str, int, str]]:
    """A sorting key by which 2_depth stands before 10_final."""
    parts = re.findall(r"(\d+)|(\D+)", str(path))
    return [("", int(digits), "") if digits else (letters, 0, "") for digits, letters in parts]
