"""Memory of a piece of work: its peak, of the device or the process, and what is kept from step to step."""

import ctypes
import sys
from pathlib import Path
from typing import Any

import psutil
import torch

from cnnbench.errors import CnnbenchError

MIB = 2**20
# What a container may use in bytes, where there is a limit: of Linux's control groups, version 2 and 1.
LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


# Parameters of glibc's mallopt: see its manual page.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed() -> bool:
    """Lets the process keep the memory that a step frees, for the next step; returns whether it can (glibc).

    Else glibc hands it back to the system, and every step waits for it to be given, and zeroed, anew.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    # activations are below 64 MiB as a rule, data sets above; older glibc takes no more than 32
    taken = any(mallopt(M_MMAP_THRESHOLD, limit * MIB) for limit in (64, 32))
    return taken and bool(mallopt(M_TRIM_THRESHOLD, 1024 * MIB))


def hand_back() -> None:
    """Gives the system what is kept and not in use (glibc)."""
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> Any:
    """A function of the C library, or None where it has none of this name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def reset_peak(device: torch.device) -> None:
    """Starts a new peak, so that one run's does not hide the next one's (CUDA and Linux can)."""
    hand_back()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:  # some sandboxes forbid it: then the peak is that of the process so far
            return


def peak_mib(device: torch.device) -> float:
    """Peak since `reset_peak` in MiB: allocated memory of the device, or resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    info = psutil.Process().memory_info()
    return float(getattr(info, "peak_wset", info.rss)) / MIB


def available_bytes(device: torch.device) -> int:
    """What can still be taken: on the device, or of the machine and of what a container may use."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available = psutil.virtual_memory().available
    for file in LIMIT_FILES:
        try:
            limit = int(Path(file).read_text())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        available = min(available, limit - psutil.Process().memory_info().rss)
    return max(available, 0)


def check_fits(num_bytes: int, what: str, advice: str) -> None:
    """Raises CnnbenchError where so many bytes of data are more than the machine has left."""
    free = available_bytes(torch.device("cpu"))
    if num_bytes > free:
        raise CnnbenchError(
            f"{what} take {num_bytes / 2**30:,.1f} GiB of memory, and {free / 2**30:.1f} are free: {advice}"
        )


def is_out_of_memory(error: Exception) -> bool:
    """PyTorch's CPU allocator raises a plain RuntimeError that can be told by its text alone."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
