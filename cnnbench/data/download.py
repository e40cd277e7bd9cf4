"""Fetching original files: resumed, retried, verified, and under their final name only when whole."""

import os
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock

from cnnbench import files
from cnnbench.data.files import md5_of
from cnnbench.errors import CnnbenchError

Progress = Callable[[int, int | None], None]  # bytes done, bytes in all where the server says so

_TRIES = 3
_BLOCK = 1 << 18
_TIMEOUT_SECONDS = 30.0
_GONE = (401, 403, 404, 410)  # asking again would not help


def fetch(
    urls: Sequence[str] | str,
    destination: Path,
    md5: str,
    progress: Progress | None = None,
    *,
    backoff_seconds: float = 1.0,
) -> None:
    """Brings a file to `destination` from the first address that gives the right one, unless it is there.

    An interrupted download goes on from its `.part` file. Raises CnnbenchError with each address's problem.
    """
    addresses = [urls] if isinstance(urls, str) else list(urls)
    if destination.is_file() and md5_of(destination) == md5:
        return  # before anything is written: the folder may be read-only
    try:
        files.make_folder(destination.parent)
        # two processes that want the same file: the second waits, then finds it done
        with FileLock(destination.with_name(destination.name + ".lock")):
            if destination.is_file() and md5_of(destination) == md5:
                return
            problems = []
            for url in addresses:
                problem = _fetch_with_retries(url, destination, md5, progress, backoff_seconds)
                if problem is None:
                    return
                problems.append(f"{url}: {problem}")
    except OSError as error:
        raise CnnbenchError(f"{destination} cannot be written: {error.strerror or error}.") from error
    raise CnnbenchError(
        f"{destination.name} could not be downloaded to {destination.parent.absolute()} "
        f"({'; '.join(problems)}). "
        "Run the same command to go on from what has arrived; copy the original file there by hand, or name "
        "the folder that has it with --data or CNNBENCH_DATA; or begin with the data set 'digits', which "
        "needs none."
    )


def _fetch_with_retries(
    url: str, destination: Path, md5: str, progress: Progress | None, backoff_seconds: float
) -> str | None:
    """None when the verified file stands at `destination`, else what went wrong last."""
    part = destination.with_name(destination.name + ".part")
    if part.is_file() and md5_of(part) == md5:
        part.replace(destination)
        return None
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(backoff_seconds * 2 ** (attempt - 1))
        try:
            _receive(url, part, progress)
        except HTTPError as error:
            problem = f"the server answered {error.code} {error.reason}"
            if error.code == 416:  # more in the part file than the server has: begin again
                part.unlink(missing_ok=True)
            elif error.code in _GONE:
                return problem
            continue
        except _Network as error:
            problem = str(error)
            continue
        found = md5_of(part)
        if found == md5:
            part.replace(destination)
            return None
        part.unlink()
        problem = f"its md5 sum is {found} instead of {md5}"
    return problem


class _Network(Exception):  # noqa: N818
    """The connection failed; what has arrived is kept."""


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Appends the rest of the file to its part."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "cnnbench", **({"Range": f"bytes={done}-"} if done else {})}
    response = _open(url, headers)
    with response:
        if response.status != 206:  # the whole file, whatever was asked for
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with part.open("ab" if done else "wb") as file:
            while block := _read(response):
                file.write(block)
                done += len(block)
                if progress:
                    progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Network(f"the connection ended after {done:,} of {total:,} bytes")


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS)
    except HTTPError:
        raise
    except (OSError, HTTPException) as error:
        raise _Network(str(getattr(error, "reason", error))) from error
    return response


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, HTTPException) as error:
        raise _Network(str(error) or type(error).__name__) from error
