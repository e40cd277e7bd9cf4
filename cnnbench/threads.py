"""How many processor threads a model's steps are worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Below this many multiply-adds a step, a second thread gained at most a sixth when measured, and
# lost a factor of up to a hundred where another program used the processor: threads wait for each other.
SMALL_STEP_MACS = 50_000_000


@contextmanager
def threads_for(macs: int) -> Iterator[None]:
    """Within the block PyTorch uses one thread if a step is small, else as many as it did before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if macs < SMALL_STEP_MACS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
