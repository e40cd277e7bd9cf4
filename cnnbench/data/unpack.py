"""Unpacking an archive so that its folder is either wholly there or not at all."""

import os
import shutil
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from cnnbench.data.files import damaged
from cnnbench.files import PARTIAL


def unpack_zip(archive: Path, folder: str, destination: Path, name: str) -> None:
    """Puts the one `folder` that is in the archive under `destination`, where none of its name may be.

    Only one process may do so at a time. Raises CnnbenchError, and leaves nothing behind, where the archive
    is damaged or a member of it would land elsewhere.
    """
    for left in destination.glob(f"{PARTIAL}{folder}-*"):  # of a process that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=destination, prefix=f"{PARTIAL}{folder}-") as temporary:
        try:
            with ZipFile(archive) as zipped:
                strangers = [member for member in zipped.namelist() if not _is_within(member, folder)]
                if strangers:
                    raise damaged(archive, name, f"its member {strangers[0]!r} is not within {folder}")
                zipped.extractall(temporary)
        # RuntimeError: a member that calls itself encrypted, or packed by means unknown
        except (BadZipFile, EOFError, RuntimeError, zlib.error) as error:
            raise damaged(archive, name, str(error)) from error
        if hasattr(os, "sync"):
            os.sync()  # the files before their name: else a power cut could leave the name alone
        (Path(temporary) / folder).rename(destination / folder)


def _is_within(member: str, folder: str) -> bool:
    parts = PurePosixPath(member).parts
    return parts[:1] == (folder,) and ".." not in parts and not any(c in member for c in "\\:\0")
