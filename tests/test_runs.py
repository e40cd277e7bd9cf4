import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cnnbench.reading import STATE_HEADER, DamagedError, read_state
from cnnbench.recipe.defaults import with_defaults
from cnnbench.runs import BusyError, Run

HOLD = """
import sys, time
from pathlib import Path
from cnnbench.runs import Run
with Run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""
WEIGHTS = {"layer.weight": torch.arange(6.0).view(2, 3).t(), "layer.steps": torch.tensor(3)}
PREDICTIONS = {
    f"{split}_{name}": np.arange(5, dtype=np.int16)
    for split in ("test", "val")
    for name in ("predictions", "targets")
}
CONFIG = {"seed": 3, "data": {"name": "mnist"}, "model": {"name": "own"}, "train": {}}
RESULT = {"status": "complete", "metrics": {"test_accuracy": 0.5}}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "wide" / "seed7")


@pytest.fixture
def two_states(run: Run) -> Run:
    """A run with the state of epoch 2 and, before it, that of epoch 1."""
    for epoch in (1, 2):
        run.save_state({"epoch": epoch, "weights": {"w": torch.full((4,), epoch)}})
    return run


def test_names(run: Run) -> None:
    assert (run.variant, run.seed, run.label) == ("wide", 7, "wide seed 7")


# State


def test_state_comes_back_as_it_was(run: Run) -> None:
    channels_last = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    state = {"weights": channels_last, "rows": [{"lr": None, "loss": 0.1}], "optimizer": {"step": 3}}
    run.save_state(state)
    loaded, problems = run.load_state()
    assert problems == []
    assert loaded is not None
    assert torch.equal(loaded["weights"], channels_last)
    assert loaded["weights"].stride() == channels_last.stride()
    assert (loaded["rows"], loaded["optimizer"]) == (state["rows"], state["optimizer"])


def test_without_a_state_there_is_none(run: Run) -> None:
    assert run.load_state() == (None, [])


def cut(position: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * position)]


def flip(position: float) -> Callable[[bytes], bytes]:
    def flipped(content: bytes) -> bytes:
        at = int((len(content) - 1) * position)
        return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]

    return flipped


DAMAGES = {
    "empty": lambda content: b"",
    "cut in the header": lambda content: content[:9],
    "cut after the header": lambda content: content[: len(STATE_HEADER)],
    "cut in the digest": lambda content: content[:40],
    "cut after the digest": lambda content: content[:82],
    "cut early": cut(0.2),
    "cut in the middle": cut(0.5),
    "cut by one byte": lambda content: content[:-1],
    "flipped in the header": flip(0),
    "flipped in the digest": lambda content: content[:30] + b"?" + content[31:],
    "flipped in the middle": flip(0.5),
    "flipped at the end": flip(1),
    "another header": lambda content: b"cnnbench state 0\n" + content[len(STATE_HEADER) :],
    "no header": lambda content: content[82:],
    "longer": lambda content: content + b"\0",
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"no state at all",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_told_and_the_one_before_it_taken(
    two_states: Run, damage: Callable[[bytes], bytes]
) -> None:
    path = two_states.path / "state.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match=r"state\.pt is damaged"):
        read_state(path)
    state, problems = two_states.load_state()
    assert state is not None
    assert state["epoch"] == 1
    assert problems == [f"{path} is damaged"]


def test_a_cut_anywhere_is_noticed(two_states: Run, tmp_path: Path) -> None:
    content = (two_states.path / "state.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for length in range(0, len(content), 5):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedError):
            read_state(path)


def test_the_next_save_does_not_put_a_damaged_state_in_the_place_of_the_good_one(two_states: Run) -> None:
    (two_states.path / "state.pt").write_bytes(b"damaged")
    two_states.load_state()
    two_states.save_state({"epoch": 2})
    (two_states.path / "state.pt").unlink()
    state, problems = two_states.load_state()
    assert state is not None
    assert (state["epoch"], problems) == (1, [])


def test_two_damaged_states_are_none(two_states: Run) -> None:
    for name in ("state.pt", "state.previous.pt"):
        (two_states.path / name).write_bytes(b"x" * 500)
    state, problems = two_states.load_state()
    assert state is None
    assert [problem.rsplit("/")[-1] for problem in problems] == [
        "state.pt is damaged",
        "state.previous.pt is damaged",
    ]
    assert two_states.load_state() == (None, [])  # said once


def test_a_kill_between_the_two_renames_loses_nothing(two_states: Run) -> None:
    (two_states.path / "state.pt").replace(two_states.path / "state.previous.pt")
    state, problems = two_states.load_state()
    assert state is not None
    assert (state["epoch"], problems) == (2, [])


def sealed(payload: bytes) -> bytes:
    """A file with the right header and digest around any content."""
    return STATE_HEADER + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_state_is_not_run(two_states: Run, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    buffer = io.BytesIO()
    torch.save({"model": Malicious(trap)}, buffer)
    (two_states.path / "state.pt").write_bytes(sealed(buffer.getvalue()))
    state, problems = two_states.load_state()
    assert not trap.exists()
    assert state is not None
    assert state["epoch"] == 1
    assert problems == [f"{two_states.path / 'state.pt'} holds no state of a training"]
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert trap.is_dir()  # the trap works


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "payload",
    [b"", b"garbage", b"\x80\x02.", b"PK\x03\x04" + bytes(40), saved({"a": 1})[:-30], saved([1, 2])],
    ids=["nothing", "garbage", "empty pickle", "broken zip", "cut zip", "a list"],
)
def test_a_sealed_file_that_is_no_state_is_damaged(run: Run, payload: bytes) -> None:
    run.path.mkdir(parents=True)
    (run.path / "state.pt").write_bytes(sealed(payload))
    state, problems = run.load_state()
    assert state is None
    assert len(problems) == 1


# What can be read of a finished run


def save_and_finish(run: Run) -> None:
    run.save_weights(WEIGHTS)
    run.finish(RESULT, PREDICTIONS)


@pytest.fixture
def finished(run: Run) -> Run:
    run.write_config(CONFIG)
    run.write_history([{"epoch": 0, "lr": None}, {"epoch": 1, "lr": 0.1}], [{"epoch": 0}, {"epoch": 1}])
    run.save_state({"epoch": 1})
    run.save_state({"epoch": 2})
    save_and_finish(run)
    return run


def test_a_finished_run_reads_back(finished: Run) -> None:
    assert finished.config() == with_defaults(CONFIG)
    assert finished.history() == [{"epoch": 0, "lr": None}, {"epoch": 1, "lr": 0.1}]
    assert finished.result() == RESULT
    for name, array in finished.predictions().items():
        np.testing.assert_array_equal(array, PREDICTIONS[name], strict=True)
    finished.check()
    names = {
        "config.json",
        "history.jsonl",
        "probes.jsonl",
        "predictions.npz",
        "best.safetensors",
        "result.json",
    }
    assert {path.name for path in finished.path.iterdir()} == names  # the states are gone


def test_best_weights_are_plain_safetensors(finished: Run) -> None:
    weights = load_file(finished.path / "best.safetensors")
    assert weights.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("last", "what"),
    [
        ('{"epoch": 2, "tr', "line 3, column 14: Unterminated string"),
        ("\0\0\0\0", "line 3, column 1: Expecting value"),
        ("3\n", "a JSON object in each line"),
        ('{"epoch": ' + 5000 * "1" + "}\n", "line 3: Exceeds the limit"),
        ('{"epoch": 2, "lr": "0.1"}\n', "line 3: expected a number for 'lr', found \"0.1\""),
        ('{"epoch": 2, "val_accuracy": true}\n', "line 3: expected a number for 'val_accuracy', found true"),
    ],
    ids=["cut", "zeros", "no object", "too many digits", "a text for a number", "a truth for a number"],
)
def test_a_history_with_a_broken_last_line_is_damaged(finished: Run, last: str, what: str) -> None:
    with (finished.path / "history.jsonl").open("a") as file:
        file.write(last)
    with pytest.raises(DamagedError, match=what):
        finished.history()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '"complete"',
        "{}",
        '{"status": "complete"}',
        '{"metrics": {}}',
        "\xff",
        '{"status": "complete", "metrics": {"test_accuracy": "0.9"}}',
        '{"status": "complete", "metrics": {"test_accuracy": {}}}',
        '{"status": "complete", "metrics": {}, "train_seconds": "12"}',
        '{"status": "complete", "metrics": {}, "num_params": [1]}',
        '{"status": "complete", "metrics": {}, "message": 3}',
        '{"status": "complete", "metrics": {}, "leading": ["accuracy"]}',
        '{"status": "complete", "metrics": {}, "images": []}',
        '{"status": "complete", "metrics": {}, "versions": "2.15"}',
        '{"status": "complete", "metrics": {}, "classes": ["cat", {}]}',
        '{"status": "complete", "metrics": {}, "sittings": "two"}',
        '{"status": "complete", "metrics": {}, "images": {"splits": {"train": 3}}}',
        '{"status": "complete", "metrics": {}, "images": {"splits": [1]}}',
        '{"status": "complete", "metrics": {}, "device": {"seeds_in_one": "3"}}',
        '{"status": "complete", "metrics": {}, "versions": {"torch": 2}}',
        '{"status": "complete", "metrics": {}, "classes": {"cat": 1}}',
    ],
)
def test_what_is_no_result_never_passes_for_one(finished: Run, content: str) -> None:
    (finished.path / "result.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DamagedError):
        finished.result()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{}", "expected a table for 'data', found null"),
        ('{"data": {"name": "mnist"}, "model": "mlp", "train": {}}', "a table for 'model', found \"mlp\""),
        ('{"data": {"name": 3}, "model": {"name": "mlp"}, "train": {}}', "text for 'data.name', found 3"),
        ('{"data": {"name": "mnist"}, "model": {}, "train": {}}', "text for 'model.name', found null"),
    ],
)
def test_settings_without_their_parts_are_damaged(run: Run, content: str, what: str) -> None:
    run.path.mkdir(parents=True)
    (run.path / "config.json").write_text(content)
    with pytest.raises(DamagedError, match=what):
        run.config()


def test_no_cut_and_no_changed_byte_of_predictions_passes_for_others(finished: Run) -> None:
    path = finished.path / "predictions.npz"
    content = path.read_bytes()
    broken = [content[:length] for length in range(0, len(content), 7)]
    broken += [
        content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        for at in range(0, len(content), 3)
        for bit in (1, 64)
    ]
    noticed = 0
    for each in broken:
        path.write_bytes(each)
        try:
            arrays = finished.predictions()
        except DamagedError:
            noticed += 1
        else:  # a byte without a meaning, such as a time of day, or one in a name
            for name in arrays.keys() & PREDICTIONS.keys():
                np.testing.assert_array_equal(arrays[name], PREDICTIONS[name], strict=True)
    assert noticed > len(broken) / 2


def test_predictions_with_objects_are_damaged(finished: Run, tmp_path: Path) -> None:
    trap = np.array([Malicious(tmp_path / "trap")], dtype=object)
    np.savez(finished.path / "predictions.npz", test_predictions=trap)
    with pytest.raises(DamagedError):
        finished.predictions()
    with zipfile.ZipFile(finished.path / "predictions.npz", "w") as archive:
        archive.writestr("test_predictions.npy", b"no array")
    with pytest.raises(DamagedError):
        finished.predictions()
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("damage", [cut(0), cut(0.5), flip(0)], ids=["empty", "cut", "header"])
def test_damaged_weights_are_noticed(finished: Run, damage: Callable[[bytes], bytes]) -> None:
    path = finished.path / "best.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match=r"best\.safetensors"):
        finished.check()


@pytest.mark.parametrize("obstacle", ["predictions.npz", "best.safetensors"])
def test_the_result_is_written_last(run: Run, obstacle: str) -> None:
    run.save_state({"epoch": 1})
    (run.path / obstacle).mkdir()
    with pytest.raises(OSError, match=obstacle):
        save_and_finish(run)
    assert run.result() is None
    assert run.load_state() == ({"epoch": 1}, [])
    assert not list(run.path.glob(".partial-*"))


# Lock, setting aside


def test_another_process_is_busy_until_it_is_killed(run: Run) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            message = "seed7 is being trained by another process; it is left alone"
            with pytest.raises(BusyError, match=message), run.locked():
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
    start = time.monotonic()
    with run.locked():
        assert time.monotonic() - start < 5


def test_the_lock_is_free_after_an_error(run: Run) -> None:
    with pytest.raises(ValueError, match="inside"), run.locked():
        raise ValueError("inside")
    with run.locked():
        pass


def test_half_written_files_of_a_killed_process_are_swept(run: Run) -> None:
    run.write_config(CONFIG)
    (run.path / ".partial-state-abc.pt").write_bytes(b"half")
    with run.locked():
        assert not list(run.path.glob(".partial-*"))
        assert run.config() == with_defaults(CONFIG)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second disk")
def test_a_run_on_another_disk_is_set_aside_here(run: Run, tmp_path: Path) -> None:
    with TemporaryDirectory(dir="/dev/shm") as other:
        run.path.parent.mkdir(parents=True)
        run.path.symlink_to(other)
        if run.path.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("one disk for both")
        with run.locked():
            run.write_config(CONFIG)
            target = run.set_aside()
        assert [path.name for path in Path(other).iterdir()] == [".lock"]
    assert json.loads((target / "config.json").read_text()) == CONFIG


def test_old_runs_are_numbered(run: Run, tmp_path: Path) -> None:
    places = []
    for number in range(3):
        with run.locked():
            run.write_config({"number": number})
            places.append(run.set_aside())
            assert not (run.path / "config.json").exists()
    assert places == [tmp_path / ".old" / f"wide-seed7-{number}" for number in (1, 2, 3)]
    assert [json.loads((place / "config.json").read_text())["number"] for place in places] == [0, 1, 2]
