"""Files of a run, read with suspicion: what is cut short, altered by hand or of another kind is damaged."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]

# A state file is this line, the SHA-256 of the rest, a line end, and the rest: PyTorch's own format
# does not notice a changed byte.
STATE_HEADER = b"cnnbench state 1\n"

# What a result holds beside its metrics that is a number.
NUMBERS = (
    "epochs", "best_epoch", "num_params", "macs", "train_seconds", "val_seconds", "latency_ms", "throughput",
    "peak_memory_mib",
)  # fmt: skip
TEXTS = ("finished", "leading", "message", "precision", "taken_from")
TABLES = ("images", "device", "versions")


class DamagedError(Exception):
    """A file of a run cannot be read as what it should be."""


def read_rows(path: Path) -> list[Row]:
    """The objects in a file of JSON lines; raises DamagedError where there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path}: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise DamagedError(f"{path}: line {number}, column {error.colno}: {error.msg}") from error
        except (ValueError, RecursionError) as error:  # more digits or brackets than are read
            raise DamagedError(f"{path}: line {number}: {error}") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DamagedError(f"{path}: expected a JSON object in each line")
    return rows


def check_numbers(path: Path, values: Mapping[str, Any], where: str) -> None:
    """Raises DamagedError where one of them is neither a number nor None."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise DamagedError(f"{path}: {where}expected a number for {name!r}, found {json.dumps(value)}")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises DamagedError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{path}: expected a JSON object")
    return content


def read_state(path: Path) -> dict[str, Any]:
    """The state in a file; raises DamagedError where a byte of it is not as it was written.

    Only tensors and plain values are read: what else a file holds is not run, it makes the file damaged.
    """
    from pickle import UnpicklingError

    import torch

    content = path.read_bytes()
    header, digest, payload = content[: len(STATE_HEADER)], content[len(STATE_HEADER) :][:64], content[82:]
    if header != STATE_HEADER or hashlib.sha256(payload).hexdigest().encode() != digest:
        raise DamagedError(f"{path} is damaged")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        raise DamagedError(f"{path} holds no state of a training") from error
    if not isinstance(state, dict):
        raise DamagedError(f"{path} holds no state of a training")
    return state


def check_result(path: Path, result: Mapping[str, Any]) -> None:
    """Raises DamagedError where an entry of a result is missing or of another kind than it should be."""
    measured = isinstance(result.get("metrics"), dict)
    if result.get("status") not in ("complete", "diverged") or not measured:
        raise DamagedError(f'{path}: expected "status" and "metrics" of a finished run')
    check_numbers(path, result["metrics"], "metrics: ")
    check_numbers(path, {name: result[name] for name in NUMBERS if name in result}, "")
    for names, kind, said in ((TEXTS, str, "text"), (TABLES, dict, "a table")):
        for name in names:
            if not isinstance(result.get(name), kind | None):
                raise _other_kind(path, said, name, result[name])
    classes = result.get("classes")
    if classes is not None and not (
        isinstance(classes, list) and all(isinstance(name, str | int) for name in classes)
    ):
        raise _other_kind(path, "a list of texts", "classes", classes)
    splits = (result.get("images") or {}).get("splits") or {}
    if not isinstance(splits, dict) or not all(isinstance(split, dict) for split in splits.values()):
        raise _other_kind(path, "a table of tables", "images.splits", splits)
    check_numbers(path, {"sittings": result.get("sittings")}, "")
    device = result.get("device") or {}
    counts = ("threads", "at_a_time", "seeds_in_one")
    check_numbers(path, {name: device.get(name) for name in counts}, "device: ")
    versions = result.get("versions") or {}
    if not all(isinstance(version, str | None) for version in versions.values()):
        raise _other_kind(path, "a table of texts", "versions", versions)


def check_config(path: Path, config: object) -> None:
    """Raises DamagedError where the settings of a run have not the parts that every run's have."""
    if not isinstance(config, dict):
        raise _other_kind(path, "a table", "config", config)
    for name in ("data", "model", "train"):
        if not isinstance(config.get(name), dict):
            raise _other_kind(path, "a table", name, config.get(name))
    for name in ("data", "model"):
        if not isinstance(config[name].get("name"), str):
            raise _other_kind(path, "text", f"{name}.name", config[name].get("name"))


def _other_kind(path: Path, expected: str, name: str, found: object) -> DamagedError:
    return DamagedError(f"{path}: expected {expected} for {name!r}, found {json.dumps(found)[:80]}")
