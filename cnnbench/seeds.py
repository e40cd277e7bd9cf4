"""Counter-based randomness: one number from several counters, so that no state has to be kept."""

import numpy as np


def mix(*counters: int) -> int:
    """A 63-bit seed that depends on all the counters, their order and number (NumPy's SeedSequence hash)."""
    # The number stands first: SeedSequence itself takes (1, 2) and (1, 2, 0) for the same.
    return int(np.random.SeedSequence((len(counters), *counters)).generate_state(1, np.uint64)[0] >> 1)
