"""Threads within the block and after it."""

from collections.abc import Iterator

import pytest
import torch

from cnnbench.threads import MACS_PER_THREAD, threads_for


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("macs", "expected"),
    [(0, 1), (2 * MACS_PER_THREAD - 1, 1), (2 * MACS_PER_THREAD, 2), (3 * MACS_PER_THREAD, 3), (10**12, 4)],
    ids=["nothing", "small", "just worth two", "worth three", "large"],
)
def test_a_step_takes_as_many_threads_as_it_is_worth(macs: int, expected: int) -> None:
    with threads_for(macs):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 4


def test_threads_come_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), threads_for(0):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 4


def test_blocks_within_one_another() -> None:
    with threads_for(0):
        with threads_for(10**12):
            assert torch.get_num_threads() == 1  # as many as there were before
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 4
