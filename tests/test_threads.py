"""Threads within the block and after it."""

from collections.abc import Iterator

import pytest
import torch

from cnnbench.threads import SMALL_STEP_MACS, threads_for


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("macs", "expected"),
    [(0, 1), (SMALL_STEP_MACS - 1, 1), (SMALL_STEP_MACS, 2), (10**12, 2)],
    ids=["nothing", "just small", "just large", "large"],
)
def test_small_steps_take_one_thread(macs: int, expected: int) -> None:
    with threads_for(macs):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 2


def test_threads_come_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), threads_for(0):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


def test_blocks_within_one_another() -> None:
    with threads_for(0):
        with threads_for(10**12):
            assert torch.get_num_threads() == 1  # as many as there were before
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
