"""Measures the variants of a recipe: parts of the train loop, the whole, and a notebook's loop, in turns."""

import platform
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from cnnbench import memory
from cnnbench.bench import loops
from cnnbench.bench.peak import matmul_flops
from cnnbench.bench.trials import faster_notebook, seconds_to_compile, steps_in, steps_of_epoch
from cnnbench.data import data_root, describe_dataset, load_dataset
from cnnbench.data.base import Dataset, Split
from cnnbench.errors import CnnbenchError, about
from cnnbench.models import takes_bytes
from cnnbench.models.summary import summarize_config
from cnnbench.precision import PrecisionName, choose_device, choose_precision, device_name
from cnnbench.recipe.blame import of_variant
from cnnbench.recipe.config import Recipe, RunConfig

PASSES = 3  # forward, and backward once for the inputs and once for the weights
NUM_NOISE = 20_000
MOST_EPOCHS = 50  # in a turn, where an epoch takes less time than one; of the notebook's loop it is one
PEAKS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
LOOPS = {
    "data_alone": loops.data_alone,
    "steps_alone": loops.steps_alone,
    "whole_loop": loops.whole_loop,
}


@dataclass(frozen=True)
class Compiling:
    """What torch.compile costs and brings: seconds once, then images per second of forward and backward."""

    seconds: float
    compiled: list[float]
    eager: list[float]  # in the same turns
    run_images: int | None  # that a run of the recipe trains with; None where that is not known

    @property
    def saved_seconds(self) -> float | None:
        """What a whole run gains by it, compiling itself not counted; below zero where it loses."""
        if self.run_images is None:
            return None
        return self.run_images * (1 / median(self.eager) - 1 / median(self.compiled))

    @property
    def pays(self) -> bool | None:
        """Whether a run gains more than compiling takes."""
        saved = self.saved_seconds
        return None if saved is None else saved > self.seconds


@dataclass(frozen=True)
class VariantSpeed:
    """Images per second of one variant, one value for each turn; ratios are formed within a turn."""

    variant: str
    data: str  # of what the images are, or "noise"
    batch_size: int
    precision: str
    macs: int
    peak_flops: float  # of a matrix product in the same precision
    peak_memory_mib: float  # of the process or the device, with data, training and validation
    data_alone: list[float]
    steps_alone: list[float]
    whole_loop: list[float]
    notebook: list[float] = field(default_factory=list)  # empty where there is none to compare with
    workers: int | None = None  # processes that load the notebook's data
    num_runs: int = 1  # of the recipe: its seeds
    run_images: int | None = None  # that one of them trains with at most; None where that is not known
    may_be_less: bool = False  # it may stop early, or has smaller images at first
    compiling: "Compiling | None" = None  # where it was asked for

    @property
    def ratios(self) -> list[float]:
        """The whole loop against the notebook's, turn by turn."""
        return [ours / theirs for ours, theirs in zip(self.whole_loop, self.notebook, strict=False)]

    @property
    def data_share(self) -> float:
        """The part of the loop's time that the data would take alone."""
        return median(self.whole_loop) / median(self.data_alone)

    @property
    def peak_share(self) -> float:
        """Floating point operations of the whole loop's training steps, as a share of the measured peak."""
        return 2 * PASSES * self.macs * median(self.whole_loop) / self.peak_flops

    @property
    def run_seconds(self) -> float | None:
        """What a run takes at most, at the whole loop's rate."""
        return None if self.run_images is None else self.run_images / median(self.whole_loop)

    def as_dict(self) -> dict[str, Any]:
        """All values, and what follows from them."""
        derived = {
            "ratios": self.ratios,
            "data_share": self.data_share,
            "peak_share": self.peak_share,
            "run_seconds": self.run_seconds,
        }
        values = asdict(self) | derived
        if self.compiling is not None:
            values["compiling"] |= {
                "saved_seconds": self.compiling.saved_seconds,
                "pays": self.compiling.pays,
            }
        return values


@dataclass(frozen=True)
class Speeds:
    """What was measured, and on what."""

    recipe: str
    machine: dict[str, Any]
    variants: list[VariantSpeed]
    notes: list[str]


def bench_recipe(
    recipe: Recipe,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    seconds: float = 5.0,
    repeats: int = 3,
    compiled: bool = False,
) -> Speeds:
    """Times every variant, `repeats` turns of about `seconds` for each part and each loop.

    With `compiled` also what torch.compile would cost and bring a run of the recipe.
    Raises CnnbenchError where a variant cannot be built. Images that are not there are replaced by noise of
    their format, which is noted.
    """
    events = iterate_bench(
        recipe, data_dir=data_dir, device=device, seconds=seconds, repeats=repeats, compiled=compiled
    )
    for event in events:
        if isinstance(event, Speeds):
            return event
    raise AssertionError("a bench ends with its speeds")


def iterate_bench(
    recipe: Recipe,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    seconds: float = 5.0,
    repeats: int = 3,
    compiled: bool = False,
) -> Iterator[str | Speeds]:
    """The same, with a sentence after each turn; the last one is Speeds."""
    target = choose_device(device)
    peaks = {name: matmul_flops(PEAKS[name], target) for name in peaks_needed(recipe, target)}
    machine = {
        "device": device_name(target),
        "threads": torch.get_num_threads(),
        "peak_gflops": {name: round(flops / 1e9, 1) for name, flops in peaks.items()},
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    rates = ", ".join(f"{name} {flops / 1e9:,.0f}" for name, flops in peaks.items())
    yield f"matrix product: {rates} GFLOP/s"
    variants: list[VariantSpeed] = []
    notes: list[str] = []
    for config in first_seeds(recipe):
        with of_variant(recipe, config.variant):
            dataset = images_or_noise(config, data_root(data_dir), notes)
            if config.train.progressive_resizing is not None:
                notes.append(f"{config.variant}: images of full size, without its progressive resizing")
            speed = yield from measure_variant(
                config, dataset, target, peaks, seconds, repeats, compiled=compiled
            )
        num_runs = sum(each.variant == config.variant for each in recipe.run_configs())
        variants.append(replace(speed, num_runs=num_runs))
    yield Speeds(recipe.directory, machine, variants, notes)


def peaks_needed(recipe: Recipe, device: torch.device) -> list[PrecisionName]:
    """Of which formats of numbers the peak is wanted: fp32, and those that variants have.

    Where a processor has no instructions for it, its product alone would take a minute.
    """
    needed: set[PrecisionName] = {"fp32"}
    for config in first_seeds(recipe):
        with of_variant(recipe, config.variant), about("train", "precision"):
            needed.add(choose_precision(config.train.precision, device).name)
    return sorted(needed)


def first_seeds(recipe: Recipe) -> list[RunConfig]:
    """One run of each variant."""
    found: dict[str, RunConfig] = {}
    for config in recipe.run_configs():
        found.setdefault(config.variant, config)
    return list(found.values())


def images_or_noise(config: RunConfig, root: Path, notes: list[str]) -> Dataset:
    """The variant's data set; noise of its format where it is not there, which is noted."""
    try:
        return load_dataset(config.data, root, config.plugins)
    except CnnbenchError as error:
        reason = str(error).partition(":")[0]
        in_shape, num_classes = describe_dataset(config.data, root, config.plugins)
        note = f"{config.data.name}: noise of its format instead ({reason})"
        if note not in notes:
            notes.append(note)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (NUM_NOISE, *in_shape), dtype=torch.uint8, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, num_classes, (NUM_NOISE,), generator=generator)
    rows = torch.arange(NUM_NOISE)
    train, val = (Split(images, targets, part) for part in (rows[NUM_NOISE // 10 :], rows[: NUM_NOISE // 10]))
    mean, std = (0.5,) * in_shape[0], (0.25,) * in_shape[0]
    return Dataset("noise", tuple(map(str, range(num_classes))), train, val, val, mean, std)


def measure_variant(
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    peaks: Mapping[PrecisionName, float],
    seconds: float,
    repeats: int,
    *,
    compiled: bool = False,
) -> Generator[str, None, VariantSpeed]:
    """A sentence for each turn, and the answer. What is compared takes turns, to meet the same machine."""
    needed = (loops.WARMUP_STEPS + 1) * config.data.batch_size
    if len(dataset.train) <= loops.WARMUP_STEPS:
        raise CnnbenchError(
            f"{dataset.name} has {len(dataset.train):,} training images, too few to time: take "
            f"{loops.WARMUP_STEPS + 1} or more"
        )
    if len(dataset.train) < needed:
        raise CnnbenchError(
            f"{dataset.name} has {len(dataset.train):,} training images, and timing takes {needed:,} at a "
            f"batch size of {config.data.batch_size}: set data.batch_size to {len(dataset.train) // 4 or 1}"
        )
    precision = choose_precision(config.train.precision, device)
    summary = summarize_config(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
    # a frozen backbone may be computed in the first epoch alone, and one let go later is timed while frozen
    epochs_differ = summary.tuning.freeze or summary.tuning.unfreeze_epoch is not None
    memory.keep_freed()
    memory.reset_peak(device)
    measures = {
        name: loops.on_threads(
            make(config, dataset, device, precision), summary.macs * config.data.batch_size
        )
        for name, make in LOOPS.items()
    }
    longest = steps_of_epoch(config, dataset)
    num_steps = {
        name: steps_in(seconds, measure, config.data.batch_size, device, MOST_EPOCHS * longest)
        for name, measure in measures.items()
    }
    peak_memory_mib = memory.peak_mib(device)  # before the notebook's images come beside
    workers = None
    if dataset.task == "classification" and not takes_bytes(config.model, config.plugins):
        workers, measures["notebook"] = faster_notebook(config, dataset, device)
        num_steps["notebook"] = steps_in(
            seconds, measures["notebook"], config.data.batch_size, device, longest
        )
    compile_seconds = 0.0
    if compiled:
        make = loops.steps_alone(config, dataset, device, precision, compiled=True)
        measures["compiled"] = loops.on_threads(make, summary.macs * config.data.batch_size)
        compile_seconds = seconds_to_compile(measures["compiled"], config.data.batch_size)
        num_steps["compiled"] = num_steps["steps_alone"]
    rates: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(1, repeats + 1):
        for name, measure in measures.items():
            rates[name].append(measure(num_steps[name]))
        last = ", ".join(f"{name.replace('_', ' ')} {found[-1]:,.0f}" for name, found in rates.items())
        yield f"{config.variant}, turn {turn} of {repeats}: {last} images/s"
    return VariantSpeed(
        variant=config.variant,
        data=dataset.name,
        batch_size=config.data.batch_size,
        precision=precision.name,
        macs=summary.macs,
        peak_flops=peaks[precision.name],
        peak_memory_mib=peak_memory_mib,
        data_alone=rates["data_alone"],
        steps_alone=rates["steps_alone"],
        whole_loop=rates["whole_loop"],
        notebook=rates.get("notebook", []),
        workers=workers,
        run_images=None if epochs_differ else run_images(config, dataset),
        may_be_less=may_be_less(config),
        compiling=Compiling(
            compile_seconds,
            rates["compiled"],
            rates["steps_alone"],
            None if may_be_less(config) else run_images(config, dataset),
        )
        if compiled
        else None,
    )


def run_images(config: RunConfig, dataset: Dataset) -> int | None:
    """With how many images a run trains at most; None where the data are not there."""
    if dataset.name == "noise":
        return None
    batch_size = config.data.batch_size
    return config.train.epochs * max(1, len(dataset.train) // batch_size) * batch_size


def may_be_less(config: RunConfig) -> bool:
    """Whether a run may be shorter than its epochs at full size."""
    return config.train.early_stopping is not None or config.train.progressive_resizing is not None
