"""The number format for the hardware that is here, and what is refused."""

import sys
from pathlib import Path

import pytest
import torch

from cnnbench.errors import CnnbenchError
from cnnbench.precision import Precision, choose_device, choose_precision, has_bf16

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's list of processor features")
def test_has_bf16_agrees_with_the_kernel() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert has_bf16(CPU) == ("avx512_bf16" in flags or "amx_bf16" in flags)


@pytest.mark.parametrize("requested", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(requested: str) -> None:
    assert choose_precision(requested, CPU) == Precision(requested, "cpu")  # type: ignore[arg-type]


def test_auto_on_a_cpu_is_bf16_only_with_the_instructions() -> None:
    assert choose_precision("auto", CPU).name == ("bf16" if has_bf16(CPU) else "fp32")


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(CnnbenchError, match='"fp16" needs a CUDA device; use "bf16" or "fp32" on a CPU'):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize("requested", ["fp32", "bf16", "fp16"])
def test_fp16_alone_scales_gradients(requested: str) -> None:
    precision = choose_precision(requested, torch.device("cuda"))  # asks nothing of the device
    assert precision.scales_gradients is (requested == "fp16")
    expected = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[requested]
    assert precision.dtype == expected


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_autocast_computes_in_the_dtype(name: str) -> None:
    precision = choose_precision(name, CPU)
    linear = torch.nn.Linear(4, 4)
    with precision.autocast():
        outputs = linear(torch.ones(2, 4))
    assert outputs.dtype == precision.dtype
    assert linear.weight.dtype == torch.float32
    assert linear(torch.ones(2, 4)).dtype == torch.float32  # outside the block nothing is changed


def test_choose_cpu() -> None:
    assert choose_device("cpu") == CPU


@without_cuda
def test_auto_without_cuda_is_the_cpu() -> None:
    assert choose_device("auto") == CPU


@without_cuda
def test_cuda_without_cuda() -> None:
    with pytest.raises(
        CnnbenchError, match=r"--device cuda: .* no CUDA device here; use --device cpu or auto"
    ):
        choose_device("cuda")


@needs_cuda
@pytest.mark.parametrize("requested", ["auto", "cuda"])
def test_choose_cuda(requested: str) -> None:
    assert choose_device(requested).type == "cuda"


@needs_cuda
def test_auto_on_cuda_is_bf16_or_fp16() -> None:
    device = torch.device("cuda")
    precision = choose_precision("auto", device)
    # bf16 units came with compute capability 8.0
    assert precision.name == ("bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16")
    with precision.autocast():
        assert (torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)).dtype == precision.dtype
