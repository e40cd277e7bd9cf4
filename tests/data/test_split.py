import numpy as np
import pytest
import torch

from cnnbench.data.split import apportion, cut_by_group, cut_validation, stratified_rows
from cnnbench.errors import CnnbenchError


@pytest.mark.parametrize(
    ("counts", "total", "expected"),
    [
        pytest.param([50, 30, 20], 10, [5, 3, 2], id="exact"),
        pytest.param([53, 24, 23], 10, [5, 3, 2], id="hamilton-by-hand"),  # 5.3, 2.4, 2.3
        pytest.param([1, 1, 1], 2, [1, 1, 0], id="ties-to-the-first"),
        pytest.param([7, 0, 1], 8, [7, 0, 1], id="all"),
        pytest.param([5, 5], 0, [0, 0], id="none"),
    ],
)
def test_apportion(counts: list[int], total: int, expected: list[int]) -> None:
    assert apportion(np.array(counts), total).tolist() == expected


def test_rows_are_stratified_distinct_and_always_the_same() -> None:
    targets = torch.arange(1000) % 10
    rows = stratified_rows(targets, 100)
    assert np.bincount(targets.numpy()[rows]).tolist() == [10] * 10
    assert len(set(rows.tolist())) == 100
    assert rows.tolist() == stratified_rows(targets, 100).tolist()
    assert rows.tolist() != list(range(100))


@pytest.mark.parametrize(("val_size", "val_fraction", "expected"), [(None, 0.1, 100), (250, None, 250)])
def test_train_and_val_part_the_rows(val_size: int | None, val_fraction: float | None, expected: int) -> None:
    train, val = cut_validation(torch.arange(1000) % 7, val_size, val_fraction)
    assert len(val) == expected
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(1000))


def test_fewer_validation_images_than_classes() -> None:
    train, val = cut_validation(torch.arange(30) % 10, 3, None)
    assert (len(train), len(val)) == (27, 3)


@pytest.mark.parametrize(("total", "val_size"), [(10, 10), (10, 11), (1, None)])
def test_nothing_left_to_train_on(total: int, val_size: int | None) -> None:
    with pytest.raises(CnnbenchError, match="validation images cannot be cut"):
        cut_validation(torch.zeros(total, dtype=torch.int64), val_size, 0.1)


def test_whole_groups_are_cut_off() -> None:
    groups = torch.tensor([5, 5, 7, 7, 7, 9, 2, 2])
    rest, chosen = cut_by_group(groups, 3)
    assert sorted([*rest.tolist(), *chosen.tolist()]) == list(range(8))
    assert not set(groups[rest].tolist()) & set(groups[chosen].tolist())
    assert 1 <= len(chosen) <= 3
    assert chosen.tolist() == cut_by_group(groups, 3)[1].tolist()


def test_the_smallest_group_is_cut_off_where_none_is_small_enough() -> None:
    rest, chosen = cut_by_group(torch.tensor([1, 1, 1, 4, 4]), 1)
    assert (rest.tolist(), chosen.tolist()) == ([0, 1, 2], [3, 4])


def test_one_group_cannot_be_cut() -> None:
    with pytest.raises(CnnbenchError, match="from 3 of 1 sources"):
        cut_by_group(torch.zeros(3, dtype=torch.int64), 1)
