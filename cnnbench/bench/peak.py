"""What the machine can do at best: the rate of a large matrix product."""

from time import perf_counter

import torch

from cnnbench.precision import has_bf16

SIZE = 2048
CUDA_SIZE = 8192  # a smaller product would time its launch
EMULATED_SIZE = 512  # of bf16 without instructions for it: a product of 2048 would take a minute
SECONDS = 0.5


def matmul_flops(dtype: torch.dtype, device: torch.device) -> float:
    """Floating point operations a second of a product of two 2048 x 2048 matrices, the best of half a second.

    Of larger ones on a GPU, of smaller ones where bf16 is emulated. A product of N x N counts as 2 N^3.
    """
    size = CUDA_SIZE if device.type == "cuda" else SIZE
    if dtype == torch.bfloat16 and not has_bf16(device):
        size = EMULATED_SIZE
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
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
    return 2 * size**3 / best
