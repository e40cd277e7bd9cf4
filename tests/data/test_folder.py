"""A user's own folder of classes: what is read, what is cached, and what is refused in which words."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnbench.data import describe_dataset, folder, load_dataset
from cnnbench.errors import CnnbenchError
from cnnbench.recipe import load_recipe
from cnnbench.recipe.config import DataConfig
from cnnbench.recipe.mistakes import RecipeError

LEVELS = {"ant": 40, "bee": 120, "cow": 200}


def save(path: Path, level: int, size: tuple[int, int] = (9, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of one level each (a picture more is one level brighter): 4 for train, 2 for test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user_cache"))
    for name, level in LEVELS.items():
        for index in range(4):
            save(tmp_path / f"data/pets/train/{name}/{index}.png", level + index, (9 + index, 7))
        for index in range(2):
            save(tmp_path / f"data/pets/test/{name}/{index}.bmp", level + 10 + index)
    return tmp_path / "data/pets"


def load(pets: Path, **options: object) -> folder.Source:
    return folder.load(pets.parent, **{"path": "pets", "image_size": 6, **options})  # type: ignore[arg-type]


def levels(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_images_of_all_sizes_at_one_size(pets: Path) -> None:
    source = load(pets)
    assert source.classes == ("ant", "bee", "cow")
    assert source.train_images.shape == (12, 3, 6, 6)
    assert source.train_images.dtype == torch.uint8
    assert levels(source.train_images) == [40, 41, 42, 43, 120, 121, 122, 123, 200, 201, 202, 203]
    assert source.train_targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert levels(source.test_images) == [50, 51, 130, 131, 210, 211]
    assert source.test_targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.notes == ()


def test_as_a_data_set_of_a_recipe(pets: Path) -> None:
    config = DataConfig(name="folder", path="pets", image_size=6, val_size=3)  # type: ignore[call-arg]
    dataset = load_dataset(config, pets.parent)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (9, 3, 6)
    assert dataset.val.all_targets().tolist() == [0, 1, 2]  # stratified
    assert describe_dataset(config, pets.parent) == (dataset.in_shape, dataset.num_classes) == ((3, 6, 6), 3)
    two = config.model_copy(update={"classes": ["cow", "ant"]})
    assert load_dataset(two, pets.parent).classes == ("cow", "ant")
    assert describe_dataset(two, pets.parent).num_classes == 2


def test_the_chosen_classes_alone_are_read_in_their_order(pets: Path) -> None:
    (pets / "train/bee/0.png").write_text("no picture")
    source = load(pets, classes=["cow", "ant"])
    assert source.classes == ("cow", "ant")
    assert levels(source.test_images) == [210, 211, 50, 51]


@pytest.mark.parametrize("place", ["absolute", "home"])
def test_a_path_that_is_not_below_the_root(
    place: str, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(pets.parent))
    path = str(pets) if place == "absolute" else "~/pets"
    assert len(folder.load(tmp_path / "elsewhere", path=path, image_size=4).train_images) == 12


def test_pictures_are_opened_once_and_again_when_they_change(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    read = folder.read_stretched
    monkeypatch.setattr(
        folder, "read_stretched", lambda path, *size: (opened.append(path), read(path, *size))[1]
    )
    first = load(pets)
    assert len(opened) == 18
    assert torch.equal(load(pets).train_images, first.train_images)
    assert len(opened) == 18
    save(pets / "train/bee/1.png", 99)
    assert levels(load(pets).train_images)[4:8] == [120, 99, 122, 123]
    assert len(opened) == 22  # that class of that split
    load(pets, image_size=5)
    assert len(opened) == 40
    load(pets)
    assert len(opened) == 40  # each size is kept
    assert all(path.parent.name == ".decoded" for path in pets.rglob("*.npy"))


def test_what_is_no_picture_is_told_and_what_is_hidden_is_not(pets: Path) -> None:
    (pets / "train/ant/.DS_Store").write_text("")
    (pets / "train/.ipynb_checkpoints").mkdir()
    (pets / "train/ant/notes.txt").write_text("")
    (pets / "train/ant/more").mkdir()
    (pets / "test/cow/1.heic").write_text("")
    (pets / "train/list.csv").write_text("")
    (pets / "val").mkdir()
    source = load(pets)
    assert len(source.train_images) == 12
    others, val = source.notes
    assert others.endswith("not those of pictures: train/ant/more, train/ant/notes.txt, test/cow/1.heic")
    assert val.endswith("val is not used, since validation is cut from train")


def test_a_picture_in_the_folder_of_no_class_is_told(pets: Path) -> None:
    (pets / "train/stray.jpg").write_text("")
    (pets / "train/list.csv").write_text("")
    (note,) = load(pets).notes
    assert note == "folder: left out, for they are in the folder of no class: train/stray.jpg"


def test_test_pictures_that_were_trained_on_are_told(pets: Path) -> None:
    (pets / "test/bee/copy.png").write_bytes((pets / "train/bee/2.png").read_bytes())
    (note,) = load(pets).notes
    assert "1 of 7 test pictures are in train too" in note
    assert note.endswith("test/bee/copy.png")


def test_a_picture_of_two_classes_is_told(pets: Path) -> None:
    (pets / "train/cow/copy.png").write_bytes((pets / "train/bee/2.png").read_bytes())
    (pets / "train/bee/again.png").write_bytes((pets / "train/bee/2.png").read_bytes())
    (note,) = load(pets).notes
    assert note.endswith("in two classes, of which one must be wrong: bee/2.png is cow/copy.png")


def test_unreadable_pictures_are_named_a_few_of_them(pets: Path) -> None:
    for index in range(3):
        (pets / f"train/bee/{index}.png").write_text("no picture")
    more = [pets / f"train/bee/more{index}.png" for index in range(17)]
    for path in more:
        path.write_text("no picture")
    (pets / "test/cow/0.bmp").write_bytes(b"")
    (pets / "test/cow/2.jpg").symlink_to("gone.jpg")
    (pets / "train/ant/loop.jpg").symlink_to(pets / "train/ant/loop.jpg")
    with pytest.raises(CnnbenchError) as refused:
        load(pets)
    message = str(refused.value)
    assert "train/ant/loop.jpg cannot be opened" in message
    assert "train/bee/0.png cannot be read as an image" in message
    assert message.endswith("and 3 more. Mend, replace or remove these files.")
    assert message.count("cannot be") == 20
    with pytest.raises(CnnbenchError) as again:  # nothing of them was kept
        load(pets)
    assert str(again.value) == message
    for path in [
        *more,
        *pets.glob("train/bee/[012].png"),
        *pets.glob("test/cow/[02].*"),
        pets / "train/ant/loop.jpg",
    ]:
        path.unlink()
    assert len(load(pets).train_images) == 9


def test_names_need_not_be_text(pets: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    save(pets / "train/ant/ok.png", 44)
    (pets / "train/ant/ok.png").rename(pets / "train/ant" / name)
    assert len(load(pets).train_images) == 13
    (pets / "train/ant" / name).write_text("no picture")
    with pytest.raises(CnnbenchError, match=r"train/ant/\\udcff\.png cannot be read"):
        load(pets)


def test_classes_whose_names_begin_alike_keep_their_own_cache(pets: Path) -> None:
    for split in ("train", "test"):
        (pets / split / "bee").rename(pets / split / "ant-[x]")
    load(pets)
    load(pets)
    assert len(list((pets / ".decoded").iterdir())) == 6


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def link_class_to_train(pets: Path) -> None:
    remove(pets / "train/bee")
    (pets / "train/bee").symlink_to(pets / "train")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda pets: pets.rename(pets.with_name("gone")),
         r"data\.path: there is no folder .*/pets; .*--data"),
        (lambda pets: (pets / "train").rename(pets / "x"),
         "no folder train: .*; move test and the other classes"),
        (lambda pets: (pets / "test").rename(pets / "x"),
         "no folder test: move about a fifth of the pictures"),
        (lambda pets: ((pets / "test").rename(pets / "x"), (pets / "test").symlink_to("train")),
         "train and test are one folder"),
        (lambda pets: (pets / "test/Bees").mkdir(),
         "the class 'Bees', which train has not, did you mean 'bee'"),
        (lambda pets: (pets / "train/dog").mkdir(),
         r"class 'dog' has no pictures in train/dog: put some there"),
        (lambda pets: remove(pets / "test/cow"), r"'cow' has no pictures in test/cow: move about a fifth"),
        (link_class_to_train, r"class 'bee' has no pictures in train/bee \(it holds ant, bee, cow\)"),
        (lambda pets: (pets / "train/a\nb").mkdir(), "must be printable"),
        (lambda pets: [remove(pets / s / c) for s in ("test", "train") for c in ("ant", "bee")],
         "has 1 folders.*two classes are needed"),
    ],
)  # fmt: skip
def test_a_folder_of_another_layout(pets: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(pets)
    with pytest.raises(CnnbenchError, match=message):
        load(pets)


def test_a_class_that_is_not_there(pets: Path) -> None:
    with pytest.raises(CnnbenchError, match="no class 'bees'; did you mean 'bee'"):
        load(pets, classes=["ant", "bees"])
    with pytest.raises(CnnbenchError, match="names a class twice"):
        load(pets, classes=["ant", "ant"])


def test_more_than_memory_holds(pets: Path) -> None:
    with pytest.raises(CnnbenchError, match=r"18 images of 1000000×1000000 take 50,291\.4 GiB .*image_size"):
        load(pets, image_size=1_000_000)


def test_path_and_size_must_be_said(tmp_path: Path) -> None:
    file = tmp_path / "pets.toml"
    file.write_text('[data]\nname = "folder"\n[[variants]]\nname = "a"\nmodel = "cnn"\n')
    with pytest.raises(RecipeError) as refused:
        load_recipe(file)
    size, path = sorted(str(refused.value).split("\n\n"))
    bounds = "a whole number of at least 1 and at most 4,096"
    assert f"{file}:2:1: image_size is missing: expected {bounds}, the height" in size
    assert f"{file}:2:1: path is missing: expected text in quotes" in path


def test_survey_says_that_they_are_the_users(tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError, match=r"your own pictures.*data\.path"):
        folder.survey(tmp_path)


def test_caches_hold_what_numpy_reads(pets: Path) -> None:
    load(pets)
    shapes = sorted(np.load(path).shape for path in (pets / ".decoded").iterdir())
    assert shapes == [(2, 6, 6, 3)] * 3 + [(4, 6, 6, 3)] * 3
