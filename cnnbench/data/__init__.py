"""Data sets by name, and where their files lie."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench import catalog

if TYPE_CHECKING:
    from cnnbench.data.base import Dataset, Format, Source, TaskName
    from cnnbench.data.download import Progress
    from cnnbench.recipe.config import DataConfig


def data_root(option: Path | None) -> Path:
    """Where data sets lie: the option, else the environment's CNNBENCH_DATA, else `data`."""
    if option is not None:
        return option.expanduser()
    return Path(os.environ.get("CNNBENCH_DATA") or "data").expanduser()


def load_dataset(config: "DataConfig", root: Path, plugins: Sequence[str] = ()) -> "Dataset":
    """The data set of a recipe's [data] section, split and ready; CnnbenchError for the user's mistakes."""
    from cnnbench.data.prepare import prepare

    load = catalog.resolve(catalog.target("dataset", config.name, tuple(plugins)))
    return prepare(load(root, **config.options), config)


def describe_dataset(config: "DataConfig", root: Path, plugins: Sequence[str] = ()) -> "Format":
    """The format of the images a [data] section asks for; the files are read only if need be."""
    from cnnbench.data.base import Format

    load = catalog.resolve(catalog.target("dataset", config.name, tuple(plugins)))
    describe = getattr(sys.modules[load.__module__], "describe", None)
    if describe is None:
        dataset = load_dataset(config, root, plugins)
        return Format(dataset.in_shape, dataset.num_classes)
    in_shape, num_classes = describe(**config.options)
    size = config.image_size
    return Format(
        in_shape if size is None else (in_shape[0], size, size),
        num_classes if config.classes is None else len(config.classes),
    )


def task_of(config: "DataConfig", root: Path, plugins: Sequence[str] = ()) -> "TaskName":
    """What is to be predicted: said by the loader's module (`TASK`, beside `describe`), else by its data."""
    load = catalog.resolve(catalog.target("dataset", config.name, tuple(plugins)))
    module = sys.modules[load.__module__]
    if hasattr(module, "describe"):
        task: TaskName = getattr(module, "TASK", "classification")
        return task
    return load_dataset(config, root, plugins).task


def download_dataset(name: str, root: Path, progress: "Progress | None" = None) -> "Source":
    """Fetches what is missing of a data set (some come with the installation), verifies and returns it."""
    load = catalog.resolve(catalog.target("dataset", name))
    fetch = getattr(sys.modules[load.__module__], "download", None)
    if fetch is not None:
        fetch(root, progress)
    return load_source(name, root)


def load_source(name: str, root: Path) -> "Source":
    """A data set as published, verified; CnnbenchError where it is not there whole."""
    source: Source = catalog.resolve(catalog.target("dataset", name))(root)
    return source
