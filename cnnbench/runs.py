"""A run on disk: one directory per variant and seed, each file written whole, `result.json` last."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cnnbench import files
from cnnbench.errors import CnnbenchError
from cnnbench.reading import (
    STATE_HEADER,
    DamagedError,
    Row,
    check_config,
    check_numbers,
    check_result,
    read_json,
    read_rows,
    read_state,
)
from cnnbench.recipe.defaults import with_defaults

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cnnbench.recipe.config import RunConfig

    Predictions = dict[str, "np.ndarray[Any, Any]"]

OWN = ("config.json", "result.json")  # what a copy of a run has of its own

# All of a finished run but its weights, the result last: enough to report it, compare it and build on it.
RECORDS = ("config.json", "probes.jsonl", "history.jsonl", "predictions.npz", "result.json")


class BusyError(CnnbenchError):
    """Another process is training this run."""


@dataclass(frozen=True)
class Run:
    """The directory of one variant trained with one seed."""

    path: Path

    @property
    def variant(self) -> str:
        return self.path.parent.name

    @property
    def seed(self) -> int:
        return int(self.path.name.removeprefix("seed"))

    @property
    def label(self) -> str:
        return f"{self.variant} seed {self.seed}"

    def has_files(self) -> bool:
        """Whether anything but the lock is there."""
        return self.path.is_dir() and any(not path.name.startswith(".") for path in self.path.iterdir())

    # What a finished run says. These raise DamagedError where a file is not what it should be.

    def config(self) -> dict[str, Any]:
        """The run's resolved settings; options that are younger than the run stand at their defaults."""
        path = self.path / "config.json"
        config = read_json(path)
        check_config(path, config)
        return with_defaults(config)

    def history(self) -> list[Row]:
        """One row per epoch, epoch 0 being the untrained model (its train values are None)."""
        path = self.path / "history.jsonl"
        rows = read_rows(path)
        for epoch, row in enumerate(rows):
            check_numbers(path, row, f"line {epoch + 1}: ")
            if row.get("epoch") != epoch:
                raise DamagedError(f"{path}: line {epoch + 1}: expected that of epoch {epoch}")
        return rows

    def probes(self) -> list[Row]:
        """What was measured of the model at each epoch (see `cnnbench.probes`); nothing in runs of old."""
        path = self.path / "probes.jsonl"
        return read_rows(path) if path.exists() else []

    def result(self) -> dict[str, Any] | None:
        """What was measured, or None while the run is not complete."""
        path = self.path / "result.json"
        if not path.exists():
            return None
        result = read_json(path)
        check_result(path, result)
        return result

    def predictions(self) -> "Predictions":
        """`test_predictions`, `test_targets`, `val_predictions`, `val_targets`: class indices, (N,) each."""
        import struct
        import zipfile
        import zlib

        import numpy as np

        path = self.path / "predictions.npz"
        try:
            with zipfile.ZipFile(path) as archive:  # which checks the sum of every member it reads
                return {
                    name.removesuffix(".npy"): np.lib.format.read_array(
                        io.BytesIO(archive.read(name)), allow_pickle=False
                    )
                    for name in archive.namelist()
                }
        # RuntimeError: a flipped flag calls a member encrypted, or packed by means unknown
        except (
            OSError, ValueError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error
        ) as error:  # fmt: skip
            raise DamagedError(f"{path}: {error}") from error

    def weights(self) -> "dict[str, Tensor]":
        """The best weights by name, on the CPU."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.path / "best.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise DamagedError(f"{path}: {error}") from error

    def digest(self) -> str:
        """What tells these weights from others: the start of the SHA-256 of their file."""
        path = self.path / "best.safetensors"
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except OSError as error:
            raise DamagedError(f"{path}: {error}") from error

    def check(self) -> None:
        """Raises DamagedError where a file of a finished run is missing or cut short."""
        from safetensors import SafetensorError, safe_open

        self.check_results()
        if not self._has_ended_well():
            return  # a diverged run has no weights
        path = self.path / "best.safetensors"
        try:
            with safe_open(path, "np"):  # compares the header with the length, and reads no weights
                return
        except (OSError, SafetensorError) as error:
            raise DamagedError(f"{path}: {error}") from error

    def check_results(self) -> None:
        """The same of all but the weights, without which a run can still be reported and compared."""
        self.check_records()
        if self._has_ended_well():
            self.predictions()

    def check_records(self) -> None:
        """Raises DamagedError where what was written of each epoch is not whole."""
        rows, probes = self.history(), self.probes()
        if probes and len(probes) != len(rows):
            raise DamagedError(f"{self.path / 'probes.jsonl'}: {len(probes)} lines for {len(rows)} epochs")
        epochs = (self.result() or {}).get("epochs")
        if epochs is not None and len(rows) != epochs + 1:  # the first is the untrained model's
            raise DamagedError(f"{self.path / 'history.jsonl'}: {len(rows) - 1} of {epochs} epochs are there")

    def _has_ended_well(self) -> bool:
        return (self.result() or {}).get("status") == "complete"

    # What a run in training writes.

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process, a kill frees it; BusyError while another one holds it."""
        from filelock import FileLock, Timeout

        files.make_folder(self.path)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(f"{self.path} is being trained by another process; it is left alone") from error
        try:
            files.remove_partial(self.path)  # of a process that was killed: nobody else writes here now
            yield
        finally:
            lock.release()

    def write_config(self, config: Mapping[str, Any]) -> None:
        files.write(self.path / "config.json", json.dumps(config, indent=2) + "\n")

    def write_history(self, rows: Sequence[Row], probes: Sequence[Row]) -> None:
        """Writes both, the rows last: an epoch that is told has been measured whole."""
        for name, lines in (("probes.jsonl", probes), ("history.jsonl", rows)):
            files.write(self.path / name, "".join(json.dumps(line) + "\n" for line in lines))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Writes what training needs to go on; the last state before it is kept beside it."""
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getbuffer()
        digest = hashlib.sha256(payload).hexdigest().encode()
        with files.replacing(self._state) as temporary:
            with temporary.open("wb") as file:
                file.writelines((STATE_HEADER, digest, b"\n", payload))
            if self._state.exists():
                self._state.replace(self._previous_state)

    def load_state(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The last good state (tensors on the CPU) or None, and a sentence for each that was not good.

        A damaged state is moved out of the way, lest the next save keeps it in the place of the good one.
        """
        problems: list[str] = []
        for path in (self._state, self._previous_state):
            try:
                return read_state(path), problems
            except FileNotFoundError:
                continue
            except DamagedError as error:
                problems.append(str(error))
                path.replace(self._damaged_state)
        return None, problems

    def save_weights(self, weights: "Mapping[str, Tensor]") -> None:
        """Writes the best weights, for `weights` to read."""
        from safetensors.torch import save

        # Written by Python, so that a full disk is an OSError like everywhere else.
        content = save({name: value.cpu().contiguous() for name, value in weights.items()})
        files.write(self.path / "best.safetensors", content)

    def finish(self, result: Mapping[str, Any], predictions: "Predictions | None") -> None:
        """Writes predictions, and last the result that completes the run; drops states."""
        import numpy as np

        if predictions is not None:
            with files.replacing(self.path / "predictions.npz") as temporary:
                np.savez_compressed(temporary, **cast("Any", predictions))
        files.write(self.path / "result.json", json.dumps(result, indent=2) + "\n")
        for path in (self._state, self._previous_state, self._damaged_state):
            path.unlink(missing_ok=True)

    def take_over(self, other: "Run", config: Mapping[str, Any], source: str) -> None:
        """Becomes a copy of a finished run of the same settings; its result says which that was."""
        self.write_config(config)
        for path in sorted(other.path.iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.name not in OWN:
                files.write(self.path / path.name, path.read_bytes())
        result = {**read_json(other.path / "result.json"), "taken_from": source}
        files.write(self.path / "result.json", json.dumps(result, indent=2) + "\n")

    def copy_records(self, target: Path) -> None:
        """Writes RECORDS to another directory; what a run does not have is not there either.

        The result, which says that all is there, goes first and is written last.
        """
        (target / "result.json").unlink(missing_ok=True)
        for name in RECORDS:
            if (self.path / name).is_file():
                files.write(target / name, (self.path / name).read_bytes())
            else:  # runs of old have no probes, diverged ones no predictions
                (target / name).unlink(missing_ok=True)

    def drop_states(self) -> None:
        """Removes what only a run in training needs."""
        for path in (self._state, self._previous_state):
            path.unlink(missing_ok=True)

    def set_aside(self, *, goes_on: bool = False) -> Path:
        """Moves all files of the run to `.old/` of its recipe, and returns where they are now.

        `goes_on`: the run is begun anew with the same settings, which stay where they are too.
        """
        old = self.path.parent.parent / ".old"
        number = 1
        while (target := old / f"{self.variant}-{self.path.name}-{number}").exists():
            number += 1
        files.make_folder(target)
        for path in self.path.iterdir():
            if goes_on and path.name == "config.json":
                shutil.copy2(path, target)
            elif path.name != ".lock":
                shutil.move(path, target / path.name)  # also to another disk, where the run is a link there
        return target

    @property
    def _state(self) -> Path:
        return self.path / "state.pt"

    @property
    def _previous_state(self) -> Path:
        return self.path / "state.previous.pt"

    @property
    def _damaged_state(self) -> Path:
        return self.path / "state.damaged.pt"


def encoder_weights(run: Run, config: "RunConfig") -> "dict[str, Tensor] | None":
    """The weights that the encoder of a run starts with, where they are those of another recipe's run.

    Raises CnnbenchError where they are no longer the ones that the settings name.
    """
    asked = config.encoder_weights
    if asked is None:
        return None
    runs_dir = run.path.absolute().parents[len(Path(config.recipe).parts) + 1]
    source = Run(runs_dir / asked.run)
    try:
        if source.digest() == asked.digest:
            return source.weights()
    except DamagedError as error:
        raise CnnbenchError(f"the weights of the encoder cannot be read: {error}") from error
    raise CnnbenchError(
        f"{source.path} no longer holds the weights that the encoder of {run.label} starts with: run the "
        "recipe again"
    )
