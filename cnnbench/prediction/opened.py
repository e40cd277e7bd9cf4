"""A finished run made ready for the user's pictures: its model, and images as it was trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from cnnbench import catalog
from cnnbench.data import data_root, load_dataset, picture_reader
from cnnbench.data.base import Dataset, Split
from cnnbench.data.loader import Loader
from cnnbench.data.pictures import UnreadableError, without_warnings
from cnnbench.data.prepare import resize
from cnnbench.errors import CnnbenchError
from cnnbench.models import takes_bytes
from cnnbench.options import Count
from cnnbench.reading import DamagedError
from cnnbench.recipe.config import RunConfig
from cnnbench.recipe.encoders import encoder_options
from cnnbench.recipe.initialization import takes_init
from cnnbench.recipe.option_models import options_model
from cnnbench.runs import Run
from cnnbench.tasks import NUM_THRESHOLDS
from cnnbench.trained import load_trained

if TYPE_CHECKING:
    from cnnbench.data.pictures import Picture

MOST_NAMED = 3
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Images:
    """What the run's images were: (channels, height, width), mean and std by channel on 0-1, classes."""

    in_shape: tuple[Count, Count, Count]
    mean: tuple[Finite, ...]
    std: tuple[Finite, ...]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]


_SAID = TypeAdapter(Images)


@dataclass(frozen=True)
class OpenedRun:
    """A model with all that is needed to show it a picture; `threshold` is of a run that finds masks."""

    run: Run
    config: RunConfig
    images: Images
    threshold: float | None
    model: nn.Module
    read: "Callable[[Path], Picture]"
    image_size: int | None  # to which what is read is resized in its turn

    def loader(self, paths: Sequence[Path]) -> "tuple[Loader, list[tuple[int, int]]]":
        """The pictures as the test split of a data set like the run's, and the (width, height) of each file.

        Raises CnnbenchError that names the files that cannot be read.
        """
        pixels, sizes, problems = [], [], []
        with without_warnings():
            for path in paths:
                try:
                    picture = self.read(path)
                except UnreadableError as error:
                    problems.append(f"{path} {error}")
                    continue
                pixels.append(_as_tensor(picture, self.images.in_shape[0]))
                sizes.append(picture.file_size)
        if problems:
            more = f"; and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
            raise CnnbenchError("; ".join(problems[:MOST_NAMED]) + more)
        stacked = torch.stack(pixels)
        if self.image_size is not None:
            stacked = resize(stacked, self.image_size)
        return self._loader_of(stacked.contiguous(memory_format=torch.channels_last)), sizes

    def _loader_of(self, pixels: Tensor) -> Loader:
        shape = (len(pixels),) if self.threshold is None else (len(pixels), *self.images.in_shape[1:])
        unknown = torch.zeros(shape, dtype=torch.int64 if self.threshold is None else torch.uint8)
        split = Split(pixels, unknown, torch.arange(len(pixels)))
        dataset = Dataset(
            self.config.data.name, self.images.classes, split, split, split, self.images.mean, self.images.std
        )
        return Loader(
            dataset,
            self.config.data.model_copy(update={"augment": []}),
            next(self.model.parameters()).device,
            plugins=self.config.plugins,
            as_bytes=takes_bytes(self.config.model, self.config.plugins),
        )


def open_run(
    run: Run, *, data_dir: Path | None, device: torch.device, plugins: Sequence[str] = ()
) -> OpenedRun:
    """The run with its best weights on `device`.

    Its data set is loaded only where the run is so old that it does not say what its images were. Raises
    CnnbenchError for whatever is missing or damaged.
    """
    root = data_root(data_dir)
    try:
        config, result = _config(run, plugins), run.result() or {}
        images = _images(run, result, config, root)
        model = load_trained(run, config, images.in_shape, len(images.classes), device)
        threshold = _threshold(run, result, images)
    except DamagedError as error:
        raise CnnbenchError(f"{error}; train the run anew") from error
    if images.in_shape[0] not in (1, 3):
        raise CnnbenchError(
            f"{run.path}: its images have {images.in_shape[0]} channels, and a picture is grey or in color"
        )
    read, image_size = picture_reader(config.data, images.in_shape, root, plugins)
    return OpenedRun(run, config, images, threshold, model, read, image_size)


def _config(run: Run, plugins: Sequence[str]) -> RunConfig:
    try:
        config = RunConfig(**run.config(), plugins=list(plugins))
    except (ValidationError, TypeError) as error:
        raise _unusable_settings(run) from error
    for kind, named in (("model", config.model), ("dataset", config.data)):
        try:
            target = catalog.target(kind, named.name, list(plugins))
        except KeyError:
            raise CnnbenchError(
                f"{run.path}: its {kind} {named.name!r} is none of cnnbench's own: name the Python file that "
                "defines it with --plugin"
            ) from None
        read_elsewhere = {*encoder_options(target), *(["init"] if takes_init(kind, target) else ())}
        values = {key: value for key, value in named.options.items() if key not in read_elsewhere}
        if kind == "dataset" and any(option.name == "image_size" for option in catalog.signature(target)):
            values["image_size"] = config.data.image_size  # which is read by the loader where it can
        try:
            options_model(target, catalog.NOT_OPTIONS.get(kind, ())).model_validate(values)
        except ValidationError as error:
            section = "data" if kind == "dataset" else kind
            raise _unusable_settings(run, f"{section}.{error.errors()[0]['loc'][0]}") from error
    return config


def _unusable_settings(run: Run, setting: str | None = None) -> DamagedError:
    named = "" if setting is None else f", such as {setting},"
    return DamagedError(
        f"{run.path / 'config.json'} has settings{named} with which this version of cnnbench can do nothing"
    )


def _images(run: Run, result: dict[str, Any], config: RunConfig, root: Path) -> Images:
    said = result.get("images")
    if said is None or not result.get("classes"):
        try:
            dataset = load_dataset(config.data, root, config.plugins)
        except CnnbenchError as error:
            raise CnnbenchError(
                f"{run.path} does not say what its images were, as finished runs of this version do, so that "
                f"its data set is needed: {error}"
            ) from error
        return Images(dataset.in_shape, dataset.mean, dataset.std, dataset.classes)
    try:
        return _checked(_SAID.validate_python({**said, "classes": result["classes"]}))
    except (ValidationError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{run.path / 'result.json'}: expected shape, mean and std of its images, and its classes"
        ) from error


def _checked(images: Images) -> Images:
    """Raises ValueError where it does not say as many channels everywhere."""
    if not images.in_shape[0] == len(images.mean) == len(images.std):
        raise ValueError("mean and std are of each channel")
    return images


def _threshold(run: Run, result: dict[str, Any], images: Images) -> float | None:
    """The threshold that was chosen on validation; None where classes are predicted."""
    threshold = result.get("threshold")
    if threshold is None and result.get("leading", "accuracy") == "accuracy":
        return None
    is_one = isinstance(threshold, float) and 1 / NUM_THRESHOLDS <= threshold < 1
    if not is_one or len(images.classes) != 2 or result.get("leading") == "accuracy":
        raise DamagedError(
            f"{run.path / 'result.json'}: expected two classes, and a threshold between 0 and 1"
        )
    return threshold


def _as_tensor(picture: "Picture", num_channels: int) -> Tensor:
    """(C, H, W) uint8; color becomes grey by ITU-R BT.601 where the run knows grey alone."""
    image = picture.image.convert("L") if num_channels == 1 else picture.image
    pixels = np.array(image)
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], num_channels).permute(2, 0, 1)
