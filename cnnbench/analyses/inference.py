"""How fast each variant answers on this machine: latency of one image, throughput by batch size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cnnbench import memory
from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.fresh_memory import measure_fresh
from cnnbench.analyses.inference_costs import Costs, cost_figures
from cnnbench.analyses.opening import LeftOut
from cnnbench.data import describe_dataset
from cnnbench.errors import CnnbenchError
from cnnbench.inference import random_images, time_calls
from cnnbench.models import build_model
from cnnbench.models.summary import summarize
from cnnbench.options import Count, Positive
from cnnbench.precision import Precision, choose_precision, device_name
from cnnbench.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

NUM_ROUNDS = 5
NUM_TRIALS = 5  # calls at most that tell how long one takes
LOG_FROM = 10  # times the lowest throughput; from here on the axis is logarithmic


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float


@dataclass
class Case:
    """A variant's model, and what was measured of it by batch size."""

    name: str
    model: nn.Module
    in_shape: tuple[int, ...]
    precision: Precision
    run: Run | None = None
    seconds: dict[int, list[float]] = field(default_factory=dict)  # of each call
    memory_mib: dict[int, float] = field(
        default_factory=dict
    )  # on CUDA, or as measured in a process of its own
    seconds_left: float = 0.0  # of the budget, once every size has had its least
    ended: str | None = None  # why the sweep ended before the largest batch size

    def latency_ms(self) -> Spread:
        """Of one image alone."""
        low, middle, high = np.percentile(self.seconds[1], [25, 50, 75]) * 1000
        return Spread(float(middle), float(low), float(high))

    def throughput(self, batch_size: int) -> Spread:
        """Images per second."""
        low, middle, high = np.percentile(self.seconds[batch_size], [25, 50, 75])
        return Spread(batch_size / float(middle), batch_size / float(high), batch_size / float(low))

    def best_batch_size(self) -> int:
        """The one with the highest median throughput."""
        return max(self.seconds, key=lambda size: self.throughput(size).median)


class Inference(Analysis):
    """How fast each variant answers: latency of one image, throughput by batch size, memory."""

    def __init__(
        self, *, max_batch_size: Count = 512, budget_seconds: Positive = 5.0, memory: bool = False
    ) -> None:
        """`memory`: each model's, on a processor in a process of its own, and pictures of all costs."""
        self.max_batch_size = max_batch_size
        self.budget_seconds = budget_seconds
        self.memory = memory

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields a picture of throughput by batch size, those of costs where asked for, and the table."""
        left_out = LeftOut()
        cases = []
        for name, runs in subject.variants().items():
            try:
                cases.append(_build(name, runs[0], subject))
            except CnnbenchError as error:
                left_out.add(name, error)
        measure(cases, self.max_batch_size, self.budget_seconds)
        for case in cases:
            if not case.seconds:
                left_out.add(case.name, f"{case.ended} at batch size 1")
        where = _where(subject.device)
        places = {name: place for place, name in enumerate(subject.variants())}
        measured = [case for case in cases if case.seconds]
        if measured:
            yield Figure(
                name="inference_throughput",
                title="Throughput by batch size",
                caption=f"Images per second on {where}, by batch size: lines are medians over "
                "calls, bands reach from the first to the third quartile. The text of the table below says "
                "how this was measured." + _said_of_ends(cases) + left_out.note(),
                figure=_draw(measured, [plots.style_of(places[case.name]) for case in measured]),
            )
        if measured and self.memory:
            for case in measured:
                _measure_memory(case, subject, left_out)
            costs = {case.name: _costs(case) for case in measured}
            styles = {name: plots.style_of(place) for name, place in places.items()}
            yield from cost_figures(costs, subject, styles, where)
        by_name = {case.name: case for case in measured}
        yield Table(
            name="inference",
            title="Inference",
            caption="Latency is the time of one image alone, the median over calls. The best batch size is "
            "the one with the highest median throughput; others may be as good within the spread (first to "
            "third quartile of the calls). Multiply-adds are those of one image. "
            + _said_of_memory(subject.device, self.memory)
            + f" Measured on {where} when this report was written, on random images that lie on the device "
            f"already, after warm-up, each call waited for, in {NUM_ROUNDS} rounds that take all batch sizes "
            "and variants in turn, so that a machine that slows down slows all alike. Models have fresh "
            "weights (what was learned hardly changes the time) and are not compiled. Each had about "
            f"{self.budget_seconds:g} s." + _said_of_ends(cases) + left_out.note(),
            columns=[
                "variant", "precision", "parameters", "multiply-adds", "latency (ms)", "quartiles (ms)",
                "best batch size", "images per second", "quartiles (images/s)", "peak memory (MiB)",
            ],
            rows=[_row(name, by_name.get(name)) for name in subject.variants()],
        )  # fmt: skip


def _where(device: torch.device) -> str:
    if device.type == "cuda":
        return device_name(device)
    count = torch.get_num_threads()
    return f"{device_name(device)} ({count} thread{'' if count == 1 else 's'})"


def _said_of_ends(cases: Sequence[Case]) -> str:
    ended = [case for case in cases if case.ended and case.seconds]
    early = ", ".join(f"{case.name} at {max(case.seconds)} ({case.ended})" for case in ended)
    return f" Last batch size measured: {early}." if early else ""


def _said_of_memory(device: torch.device, is_fresh: bool) -> str:
    if device.type == "cuda":
        return (
            "Peak memory is that of weights, inputs and everything in between at the best batch size, as the "
            "device's allocator counts it."
        )
    if is_fresh:
        return (
            "Peak memory is the most that a process of its own held while it built the model and answered "
            "one batch (of the best size), beyond what it held before: weights, inputs and everything in "
            "between, and some 5 MiB that PyTorch takes at its first call."
        )
    return (
        "Memory is measured on CUDA devices only, unless memory = true asks for a process for each model: "
        "a processor's is that of the whole program."
    )


def _measure_memory(case: Case, subject: Subject, left_out: LeftOut) -> None:
    """On CUDA the allocator has told already, model by model."""
    if subject.device.type == "cuda" or case.run is None:
        return
    config = subject.config(case.run)
    in_shape, num_classes = describe_dataset(config.data, subject.datasets.root, config.plugins)
    try:
        case.memory_mib = measure_fresh(
            config.model, in_shape, num_classes, case.precision.name, (1, case.best_batch_size()),
            num_threads=torch.get_num_threads(), plugins=config.plugins,
        )  # fmt: skip
    except CnnbenchError as error:
        left_out.add(f"memory of {case.name}", error)


def _costs(case: Case) -> Costs:
    best = case.best_batch_size()
    memory_one, memory_best = case.memory_mib.get(1), case.memory_mib.get(best)
    return Costs(case.latency_ms().median, case.throughput(best).median, memory_one, memory_best)


def _build(name: str, run: Run, subject: Subject) -> Case:
    """The variant's model with fresh weights, which needs neither data nor a trained run."""
    config = subject.config(run)
    in_shape, num_classes = describe_dataset(config.data, subject.datasets.root, config.plugins)
    precision = choose_precision(config.train.precision, subject.device)
    model = build_model(config.model, in_shape, num_classes, config.plugins)
    model = model.to(device=subject.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Case(name, model.eval(), in_shape, precision, run)


def measure(cases: Sequence[Case], max_batch_size: int, budget_seconds: float) -> None:
    """Times every case at batch sizes 1, 2, 4 ... as far as memory and its budget reach.

    Each batch size gets one call in each round at least (beside one to warm up), batch size 1 in any case;
    what is left of the budget is shared out evenly.
    """
    if not cases:
        return
    inputs = _Inputs()
    # One autocast region around everything: what a model's weights were converted to is kept to the end.
    with torch.autocast(next(cases[0].model.parameters()).device.type, enabled=False):
        for case in cases:
            _find_batch_sizes(case, inputs, max_batch_size, budget_seconds)
        sizes = sorted({size for case in cases for size in case.seconds})
        for _ in range(NUM_ROUNDS):
            for size in sizes:
                for case in cases:
                    if size in case.seconds:
                        _measure(case, inputs, size)


class _Inputs:
    """Random images, made once for all cases of one shape and dtype."""

    def __init__(self) -> None:
        self.largest: dict[tuple[tuple[int, ...], torch.dtype], Tensor] = {}

    def of(self, case: Case, batch_size: int) -> Tensor:
        key = (case.in_shape, case.precision.dtype)
        if key not in self.largest or len(self.largest[key]) < batch_size:
            device = next(case.model.parameters()).device
            self.largest[key] = random_images(batch_size, case.in_shape, case.precision, device)
        return self.largest[key][:batch_size]


def _find_batch_sizes(case: Case, inputs: _Inputs, max_batch_size: int, budget_seconds: float) -> None:
    """Warms up, and enters the sizes to be measured into the case."""
    begun = perf_counter()
    least = 0.0  # seconds that the rounds will take at least
    size, seconds = 1, 0.0
    while size <= max_batch_size:
        # the next size takes about twice as long: a warm-up, a trial, a warm-up and a call in each round
        expected = (2 + 2 * NUM_ROUNDS) * 2 * seconds
        if size > 1 and perf_counter() - begun + least + expected > budget_seconds:
            case.ended = "out of time"
            break
        try:
            images = inputs.of(case, size)
            if images.is_cuda:
                memory.reset_peak(images.device)
                before = torch.cuda.memory_allocated(images.device) / memory.MIB
            trial = time_calls(
                case.model, images, case.precision,
                warmup=1, max_calls=NUM_TRIALS, max_seconds=budget_seconds / 100,
            )  # fmt: skip
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            _end_of_memory(case, error)
            break
        if images.is_cuda:
            own = sum(t.nbytes for t in (*case.model.parameters(), *case.model.buffers(), images))
            case.memory_mib[size] = memory.peak_mib(images.device) - before + own / memory.MIB
        if size == 1:
            begun = perf_counter()  # what a device does once, at its first call, is not the variant's
        seconds = min(trial)  # the one that nothing else disturbed
        case.seconds[size] = []
        least += 2 * NUM_ROUNDS * seconds
        size *= 2
    case.seconds_left = max(budget_seconds - (perf_counter() - begun) - least, 0.0)


def _measure(case: Case, inputs: _Inputs, batch_size: int) -> None:
    """One round of one batch size; other models have run in between, so it warms up first."""
    share = case.seconds_left / (NUM_ROUNDS * len(case.seconds))
    try:
        images = inputs.of(case, batch_size)
        case.seconds[batch_size] += time_calls(
            case.model, images, case.precision, warmup=1, max_seconds=share
        )
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        _end_of_memory(case, error)
        for size in [size for size in case.seconds if size >= batch_size]:
            del case.seconds[size]


def _end_of_memory(case: Case, error: Exception) -> None:
    if not memory.is_out_of_memory(error):
        raise error
    case.ended = "out of memory"
    torch.cuda.empty_cache()  # does nothing where CUDA is not in use


def _row(name: str, case: Case | None) -> list[Cell]:
    if case is None:
        return [name, *[None] * 9]
    summary = summarize(case.model, (case.in_shape[0], case.in_shape[1], case.in_shape[2]))
    latency, best = case.latency_ms(), case.best_batch_size()
    throughput = case.throughput(best)
    peak = case.memory_mib.get(best)
    return [
        name,
        case.precision.name,
        summary.num_params,
        summary.macs,
        float(f"{latency.median:.4g}"),
        f"{latency.low:.3g}–{latency.high:.3g}",
        best,
        round(throughput.median),
        f"{throughput.low:,.0f}–{throughput.high:,.0f}",
        None if peak is None else round(peak, 1),
    ]


def _draw(cases: Sequence[Case], styles: Sequence[plots.Style]) -> "MplFigure":
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    figure, (axes,) = plots.new_figure()
    plots.label_axes(axes, "batch size", "images per second")
    plots.note_above(axes, "line: median    band: first to third quartile")
    sizes = sorted({size for case in cases for size in case.seconds})
    ends = []
    for case, style in zip(cases, styles, strict=True):
        spreads = {size: case.throughput(size) for size in sorted(case.seconds)}
        medians = [spread.median for spread in spreads.values()]
        axes.fill_between(
            list(spreads), [s.low for s in spreads.values()], [s.high for s in spreads.values()],
            color=style.color, alpha=0.2, linewidth=0,
        )  # fmt: skip
        axes.plot(
            list(spreads), medians, color=style.color, linewidth=1.8, marker=style.marker, markersize=5.5,
            markeredgecolor="white", markeredgewidth=0.6,
        )  # fmt: skip
        ends.append((float(max(spreads)), medians[-1], case.name, style))
    known = [case.throughput(size).median for case in cases for size in case.seconds]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(0.85, max(sizes) * 1.18)
    if max(known) > LOG_FROM * min(known):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plots.quantity(value)))
    plots.label_ends(axes, ends)
    return figure
