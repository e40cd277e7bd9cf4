"""How fast a model answers: latency of one image, throughput of a batch."""

from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from cnnbench.precision import Precision

BATCH_SIZE = 256
MASKS_BATCH_SIZE = 32  # a net for masks costs many times as much per image
WARMUP_CALLS = 3
MAX_CALLS = 50
MAX_SECONDS = 1.0


@dataclass(frozen=True)
class Inference:
    """Median time of one image at batch size 1, and images per second in a large batch."""

    latency_ms: float
    throughput: float


def measure_inference(
    model: nn.Module, in_shape: tuple[int, ...], precision: Precision, batch_size: int = BATCH_SIZE
) -> Inference:
    """Times the model on random images already on its device, after warm-up, for about two seconds."""
    device = next(model.parameters()).device
    model.eval()
    images = random_images(batch_size, in_shape, precision, device)
    return Inference(
        latency_ms=1000 * seconds_per_call(model, images[:1], precision),
        throughput=batch_size / seconds_per_call(model, images, precision),
    )


def random_images(
    num_images: int, in_shape: tuple[int, ...], precision: Precision, device: torch.device
) -> Tensor:
    """Inputs (N, C, H, W) from 0 to 1, always the same ones, as a model is given them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(num_images, *in_shape, generator=generator).to(device)
    if precision.dtype != torch.float32:
        images = images.to(precision.dtype)
    return images.contiguous(memory_format=torch.channels_last)


def seconds_per_call(model: nn.Module, inputs: Tensor, precision: Precision) -> float:
    """Median over up to MAX_CALLS calls, each waited for."""
    return median(time_calls(model, inputs, precision))


@torch.inference_mode()
def time_calls(
    model: nn.Module,
    inputs: Tensor,
    precision: Precision,
    *,
    warmup: int = WARMUP_CALLS,
    max_calls: int = MAX_CALLS,
    max_seconds: float = MAX_SECONDS,
) -> list[float]:
    """Seconds of each call, waited for, after the warm-up; at least one, no more once time is over."""
    times: list[float] = []
    end = perf_counter() + max_seconds
    # One autocast region around all calls: weights are converted once, as a served model has it.
    with precision.autocast():
        for call in range(warmup + max_calls):
            start = perf_counter()
            model(inputs)
            if inputs.is_cuda:
                torch.cuda.synchronize(inputs.device)
            if call >= warmup:
                times.append(perf_counter() - start)
                if perf_counter() > end:
                    break
    return times
