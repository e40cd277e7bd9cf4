"""One run from settings to result: a function of (settings, data, directory, device) and of nothing else."""

import math
import platform
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter
from typing import Any

import torch

from cnnbench import memory
from cnnbench.data.base import Dataset, Split
from cnnbench.data.loader import Loader
from cnnbench.errors import CnnbenchError
from cnnbench.evaluation import Evaluation, evaluate, evaluate_val
from cnnbench.inference import BATCH_SIZE, MASKS_BATCH_SIZE, measure_inference
from cnnbench.models import begin, build_model, fit_to, takes_bytes
from cnnbench.models.summary import Summary, summarize
from cnnbench.precision import Precision, choose_precision, device_name
from cnnbench.recipe.config import RunConfig
from cnnbench.runs import Run, encoder_weights
from cnnbench.settings import differences
from cnnbench.tasks import Task, make_task
from cnnbench.threads import threads_for
from cnnbench.training import (
    DivergedError,
    Epoch,
    Remark,
    Step,
    TrainingState,
    fit,
)

LARGE_IMAGE = 64 * 64  # pixels: of these or fewer a whole batch of inference fits wherever training does


@dataclass(frozen=True)
class Resumed:
    """The run goes on after this epoch."""

    epoch: int


@dataclass(frozen=True)
class Damaged:
    """A saved state that could not be used: why, and where training goes on instead."""

    message: str


@dataclass(frozen=True)
class Share:
    """What a run had of the machine: so many threads, while so many runs were in work.

    With `seeds_in_one` above 1 it was trained together with others, as one batched model.
    """

    threads: int
    at_a_time: int
    seeds_in_one: int = 1


class OutOfMemoryError(CnnbenchError):
    """The device or the machine had not enough memory for a run."""


JobEvent = Resumed | Damaged | Step | Remark | Epoch


def train_run(
    run: Run,
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    *,
    at_a_time: int = 1,
    load_seconds: float = 0.0,
) -> Iterator[JobEvent]:
    """Trains the run from its last good state, or from the start, and finishes it.

    `at_a_time` is how many runs share the machine, which the result says; `load_seconds` is how long it took
    to load the data, which counts as time of the run. Every epoch is on disk when its
    row is yielded. A diverged run is finished too, with that as its status. Raises OutOfMemoryError with a
    batch size to try.
    """
    began = perf_counter() - load_seconds
    precision = choose_precision(config.train.precision, device)
    memory.keep_freed()
    memory.reset_peak(device)
    begun = begin_run(run, config, dataset, device, precision, began)
    state, loader = begun.state, begun.loader
    with (
        told_of_memory(device, at_batch_size(loader.batch_size)),
        threads_for(begun.summary.macs * loader.batch_size),
    ):
        conditions = conditions_of(precision, device, dataset)
        share = yield from resume(run, state, conditions, Share(torch.get_num_threads(), at_a_time))
        torch.set_num_threads(share.threads)
        events = fit(state, loader, config.train, precision, seed=config.seed, at_a_time=share.at_a_time)
        try:
            for event in events:
                if isinstance(event, Epoch):
                    save_epoch(run, state, conditions, share)
                yield event
            state.end_training()
        except DivergedError as error:
            state.end_training()
            finish_diverged(begun, precision, share, error)
        else:
            finish(begun, precision, share)


@dataclass(frozen=True)
class Begun:
    """A run whose model stands where it begins, and with what it is trained."""

    run: Run
    config: RunConfig
    state: TrainingState
    summary: Summary
    loader: Loader


def begin_run(
    run: Run, config: RunConfig, dataset: Dataset, device: torch.device, precision: Precision, began: float
) -> Begun:
    """The model as its seed makes it, on the device; `began` is when the run was, by perf_counter."""
    with told_of_memory(device, "for the model alone; take a smaller one"):
        torch.manual_seed(config.seed)
        model = build_model(config.model, dataset.in_shape, dataset.num_classes, config.plugins)
        begin(model, dataset.classes, encoder_weights(run, config))
        model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        summary = summarize(model, dataset.in_shape)
        as_bytes = takes_bytes(config.model, config.plugins)
        loader = Loader(
            dataset, config.data, device, precision.dtype, plugins=config.plugins, as_bytes=as_bytes
        )
    with told_of_memory(device, at_batch_size(loader.batch_size)):
        fit_to(model, lambda: loader.begin_inputs(config.seed))
        return Begun(run, config, TrainingState(model, config.train, precision, began), summary, loader)


def at_batch_size(size: int) -> str:
    """How a message on memory ends where training wants it."""
    advice = f"try --set data.batch_size={size // 2}" if size > 1 else "take a smaller model"
    return f"at batch size {size}; {advice}"


@contextmanager
def told_of_memory(device: torch.device, doing: str) -> Iterator[None]:
    """Within the block memory that runs out is an OutOfMemoryError, whose message ends in `doing`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not memory.is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"out of memory on {device.type} {doing}") from error


def conditions_of(precision: Precision, device: torch.device, dataset: Dataset) -> dict[str, str]:
    """What a run must not change in its middle, for then it would be no one's run."""
    return {
        "device": device_name(device),
        "precision": precision.name,
        "torch": version("torch"),
        "images": dataset.digest(),
        "pixels": dataset.pixels,
    }


def resume(
    run: Run, state: TrainingState, conditions: dict[str, str], share: Share
) -> Generator[JobEvent, None, Share]:
    """Takes the last good state, if there is one, and makes the history agree with it.

    Returns the share of the machine to go on with: as many threads as before, since sums depend on them, and
    the most runs at a time there ever were.
    """
    found, problems = run.load_state()
    saved = found
    before = (saved or {}).get("conditions") or {}
    if "pixels" not in before:  # begun by a version that did not know them
        conditions = {key: value for key, value in conditions.items() if key != "pixels"}
    if saved is not None and before != conditions:
        changed = ", ".join(differences(before, conditions))
        problems.append(f"it was begun under other conditions ({changed})")
        saved = None
    if saved is not None and not (saved.keys() >= {"threads", "at_a_time"} and take(state, saved)):
        saved = None
        problems.append(f"the state in {run.path} is of another model or another version of cnnbench")
    instead = "starting anew" if saved is None else "going back to the state before it"
    if found is not None and saved is None:  # good elsewhere, or with what is installed there: not lost
        instead = f"starting anew, and what there was is kept in {run.set_aside(goes_on=True)}"
    yield from (Damaged(f"{problem}; {instead}") for problem in problems)
    if saved is not None:
        state.sittings += 1
        yield Resumed(state.rows[-1].epoch)
        in_one = max(saved.get("seeds_in_one", 1), share.seeds_in_one)
        share = Share(saved["threads"], max(saved["at_a_time"], share.at_a_time), in_one)
    run.write_history([row.as_row() for row in state.rows], state.probes)
    return share


def take(state: TrainingState, saved: dict[str, Any]) -> bool:
    """Whether the saved state fits; `state` is as it was before where it does not."""
    before = deepcopy(state.state_dict())
    try:
        state.load_state_dict(saved)
        return bool(state.rows)
    except (LookupError, RuntimeError, TypeError, ValueError, AttributeError):
        state.load_state_dict(before)
        return False


def save_epoch(run: Run, state: TrainingState, conditions: dict[str, str], share: Share) -> None:
    """Puts an epoch on disk, before it is told."""
    run.write_history([row.as_row() for row in state.rows], state.probes)
    run.save_state(state.state_dict() | {"conditions": conditions} | asdict(share))


def finish_diverged(begun: Begun, precision: Precision, share: Share, error: DivergedError) -> None:
    """Ends a run whose loss is no number."""
    task = make_task(begun.loader.dataset.task, begun.config.train)
    result = describe(begun, precision, task, share)
    begun.run.finish(result | {"status": "diverged", "message": str(error)}, None)


def finish(begun: Begun, precision: Precision, share: Share) -> None:
    """Measures the best weights on all three splits; the test split is read here, once.

    They are measured as they come back from the disk: the figures are those of the file that is kept.
    Without training, the train split says nothing that validation does not, and is left out.
    """
    run, state, loader, dataset = begun.run, begun.state, begun.loader, begun.loader.dataset
    run.save_weights(state.best_weights)
    state.model.load_state_dict(run.weights())
    task, _ = evaluate_val(state.model, loader, precision, make_task(dataset.task, begun.config.train))
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    if state.rows[-1].epoch == 0:
        del splits["train"]
    measured = {name: evaluate(state.model, loader, split, precision, task) for name, split in splits.items()}
    val, test = measured["val"], measured["test"]
    batch_size = MASKS_BATCH_SIZE if dataset.task == "segmentation" else BATCH_SIZE
    if loader.as_bytes or math.prod(dataset.in_shape[1:]) > LARGE_IMAGE:
        batch_size = min(batch_size, loader.eval_batch_size)
    result = describe(begun, precision, task, share) | {
        "status": "complete",
        "message": None,
        "metrics": metrics_of(**measured),
        **asdict(measure_inference(state.model, dataset.in_shape, precision, batch_size)),
    }
    small = torch.int16 if dataset.num_classes <= 32_767 else torch.int32
    if dataset.task == "segmentation":
        small = torch.uint8
    predictions = {
        "val_predictions": val.predictions.to(small).numpy(),
        "val_targets": val.targets.to(small).numpy(),
        "test_predictions": test.predictions.to(small).numpy(),
        "test_targets": test.targets.to(small).numpy(),
    }
    run.finish(result, predictions | groups_of(val=dataset.val, test=dataset.test))


def groups_of(**splits: Split) -> dict[str, Any]:
    """val_groups and so on: which images show one thing, where the data set says so."""
    return {
        f"{name}_groups": groups.numpy()
        for name, split in splits.items()
        if (groups := split.all_groups()) is not None
    }


def metrics_of(**evaluations: Evaluation) -> dict[str, float]:
    """train_loss, train_accuracy, val_loss and so on."""
    return {
        f"{split}_{name}": value
        for split, evaluation in evaluations.items()
        for name, value in {"loss": evaluation.loss, **evaluation.measures}.items()
    }


def describe(begun: Begun, precision: Precision, task: Task, share: Share) -> dict[str, Any]:
    """What a result says of every run, diverged ones too."""
    state, summary, loader = begun.state, begun.summary, begun.loader
    device = loader.device
    return {
        "status": None,
        "message": None,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "epochs": state.rows[-1].epoch,
        "sittings": state.sittings,
        "best_epoch": state.best_epoch,
        "leading": task.leading,
        **task.chosen(),
        "metrics": {},
        "classes": [str(name) for name in loader.dataset.classes],  # a plugin may have numbers
        # all that other images need to be shown to the model as these were
        "images": {
            "in_shape": list(loader.dataset.in_shape),
            "mean": list(loader.dataset.mean),
            "std": list(loader.dataset.std),
            "splits": {name: split.described() for name, split in loader.dataset.splits().items()},
            "digest": loader.dataset.digest(),
            "pixels": loader.dataset.pixels,
        },
        "num_params": summary.num_params,
        "macs": summary.macs,
        "train_seconds": sum(row.train_seconds for row in state.rows),
        "val_seconds": sum(row.val_seconds for row in state.rows),
        "latency_ms": None,
        "throughput": None,
        "peak_memory_mib": max(row.peak_memory_mib for row in state.rows),
        "precision": precision.name,
        "device": {
            "type": device.type,
            "name": device_name(device),
            "threads": share.threads,
            "at_a_time": share.at_a_time,
            "seeds_in_one": share.seeds_in_one,
            **({"recorded": state.recorded} if device.type == "cuda" else {}),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("cnnbench", "torch", "torchvision", "numpy")},
        },
    }
