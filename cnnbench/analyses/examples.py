"""Validation images to show: by class, or by their place in the validation split."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cnnbench.analyses.image_grid import Pixels
from cnnbench.data.base import Dataset
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.mistakes import choices, nearest

NUM_EXAMPLES = 3  # where a recipe names none


@dataclass(frozen=True)
class Example:
    """One validation image, as stored."""

    index: int  # within the validation split
    label: str
    pixels: Pixels

    def __str__(self) -> str:
        return f"{self.label} (image {self.index})"

    def is_same(self, other: "Example") -> bool:
        """Whether both are one picture of one class, whatever their place in their splits."""
        same_shape = self.pixels.shape == other.pixels.shape
        return self.label == other.label and same_shape and bool((self.pixels == other.pixels).all())


def choose_examples(dataset: Dataset, wanted: Sequence[str | int] | None) -> list[Example]:
    """The first validation image of each class named, or the image of that index; in the order asked for.

    Without a wish the first image of each of the first three classes that have one. An image with a mask
    is of the last class that is in it. Raises CnnbenchError where there is no such class or image.
    """
    targets = dataset.val.all_targets().cpu()
    if targets.dim() > 1:
        targets = targets.flatten(1).amax(1)
    first: dict[int, int] = {}  # class -> index
    for index, target in enumerate(targets.tolist()):
        first.setdefault(target, index)
    if wanted is None:
        indices = [first[number] for number in sorted(first)[:NUM_EXAMPLES]]
    else:
        indices = list(dict.fromkeys(_index(dataset, first, wish) for wish in wanted))
    images, _ = dataset.val.gather(torch.tensor(indices, device=dataset.val.rows.device))
    return [
        Example(index, dataset.classes[int(targets[index])], pixels)
        for index, pixels in zip(indices, images.cpu().numpy(), strict=True)
    ]


def _index(dataset: Dataset, first: dict[int, int], wish: str | int) -> int:
    num_images = len(dataset.val)
    if isinstance(wish, int):
        if not 0 <= wish < num_images:
            raise CnnbenchError(
                f"images: {dataset.name} has {num_images} validation images, so there is no image {wish}; "
                f"give an index from 0 to {num_images - 1}, or a class"
            )
        return wish
    if wish not in dataset.classes:
        near = nearest(wish, dataset.classes)
        hint = f"did you mean {near!r}?" if near else f"give {choices(dataset.classes)}, or an index"
        raise CnnbenchError(f"images: {dataset.name} has no class {wish!r}; {hint}")
    number = dataset.classes.index(wish)
    if number not in first:
        raise CnnbenchError(
            f"images: none of the {num_images} validation images of {dataset.name} is of class {wish!r}; "
            "name another class, or raise data.limit or data.val_size"
        )
    return first[number]
