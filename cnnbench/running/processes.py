"""Several runs at a time, each in a process of its own with its share of the processor's threads."""

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from cnnbench.errors import CnnbenchError
from cnnbench.running.events import Event, Failed
from cnnbench.running.work import Order, carry_out

PATIENCE_SECONDS = 5.0  # for a process to end once it is told to


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
    """A process, and the run it has in work."""

    process: BaseProcess
    order: Order | None = None


def carry_out_at_once(orders: Sequence[Order], place: Workplace) -> Iterator[Event]:
    """The events of all runs as they come, each run begun in its turn.

    A process that ends before its run does makes that Failed, and the others go on. Raises the CnnbenchError
    of a run, as one process would. Whatever ends this ends the processes.
    """
    waiting = deque(orders)
    workers: dict[Connection, Worker] = {}
    num_hired = 0
    try:
        while waiting or any(worker.order for worker in workers.values()):
            while waiting and len(workers) < place.at_a_time:
                connection, worker = hire(place, num_hired)
                workers[connection] = worker
                num_hired += 1
            for connection, worker in workers.items():
                if worker.order is None and waiting:
                    worker.order = waiting.popleft()
                    connection.send(worker.order)
            for ready in wait([each for each, worker in workers.items() if worker.order]):
                assert isinstance(ready, Connection)
                worker = workers[ready]
                assert worker.order is not None
                try:
                    event = ready.recv()
                except (EOFError, ConnectionResetError):
                    worker.process.join(PATIENCE_SECONDS)
                    yield Failed(worker.order.run, f"its process ended {how(worker.process)}")
                    del workers[ready]
                    continue
                if isinstance(event, CnnbenchError):
                    raise event
                if event is None:
                    worker.order = None
                else:
                    yield event
    finally:
        for worker in workers.values():
            worker.process.terminate()
        for connection, worker in workers.items():
            worker.process.join(PATIENCE_SECONDS)
            connection.close()


def hire(place: Workplace, number: int) -> tuple[Connection, Worker]:
    """A process that waits for orders at the other end of the connection."""
    context = get_context("spawn")  # a fork of a process with threads can hang
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, place, number), daemon=True)
    process.start()
    there.close()
    return here, Worker(process)


def how(process: BaseProcess) -> str:
    """In which way a process ended."""
    code = process.exitcode
    if code is None:
        return "without a word"
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def work(connection: Connection, place: Workplace, number: int) -> None:
    """What a process does: carries out orders until the one who gives them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them: who gives orders decides
    import torch

    from cnnbench.data.datasets import Datasets

    torch.set_num_threads(place.num_threads)
    datasets = Datasets(place.root, place.plugins)
    device = torch.device(place.device_of(number))
    try:
        while True:
            order = connection.recv()
            try:
                for event in carry_out(order, datasets, device, place.at_a_time):
                    connection.send(event)
            except CnnbenchError as error:
                connection.send(error)
                return
            connection.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
