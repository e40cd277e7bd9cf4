"""What a recipe can name, as `cnnbench list` shows it."""

from pathlib import Path

import pytest

from cnnbench import catalog
from cnnbench.listing import KINDS, listing, recipes, toml_value


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), ("relu", '"relu"'), (None, "unset"), (0.1, "0.1"), ([16, 32], "[16, 32]")],
)
def test_toml_value(value: object, text: str) -> None:
    assert toml_value(value) == text


@pytest.mark.parametrize(("title", "kind"), KINDS.items())
def test_every_unit_is_described(title: str, kind: str) -> None:
    ((found, rows),) = listing(title)
    assert found == title
    more = {"model": ["timm/NAME", "torchvision/NAME"], "augmentation": ["NAME"]}
    assert [name for name, _, _ in rows] == [*catalog.KINDS[kind], *more.get(kind, [])]
    assert all(what for _, what, _ in rows)


def test_every_kind_of_the_catalog_is_listed() -> None:
    assert set(KINDS.values()) == catalog.KINDS.keys()
    assert [title for title, _ in listing(None)] == ["recipes", *KINDS]
    assert {len(row) for _, rows in listing(None) for row in rows} == {2}, "options are listed by kind only"


def test_options_stand_with_their_defaults() -> None:
    ((_, rows),) = listing("models")
    options = {name: text.splitlines() for name, _, text in rows}
    assert options["wide_resnet"] == [
        "depth = 16", "widen_factor = 4", 'conv = "standard"', 'norm = "batch"', 'activation = "relu"',
        'attention = "none"', "dropout = 0.0",
    ]  # fmt: skip
    ((_, rows),) = listing("optimizers")
    assert not any("lr" in text for _, _, text in rows), "lr stands in [train]"


def test_augmentations_are_albumentations_whole_vocabulary() -> None:
    ((_, rows),) = listing("augmentations")
    assert {"GaussNoise", "ColorJitter", "CoarseDropout"} <= set(rows[-1][2].split(", "))


def test_recipes_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "good.toml").write_bytes('\ufefftitle = "T"\r\nquestion = "Q?"\r\n'.encode())
    (tmp_path / "bad.toml").write_text("[", encoding="utf-8")
    (tmp_path / "deeper/latin.toml").write_bytes(b'title = "\xe9"')
    assert recipes(tmp_path) == [
        [str(tmp_path / "bad.toml"), "not a readable recipe"],
        [str(tmp_path / "deeper/latin.toml"), "not a readable recipe"],
        [str(tmp_path / "good.toml"), "Q?"],
    ]
    assert recipes(tmp_path / "absent") == []
