"""The class table: ImageNet's own list in its order, and the rule by which classes belong to CIFAR-10's."""

import importlib.util
from pathlib import Path

import pytest

from cnnbench.imagenet import CIFAR10, cifar10_indices, imagenet_classes

RULE = {
    "airplane": [404, 895],
    "automobile": [407, 436, 468, 511, 609, 627, 656, 661, 751, 817],
    "bird": [*range(7, 25), *range(80, 101), *range(127, 147)],
    "cat": [*range(281, 286)],
    "deer": [],
    "dog": [*range(151, 269)],
    "frog": [*range(30, 33)],
    "horse": [339],
    # Everything under "watercraft" in WordNet: warships (aircraft carrier, submarine), ships (container ship,
    # liner, pirate, wreck), sailing vessels (catamaran, schooner, trimaran, yawl), boats (canoe, fireboat,
    # gondola, lifeboat, speedboat). The amphibious vehicle (408) is a motor vehicle there, and parts such as
    # the paddlewheel are no watercraft.
    "ship": [403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 913, 914],
    "truck": [555, 569, 675, 717, 734, 864, 867],
}


def test_the_classes_are_imagenets_in_its_order() -> None:
    spec = importlib.util.find_spec("timm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data" / "_info"
    wnids = (folder / "imagenet_synsets.txt").read_text().split()
    lines = (folder / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    words = dict(line.split("\t", 1) for line in lines)
    classes = imagenet_classes()
    assert [each.index for each in classes] == list(range(1000))
    assert [each.wnid for each in classes] == wnids
    for each in classes:
        first = words[each.wnid].split(", ")[0]
        assert each.name in (first, f"{first} ({each.wnid})")
    assert len({each.name for each in classes}) == 1000


def test_the_rule() -> None:
    assert cifar10_indices() == RULE
    assert tuple(cifar10_indices()) == CIFAR10


@pytest.mark.parametrize(
    ("name", "count"),
    [("airplane", 2), ("automobile", 10), ("bird", 59), ("cat", 5), ("deer", 0), ("dog", 118), ("frog", 3),
     ("horse", 1), ("ship", 15), ("truck", 7)],
)  # fmt: skip
def test_counts(name: str, count: int) -> None:
    assert len(cifar10_indices()[name]) == count


def test_torchvision_has_the_same_names() -> None:
    """Its list was made by others, so an index that slipped would show."""
    from torchvision.models import get_model_weights

    theirs = get_model_weights("alexnet").DEFAULT.meta["categories"]

    ours = [each.name.partition(" (")[0] for each in imagenet_classes()]
    same = sum(a.lower() == b.lower() for a, b in zip(ours, theirs, strict=True))
    assert same > 950


def test_cifar10_classes_are_those_of_the_data(data_root: Path) -> None:
    import pickle

    meta = pickle.loads((data_root / "cifar-10-batches-py/batches.meta").read_bytes(), encoding="latin1")
    assert tuple(meta["label_names"]) == CIFAR10
