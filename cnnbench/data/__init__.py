"""Data sets by name, and where their files lie.

The module of a data set has `load(root, **options)`, and may have `describe` with the same arguments,
`survey(root)` and `download(root, progress)`. A loader that takes `classes` reads only those asked for, one
that takes `image_size` gives images of that size. Where a picture of the user's becomes an image by other
steps than resizing, the module says so with `read_picture(path, **options)`.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnbench import catalog
from cnnbench.errors import CnnbenchError

if TYPE_CHECKING:
    from cnnbench.data.base import Dataset, Format, Source, Survey, TaskName
    from cnnbench.data.download import Progress
    from cnnbench.data.pictures import Picture
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
    arguments, rest = _shared_out(load, config)
    with may_be_used():
        source = load(root, **arguments)
    return prepare(source, rest)


@contextmanager
def may_be_used() -> Iterator[None]:
    """Within the block files and folders that may not be used are the user's affair: CnnbenchError."""
    try:
        yield
    except PermissionError as error:
        if error.filename is None:  # of something else than a file
            raise
        raise CnnbenchError(
            f"{error.filename}: {error.strerror}; check its permissions and those of its folders"
        ) from error


def describe_dataset(config: "DataConfig", root: Path, plugins: Sequence[str] = ()) -> "Format":
    """The format of the images a [data] section asks for; the files are read only if need be."""
    from cnnbench.data.base import Format

    load = catalog.resolve(catalog.target("dataset", config.name, tuple(plugins)))
    describe = _beside(load, "describe")
    if describe is None:
        dataset = load_dataset(config, root, plugins)
        return Format(dataset.in_shape, dataset.num_classes)
    arguments, rest = _shared_out(load, config)
    in_shape, num_classes = describe(root, **arguments)
    size = rest.image_size
    return Format(
        in_shape if size is None else (in_shape[0], size, size),
        num_classes if rest.classes is None else len(rest.classes),
    )


def task_of(config: "DataConfig", root: Path, plugins: Sequence[str] = ()) -> "TaskName":
    """What is to be predicted: said by the loader's module (`TASK`, beside `describe`), else by its data."""
    load = catalog.resolve(catalog.target("dataset", config.name, tuple(plugins)))
    module = sys.modules[load.__module__]
    if hasattr(module, "describe"):
        task: TaskName = getattr(module, "TASK", "classification")
        return task
    return load_dataset(config, root, plugins).task


def download_dataset(name: str, root: Path, progress: "Progress | None" = None) -> "Survey":
    """Fetches and verifies what is missing of a data set (some come with the installation)."""
    fetch = _beside(catalog.resolve(catalog.target("dataset", name)), "download")
    if fetch is not None:
        with may_be_used():
            fetch(root, progress)
    return survey_dataset(name, root)


def survey_dataset(name: str, root: Path) -> "Survey":
    """How many images of a data set are there; CnnbenchError where it is not there whole."""
    from cnnbench.data.base import Survey

    load = catalog.resolve(catalog.target("dataset", name))
    survey = _beside(load, "survey")
    with may_be_used():
        if survey is not None:
            found: Survey = survey(root)
            return found
        source: Source = load(root)
    return Survey(len(source.train_targets), len(source.test_targets))


def picture_reader(
    config: "DataConfig", in_shape: Sequence[int], root: Path, plugins: Sequence[str] = ()
) -> "tuple[Callable[[Path], Picture], int | None]":
    """How a picture of the user's becomes what the loader makes of a file, and to what size that is resized.

    Images of the data set end up as `in_shape` (channels, height, width). Where they are resized from another
    published size, so is the picture: else it would be sharper than any image that the model was trained on.
    """
    from cnnbench.data.pictures import read_stretched

    load = catalog.resolve(catalog.target("dataset", config.name, tuple(plugins)))
    arguments, rest = _shared_out(load, config)
    read = _beside(load, "read_picture")
    if read is not None:
        return partial(read, **config.options), rest.image_size
    describe = _beside(load, "describe")
    if rest.image_size is not None and describe is not None:
        in_shape = describe(root, **arguments).in_shape
    return partial(read_stretched, height=in_shape[1], width=in_shape[2]), rest.image_size


def _shared_out(load: Callable[..., Any], config: "DataConfig") -> "tuple[dict[str, Any], DataConfig]":
    """The loader's arguments, and what is left to do once it has loaded.

    `classes` and `image_size` are for one of the two.
    """
    parameters = inspect.signature(load).parameters
    taken = {key: getattr(config, key) for key in ("classes", "image_size") if key in parameters}
    return {**config.options, **taken}, config.model_copy(update=dict.fromkeys(taken))


def _beside(load: Callable[..., Any], name: str) -> Callable[..., Any] | None:
    """A function that may stand in the same module as the loader."""
    return getattr(sys.modules[load.__module__], name, None)
