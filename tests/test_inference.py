"""Timings of a model whose speed is known: it sleeps."""

import time

import pytest
import torch
from torch import Tensor, nn

from cnnbench import inference
from cnnbench.inference import measure_inference, seconds_per_call
from cnnbench.models.cnn import CNN
from cnnbench.precision import Precision

FP32 = Precision("fp32", "cpu")


class Sleeper(nn.Module):
    """Takes `seconds`, and keeps what it was called with."""

    def __init__(self, seconds: float, slow_calls: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds = seconds
        self.slow_calls = slow_calls
        self.inputs: list[Tensor] = []
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        slow = len(self.inputs) < self.slow_calls
        self.inputs.append(inputs)
        self.modes.append((self.training, torch.is_inference_mode_enabled()))
        time.sleep(20 * self.seconds if slow else self.seconds)
        return inputs


def test_calls_are_timed_without_the_first_ones() -> None:
    model = Sleeper(0.002, slow_calls=inference.WARMUP_CALLS)
    seconds = seconds_per_call(model, torch.zeros(1, 3), FP32)
    assert len(model.inputs) <= inference.WARMUP_CALLS + inference.MAX_CALLS
    assert 0.002 <= seconds < 0.04  # sleep is never shorter; a busy machine may make it longer


def test_a_slow_model_is_called_less_often() -> None:
    model = Sleeper(0.35)
    assert 0.35 <= seconds_per_call(model, torch.zeros(1, 3), FP32) < 0.7
    # the second is over during the warm-up: one timed call is the least
    assert len(model.inputs) == inference.WARMUP_CALLS + 1


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_latency_is_of_one_image_and_throughput_of_a_batch(name: str) -> None:
    model = Sleeper(0.001)
    model.train()
    precision = Precision(name, "cpu")  # type: ignore[arg-type]
    result = measure_inference(model, (3, 8, 8), precision)
    assert {len(inputs) for inputs in model.inputs} == {1, inference.BATCH_SIZE}
    assert {inputs.dtype for inputs in model.inputs} == {precision.dtype}
    assert all(inputs.is_contiguous(memory_format=torch.channels_last) for inputs in model.inputs)
    assert set(model.modes) == {(False, True)}
    # milliseconds and images each second: 1 ms is the least, a busy machine may take longer
    assert 1 <= result.latency_ms < 50
    assert inference.BATCH_SIZE / 0.05 < result.throughput <= inference.BATCH_SIZE / 0.001


def test_a_real_model_is_left_with_its_weights() -> None:
    model = CNN((1, 8, 8), 10, widths=[4], head=[], norm="batch")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = measure_inference(model, (1, 8, 8), FP32)
    assert result.latency_ms > 0
    assert result.throughput > 0
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_waited_for() -> None:
    """8192³ multiply-adds in fp32 take longer than the launch of a kernel on any device."""
    model = nn.Linear(8192, 8192, device="cuda")
    inputs = torch.zeros(8192, 8192, device="cuda")
    assert seconds_per_call(model, inputs, Precision("fp32", "cuda")) > 1e-3
