from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from cnnbench.bench import STANDARD, notebook
from cnnbench.bench.measure import first_seeds
from cnnbench.recipe import load_recipe
from cnnbench.recipe.config import Named

CPU = torch.device("cpu")


def named(name: str, **options: object) -> Named:
    return Named.model_validate({"name": name, **options})


def test_augmentation_in_torchvisions_words() -> None:
    """Padding to 36 is two pixels on each side of 32."""
    found = notebook.augmentation(
        [
            named("PadIfNeeded", min_height=36, min_width=36),
            named("RandomCrop", height=32, width=32),
            named("HorizontalFlip"),
            named("VerticalFlip", p=0.25),
            named("AlternatingFlip"),
        ],
        (3, 32, 32),
    )
    assert [type(each) for each in found] == [
        transforms.Pad,
        transforms.RandomCrop,
        transforms.RandomHorizontalFlip,
        transforms.RandomVerticalFlip,
        transforms.RandomHorizontalFlip,
    ]
    pad, crop, flip, vertical, _ = found
    assert (pad.padding, crop.size, flip.p, vertical.p) == ((2, 2), (32, 32), 0.5, 0.25)  # type: ignore[attr-defined]


def test_the_standard_set_goes_through_torchvision_alone() -> None:
    """A recipe that was read spells every option out; at their defaults they call for nothing else."""
    for config in first_seeds(load_recipe(STANDARD)):
        found = notebook.augmentation(config.data.augment, (3, 32, 32))
        assert len(found) == len(config.data.augment)
        assert all(type(each).__module__.startswith("torchvision.") for each in found)


def test_others_are_albumentations_own() -> None:
    (invert,) = notebook.augmentation([named("InvertImg", p=1.0)], (3, 4, 4))
    picture = Image.fromarray(np.full((4, 4, 3), 200, dtype=np.uint8))
    assert np.asarray(invert(picture)).max() == 55


@pytest.mark.parametrize("num_workers", [0, 1])
def test_it_trains_and_validates(num_workers: int) -> None:
    """Two classes, black and white: a line through the brightness tells them apart after a few steps."""
    torch.manual_seed(0)
    targets = torch.arange(64) % 2
    images = (255 * targets.to(torch.uint8))[:, None, None, None].expand(64, 1, 2, 2)
    data = notebook.PILImages(images, targets, transforms.ToTensor())
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    for _ in range(3):
        loader = notebook.batches(data, 24, shuffle=True, num_workers=num_workers, device=CPU)
        assert list(notebook.train(model, optimizer, loader, CPU)) == [24, 24]  # the rest is dropped
    loader = notebook.batches(data, 24, shuffle=False, num_workers=num_workers, device=CPU)
    assert notebook.validate(model, loader, CPU) == 1.0


def test_padding_at_its_default_size() -> None:
    (pad,) = notebook.augmentation([named("PadIfNeeded", min_height=1024, min_width=1024)], (3, 1000, 1024))
    assert pad.padding == (0, 12)  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_plugin_s_augmentation_takes_one_picture(tmp_path: Path, channels: int) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "class Darken:\n"
        "    def __init__(self, *, by: int = 2) -> None:\n"
        "        self.by = by\n"
        "    def draw(self, shape, generator):\n"
        "        return lambda images: images // self.by\n"
        "AUGMENTATIONS = {'Darken': Darken}\n"
    )
    (darken,) = notebook.augmentation([named("Darken", by=4)], (channels, 2, 2), [str(file)])
    pixels = np.full((2, 2, channels), 200, dtype=np.uint8).squeeze()
    assert (np.asarray(darken(Image.fromarray(pixels))) == 50).all()
    assert np.asarray(darken(Image.fromarray(pixels))).shape == pixels.shape
