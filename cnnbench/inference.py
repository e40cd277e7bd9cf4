"""How fast a model answers: latency of one image, throughput of a batch."""

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from cnnbench.precision import Precision

BATCH_SIZE = 256
WARMUP_CALLS = 3
MAX_CALLS = 50
MAX_SECONDS = 1.0


@dataclass(frozen=True)
class Inference:
    """Median time of one image at batch size 1, and images per second at BATCH_SIZE."""

    latency_ms: float
    throughput: float


def measure_inference(model: nn.Module, in_shape: tuple[int, ...], precision: Precision) -> Inference:
    """Times the model on random images already on its device, after warm-up, for about two seconds."""
    device = next(model.parameters()).device
    model.eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH_SIZE, *in_shape, generator=generator).to(device)
    if precision.dtype != torch.float32:
        images = images.to(precision.dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    return Inference(
        latency_ms=1000 * seconds_per_call(model, images[:1], precision),
        throughput=BATCH_SIZE / seconds_per_call(model, images, precision),
    )


@torch.inference_mode()
def seconds_per_call(model: nn.Module, inputs: Tensor, precision: Precision) -> float:
    """Median over up to MAX_CALLS calls, each waited for."""
    times: list[float] = []
    end = perf_counter() + MAX_SECONDS
    # One autocast region around all calls: weights are converted once, as a served model has it.
    with precision.autocast():
        for call in range(WARMUP_CALLS + MAX_CALLS):
            start = perf_counter()
            model(inputs)
            if inputs.is_cuda:
                torch.cuda.synchronize(inputs.device)
            if call >= WARMUP_CALLS:
                times.append(perf_counter() - start)
                if perf_counter() > end:
                    break
    return median(times)
