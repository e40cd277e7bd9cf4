"""Reading original files and nothing else: what is missing or altered is said in one sentence."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from cnnbench.errors import CnnbenchError


def md5_of(path: Path) -> str:
    """Checksum of a file as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_verified(path: Path, md5: str, name: str) -> bytes:
    """The file's bytes, or CnnbenchError where they are not those that were published."""
    content = read_bytes(path)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise damaged(path, name, f"its md5 sum is {found} instead of {md5} ({len(content):,} bytes)")
    return content


def read_bytes(path: Path) -> bytes:
    """The file's bytes; CnnbenchError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CnnbenchError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error


def listed(found: Sequence[str], most: int = 3, separator: str = ", ") -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return separator.join(found[:most]) + more


def damaged(path: Path, name: str, problem: str) -> CnnbenchError:
    """The error for a file that is not as published, with the way to a new one."""
    return CnnbenchError(
        f"{path} is truncated or altered: {problem}. "
        f"Run `cnnbench data {name}` to download it anew, or copy the original there."
    )


def missing(name: str, paths: Iterable[Path], root: Path, layout: str) -> CnnbenchError:
    """The error for absent files: what is missing, where it was looked for, and three ways out."""
    names = ", ".join(str(path.relative_to(root)) for path in paths)
    return CnnbenchError(
        f"The data set '{name}' is not complete under {root.absolute()}: missing {names}. "
        f"Either run `cnnbench data {name}`, or copy the original files there as {layout}; "
        "or name the folder that has them with --data or the environment variable CNNBENCH_DATA; "
        "or start with the embedded data set `digits`: `cnnbench recipe recipes/quickstart.toml`."
    )
