"""Data sets by name, and where their files lie."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench import catalog

if TYPE_CHECKING:
    from cnnbench.config import DataConfig
    from cnnbench.data.base import Dataset, Source
    from cnnbench.data.download import Progress


def data_root(option: Path | None) -> Path:
    """Where data sets lie: the option, else the environment's CNNBENCH_DATA, else `data`."""
    if option is not None:
        return option.expanduser()
    return Path(os.environ.get("CNNBENCH_DATA") or "data").expanduser()


def load_dataset(config: "DataConfig", root: Path, plugins: Sequence[str] = ()) -> "Dataset":
    """The data set of a recipe's [data] section, split and ready; CnnbenchError for the user's mistakes."""
    from cnnbench.data.prepare import prepare

    target = catalog.target("dataset", config.name, tuple(plugins))
    known = {option.name for option in catalog.options("dataset", config.name, tuple(plugins))}
    options = {name: value for name, value in config.options.items() if name in known}
    return prepare(catalog.resolve(target)(root, **options), config)


def download_dataset(name: str, root: Path, progress: "Progress | None" = None) -> "Source":
    """Fetches what is missing of a data set (some come with the installation), verifies and returns it."""
    load = catalog.resolve(catalog.target("dataset", name))
    fetch = getattr(sys.modules[load.__module__], "download", None)
    if fetch is not None:
        fetch(root, progress)
    source: Source = load(root)
    return source
