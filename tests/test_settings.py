"""What differs between settings, and which images they choose."""

from typing import Any

import pytest

from cnnbench.settings import (
    choice_of_images,
    differ,
    differences,
    digests_of,
    flatten,
    same_settings,
)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"train": {"epochs": 8}}, {"train": {"epochs": 10}}, ["train.epochs 8 → 10"]),
        ({"a": 1, "b": 2}, {"b": 3}, ["a 1 → null", "b 2 → 3"]),
        ({"model": {"name": "cnn"}}, {"model": {"name": "mlp"}}, ['model.name "cnn" → "mlp"']),
        ({"widths": [8, 16]}, {"widths": [8, 32]}, ["widths [8, 16] → [8, 32]"]),
        ({"lr": 1}, {"lr": 1.0}, []),
        ({"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}}, []),
        (
            {"augment": [{"name": "Pad", "size": 36}, {"name": "Flip", "p": 0.5}]},
            {"augment": [{"name": "Pad", "size": 34}, {"name": "Flip", "p": 0.5}]},
            ["augment.Pad.size 36 → 34"],
        ),
        ({"augment": [{"name": "Pad"}, {"name": "Flip"}]}, {"augment": []}, ["augment Pad, Flip → none"]),
    ],
    ids=["number", "missing", "text", "list", "1 is 1.0", "order", "tables", "no tables"],
)
def test_differences(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert differences(old, new) == expected


def test_variants_that_are_one_and_the_same() -> None:
    plan = [
        {"name": "a", "seeds": [0], "config": {"train": {"lr": 0.1}}},
        {"name": "b", "seeds": [0], "config": {"train": {"lr": 0.1}}},
        {"name": "other seeds", "seeds": [1], "config": {"train": {"lr": 0.1}}},
        {"name": "other lr", "seeds": [0], "config": {"train": {"lr": 0.2}}},
        {"name": "other code", "seeds": [0], "config": {"train": {"lr": 0.1}}, "code": {"x.py": "1"}},
    ]
    assert same_settings(plan) == [
        "a, b have the very same settings and seeds: that is one experiment, done twice, and no comparison."
    ]
    assert same_settings(plan[2:]) == []
    assert "done 3 times" in same_settings([*plan, {**plan[0], "name": "c"}])[0]


def test_flatten() -> None:
    nested = {"train": {"lr": 0.1, "optimizer": {"name": "sgd"}}, "seed": 0, "empty": {}}
    assert flatten(nested) == {"train.lr": 0.1, "train.optimizer.name": "sgd", "seed": 0}


def test_how_images_are_fed_chooses_no_others() -> None:
    data = {"name": "mnist", "val_size": 10, "batch_size": 64, "augment": [], "normalize": True}
    other = {**data, "batch_size": 32, "augment": [{"name": "HorizontalFlip"}], "normalize": False}
    assert choice_of_images({"data": data}) == choice_of_images({"data": other, "train": {"lr": 1}})
    assert choice_of_images({"data": data}) != choice_of_images({"data": {**data, "val_size": 20}})


def test_digests_of_images_differ_where_one_of_them_has_two_values() -> None:
    old = digests_of({"digest": "00"}, {})
    one, other = (digests_of({"digest": "00", "pixels": pixels}, {}) for pixels in ("aa", "bb"))
    larger = digests_of({"digest": "00", "pixels": "bb"}, {"data": {"image_size": 16}})
    assert not differ(old | one)
    assert not differ(one | larger)  # of another size pixels are others
    assert differ(one | other)
    assert not differ(())


@pytest.mark.parametrize("wrong", [5, None, [1, {}], {"a": 1}])
def test_what_is_no_digest_is_unknown(wrong: Any) -> None:
    assert digests_of({"digest": "00", "pixels": wrong}, {}) == digests_of({"digest": "00"}, {})
