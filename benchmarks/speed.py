"""Images per second in training: the loop of a notebook against cnnbench, side by side in one process.

The two take turns (A B A B ...), so that whatever else the machine does meets both; a ratio is formed within
a turn, and the table shows median, smallest and largest. Only training steps are timed, no evaluation.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from notebook_loop import PILImages, pil_transform
from notebook_loop import train as notebook_train
from torch import nn

from cnnbench import memory
from cnnbench.data import data_root, load_dataset
from cnnbench.data.base import Dataset, Split
from cnnbench.data.loader import Loader
from cnnbench.errors import CnnbenchError
from cnnbench.models import build_model
from cnnbench.precision import Precision, choose_device, choose_precision, device_name
from cnnbench.recipe.config import DataConfig, Named, TrainConfig
from cnnbench.training import Epoch, TrainingState, fit

BATCH_SIZE = 128
NUM_VAL = 512  # one batch of an evaluation
WARMUP_STEPS = 2


def named(name: str, **options: object) -> Named:
    """A unit of the catalog with options."""
    return Named.model_validate({"name": name, **options})


CROP_AND_FLIP = [
    named("PadIfNeeded", min_height=40, min_width=40),
    named("RandomCrop", height=32, width=32),
    named("HorizontalFlip"),
]
SGD = TrainConfig(optimizer=named("sgd", momentum=0.9, nesterov=True), lr=0.01, weight_decay=5e-4)
ADAM = TrainConfig(optimizer=named("adam"), lr=1e-3)


@dataclass(frozen=True)
class Case:
    """What both loops train."""

    label: str
    data: str
    shape: tuple[int, int, int]
    model: Named
    train: TrainConfig
    crop_and_flip: bool


CASES = {
    "wrn16-4": Case("WRN-16-4", "cifar10", (3, 32, 32), named("wide_resnet"), SGD, True),
    "resnet20": Case("ResNet-20", "cifar10", (3, 32, 32), named("resnet"), SGD, True),
    "mnist-cnn": Case("MNIST CNN", "mnist", (1, 28, 28), named("cnn"), ADAM, False),
}


@dataclass(frozen=True)
class Measurement:
    """One row of the answer; the rates and ratios of all turns."""

    model: str
    data: str
    workers: int  # processes that load the notebook's data
    notebook: list[float]
    cnnbench: list[float]
    ratios: list[float]


def load(case: Case) -> Dataset:
    """The real images where they are, else noise of the same shape and number."""
    try:
        return load_dataset(DataConfig(name=case.data), data_root(None))
    except CnnbenchError as error:
        print(f"{case.label}: noise instead of {case.data} ({str(error).partition(':')[0]})", file=sys.stderr)
    generator = torch.Generator().manual_seed(0)
    num_train, num_test = (50_000, 10_000) if case.data == "cifar10" else (60_000, 10_000)

    def noise(count: int) -> Split:
        images = torch.randint(0, 256, (count, *case.shape), dtype=torch.uint8, generator=generator)
        return Split(images, torch.randint(0, 10, (count,), generator=generator), torch.arange(count))

    train, test = noise(num_train), noise(num_test)
    val = replace(train, rows=train.rows[-num_train // 10 :])
    train = replace(train, rows=train.rows[: -num_train // 10])
    mean, std = (0.5,) * case.shape[0], (0.25,) * case.shape[0]
    return Dataset("noise", tuple("0123456789"), train, val, test, mean, std)


def notebook_loop(
    case: Case, dataset: Dataset, device: torch.device, num_workers: int
) -> Callable[[int], float]:
    """A function that trains so many steps and returns images per second."""
    model = make_model(case, dataset).to(device)
    if case.train is SGD:
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(),
            case.train.lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=case.train.weight_decay,
        )
    else:
        optimizer = torch.optim.Adam(model.parameters(), case.train.lr)
    transform = pil_transform(case.shape[1], dataset.mean, dataset.std, crop_and_flip=case.crop_and_flip)

    def measure(num_steps: int) -> float:
        # The first steps, in which the worker processes start, do not count: a whole epoch hides them too.
        images, targets = dataset.train.gather(torch.arange((num_steps + WARMUP_STEPS) * BATCH_SIZE))
        pictures = PILImages(images, targets, transform)
        steps = notebook_train(model, optimizer, pictures, BATCH_SIZE, num_workers=num_workers, device=device)
        for _ in range(WARMUP_STEPS):
            next(steps)
        start, count = perf_counter(), 0
        for _ in range(num_steps):
            count += next(steps)
        seconds = perf_counter() - start
        steps.close()
        return count / seconds

    return measure


def cnnbench_loop(
    case: Case, dataset: Dataset, device: torch.device, precision: Precision
) -> Callable[[int], float]:
    """A function that trains one epoch of so many steps and returns its images per second."""
    model = make_model(case, dataset).to(device)
    model.to(memory_format=torch.channels_last)
    config = DataConfig(
        name=case.data, batch_size=BATCH_SIZE, augment=CROP_AND_FLIP if case.crop_and_flip else []
    )
    state = TrainingState(model, case.train, precision)
    val = replace(dataset.val, rows=dataset.val.rows[:NUM_VAL])
    dataset = replace(dataset, val=val, test=val).to(device)

    def measure(num_steps: int) -> float:
        train = replace(dataset.train, rows=dataset.train.rows[: num_steps * BATCH_SIZE])
        loader = Loader(replace(dataset, train=train), config, device, precision.dtype)
        one_more = case.train.model_copy(update={"epochs": max(len(state.rows), 1)})
        *_, last = (row for row in fit(state, loader, one_more, precision, seed=0) if isinstance(row, Epoch))
        assert last.images_per_second is not None
        return last.images_per_second

    return measure


def make_model(case: Case, dataset: Dataset) -> nn.Module:
    """The same weights for both loops."""
    torch.manual_seed(0)
    return build_model(case.model, dataset.in_shape, dataset.num_classes)


def compare(case: Case, arguments: argparse.Namespace) -> Measurement:
    """Both loops in turns, each for about `--seconds` a turn, or exactly `--steps`."""
    device = choose_device(arguments.device)
    precision = choose_precision(arguments.precision, device)
    dataset = load(case)
    # The notebook loads in worker processes or in its own, whichever is faster: workers can lose.
    notebooks = {workers: notebook_loop(case, dataset, device, workers) for workers in {0, arguments.workers}}
    trial = {workers: measure(arguments.steps or 10) for workers, measure in notebooks.items()}
    workers = max(trial, key=lambda count: trial[count])
    loops = [notebooks[workers], cnnbench_loop(case, dataset, device, precision)]
    longest = len(dataset.train) // BATCH_SIZE - WARMUP_STEPS  # within one epoch
    num_steps = []
    for measure in loops:
        rate = measure(arguments.steps or 5)  # warm-up, and how many steps fill the time
        wanted = arguments.steps or round(rate * arguments.seconds / BATCH_SIZE)
        num_steps.append(min(max(wanted, 2), longest))
    turns: list[tuple[float, float]] = []
    for turn in range(1, arguments.repeats + 1):
        slow, fast = (measure(steps) for measure, steps in zip(loops, num_steps, strict=True))
        turns.append((slow, fast))
        print(f"{case.label}: turn {turn}, {slow:,.0f} and {fast:,.0f} images/s", file=sys.stderr)
    return Measurement(
        case.label,
        dataset.name,
        workers,
        notebook=[slow for slow, _ in turns],
        cnnbench=[fast for _, fast in turns],
        ratios=[fast / slow for slow, fast in turns],
    )


def peak_of_a_run(arguments: argparse.Namespace) -> float:
    """Peak memory in MiB of a new process that loads all of CIFAR-10 and trains and evaluates WRN-16-4."""
    command = [sys.executable, str(Path(__file__)), "--peak", "--device", arguments.device]
    command += ["--precision", arguments.precision]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", choices=[*CASES, []], metavar="CASE", help=f"{', '.join(CASES)} (all)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="time of one measurement (10)")
    parser.add_argument("--steps", type=int, help="steps of one measurement, instead of --seconds")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each case (5)")
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        help="worker processes offered to the notebook (2); none if that is faster",
    )
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    parser.add_argument("--json", action="store_true", help="numbers of every turn instead of a table")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    precision = choose_precision(arguments.precision, device)
    if arguments.peak:
        case = CASES["wrn16-4"]
        cnnbench_loop(case, load(case), device, precision)(3)
        print(memory.peak_mib(device))
        return
    peak_mib = peak_of_a_run(arguments)
    results = [compare(CASES[name], arguments) for name in arguments.cases or CASES]
    machine = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "batch_size": BATCH_SIZE,
        "precision": {"notebook": "fp32", "cnnbench": precision.name},
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if arguments.json:
        answer = {
            "machine": machine,
            "peak_memory_mib": peak_mib,
            "results": [asdict(row) for row in results],
        }
        print(json.dumps(answer, indent=2))
    else:
        print_table(results, machine, peak_mib)


def print_table(results: list[Measurement], machine: dict[str, object], peak_mib: float) -> None:
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    print(
        f"\n{'model':12}{'data':10}{'workers':>8}{'notebook':>14}{'cnnbench':>14}   median ratio (min to max)"
    )
    for row in results:
        rates = f"{median(row.notebook):>10,.0f} i/s{median(row.cnnbench):>10,.0f} i/s"
        spread = f"{median(row.ratios):.2f} ({min(row.ratios):.2f} to {max(row.ratios):.2f})"
        print(f"{row.model:12}{row.data:10}{row.workers:>8}{rates}   {spread}")
    print(f"\npeak memory of a CIFAR-10 run (WRN-16-4): {peak_mib:,.0f} MiB")


if __name__ == "__main__":
    main()
