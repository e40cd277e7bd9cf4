"""Some random test images with their true class, and what every variant took them for."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Figure, Subject, Table
from cnnbench.analyses.image_grid import GAP, MARGIN, Pixels, Sheet, as_picture
from cnnbench.analyses.looking import nothing_to_show
from cnnbench.analyses.opening import LeftOut
from cnnbench.errors import CnnbenchError
from cnnbench.options import Count, NonNegativeInt
from cnnbench.reading import DamagedError
from cnnbench.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

    from cnnbench.data.base import Dataset

MOST_VARIANTS = 3  # in one picture
MOST_IMAGES = 10
IMAGE_SIZE = 128 / plots.DPI  # inches: images of 32 and 64 pixels come out in whole pixels
TRUE_WIDTH = 1.6
MARK_WIDTH = 0.2
LINE_HEIGHT = 0.16
LETTERS_AN_INCH = 10.5  # of the text size, in bold
RIGHT, WRONG = "✓", "✗"
RIGHT_COLOR, WRONG_COLOR = "#0072B2", "#B34700"  # blue and a vermilion that is dark enough for text


@dataclass(frozen=True)
class Examples:
    """Test images: their places in the test split, their pixels and the names of their classes."""

    indices: NDArray[np.int64]
    pixels: Sequence[Pixels]
    labels: Sequence[str]

    def are_those(self, other: "Examples") -> bool:
        """Whether both are the same images of the same classes."""
        return self.labels == other.labels and all(
            np.array_equal(mine, theirs) for mine, theirs in zip(self.pixels, other.pixels, strict=True)
        )


@dataclass(frozen=True)
class Predicted:
    """What one run took the examples for."""

    run: Run
    names: Sequence[str]
    examples: Examples
    accuracy: float  # on all test images
    num_test: int

    def is_right(self) -> list[bool]:
        """For each example, whether it was recognized."""
        return [name == label for name, label in zip(self.names, self.examples.labels, strict=True)]


def choose_indices(num_images: int, num: int, seed: int) -> NDArray[np.int64]:
    """`num` places among `num_images` at random, each at most once: the same for the same seed."""
    return np.random.default_rng(seed).permutation(num_images)[:num]


class PredictedExamples(Analysis):
    """Random test images with true and predicted class, from the stored predictions of each variant."""

    def __init__(self, *, num: Count = 10, seed: NonNegativeInt = 0) -> None:
        self.num = num
        self.seed = seed

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields pictures of up to ten images and three variants each, or a table that says why none."""
        left_out = LeftOut()
        groups = _of_equal_images(self._read(subject, left_out))
        if not groups:
            yield nothing_to_show("predicted_examples", "Examples of predictions", left_out)
            return
        pictures = [
            (group[start : start + MOST_VARIANTS], places)
            for group in groups
            for start in range(0, len(group), MOST_VARIANTS)
            for places in _portions(len(group[0].names))
        ]
        for number, (shown, places) in enumerate(pictures, start=1):
            one = len(pictures) == 1
            yield Figure(
                name="predicted_examples" if one else f"predicted_examples_{number}",
                title="Examples of predictions" if one else f"Examples of predictions ({number})",
                caption=self._caption(shown[0]) + left_out.note(),
                figure=_draw(shown, places),
            )

    def _read(self, subject: Subject, left_out: LeftOut) -> list[Predicted]:
        """The first seed of each variant whose predictions can be read, where its images are still there."""
        read = []
        for name, runs in subject.trained().items():
            if not runs:
                left_out.add(name, "no trained run")
            for run in runs:
                try:
                    arrays = run.predictions()
                    dataset = subject.datasets.load(subject.config(run).data)
                    read.append(self._predicted(run, arrays, dataset))
                except DamagedError:
                    left_out.add(run.label, "its predictions cannot be read")
                    continue
                except CnnbenchError as error:  # its data set is no longer there, or no longer the same
                    left_out.add(name, error)
                break
        return read

    def _predicted(self, run: Run, arrays: dict[str, NDArray[Any]], dataset: "Dataset") -> Predicted:
        targets, predictions = arrays["test_targets"], arrays["test_predictions"]
        if targets.ndim > 1:
            raise CnnbenchError("it predicts masks, which segmentation_examples shows")
        if not np.array_equal(targets, dataset.test.all_targets().cpu().numpy()):
            raise CnnbenchError(
                f"the test images of {dataset.name} are no longer those its predictions were made for"
            )
        indices = choose_indices(len(targets), self.num, self.seed)
        images, _ = dataset.test.gather(torch.from_numpy(indices).to(dataset.test.rows.device))
        labels = [dataset.classes[int(targets[index])] for index in indices]
        return Predicted(
            run=run,
            names=[dataset.classes[int(predictions[index])] for index in indices],
            examples=Examples(indices, list(images.cpu().numpy()), labels),
            accuracy=float((targets == predictions).mean()),
            num_test=len(targets),
        )

    def _caption(self, shown: Predicted) -> str:
        few = min(self.num, shown.num_test)
        return (
            f"{few} of the {shown.num_test:,} test images, drawn at random (seed {self.seed}) whatever was "
            f"predicted for them. {RIGHT} marks what was recognized, {WRONG} in bold what was not; in "
            "brackets is the accuracy on all test images, which so few examples do not show. One seed per "
            "variant, named in the heading."
        )


def _portions(num_images: int) -> list[range]:
    """The places of as many images together as fit one picture."""
    starts = range(0, num_images, MOST_IMAGES)
    return [range(start, min(start + MOST_IMAGES, num_images)) for start in starts]


def _of_equal_images(read: Sequence[Predicted]) -> list[list[Predicted]]:
    """The variants, those that were shown the same images together."""
    groups: list[list[Predicted]] = []
    for each in read:
        group = next((group for group in groups if group[0].examples.are_those(each.examples)), None)
        if group is None:
            groups.append(group := [])
        group.append(each)
    return groups


def _draw(shown: Sequence[Predicted], places: range) -> "MplFigure":
    """A line for each image: the image, its true class, then a column for each variant."""
    sheet = Sheet()
    examples = shown[0].examples
    left = MARGIN + IMAGE_SIZE + 3 * GAP
    width = (plots.WIDTH - MARGIN - left - TRUE_WIDTH) / max(len(shown), 2)
    columns = [left + TRUE_WIDTH + place * width for place in range(len(shown))]
    titles = plots.short_names([each.run.variant for each in shown], _letters(width))
    bold: dict[str, Any] = {"size": plots.TEXT_SIZE, "weight": "bold"}
    small: dict[str, Any] = {"size": plots.SMALL_SIZE, "color": plots.MUTED}
    sheet.bottom += 0.16
    sheet.text(left, "true class", **bold)
    for title, column in zip(titles, columns, strict=True):
        sheet.text(column, title, **bold)
    sheet.bottom += 0.17
    sheet.text(left, "test image", **small)
    for each, column in zip(shown, columns, strict=True):
        sheet.text(column, f"seed {each.run.seed} ({100 * each.accuracy:.1f} %)", **small)
    sheet.bottom += 0.09
    for place in places:
        pixels = examples.pixels[place]
        height, wide = _fitted(pixels)
        sheet.image(as_picture(pixels), MARGIN + (IMAGE_SIZE - wide) / 2, wide, height)
        sheet.bottom += IMAGE_SIZE / 2
        lines = _broken(examples.labels[place], TRUE_WIDTH)
        _write(sheet, left, lines, size=plots.TEXT_SIZE)
        sheet.text(left, f"{examples.indices[place]}", above=-LINE_HEIGHT * len(lines), **small)
        for each, column in zip(shown, columns, strict=True):
            right = each.is_right()[place]
            style: dict[str, Any] = {"size": plots.TEXT_SIZE, "color": RIGHT_COLOR if right else WRONG_COLOR}
            style["weight"] = "normal" if right else "bold"
            sheet.text(column, RIGHT if right else WRONG, **style)
            _write(sheet, column + MARK_WIDTH, _broken(each.names[place], width - MARK_WIDTH), **style)
        sheet.bottom += IMAGE_SIZE / 2 + GAP
    return sheet.finish()


def _write(sheet: Sheet, left: float, lines: Sequence[str], **style: Any) -> None:
    """The first line at the present one, the others below it."""
    for number, line in enumerate(lines):
        sheet.text(left, line, above=-LINE_HEIGHT * number, **style)


def _letters(width: float) -> int:
    """How many letters a column of this width in inches has room for, a gap left free."""
    return int((width - 0.1) * LETTERS_AN_INCH)


def _broken(name: str, width: float) -> list[str]:
    """The name in at most two lines of a column of this width."""
    letters = _letters(width)
    lines = textwrap.wrap(name, letters)
    return lines if len(lines) <= 2 else [lines[0], plots.elide(" ".join(lines[1:]), letters)]


def _fitted(pixels: Pixels) -> tuple[float, float]:
    """Height and width in inches of an image whose longer side has the common size."""
    _, height, width = pixels.shape
    longer = max(height, width)
    return IMAGE_SIZE * height / longer, IMAGE_SIZE * width / longer
