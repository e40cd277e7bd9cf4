"""Which plugin files a run is made of: one that is changed later makes another run."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench import catalog

if TYPE_CHECKING:
    from cnnbench.recipe.config import DataConfig, Named


def code_of(data: "DataConfig", model: "Named", plugins: Sequence[str]) -> dict[str, str]:
    """Each plugin file that these settings name a unit of, with the first 16 digits of its SHA-256."""
    encoders = [value for value in model.options.values() if isinstance(value, dict) and "name" in value]
    named = [
        ("dataset", data.name),
        ("model", model.name),
        *(("model", str(encoder["name"])) for encoder in encoders),
        *(("augmentation", entry.name) for entry in data.augment),
    ]
    tables = {path: catalog.plugin_table(path) for path in plugins}
    return {
        Path(path).name: _digest(path)
        for path, table in tables.items()
        if any(name in table.get(kind, {}) for kind, name in named)
    }


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
