"""What the machine can do at best: the rate of a large matrix product."""

from time import perf_counter

import torch

SIZE = 2048
SECONDS = 0.5


def matmul_flops(dtype: torch.dtype, device: torch.device) -> float:
    """Floating point operations a second of a product of two 2048 x 2048 matrices, the best of half a second.

    A product of N x N matrices counts as 2 N^3.
    """
    left = torch.randn(SIZE, SIZE, device=device).to(dtype)
    right = torch.randn(SIZE, SIZE, device=device).to(dtype)
    best, end = float("inf"), None
    while end is None or perf_counter() < end:
        start = perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if end is None:  # the first call warms up
            end = perf_counter() + SECONDS
        else:
            best = min(best, perf_counter() - start)
    return 2 * SIZE**3 / best
