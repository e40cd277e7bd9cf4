"""Peaks of allocations of a known size."""

import mmap
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from cnnbench import memory
from cnnbench.errors import CnnbenchError

CPU = torch.device("cpu")
SIZE_MIB = 64


def touch(num_mib: int) -> None:
    """Takes memory from the system page by page and gives it back at once."""
    with mmap.mmap(-1, num_mib * memory.MIB) as block:
        for start in range(0, len(block), mmap.PAGESIZE):
            block[start] = 1


def can_reset() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the Linux kernel's high-water mark")


@linux
def test_touched_memory_raises_the_peak_by_its_size() -> None:
    memory.reset_peak(CPU)
    before = memory.peak_mib(CPU)
    touch(SIZE_MIB + 256)  # beyond what earlier tests may have left as a peak where it cannot be reset
    after = memory.peak_mib(CPU)
    if can_reset():
        assert after - before == pytest.approx(SIZE_MIB + 256, abs=8)
    else:
        assert after >= before


@linux
@pytest.mark.skipif(not can_reset(), reason="this system does not let a process reset its peak")
def test_reset_forgets_what_was_given_back() -> None:
    touch(SIZE_MIB)
    high = memory.peak_mib(CPU)
    memory.reset_peak(CPU)
    low = memory.peak_mib(CPU)
    touch(SIZE_MIB)
    assert memory.peak_mib(CPU) - low == pytest.approx(SIZE_MIB, abs=8)
    assert low <= high


@linux
def test_the_peak_is_no_less_than_what_is_in_use() -> None:
    import psutil

    memory.reset_peak(CPU)
    in_use = psutil.Process().memory_info().rss / memory.MIB
    assert memory.peak_mib(CPU) >= in_use - 8  # the kernel counts pages in small lots for each thread


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_counts_what_the_device_allocated() -> None:
    device = torch.device("cuda")
    memory.reset_peak(device)
    before = memory.peak_mib(device)
    block = torch.empty(SIZE_MIB * memory.MIB, dtype=torch.uint8, device=device)
    assert memory.peak_mib(device) - before == pytest.approx(SIZE_MIB, abs=1)
    del block
    assert memory.peak_mib(device) - before == pytest.approx(SIZE_MIB, abs=1)
    memory.reset_peak(device)
    assert memory.peak_mib(device) == pytest.approx(before, abs=1)


def test_what_is_available_is_a_part_of_what_there_is() -> None:
    assert 0 < memory.available_bytes(CPU) <= psutil.virtual_memory().total


def test_data_beyond_the_memory_is_refused_in_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 3 * 2**29)
    memory.check_fits(3 * 2**29, "two images", "take one")
    with pytest.raises(CnnbenchError) as error:
        memory.check_fits(3 * 2**30, "two images", "take one")
    assert str(error.value) == "two images take 3.0 GiB of memory, and 1.5 are free: take one"


@pytest.mark.parametrize(("limit", "left"), [("1048576\n", 0), ("max\n", None), (str(2**62), None)])
def test_a_container_has_no_more_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, left: int | None
) -> None:
    """A process with Python in it takes more than a MiB already, so nothing is left of that."""
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "LIMIT_FILES", (str(tmp_path / "memory.max"), str(tmp_path / "absent")))
    found = memory.available_bytes(CPU)
    assert found == 0 if left == 0 else found > 2**20


FAULTS = """
import ctypes, resource, torch
from cnnbench import memory

def faults():
    def step():
        [torch.empty(4 * 2**20).fill_(1.0) for _ in range(6)]
    for _ in range(4):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for parameter in (memory.M_MMAP_THRESHOLD, memory.M_TRIM_THRESHOLD):
    assert ctypes.CDLL(None).mallopt(parameter, 128 * 1024)  # glibc's, which it would adapt to what is freed
print(faults(), memory.keep_freed(), faults())

cpu = torch.device("cpu")
memory.reset_peak(cpu)
print(memory.peak_mib(cpu))
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="sets glibc's allocator")


@pytest.fixture(scope="module")
def told() -> list[str]:
    """Page faults before and after, and then the peak of nothing."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True, text=True)
    return done.stdout.split()


@glibc
def test_memory_that_a_step_frees_is_there_for_the_next_one(told: list[str]) -> None:
    before, kept, after, _ = told
    assert kept == "True"
    assert int(after) < int(before) / 10


@glibc
@pytest.mark.skipif(not can_reset(), reason="this system does not let a process reset its peak")
def test_what_is_kept_is_no_part_of_the_next_peak(told: list[str]) -> None:
    """Six blocks of 16 MiB were kept; PyTorch alone takes about 200 MiB."""
    alone = "import torch; from cnnbench import memory; print(memory.peak_mib(torch.device('cpu')))"
    done = subprocess.run([sys.executable, "-c", alone], capture_output=True, check=True, text=True)
    assert float(told[3]) < float(done.stdout) + 48
