"""Moon pictures with masks: pairs, masks of every kind, sources kept together, unfit files named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnbench.data import describe_dataset, load_dataset, lunar, task_of
from cnnbench.data.base import Source
from cnnbench.data.pictures import read_stretched
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
    root = moon(29)
    for number in range(1, 26):
        (root / f"moon/images/ground/ground{number:04}.png").unlink()
    with pytest.raises(CnnbenchError, match=r"render0020.png has no mask and 5 more"):
        lunar.load(root)
    (note,) = lunar.load(root, size=8, problems="skip").notes
    assert note.endswith("render0003.png has no mask and 22 more")


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "it is empty"), ("a,b\n1,2\n", "its first line has 'a', 'b'"), ("\x00", ""),
     ("index;source_image\n1;a\n", "its first line has 'index;source_image'")],
    ids=["empty", "other columns", "zero byte", "semicolons"],
)  # fmt: skip
def test_a_mapping_that_is_none(moon: Callable[..., Path], text: str, found: str) -> None:
    with pytest.raises(CnnbenchError, match=r"mapping\.csv") as refused:
        lunar.load(moon(5, mapping=text), size=8)
    assert found in str(refused.value)


def test_a_mapping_that_is_a_link_to_nowhere_is_not_taken_for_none(moon: Callable[..., Path]) -> None:
    root = moon(5)
    (root / "moon/mapping.csv").symlink_to("gone.csv")
    with pytest.raises(CnnbenchError, match=r"mapping\.csv cannot be read .*: it says which images show one"):
        lunar.load(root, size=8)


def test_a_mapping_with_blanks_and_file_names(moon: Callable[..., Path]) -> None:
    rows = "".join(f" render{number:04}.png , photo {number % 2}\n" for number in range(1, 11))
    source = lunar.load(moon(10, mapping=f"index, source_image\n{rows}"), size=8, test_fraction=0.5)
    assert source.test_groups is not None
    assert (len(set(source.test_groups.tolist())), len(source.test_groups)) == (1, 5)


def test_an_image_of_two_sources(moon: Callable[..., Path]) -> None:
    rows = "".join(f"{number},s{number}\n" for number in range(1, 11))
    root = moon(10, mapping=f"index,source_image\n{rows}0002,d\n,\n")
    with pytest.raises(CnnbenchError, match=r"mapping.csv names two sources of 2: s2 and d"):
        lunar.load(root, size=8)
    source = lunar.load(root, size=8, problems="skip")
    assert sorted(torch.cat([source.train_images, source.test_images])[:, 0, 0, 0].tolist()) == [
        1, 3, 4, 5, 6, 7, 8, 9, 10,
    ]  # fmt: skip


def test_an_index_of_0(moon: Callable[..., Path]) -> None:
    root = moon(5, mapping="index,source_image\n0,a\n" + "".join(f"{n},b{n}\n" for n in range(1, 6)))
    for part in ("render", "ground"):
        (root / f"moon/images/{part}/{part}0005.png").rename(root / f"moon/images/{part}/{part}0000.png")
    assert len(lunar.load(root, size=8).train_images) == 4


def test_two_images_of_one_number(moon: Callable[..., Path]) -> None:
    root = moon(4)
    scene(9)[0].save(root / "moon/images/render/0003.png")
    with pytest.raises(CnnbenchError, match=r"render/render0003.png and 0003.png have one number"):
        lunar.load(root, size=8)


def test_names_in_capitals_are_found_and_what_is_no_png_is_named(moon: Callable[..., Path]) -> None:
    root = moon(6)
    for path in (root / "moon/images/render").iterdir():
        path.rename(path.with_suffix(".PNG"))
    assert len(lunar.load(root, size=8).train_images) == 5
    for path in (root / "moon/images/render").iterdir():
        path.rename(path.with_suffix(".jpg"))
    with pytest.raises(CnnbenchError, match=r"ground0001.png has no image"):
        lunar.load(root, size=8)
    with pytest.raises(
        CnnbenchError, match=r"0 usable pairs of PNG files \(images/ground/ground0001.png has"
    ):
        lunar.load(root, size=8, problems="skip")


def test_a_transparent_image_is_seen_as_predict_sees_it(moon: Callable[..., Path]) -> None:
    root = moon(5)
    path = root / "moon/images/render/render0002.png"
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(path)
    source = lunar.load(root, size=8)
    images = torch.cat([source.train_images, source.test_images])
    assert (images == 255).flatten(1).all(1).sum() == 1
    assert np.asarray(read_stretched(path, 8, 8).image).min() == 255


def test_what_was_decoded_is_kept_while_the_files_are_the_same(
    moon: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = moon(10)
    first = lunar.load(root, size=8)
    opened: list[Path] = []
    real = lunar._open
    monkeypatch.setattr(lunar, "_open", lambda path, place: opened.append(path) or real(path, place))
    again = lunar.load(root, size=8)
    assert opened == []
    assert torch.equal(again.train_images, first.train_images)
    assert torch.equal(again.test_targets, first.test_targets)
    Image.new("L", (8, 8), 255).save(root / "moon/images/ground/ground0001.png")
    changed = lunar.load(root, size=8)
    assert len(opened) == 20
    masks = torch.cat([changed.train_targets, changed.test_targets])
    assert masks.flatten(1).all(1).sum() == 1
    assert len(list((root / "moon/.decoded").glob("pairs-8-10-*.npy"))) == 1


def test_what_was_decoded_is_kept_beside_a_file_that_cannot_be_read(
    moon: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = moon(10)
    truncate(root)
    Image.new("RGB", (8, 8)).save(
        root / "moon/images/render/render0009.png"
    )  # dark, and nothing wrong with it
    first = lunar.load(root, size=8, problems="skip")
    opened: list[str] = []
    real = lunar._open
    monkeypatch.setattr(lunar, "_open", lambda path, place: opened.append(path.name) or real(path, place))
    again = lunar.load(root, size=8, problems="skip")
    assert [name for name in opened if "render" in name] == ["render0003.png", "render0009.png"]
    assert again.notes == first.notes
    assert len(first.notes) == 1
    assert torch.equal(again.train_images, first.train_images)
    with pytest.raises(CnnbenchError, match=r"render0003\.png cannot be read"):
        lunar.load(root, size=8)


def test_a_file_that_cannot_be_read_for_a_moment_is_whole_the_next_time(
    moon: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = moon(10)
    real = lunar._open

    def refuse(path: Path, place: Path) -> Image.Image:
        if path.name == "render0003.png":
            raise lunar.UnusableError("render0003.png cannot be read (too many open files)")
        return real(path, place)

    monkeypatch.setattr(lunar, "_open", refuse)
    assert len(lunar.load(root, size=8, problems="skip").notes) == 1
    monkeypatch.setattr(lunar, "_open", real)
    whole = lunar.load(root, size=8)
    values = torch.cat([whole.train_images, whole.test_images])[:, 0, 0, 0]
    assert sorted(values.tolist()) == list(range(1, 11))
    assert whole.train_targets.flatten(1).any(1).all()


def test_sizes_and_parts_are_kept_beside_each_other(
    moon: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = moon(12)
    asked: list[dict[str, Any]] = [{"size": 8}, {"size": 4}, {"size": 8, "num_images": 6}]
    first = [lunar.load(root, **options) for options in asked]
    assert [tuple(source.train_images.shape[1:]) for source in first] == [(3, 8, 8), (3, 4, 4), (3, 8, 8)]
    monkeypatch.setattr(lunar, "_open", None)  # nothing is opened again
    for before, options in zip(first, asked, strict=True):
        again = lunar.load(root, **options)
        assert torch.equal(again.train_images, before.train_images)
        assert torch.equal(again.train_targets, before.train_targets)


def test_a_link_to_nowhere_is_named_and_can_be_left_out(moon: Callable[..., Path]) -> None:
    root = moon(6)
    path = root / "moon/images/render/render0003.png"
    path.unlink()
    path.symlink_to("gone.png")
    with pytest.raises(CnnbenchError, match=r"render0003\.png cannot be read .*No such file"):
        lunar.load(root, size=8)
    source = lunar.load(root, size=8, problems="skip")
    assert sorted(torch.cat([source.train_images, source.test_images])[:, 0, 0, 0].tolist()) == [
        1,
        2,
        4,
        5,
        6,
    ]


def blotches(root: Path, copies: dict[int, int]) -> None:
    """Makes every image another picture, but `copies`, which are brighter ones of others."""
    folder = root / "moon/images/render"
    for number in range(1, 1 + len(list(folder.iterdir()))):
        coarse = np.random.default_rng(copies.get(number, number)).integers(40, 200, (8, 8), dtype=np.uint8)
        grey = coarse.repeat(8, axis=0).repeat(8, axis=1) // (2 if number in copies else 1)
        Image.fromarray(grey).convert("RGB").save(folder / f"render{number:04}.png")
        mask = root / f"moon/images/ground/ground{number:04}.png"
        Image.new("L", (64, 64), number).save(mask)  # all of it rock


def groups_of(source: Source) -> list[set[int]]:
    """The groups of train and of test."""
    assert source.train_groups is not None
    assert source.test_groups is not None
    return [set(source.train_groups.tolist()), set(source.test_groups.tolist())]


def test_near_copies_stay_in_one_split_whatever_the_size(moon: Callable[..., Path]) -> None:
    root = moon(30)
    blotches(root, {11: 3, 24: 3, 29: 8})
    found = lunar.load(root, size=64)
    train, test = groups_of(found)
    assert len(train | test) == len(train) + len(test) == 27
    for size in (8, 16, 32):
        other = lunar.load(root, size=size)
        assert torch.equal(other.test_groups, found.test_groups)  # type: ignore[arg-type]
    assert found.notes == ()


@pytest.mark.parametrize("num", [12, 40])
def test_where_all_look_alike_the_mapping_and_exact_copies_count_and_that_is_said(
    moon: Callable[..., Path], num: int
) -> None:
    root = moon(num)
    blotches(root, dict.fromkeys(range(3, num + 1), 2))
    exact = root / "moon/images/render/render0003.png"
    exact.write_bytes((exact.parent / "render0007.png").read_bytes())
    for number in range(4, num + 1):  # all alike, and no two of them the same but 3 and 7
        path = exact.parent / f"render{number:04}.png"
        pixels = np.array(Image.open(path))
        if number != 7:
            pixels[8 * (number % 8) :, 8 * (number // 8) : 8 * (number // 8) + 4] //= 2
        Image.fromarray(pixels).save(path)
    source = lunar.load(root, size=8)
    assert sum(map(len, groups_of(source))) == num - 1
    assert len(source.test_images) == round(num / 5)
    assert source.notes == (
        f"lunar: of {num} pictures more than {max(2, num // 10)} would be one scene by their likeness, so of "
        "like ones only exact copies are kept in one split",
    )


def test_copies_that_would_chain_all_sources_leave_the_mapping(moon: Callable[..., Path]) -> None:
    rows = "".join(f"{number},s{(number - 1) // 4}\n" for number in range(1, 41))
    root = moon(40, mapping=f"index,source_image\n{rows}")
    blotches(root, {number: number - 1 for number in range(5, 41, 4)})
    source = lunar.load(root, size=8)
    assert list(map(len, groups_of(source))) == [8, 2]
    assert len(source.notes) == 1


def test_a_folder_in_the_home_directory(
    moon: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = moon(5)
    monkeypatch.setenv("HOME", str(root))
    assert len(lunar.load(tmp_path / "elsewhere", folder="~/moon", size=8).train_images) == 4


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


def test_no_near_copy_of_a_real_photograph_is_on_the_other_side(data_root: Path) -> None:
    """Its mapping names another source for each: some are one scene taken again, and they correlate."""
    if not (data_root / "moon").is_dir():
        pytest.skip("no moon pictures under CNNBENCH_DATA")
    dataset = load_dataset(DataConfig(name="lunar", num_images=300, val_fraction=0.15), data_root)  # type: ignore[call-arg]
    parts = [dataset.train, dataset.val, dataset.test]
    small = []
    for part in parts:
        grey = part.gather(torch.arange(len(part)))[0].float().mean(1, keepdim=True)
        pixels = torch.nn.functional.adaptive_avg_pool2d(grey, 32).flatten(1)
        small.append(pixels - pixels.mean(1, keepdim=True))
    units = [each / each.norm(dim=1, keepdim=True) for each in small]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (units[first] @ units[second].T).max() < 0.92  # 0.9 in the files, of which these are resized
