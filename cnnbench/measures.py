"""What tasks measure, by name: what a measure is called, which one leads, how it follows from counts.

Counts are those of a confusion matrix of two classes in order: true negatives, false positives, false
negatives, true positives. Class 1 is the one looked for.
"""

from collections.abc import Sequence

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
