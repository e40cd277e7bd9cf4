"""Photographs in a folder: decoded as a network's own preprocessing would, named when they are of no use."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnbench.data import describe_dataset, load_dataset
from cnnbench.data.imagenet_samples import load, read_picture
from cnnbench.data.pictures import UnreadableError
from cnnbench.errors import CnnbenchError
from cnnbench.models.model_libraries import open_library
from cnnbench.models.preprocessing import Preprocessing
from cnnbench.recipe.config import DataConfig

TENCH, DOG = "000_n01440764_tench.JPEG", "151_n02085620_Chihuahua.JPEG"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "imagenet-samples"
    folder.mkdir()
    return folder


def save(path: Path, size: tuple[int, int], mode: str = "RGB", **options: object) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, format="JPEG", quality=95, **options)


@pytest.mark.parametrize("size", [(300, 400), (500, 375), (256, 341), (343, 256), (100, 90)])
def test_a_network_sees_what_it_would_see_of_the_file(folder: Path, size: tuple[int, int]) -> None:
    from torchvision.models import get_model_weights

    save(folder / TENCH, size)
    images = load(folder.parent).test_images
    assert images.shape == (1, 3, 256, 256)
    found = Preprocessing(open_library("torchvision/alexnet").steps())(images)[0]
    with Image.open(folder / TENCH) as file:
        expected = get_model_weights("alexnet").DEFAULT.transforms()(file.convert("RGB"))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_kinds_of_images(folder: Path, mode: str) -> None:
    save(folder / TENCH, (300, 300), mode)
    assert load(folder.parent, size=64).test_images.shape == (1, 3, 64, 64)


def test_a_picture_that_would_grow_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thin.png"
    Image.new("RGB", (1, 4000)).save(path)
    with pytest.raises(
        UnreadableError, match="is too long: with 256 pixels on the short side it has 1,024,000 on the other"
    ):
        read_picture(path)


def test_targets_and_format(folder: Path) -> None:
    save(folder / DOG, (60, 50))
    save(folder / TENCH, (60, 50))
    config = DataConfig(name="imagenet_samples", size=32)  # type: ignore[call-arg]
    dataset = load_dataset(config, folder.parent)
    assert dataset.test.all_targets().tolist() == [0, 151]
    assert (
        (dataset.in_shape, dataset.num_classes)
        == describe_dataset(config, folder.parent)
        == ((3, 32, 32), 1000)
    )
    assert dataset.classes[151] == "Chihuahua"
    assert dataset.test_only


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError, match=r"no files imagenet-samples/NNN_wnid_name\.JPEG.*CNNBENCH_DATA"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tench.JPEG", "expected a name such as"),
        ("001_n01440764_tench.JPEG", "class 1 of ImageNet is n01443537, not n01440764"),
    ],
)
def test_names_that_say_no_class(folder: Path, name: str, said: str) -> None:
    save(folder / name, (60, 50))
    with pytest.raises(CnnbenchError, match=f"{name}.*{said}"):
        load(folder.parent)


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_file_cut_short_is_named(folder: Path, kept: float) -> None:
    save(folder / TENCH, (200, 200))
    content = (folder / TENCH).read_bytes()
    (folder / TENCH).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CnnbenchError, match=f"{TENCH} cannot be read as an image"):
        load(folder.parent)


def test_the_real_ones(data_root: Path, tmp_path: Path) -> None:
    """A few of them: short side 256 already, so the square is cut out of the file's own pixels."""
    if not (data_root / "imagenet-samples").is_dir():
        pytest.skip(f"no imagenet-samples under {data_root}")
    target = tmp_path / "imagenet-samples"
    target.mkdir()
    chosen = sorted((data_root / "imagenet-samples").glob("*.JPEG"))[:500:100]
    for path in chosen:
        shutil.copy(path, target)
    source = load(tmp_path)
    assert source.test_targets.tolist() == [int(path.name[:3]) for path in chosen]
    with Image.open(chosen[0]) as file:
        pixels = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)
    top, left = ((side - 256) // 2 for side in pixels.shape[1:])
    assert torch.equal(source.test_images[0], pixels[:, top : top + 256, left : left + 256])
