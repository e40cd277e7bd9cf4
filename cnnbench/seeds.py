"""Counter-based randomness: one number from several counters, so that no state has to be kept."""

import numpy as np


def mix(*counters: int) -> int:
    """A 63-bit seed that depends on all the counters and their order (NumPy's SeedSequence hash)."""
    return int(np.random.SeedSequence(counters).generate_state(1, np.uint64)[0] >> 1)
