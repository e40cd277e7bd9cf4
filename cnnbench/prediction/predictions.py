"""Predictions of a finished run for pictures: classes with probabilities, or masks as files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnbench import files
from cnnbench.errors import CnnbenchError
from cnnbench.prediction.finding import find_run

if TYPE_CHECKING:
    from torch import Tensor

    from cnnbench.prediction.opened import OpenedRun

MOST_CLASSES = 5
MASK_NAME = "{}_predicted_mask.png"


class RankedClass(NamedTuple):
    """A class and the probability (softmax) that the model gives it, 0 to 1."""

    name: str
    probability: float


@dataclass(frozen=True)
class ClassPrediction:
    """The most likely classes of a picture, most likely first."""

    image: Path
    classes: Sequence[RankedClass]


@dataclass(frozen=True)
class MaskPrediction:
    """The mask of a picture: a PNG as large as it, 255 where its class was found; `share` of all pixels."""

    image: Path
    mask: Path
    found: str  # the class that is looked for
    share: float
    threshold: float  # of the probability


Prediction = ClassPrediction | MaskPrediction


@dataclass(frozen=True)
class Predictions:
    """What a run predicts for pictures, in their order; `notes` are sentences for the user."""

    run: Path
    items: Sequence[Prediction]
    notes: Sequence[str]


def predict(
    run: str | Path,
    images: Sequence[str | Path],
    *,
    top: int | None = None,
    save: Path | None = None,
    runs_dir: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str = "auto",
    plugins: Sequence[str | Path] = (),
) -> Predictions:
    """Applies a finished run, or a variant's first finished seed, to pictures, seen as in training.

    Of a classification come the `top` classes (5) of each picture. Masks are written to the folder `save`,
    else beside each picture, as NAME_predicted_mask.png; pictures of such a name are left out. It is computed
    in fp32. Raises CnnbenchError, before anything is written, where the run or a picture cannot be used.
    """
    from cnnbench.precision import choose_device
    from cnnbench.prediction.opened import open_run

    found = find_run(Path(run), runs_dir)
    own = [str(Path(plugin).expanduser().absolute()) for plugin in plugins]
    opened = open_run(found.run, data_dir=data_dir, device=choose_device(device), plugins=own)
    _check_options(opened, top, save)
    paths = [Path(image).expanduser() for image in images]
    if not paths:
        raise CnnbenchError("name at least one picture")
    own_masks: list[Path] = []
    if opened.threshold is not None:
        own_masks = [path for path in paths if path.stem.endswith(MASK_NAME.format("").removesuffix(".png"))]
        paths = [path for path in paths if path not in own_masks]
        if not paths:
            raise CnnbenchError(f"name at least one picture; {_left_out(own_masks)}")
    if opened.threshold is None:
        items: Iterator[Prediction] = _classify(opened, paths, top or MOST_CLASSES)
    else:
        items = _segment(opened, opened.threshold, paths, _targets(paths, save))
    notes = [note for note in (found.note, _seen_as(opened), _left_out(own_masks)) if note is not None]
    return Predictions(found.run.path, list(items), notes)


def as_dicts(predictions: Predictions) -> list[dict[str, Any]]:
    """One plain value for each picture, for JSON."""
    return list(map(_as_dict, predictions.items))


def _as_dict(each: Prediction) -> dict[str, Any]:
    if isinstance(each, ClassPrediction):
        ranked = [{"class": name, "probability": probability} for name, probability in each.classes]
        return {"image": str(each.image), "classes": ranked}
    said = {"class": each.found, "share": each.share, "threshold": each.threshold}
    return {"image": str(each.image), "mask": str(each.mask), **said}


def _check_options(opened: "OpenedRun", top: int | None, save: Path | None) -> None:
    if opened.threshold is None:
        if save is not None:
            raise CnnbenchError(f"--save is for masks, and {opened.run.path} predicts classes: leave it out")
        if top is not None and top < 1:
            raise CnnbenchError(f"top: expected a number of classes, 1 or more, found {top}")
        return
    if top is not None:
        raise CnnbenchError(f"--top is for classes, and {opened.run.path} predicts masks: leave it out")
    if save is not None and save.exists() and not save.is_dir():
        raise CnnbenchError(f"--save {save}: it is a file, and masks are written to a folder")


def _left_out(own_masks: Sequence[Path]) -> str | None:
    if not own_masks:
        return None
    others = f" and {len(own_masks) - 1} more" if len(own_masks) > 1 else ""
    return f"left out, for masks that were predicted here are no pictures: {own_masks[0]}{others}"


def _seen_as(opened: "OpenedRun") -> str:
    channels, height, width = opened.images.in_shape
    grey = " in grey" if channels == 1 else ""
    return f"each picture is seen as {width}×{height} pixels{grey}, as the images of the training were"


def _classify(opened: "OpenedRun", paths: Sequence[Path], top: int) -> Iterator[ClassPrediction]:
    import torch

    loader, _ = opened.loader(paths)
    remaining = iter(paths)
    for inputs, _ in loader.eval_batches(loader.dataset.test):
        with torch.inference_mode():
            probabilities = opened.model(inputs).float().softmax(1)
        best = probabilities.topk(min(top, probabilities.shape[1]), dim=1)
        for values, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            names = [opened.images.classes[index] for index in indices]
            yield ClassPrediction(next(remaining), list(map(RankedClass, names, values)))


def _segment(
    opened: "OpenedRun", threshold: float, paths: Sequence[Path], targets: Sequence[Path]
) -> Iterator[MaskPrediction]:
    import torch
    from PIL import Image

    from cnnbench.tasks import reaches

    loader, sizes = opened.loader(paths)
    remaining = iter(zip(paths, targets, sizes, strict=True))
    for inputs, _ in loader.eval_batches(loader.dataset.test):
        with torch.inference_mode():
            probabilities = opened.model(inputs)[:, 0].float().sigmoid()
        for probability in probabilities:
            path, target, (width, height) = next(remaining)
            mask = reaches(_resized(probability, height, width), threshold).to(torch.uint8).cpu()
            with files.replacing(target) as temporary:
                Image.fromarray((255 * mask).numpy()).save(temporary, "PNG")
            share = mask.count_nonzero().item() / mask.numel()
            yield MaskPrediction(path, target, opened.images.classes[1], share, threshold)


def _resized(probability: "Tensor", height: int, width: int) -> "Tensor":
    """Probabilities (H, W) at another size, so that the mask's outline is smooth there."""
    from torch.nn.functional import interpolate

    if probability.shape == (height, width):
        return probability
    smaller = height < probability.shape[0] or width < probability.shape[1]
    resized = interpolate(probability[None, None], (height, width), mode="bilinear", antialias=smaller)
    return resized[0, 0]


def _targets(paths: Sequence[Path], save: Path | None) -> list[Path]:
    """Where the mask of each picture is written; raises CnnbenchError where two would be one file."""
    written: dict[Path, Path] = {}
    for path in paths:
        target = (save or path.parent) / MASK_NAME.format(path.stem)
        if written.get(target) == path:
            raise CnnbenchError(f"{path} is named twice: name it once")
        if target in written:
            raise CnnbenchError(
                f"the masks of {written[target]} and {path} would both be written to {target}: predict one "
                "after the other, with another --save"
            )
        written[target] = path
    return list(written)
