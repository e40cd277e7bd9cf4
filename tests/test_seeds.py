"""Seeds from counters: always the same, all different."""

import itertools

import numpy as np
import pytest
import torch

from cnnbench.seeds import mix


@pytest.mark.parametrize(
    ("counters", "expected"),
    # NumPy promises SeedSequence's numbers for good; an altered one would break runs that are continued
    [((0,), 3717377837946358015), ((1, 2), 1826972086523782664), ((42, 7, 1000), 8716842003011199217)],
    ids=str,
)
def test_values_never_change(counters: tuple[int, ...], expected: int) -> None:
    assert mix(*counters) == expected


def test_all_of_a_training_are_different() -> None:
    seeds = [mix(*counters) for counters in itertools.product(range(5), range(1, 20), range(50))]
    assert len(set(seeds)) == len(seeds)


def test_order_counts() -> None:
    assert len({mix(*order) for order in itertools.permutations((1, 2, 3))}) == 6


def test_the_number_of_counters_counts() -> None:
    assert mix(1, 2) != mix(1, 2, 0)


def test_fits_pytorch_and_uses_its_bits() -> None:
    seeds = [mix(0, counter) for counter in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))
    # each of 63 bits is set in half of them: standard deviation sqrt(0.25 / 2,000) = 0.011
    bits = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds])
    assert bits.mean(0) == pytest.approx(np.full(63, 0.5), abs=0.06)


def test_negative_counters_are_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        mix(-1)
