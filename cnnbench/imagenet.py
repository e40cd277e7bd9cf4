"""The 1,000 classes of ImageNet (ILSVRC 2012), and which of them are a class of CIFAR-10.

They stand in `imagenet_classes.csv`: index, WordNet id, name, and CIFAR-10's class or nothing. Ids and names
are WordNet's, in ImageNet's order (the first word of each synset; the id is added where two share it).

A class belongs to a class of CIFAR-10 where that is among its hypernyms in WordNet: bird, frog, domestic cat,
dog, horse, airplane, and watercraft for ship. Automobile is WordNet's car, with ambulance, cab and racer;
truck is WordNet's truck, with the police van and the moving van. Deer has none: ImageNet knows no deer.
"""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

TABLE = Path(__file__).with_name("imagenet_classes.csv")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class ImageNetClass:
    """A row of the table; `cifar10` is None where CIFAR-10 has no such class."""

    index: int
    wnid: str
    name: str
    cifar10: str | None


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """All 1,000, in ImageNet's order."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            ImageNetClass(int(row["index"]), row["wnid"], row["name"], row["cifar10"] or None)
            for row in csv.DictReader(file)
        )


def cifar10_indices() -> dict[str, list[int]]:
    """Indices of ImageNet's classes for each class of CIFAR-10; deer has none."""
    return {name: [each.index for each in imagenet_classes() if each.cifar10 == name] for name in CIFAR10}
