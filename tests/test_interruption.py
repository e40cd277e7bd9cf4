"""Real processes, killed at random moments, end with the very bytes of a run that nobody disturbed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnbench.runs import Run

RECIPE = """
title = "Interrupted"
question = "Does it end the same?"
analyses = []

[data]
name = "digits"
batch_size = 32
limit = 800
augment = [
  {name = "PadIfNeeded", min_height = 12, min_width = 12},
  {name = "RandomCrop", height = 8, width = 8},
]

[train]
epochs = 6
seeds = [0]
optimizer = "adamw"
lr = 3e-3
schedule = "one_cycle"

[[variants]]
name = "cnn"
model = {name = "cnn", widths = [8, 16], norm = "batch", dropout = 0.2, head = [16]}
"""
TIMED = {"train_seconds", "val_seconds", "wall_seconds", "images_per_second", "peak_memory_mib"}

# Importing PyTorch takes seconds. This imports once, and becomes a process of the command for each line.
SERVER = """
import json, os, signal, sys
import filelock, jinja2, safetensors.torch, torch._dynamo, torch.onnx
import sklearn.datasets, sklearn.model_selection
import cnnbench.analyses.base, cnnbench.cli, cnnbench.comparison, cnnbench.job, cnnbench.models.cnn
import cnnbench.data.digits, cnnbench.data.prepare, cnnbench.optimizers, cnnbench.plan, cnnbench.progress
import cnnbench.report, cnnbench.running, cnnbench.schedules
print("ready", flush=True)
for line in sys.stdin:
    arguments, output = json.loads(line)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        sys.argv = ["cnnbench", *arguments]
        code = 0
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            cnnbench.cli.main()
        except SystemExit as exit:
            code = exit.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Command:
    """A process of `cnnbench recipe`."""

    def __init__(self, server: "subprocess.Popen[str]", arguments: list[str], output: Path) -> None:
        assert server.stdin is not None
        assert server.stdout is not None
        self.lines, self.output = server.stdout, output
        server.stdin.write(json.dumps([arguments, str(output)]) + "\n")
        server.stdin.flush()
        self.pid = int(self.lines.readline())

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return int(self.lines.readline())

    def said(self) -> str:
        return self.output.read_text()


class Bench:
    def __init__(self, server: "subprocess.Popen[str]", folder: Path) -> None:
        self.server, self.folder, self.count = server, folder, 0
        self.file = folder / "interrupted.toml"
        self.file.write_text(RECIPE)
        self.run = Run(folder / "runs" / "interrupted" / "cnn" / "seed0")

    def start(self) -> Command:
        self.count += 1
        arguments = ["recipe", str(self.file), "--runs", str(self.folder / "runs"), "--device", "cpu"]
        return Command(self.server, arguments, self.folder / f"output{self.count}")

    def num_rows(self) -> int:
        path = self.run.path / "history.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    def wait_for_epoch(self, epoch: int) -> None:
        """Until that epoch's row is on disk."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.num_rows() > epoch:
                return
            time.sleep(0.002)
        raise AssertionError(f"epoch {epoch} did not come")

    def complete(self) -> Command:
        command = self.start()
        assert command.wait() == 0, command.said()
        return command


@pytest.fixture(scope="module")
def server() -> "Iterator[subprocess.Popen[str]]":
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork processes")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def bench(server: "subprocess.Popen[str]", tmp_path: Path) -> Bench:
    return Bench(server, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(server: "subprocess.Popen[str]", tmp_path_factory: pytest.TempPathFactory) -> Run:
    bench = Bench(server, tmp_path_factory.mktemp("undisturbed"))
    bench.complete()
    return bench.run


def learned(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMED} for row in run.history()]


def assert_same(run: Run, other: Run) -> None:
    """Equal bit for bit in all but times and memory."""
    assert learned(run) == learned(other)
    assert (run.path / "best.safetensors").read_bytes() == (other.path / "best.safetensors").read_bytes()
    arrays, expected = run.predictions(), other.predictions()
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert (run.result() or {})["metrics"] == (other.result() or {})["metrics"]
    kept = {
        "config.json", "history.jsonl", "probes.jsonl", "predictions.npz", "best.safetensors", "result.json",
    }  # fmt: skip
    assert {path.name for path in run.path.iterdir()} - {".lock"} == kept


def test_the_module_is_the_command() -> None:
    for arguments, code in ((["--version"], 0), (["recipe", "none.toml"], 2)):
        done = subprocess.run([sys.executable, "-m", "cnnbench", *arguments], capture_output=True, text=True)
        assert done.returncode == code
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_it_ends_the_same(bench: Bench, undisturbed: Run, seed: int) -> None:
    draw = random.Random(seed)
    kills, resumed = 0, 0
    while kills < 5:
        rows = bench.num_rows()
        command = bench.start()
        if draw.random() < 0.8:  # else perhaps before the first step
            bench.wait_for_epoch(min(rows, 6))
        time.sleep(draw.uniform(0, 0.2))
        command.send(signal.SIGKILL)
        code = command.wait()
        assert code in (0, -signal.SIGKILL), command.said()
        kills += code != 0
        resumed += "goes on after epoch" in command.said()
        if code == 0:
            break
        assert "damaged" not in command.said()  # a kill never leaves half a file
    bench.complete()
    assert kills >= 2
    assert resumed >= 1
    assert_same(bench.run, undisturbed)


@pytest.mark.parametrize("epoch", [0, 4])
def test_killed_just_after_a_row(bench: Bench, undisturbed: Run, epoch: int) -> None:
    command = bench.start()
    bench.wait_for_epoch(epoch)  # while the state is being written, or just after
    command.send(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    assert bench.run.result() is None
    bench.complete()
    assert_same(bench.run, undisturbed)


def test_ctrl_c_says_what_is_saved_and_the_same_command_goes_on(bench: Bench, undisturbed: Run) -> None:
    command = bench.start()
    bench.wait_for_epoch(3)
    command.send(signal.SIGINT)
    assert command.wait() == 130
    assert "Traceback" not in command.said()
    assert (
        "interrupted: cnn seed 0 is saved up to its last finished epoch; the same command goes on from there"
    ) in command.said()
    assert "cnn seed 0 goes on after epoch " in bench.complete().said()
    assert_same(bench.run, undisturbed)


def test_ctrl_c_at_any_moment_is_130(bench: Bench, undisturbed: Run) -> None:
    draw = random.Random(7)
    for _ in range(3):
        command = bench.start()
        time.sleep(draw.uniform(0.0, 0.5))
        command.send(signal.SIGINT)
        code = command.wait()
        assert code in (0, 130), command.said()
        assert "Traceback" not in command.said()
    bench.complete()
    assert_same(bench.run, undisturbed)


def test_a_state_damaged_between_kills_is_told(bench: Bench, undisturbed: Run) -> None:
    for epoch in (2, 4):
        command = bench.start()
        bench.wait_for_epoch(epoch)
        command.send(signal.SIGKILL)
        command.wait()
        state = bench.run.path / "state.pt"
        is_damaged = state.exists()  # else the kill came between the renames
        if is_damaged:
            content = bytearray(state.read_bytes())
            content[len(content) // 2] ^= 1
            state.write_bytes(content)
    said = bench.complete().said()
    assert ("state.pt is damaged; going back to the state before it" in said) is is_damaged
    assert "goes on after epoch" in said
    assert_same(bench.run, undisturbed)


def test_all_states_damaged_starts_anew(bench: Bench, undisturbed: Run) -> None:
    command = bench.start()
    bench.wait_for_epoch(4)
    command.send(signal.SIGKILL)
    command.wait()
    for state in bench.run.path.glob("state*.pt"):
        state.write_bytes(state.read_bytes()[:1000])
    said = bench.complete().said()
    assert "is damaged; starting anew" in said
    assert "goes on after" not in said
    assert_same(bench.run, undisturbed)


def test_two_commands_at_once(bench: Bench, undisturbed: Run) -> None:
    with bench.run.locked():
        command = bench.start()
        assert command.wait() == 1
        assert "is being trained by another process; it is left alone" in command.said()
        assert "Traceback" not in command.said()
    bench.complete()
    assert_same(bench.run, undisturbed)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where the test may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a full disk needs the right to mount a small one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_full_disk_keeps_the_state_before_it(
    server: "subprocess.Popen[str]", tiny_disk: Path, undisturbed: Run, epoch: int
) -> None:
    bench = Bench(server, tiny_disk)
    command = bench.start()
    bench.wait_for_epoch(epoch)
    ballast = tiny_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            for size in (4096, 512, 1):
                while file.write(bytes(size)) == size:
                    pass
        except OSError:
            pass
    assert command.wait() == 1
    ballast.unlink()
    assert "No space left on device" in command.said()
    assert "Traceback" not in command.said()
    assert bench.run.result() is None
    assert not list(bench.run.path.glob(".partial-*"))
    assert "goes on after epoch" in bench.complete().said()
    assert_same(bench.run, undisturbed)
