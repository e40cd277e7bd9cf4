"""How many processor threads a model's steps are worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# So many multiply-adds of a step for each thread. Two threads gained nothing up to 17 million, 1.2 to 1.3
# times from 26 million on, in bf16 and in fp32 (benchmarks/threads.py; more are not measured). Threads
# wait for each other: beside another busy program, two on two cores took two to three times as long as one.
MACS_PER_THREAD = 12_000_000


@contextmanager
def threads_for(macs: int) -> Iterator[None]:
    """Within the block PyTorch uses as many threads as a step is worth, but not more than it did before."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, macs // MACS_PER_THREAD)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
