"""What tasks measure, by name: what a measure is called, which one leads, how it follows from counts.

Counts are those of a confusion matrix of two classes in order: true negatives, false positives, false
negatives, true positives. Class 1 is the one looked for.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABELS = {"accuracy": "accuracy", "iou": "IoU", "dice": "Dice", "precision": "precision", "recall": "recall"}
LEADING = {"classification": "accuracy", "segmentation": "iou"}
# measure: weights of the four counts in its numerator and in its denominator
RATIOS: dict[str, tuple[tuple[int, int, int, int], tuple[int, int, int, int]]] = {
    "accuracy": ((1, 0, 0, 1), (1, 1, 1, 1)),
    "iou": ((0, 0, 0, 1), (0, 1, 1, 1)),  # Jaccard (1901)
    "dice": ((0, 0, 0, 2), (0, 1, 1, 2)),  # Dice (1945), which is F1
    "precision": ((0, 0, 0, 1), (0, 1, 0, 1)),
    "recall": ((0, 0, 0, 1), (0, 0, 1, 1)),
}


def label(measure: str) -> str:
    """What a measure is called in text: `IoU`."""
    return LABELS.get(measure, measure.replace("_", " "))


def ratio(measure: str, counts: Sequence[float]) -> float:
    """A measure from the four counts, 0 to 1.

    Where its denominator is 0 it is 1 if class 1 is neither there nor predicted (all is as it should be),
    and else 0.
    """
    above, below = (
        sum(weight * count for weight, count in zip(weights, counts, strict=True))
        for weights in RATIOS[measure]
    )
    if below:
        return above / below
    return 0.0 if any(counts[1:]) else 1.0


def scores_of_masks(
    predicted: "NDArray[np.integer[Any]]",
    targets: "NDArray[np.integer[Any]]",
    groups: "NDArray[np.integer[Any]] | None" = None,
) -> "dict[str, NDArray[np.float64]]":
    """For each measure of masks (N, H, W) a value (N,) for each image, whose mean is that over all pixels.

    A measure over all pixels is a ratio R = sum(a) / sum(b) of counts of images. The value of an image is
    R + (a - R b) / mean(b): what is left of the ratio to first order, by which ratios are tested like means
    (linearization; Cochran 1977, "Sampling Techniques", 6.4). Images of one group (N,) are one unit, so that
    copies of one photograph do not count as several.
    """
    import numpy as np

    pairs = 2 * targets.astype(np.int64) + predicted
    counts = np.stack([(pairs == cell).sum((1, 2)) for cell in range(4)], axis=1)  # (N, 4)
    if groups is not None:
        _, unit = np.unique(groups, return_inverse=True)
        units = np.zeros((unit.max() + 1, 4), dtype=np.int64)
        np.add.at(units, unit, counts)
        counts = units
    scores = {}
    for measure, weights in RATIOS.items():
        above, below = (counts @ np.array(each) for each in weights)
        value = ratio(measure, counts.sum(0).tolist())
        mean = below.mean() or 1.0
        scores[measure] = value + (above - value * below) / mean
    return scores
