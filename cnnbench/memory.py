"""Peak memory of a piece of work: of the device on CUDA, of the process elsewhere; and memory used again."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

MIB = 2**20
# What a container may use in bytes, where there is a limit: of Linux's control groups, version 2 and 1.
LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# Parameters of glibc's mallopt, by their numbers in malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
LARGEST_INT = 2**31 - 1
# What glibc sets by itself once a block of 32 MiB has been freed, which a batch's tensors do at once.
USUAL = {M_MMAP_MAX: 65_536, M_MMAP_THRESHOLD: 32 * MIB, M_TRIM_THRESHOLD: 64 * MIB}


@contextmanager
def keeping_freed() -> Iterator[None]:
    """Within the block, memory that tensors leave stays with the process and is used again.

    Otherwise glibc gives tensors of more than 32 MiB back, and the system clears each of their pages before
    the next step has them: measured, a fifth of the processor's time of a network with 192 channels at
    32x32. The peak rises by up to a tenth. Without glibc nothing changes.
    """
    mallopt = _libc("mallopt")
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            mallopt(parameter, value)
        give_back_freed()


def give_back_freed() -> None:
    """Returns to the system what was freed and kept; without glibc nothing happens."""
    trim = _libc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _libc(name: str) -> Callable[..., int] | None:
    """A function of the C library, or None where it has none of this name (it is glibc's own)."""
    if sys.platform != "linux":
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function


def reset_peak(device: torch.device) -> None:
    """Starts a new peak, so that one run's does not hide the next one's (CUDA and Linux can)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        give_back_freed()
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


def is_out_of_memory(error: Exception) -> bool:
    """PyTorch's CPU allocator raises a plain RuntimeError that can be told by its text alone."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
