"""Downloads from a real server on this machine that fails in the ways servers do."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cnnbench.data.download import fetch
from cnnbench.errors import CnnbenchError

CONTENT = bytes(range(256)) * 4000  # about 1 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `failures` are taken one per request, then all goes well."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.failures: list[str] = []
        self.ranges: list[str | None] = []
        self.takes_ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        failure = self.server.failures.pop(0) if self.server.failures else ""
        if failure.isdigit():
            self.send_error(int(failure))
            return
        start = (
            int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.takes_ranges else 0
        )
        if start and start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:] if failure != "wrong" else b"x" * len(CONTENT)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if failure != "cut" else body[: len(body) // 2])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_download_shows_progress_and_is_not_repeated(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "folder" / "file"
    fetch(server.url, target, MD5, lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    fetch(server.url, target, MD5)
    assert len(server.ranges) == 1
    assert files(target.parent) == {"file"}


@pytest.mark.parametrize(
    ("failures", "requests"),
    [
        pytest.param(["503"], [None, None], id="busy-once"),
        pytest.param(["500", "503"], [None, None, None], id="busy-twice"),
        pytest.param(["cut"], [None, "bytes=512000-"], id="connection-cut"),
        pytest.param(["cut", "cut"], [None, "bytes=512000-", "bytes=768000-"], id="cut-twice"),
        pytest.param(["wrong"], [None, None], id="wrong-content-once"),
    ],
)
def test_failures_are_tried_again(
    server: Server, tmp_path: Path, failures: list[str], requests: list[str | None]
) -> None:
    server.failures = failures
    fetch(server.url, tmp_path / "file", MD5, backoff_seconds=0.01)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == requests
    assert files(tmp_path) == {"file"}


@pytest.mark.parametrize("takes_ranges", [True, False], ids=["ranges", "no-ranges"])
def test_goes_on_from_what_an_earlier_process_left(
    server: Server, tmp_path: Path, takes_ranges: bool
) -> None:
    server.takes_ranges = takes_ranges
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    fetch(server.url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_whole_part_file_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    """A process was killed between the last byte and the new name."""
    (tmp_path / "file.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "file", MD5)
    assert server.ranges == []
    assert files(tmp_path) == {"file"}


@pytest.mark.parametrize("left", [CONTENT + b"more", b"z" * 1000], ids=["too-long", "other"])
def test_a_part_file_that_cannot_be_gone_on_from(server: Server, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "file.part").write_bytes(left)
    fetch(server.url, tmp_path / "file", MD5, backoff_seconds=0.01)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert files(tmp_path) == {"file"}


@pytest.mark.parametrize(
    ("failures", "message", "num_requests"),
    [
        pytest.param(["503"] * 3, "answered 503", 3, id="always-busy"),
        pytest.param(["404"], "answered 404", 1, id="gone"),
        pytest.param(["wrong"] * 3, f"instead of {MD5}", 3, id="always-wrong"),
        pytest.param(["cut"] * 3, "connection ended after", 3, id="always-cut"),
    ],
)
def test_giving_up_leaves_no_half_file(
    server: Server, tmp_path: Path, failures: list[str], message: str, num_requests: int
) -> None:
    server.failures = failures
    with pytest.raises(CnnbenchError, match=message):
        fetch(server.url, tmp_path / "file", MD5, backoff_seconds=0.01)
    assert len(server.ranges) == num_requests
    assert files(tmp_path) <= {"file.part"}


def test_next_mirror(server: Server, tmp_path: Path) -> None:
    server.failures = ["404"]
    fetch([server.url, server.url], tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError, match=r"file could not be downloaded to .*refused"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", MD5, backoff_seconds=0.01)


def test_an_altered_file_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"altered")
    fetch(server.url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    threads = [threading.Thread(target=fetch, args=(server.url, tmp_path / "file", MD5)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges == [None]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(CnnbenchError, match="cannot be written"):
        fetch("http://127.0.0.1:9/file", tmp_path / "folder" / "file", MD5)
