"""Test images with their masks: what is there, what each variant found, and where the two disagree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnbench import measures
from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Figure, Subject, Table
from cnnbench.analyses.image_grid import GAP, MARGIN, Pixels, Sheet, as_picture
from cnnbench.analyses.looking import nothing_to_show
from cnnbench.analyses.opening import LeftOut
from cnnbench.errors import CnnbenchError
from cnnbench.options import Count
from cnnbench.reading import DamagedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

MOST_IMAGES = 8
# Okabe and Ito (2008): orange and blue are told apart by the color-blind too
MISSED, WRONGLY_FOUND, FOUND = (230, 159, 0), (0, 114, 178), (255, 255, 255)
LARGEST = 1.55  # inches of an image
TITLES = ("input", "prediction", "truth", "disagreement")
TITLE = "Masks on test images"


@dataclass(frozen=True)
class Masks:
    """What the first readable seed of a variant predicted for the test images."""

    variant: str
    seed: int
    targets: NDArray[Any]  # (N, H, W)
    predictions: NDArray[Any]
    images: Sequence[Pixels]  # of the chosen ones


class SegmentationExamples(Analysis):
    """Some test images: input, prediction, truth, and where the two disagree."""

    def __init__(self, *, num_images: Count = 4) -> None:
        if num_images > MOST_IMAGES:
            raise CnnbenchError(
                f"analysis 'segmentation_examples': num_images = {num_images} is more than {MOST_IMAGES}"
            )
        self.num_images = num_images

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields a picture for each variant, of the same images for all; a table where there is none."""
        left_out = LeftOut()
        shown = [found for name in subject.trained() if (found := self._read(subject, name, left_out))]
        for masks in shown:
            rows = choose(masks.targets, self.num_images)
            num_found = int(masks.targets.any(axis=(1, 2)).sum())
            yield Figure(
                name="segmentation_examples" if len(shown) == 1 else f"segmentation_examples_{masks.variant}",
                title=f"{TITLE}: {masks.variant}",
                caption=f"{len(rows)} test images as {masks.variant}, seed {masks.seed}, sees them, spread "
                f"over the {num_found} of {len(masks.targets)} that have something to find, in order of the "
                "share that their true mask covers, not chosen by the result. Right: white is found, orange "
                "is missed, blue is wrongly found; the image is faint behind. IoU and share are of the one "
                "image." + left_out.note() + subject.diverged_note(),
                figure=draw(masks, rows),
            )
        if not shown:
            yield nothing_to_show("segmentation_examples", TITLE, left_out)

    def _read(self, subject: Subject, name: str, left_out: LeftOut) -> Masks | None:
        runs = subject.trained()[name]
        if not runs:
            left_out.add(name, "no trained run")
        for run in runs:
            try:
                arrays = run.predictions()
            except DamagedError:
                left_out.add(run.label, "its predictions cannot be read")
                continue
            targets = arrays["test_targets"]
            if targets.ndim != 3:
                left_out.add(name, "its data has classes, no masks")
                return None
            try:
                test = subject.datasets.load(subject.config(run).data).test
            except CnnbenchError as error:
                left_out.add(name, error)
                return None
            if not np.array_equal(test.all_targets().numpy(), targets):
                left_out.add(name, "its test images are no longer the same")
                return None
            images, _ = test.gather(torch.tensor(choose(targets, self.num_images)))
            return Masks(name, run.seed, targets, arrays["test_predictions"], list(images.numpy()))
        return None


def choose(targets: NDArray[Any], num_images: int) -> list[int]:
    """Images evenly spread over all that have something to find, from the smallest mask to the largest."""
    shares = targets.reshape(len(targets), -1).mean(1)
    order = [int(index) for index in np.argsort(shares, kind="stable") if shares[index] > 0]
    order = order or list(range(len(targets)))
    num_images = min(num_images, len(order))
    return [order[(2 * place + 1) * len(order) // (2 * num_images)] for place in range(num_images)]


def disagreement(pixels: Pixels, target: NDArray[Any], prediction: NDArray[Any]) -> Pixels:
    """The image (H, W, 3), dark and grey, under the colors of FOUND, MISSED and WRONGLY_FOUND."""
    picture: Pixels = (as_picture(pixels).mean(2, keepdims=True) * 0.45).repeat(3, axis=2).astype(np.uint8)
    picture[(target == 1) & (prediction == 1)] = FOUND
    picture[(target == 1) & (prediction == 0)] = MISSED
    picture[(target == 0) & (prediction == 1)] = WRONGLY_FOUND
    return picture


def draw(masks: Masks, rows: Sequence[int]) -> "MplFigure":
    """One line for each image."""
    sheet = Sheet()
    sheet.heading(masks.variant, "white: found    orange: missed    blue: wrongly found")
    beside = 1.5  # for the numbers
    width = min((plots.WIDTH - 2 * MARGIN - beside) / len(TITLES) - GAP, LARGEST)
    sheet.bottom += 0.15
    for place, title in enumerate(TITLES):
        left = MARGIN + place * (width + GAP)
        sheet.text(left, title, above=0.04, size=plots.SMALL_SIZE, color=plots.MUTED)
    for index, pixels in zip(rows, masks.images, strict=True):
        target, prediction = masks.targets[index], masks.predictions[index]
        height = width * target.shape[0] / target.shape[1]
        pictures = (
            as_picture(pixels),
            as_picture(255 * prediction[None].astype(np.uint8)),
            as_picture(255 * target[None].astype(np.uint8)),
            disagreement(pixels, target, prediction),
        )
        for place, picture in enumerate(pictures):
            sheet.image(picture, MARGIN + place * (width + GAP), width, height)
        counts = np.bincount((2 * target.astype(int) + prediction).ravel(), minlength=4).tolist()
        left = MARGIN + len(TITLES) * (width + GAP) + 2 * GAP
        lines = [
            f"test image {index}",
            f"IoU {100 * measures.ratio('iou', counts):.1f} %",
            f"true share {100 * target.mean():.1f} %",
            f"found {100 * prediction.mean():.1f} %",
        ]
        for line, text in enumerate(lines):
            sheet.text(left, text, above=-0.14 * (line + 1), size=plots.SMALL_SIZE)
        sheet.bottom += height + GAP
    return sheet.finish()
