"""Several runs at a time, each in a process of its own with its share of the processor's threads."""

import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench.errors import CnnbenchError
from cnnbench.running.events import Event, Failed
from cnnbench.running.work import Order, carry_out

if TYPE_CHECKING:
    import torch

    from cnnbench.data.datasets import Datasets

PATIENCE_SECONDS = 5.0  # for a process to end once it is told to


# of one run, data and workspace included: the networks of the recipes were measured at 0.5 to 2.6 GiB
MEMORY_OF_A_RUN = 3 * 2**30
# Of a run on a GPU, in case it is a large one; and how many share one at most, each with two cores or more.
GPU_MEMORY_OF_A_RUN = 12 * 2**30
RUNS_ON_A_GPU = 4
CORES_BESIDE_A_GPU = 2


def how_many(num_runs: int, device: "torch.device") -> int:
    """How many runs at a time pay, as far as cores and memory reach: one on a core, or up to four on a GPU.

    Two runs with a thread each were measured at 4 to 25 % more images a second than one with two threads. On
    an H200 small CNNs trained at more than half the speed of one alone while six recipes or more were run.
    """
    import torch

    from cnnbench import memory

    if device.type == "cuda":
        num_gpus = torch.cuda.device_count()
        fitting = min(RUNS_ON_A_GPU, memory.available_bytes(device) // GPU_MEMORY_OF_A_RUN)
        cores = torch.get_num_threads() // CORES_BESIDE_A_GPU
        return max(1, min(num_runs, num_gpus * max(1, fitting), max(num_gpus, cores)))
    affordable = memory.available_bytes(device) // MEMORY_OF_A_RUN
    return max(1, min(num_runs, torch.get_num_threads(), affordable))


@dataclass(frozen=True)
class Workplace:
    """What every process needs to know; `num_devices` of one kind are given out in turn."""

    root: Path
    plugins: Sequence[str]
    device: str
    num_devices: int
    num_threads: int
    at_a_time: int

    def device_of(self, worker: int) -> str:
        return f"{self.device}:{worker % self.num_devices}" if self.num_devices > 1 else self.device


@dataclass
class Worker:
    """A process, its number, our end of the connection to it, and the run it has in work."""

    process: BaseProcess
    number: int
    connection: Connection
    order: Order | None = None

    def end(self) -> None:
        """Ends the process, at once if it is at work, and waits until it is gone."""
        self.process.terminate()
        self.process.join(PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def carry_out_at_once(orders: Sequence[Order], place: Workplace) -> Iterator[Event]:
    """The events of all runs as they come, each run begun in its turn.

    A process that ends before its run does makes that Failed, and the others go on. Raises what a run raises
    that would end the recipe in one process too. Whatever ends this ends the processes.
    """
    waiting = deque(orders)
    workers: dict[int, Worker] = {}  # by number: a replacement gets that of the one it replaces
    try:
        while waiting or any(worker.order for worker in workers.values()):
            for number in range(place.at_a_time):
                if waiting and number not in workers:
                    workers[number] = hire(place, number)
            for worker in list(workers.values()):
                if waiting and worker.order is None and not give(worker, waiting):
                    workers.pop(worker.number).end()
            busy = {worker.connection: worker for worker in workers.values() if worker.order}
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                assert worker.order is not None
                try:
                    event = connection.recv()
                except (EOFError, ConnectionResetError):
                    worker.process.join(PATIENCE_SECONDS)
                    yield Failed(worker.order.run, f"its process ended {how(worker.process)}")
                    workers.pop(worker.number).end()
                    continue
                if isinstance(event, Exception):
                    raise event
                if event is None:
                    worker.order = None
                else:
                    yield event
    finally:
        for worker in workers.values():
            worker.end()


def give(worker: Worker, waiting: deque[Order]) -> bool:
    """Gives the worker the next order; False, and the order stays, where its process is gone."""
    try:
        worker.connection.send(waiting[0])
    except OSError:
        return False
    worker.order = waiting.popleft()
    return True


def hire(place: Workplace, number: int) -> Worker:
    """A process that waits for orders at the other end of the connection."""
    context = get_context("spawn")  # a fork of a process with threads can hang
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, place, number), daemon=True)
    with ignored_interrupts():
        process.start()
    there.close()
    return Worker(process, number, here)


@contextmanager
def ignored_interrupts() -> Iterator[None]:
    """Processes begun within the block ignore Ctrl-C, which reaches all of them: who gives orders decides."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where signals cannot be set
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def how(process: BaseProcess) -> str:
    """In which way a process ended."""
    code = process.exitcode
    if code is None:
        return "without a word"
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def work(connection: Connection, place: Workplace, number: int) -> None:
    """What a process does: carries out orders until the one who gives them is gone.

    What a run raises goes to that one, who decides what becomes of the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from cnnbench.data.datasets import Datasets

    torch.set_num_threads(place.num_threads)
    datasets = Datasets(place.root, place.plugins)
    device = torch.device(place.device_of(number))
    while True:
        try:
            order = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        for event in events_of(order, datasets, device, place.at_a_time):
            try:
                connection.send(event)
            except OSError:
                return


def events_of(
    order: Order, datasets: "Datasets", device: "torch.device", at_a_time: int
) -> Iterator[Event | Exception | None]:
    """The events of the run, then None, or the error that the user has to be told of."""
    try:
        yield from carry_out(order, datasets, device, at_a_time)
    except (CnnbenchError, OSError) as error:
        yield error
    else:
        yield None
