"""Which numbers to compute in on which hardware."""

import platform
from dataclasses import dataclass
from typing import Literal

import torch

from cnnbench.errors import CnnbenchError

PrecisionName = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Precision:
    """The number format of activations; weights and optimizer state stay fp32 in every one of them."""

    name: PrecisionName
    device_type: str

    @property
    def dtype(self) -> torch.dtype:
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.name]

    @property
    def scales_gradients(self) -> bool:
        """Whether gradients need scaling: fp16 alone has too small a range for them."""
        return self.name == "fp16"

    def autocast(self, keeps_weights: bool = True) -> torch.autocast:
        """A block in this format; `keeps_weights` converts each once in it, however often it is used."""
        return torch.autocast(
            self.device_type, dtype=self.dtype, enabled=self.name != "fp32", cache_enabled=keeps_weights
        )


def choose_device(requested: str) -> torch.device:
    """The device for auto, cpu or cuda; raises CnnbenchError where CUDA is asked for and absent."""
    if requested == "cuda" and not torch.cuda.is_available():
        raise CnnbenchError("--device cuda: PyTorch finds no CUDA device here; use --device cpu or auto")
    if requested == "auto":
        requested = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(requested)


def device_name(device: torch.device) -> str:
    """The model name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())


def choose_precision(requested: str, device: torch.device) -> Precision:
    """The one asked for; for auto bf16 where the hardware has it, else fp16 on CUDA and fp32 on a CPU."""
    if requested == "auto":
        without_bf16 = "fp16" if device.type == "cuda" else "fp32"
        requested = "bf16" if has_bf16(device) else without_bf16
    if requested == "fp16" and device.type == "cpu":
        raise CnnbenchError('precision "fp16" needs a CUDA device; use "bf16" or "fp32" on a CPU')
    names: dict[str, PrecisionName] = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}
    return Precision(names[requested], device.type)


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 instructions, not merely an emulation of them."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
