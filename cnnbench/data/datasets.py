"""Data sets loaded once and held one at a time, for a recipe whose variants mostly share one."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from cnnbench.data import load_dataset

if TYPE_CHECKING:
    from cnnbench.data.base import Dataset
    from cnnbench.recipe.config import DataConfig


def which_images(config: "DataConfig") -> str:
    """The settings that what is loaded follows from; what happens to batches changes nothing of it."""
    return config.model_dump_json(exclude={"batch_size", "augment", "normalize"})


class Datasets:
    """Loads data sets from under `root`, and holds one at a time."""

    def __init__(self, root: Path, plugins: Sequence[str] = ()) -> None:
        self.root = root
        self.plugins = plugins
        self._key = ""
        self._dataset: Dataset | None = None
        self.load_seconds = 0.0  # of the one that is held

    def load(self, config: "DataConfig") -> "Dataset":
        """The data set of a [data] section; CnnbenchError where it is not there or cannot be so cut."""
        key = which_images(config)
        if self._dataset is None or key != self._key:
            self._dataset = None  # never two in memory
            start = perf_counter()
            self._dataset = load_dataset(config, self.root, self.plugins)
            _ = self._dataset.pixels  # which every run is asked for: a part of loading
            self.load_seconds = perf_counter() - start
            self._key = key
        return self._dataset

    def release(self) -> None:
        """Lets go of the data set that is held; the next call loads it again."""
        self._dataset = None
