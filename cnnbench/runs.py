"""A run on disk: one directory per variant and seed, written atomically, `result.json` last."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Predictions = dict[str, "np.ndarray[Any, Any]"]

Row = dict[str, Any]


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

    def config(self) -> dict[str, Any]:
        """The run's resolved settings as they were asked for."""
        return json.loads((self.path / "config.json").read_text())

    def history(self) -> list[Row]:
        """One row per epoch, epoch 0 being the untrained model (its train values are None)."""
        text = (self.path / "history.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def result(self) -> dict[str, Any] | None:
        """What was measured, or None while the run is not complete."""
        path = self.path / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def predictions(self) -> "Predictions":
        """`test_predictions`, `test_targets`, `val_predictions`, `val_targets`: integer class indices, (N,) each."""
        import numpy as np

        with np.load(self.path / "predictions.npz", allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
