"""Moon pictures with masks: pairs, masks of every kind, sources kept together, unfit files named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnbench.data import describe_dataset, load_dataset, lunar, task_of
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import DataConfig

Scene = Callable[[int], tuple[Image.Image, Image.Image]]


def scene(number: int) -> tuple[Image.Image, Image.Image]:
    """An image of one grey value, its number, and a mask with a rock in the top left quarter."""
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :4] = 255
    return Image.new("RGB", (8, 8), (number, number, number)), Image.fromarray(mask)


@pytest.fixture
def moon(tmp_path: Path) -> Callable[..., Path]:
    """`moon(20)` writes so many pairs in the published layout, and returns the root."""

    def make(num_images: int, folder: str = "moon", mapping: str | None = None) -> Path:
        for part in ("render", "ground"):
            (tmp_path / folder / "images" / part).mkdir(parents=True, exist_ok=True)
        for number in range(1, num_images + 1):
            image, mask = scene(number)
            image.save(tmp_path / folder / f"images/render/render{number:04}.png")
            mask.save(tmp_path / folder / f"images/ground/ground{number:04}.png")
        if mapping is not None:
            (tmp_path / folder / "mapping.csv").write_text(mapping)
        return tmp_path

    return make


def test_images_and_masks_are_those_of_one_number(moon: Callable[..., Path]) -> None:
    source = lunar.load(moon(10), size=8)
    assert source.train_images.shape == (8, 3, 8, 8)
    assert source.train_targets.shape == (8, 8, 8)
    assert source.train_images.dtype == source.train_targets.dtype == torch.uint8
    assert source.test_images.shape == (2, 3, 8, 8)
    numbers = torch.cat([source.train_images, source.test_images])[:, 0, 0, 0]
    assert sorted(numbers.tolist()) == list(range(1, 11))
    rock = torch.zeros(8, 8, dtype=torch.uint8)
    rock[:4, :4] = 1
    assert all(torch.equal(mask, rock) for mask in source.train_targets)
    assert source.classes == ("ground", "rock")


@pytest.mark.parametrize(
    "folder", ["moon", "artificial-lunar-rocky-landscape-dataset"], ids=["short", "published"]
)
def test_both_folders_are_found(moon: Callable[..., Path], folder: str) -> None:
    assert len(lunar.load(moon(4, folder), size=8).train_images) == 3


def test_a_folder_of_another_name(moon: Callable[..., Path]) -> None:
    root = moon(4, "mine")
    assert len(lunar.load(root, folder="mine", size=8).train_images) == 3
    with pytest.raises(CnnbenchError, match=r"moon or .*artificial-lunar-rocky-landscape-dataset.*lunar_syn"):
        lunar.load(root)


def grid(values: list[list[tuple[int, int, int]]]) -> Image.Image:
    return Image.fromarray(np.array(values, np.uint8))


BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize(
    ("mask", "rock"),
    [
        (Image.fromarray(np.array([[0, 1], [128, 255]], np.uint8)), [[0, 1], [1, 1]]),
        (Image.fromarray(np.array([[0, 255], [0, 0]], np.uint8)).convert("1"), [[0, 1], [0, 0]]),
        (Image.fromarray(np.array([[0, 7], [0, 0]], np.uint8)).convert("LA"), [[0, 1], [0, 0]]),
        (grid([[BLACK, RED], [GREEN, BLUE]]), [[0, 0], [1, 1]]),
        (grid([[BLACK, RED], [GREEN, BLUE]]).convert("RGBA"), [[0, 0], [1, 1]]),
        (grid([[BLACK, RED], [GREEN, BLUE]]).quantize(4), [[0, 0], [1, 1]]),
        (grid([[BLACK, (9, 9, 9)], [(255, 255, 255), BLACK]]), [[0, 1], [1, 0]]),  # grey stored as color
        (grid([[(20, 0, 0), (200, 40, 40)], [(60, 250, 10), (30, 30, 90)]]), [[0, 0], [1, 0]]),  # smeared
        (grid([[BLACK, BLACK], [BLACK, BLACK]]), [[0, 0], [0, 0]]),
        (grid([[RED, RED], [RED, BLACK]]), [[0, 0], [0, 0]]),
    ],
    ids=["grey", "bits", "grey alpha", "color", "color alpha", "palette", "grey as color", "smeared", "black",
         "sky"],
)  # fmt: skip
def test_rock_is_neither_ground_nor_sky(mask: Image.Image, rock: list[list[int]]) -> None:
    assert lunar.rock_mask(mask).astype(int).tolist() == rock


def test_images_are_resized_smoothly_and_masks_to_the_nearest_pixel(moon: Callable[..., Path]) -> None:
    source = lunar.load(moon(4), size=6)
    expected = np.asarray(scene(1)[1].resize((6, 6), Image.Resampling.NEAREST)) > 0
    assert source.train_images.shape[2:] == (6, 6)
    assert source.train_targets[0].tolist() == expected.astype(int).tolist()
    assert set(source.train_targets.unique().tolist()) == {0, 1}


MAPPING = "index,source_image\n" + "".join(
    f"{number},photo{(number - 1) // 4}.png\n" for number in range(1, 41)
)


def photos(images: torch.Tensor) -> set[int]:
    return {(number - 1) // 4 for number in images[:, 0, 0, 0].tolist()}


def test_copies_of_one_photograph_stay_on_one_side(moon: Callable[..., Path]) -> None:
    root = moon(40, mapping=MAPPING)
    dataset = load_dataset(DataConfig(name="lunar", size=8, val_fraction=0.2), root)  # type: ignore[call-arg]
    train = photos(dataset.train.images[dataset.train.rows])
    val = photos(dataset.val.images[dataset.val.rows])
    test = photos(dataset.test.images[dataset.test.rows])
    assert min(len(train), len(val), len(test)) > 0
    assert train.isdisjoint(val)
    assert (train | val).isdisjoint(test)
    assert len(train) + len(val) + len(test) == 10
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (28, 4, 8)
    groups = dataset.val.all_groups()
    assert groups is not None
    assert len(set(groups.tolist())) == 1


def test_without_a_mapping_each_image_is_its_own_source(moon: Callable[..., Path]) -> None:
    dataset = load_dataset(DataConfig(name="lunar", size=8, val_size=3), moon(20))  # type: ignore[call-arg]
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (13, 3, 4)


def test_the_split_is_the_same_every_time(moon: Callable[..., Path]) -> None:
    root = moon(20)
    first, again = lunar.load(root, size=8), lunar.load(root, size=8)
    assert torch.equal(first.test_images, again.test_images)


def test_a_part_is_spread_over_all(moon: Callable[..., Path]) -> None:
    source = lunar.load(moon(20), size=8, num_images=4)
    numbers = torch.cat([source.train_images, source.test_images])[:, 0, 0, 0]
    assert sorted(numbers.tolist()) == [1, 7, 14, 20]


def lose_mask(root: Path) -> None:
    (root / "moon/images/ground/ground0003.png").unlink()


def lose_image(root: Path) -> None:
    (root / "moon/images/render/render0003.png").unlink()


def truncate(root: Path) -> None:
    path = root / "moon/images/render/render0003.png"
    path.write_bytes(path.read_bytes()[:45])


def write_postscript(root: Path) -> None:
    """PIL would start another program for it."""
    header = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    (root / "moon/images/ground/ground0003.png").write_text(header)


def write_text(root: Path) -> None:
    (root / "moon/images/ground/ground0003.png").write_text("no picture")


def shrink(root: Path) -> None:
    Image.new("L", (4, 8)).save(root / "moon/images/ground/ground0003.png")


def deepen(root: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "moon/images/ground/ground0003.png")


def lose_source(root: Path) -> None:
    (root / "moon/mapping.csv").write_text("index,source_image\n1,a\n2,b\n4,c\n5,d\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_mask, "images/render/render0003.png has no mask"),
        (lose_image, "images/ground/ground0003.png has no image"),
        (truncate, "images/render/render0003.png cannot be read"),
        (write_text, "images/ground/ground0003.png cannot be read"),
        (write_postscript, "images/ground/ground0003.png cannot be read"),
        (shrink, "images/render/render0003.png is 8×8, but its mask 4×8"),
        (deepen, "images/ground/ground0003.png is no 8-bit image"),
        (lose_source, "images/render/render0003.png has no source in mapping.csv"),
    ],
)
def test_what_is_not_fit_is_named_and_refused_or_left_out(
    moon: Callable[..., Path], spoil: Callable[[Path], None], message: str
) -> None:
    root = moon(5)
    spoil(root)
    with pytest.raises(CnnbenchError, match=r'data.problems = "skip"') as refused:
        lunar.load(root, size=8)
    assert message in str(refused.value)
    source = lunar.load(root, size=8, problems="skip")
    numbers = torch.cat([source.train_images, source.test_images])[:, 0, 0, 0]
    assert sorted(numbers.tolist()) == [1, 2, 4, 5]
    (note,) = source.notes
    assert message in note


def test_many_problems_are_counted(moon: Callable[..., Path]) -> None:
    root = moon(9)
    for number in range(1, 7):
        (root / f"moon/images/ground/ground{number:04}.png").unlink()
    with pytest.raises(CnnbenchError, match=r"render0003.png has no mask; and 3 more"):
        lunar.load(root)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "\x00"], ids=["empty", "other columns", "zero byte"])
def test_a_mapping_that_is_none(moon: Callable[..., Path], text: str) -> None:
    with pytest.raises(CnnbenchError, match=r"mapping\.csv"):
        lunar.load(moon(5, mapping=text), size=8)


def test_too_few_pairs(moon: Callable[..., Path]) -> None:
    with pytest.raises(CnnbenchError, match="1 usable pairs"):
        lunar.load(moon(1), size=8)
    with pytest.raises(CnnbenchError, match="cannot be cut"):
        lunar.load(moon(2), size=8)


def test_all_of_one_source(moon: Callable[..., Path]) -> None:
    root = moon(10, mapping="index,source_image\n" + "".join(f"{n},same\n" for n in range(1, 11)))
    with pytest.raises(CnnbenchError, match="10 of 1 sources"):
        lunar.load(root, size=8)


@pytest.mark.parametrize("name", ["lunar", "lunar_synthetic"])
def test_the_format_is_known_without_the_files(name: str, tmp_path: Path) -> None:
    config = DataConfig(name=name)
    assert describe_dataset(config, tmp_path) == ((3, 128, 128), 2)
    assert task_of(config, tmp_path) == "segmentation"
    assert task_of(DataConfig(name="digits"), tmp_path) == "classification"


def test_the_real_photographs(data_root: Path) -> None:
    if not (data_root / "moon").is_dir():
        pytest.skip("no moon pictures under CNNBENCH_DATA")
    dataset = load_dataset(DataConfig(name="lunar"), data_root)
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 300
    assert len(dataset.test) == 60
    assert dataset.in_shape == (3, 128, 128)
    share = dataset.train.all_targets().float().mean().item()
    assert 0.03 < share < 0.08  # the mapping's mean rock share is 5 %
