"""The train loop, for every task."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor, nn

from cnnbench import catalog, memory
from cnnbench.data.loader import Loader
from cnnbench.evaluation import evaluate_val
from cnnbench.features import reused_features
from cnnbench.models.tuning import begin_epoch, parameters_by_lr, tuning_of
from cnnbench.passes import Passes, Recorded, training_passes, why_not_recorded
from cnnbench.precision import Precision
from cnnbench.probes import probe
from cnnbench.recipe.config import TrainConfig
from cnnbench.seeds import mix
from cnnbench.tasks import Task, make_task

# How often a train loop says where it is, in seconds: often enough for a progress bar, too seldom to cost.
STEP_INTERVAL_SECONDS = 0.1


@dataclass(frozen=True)
class Step:
    """Where training stands within an epoch; nothing here waits for the device."""

    epoch: int
    step: int
    num_steps: int
    num_images: int
    seconds: float


@dataclass(frozen=True)
class Remark:
    """A sentence on how training goes about it."""

    text: str


@dataclass(frozen=True)
class Epoch:
    """One row of the history. Row 0 is the untrained model: it has no lr and no train values.

    Train values are averages over the epoch's augmented batches while the weights change. Measures beside
    accuracy are in `more`, by their column's name (`val_iou`); `measure` is the one that leads. Since the
    row before, or since the run was begun, `wall_seconds` went by, also with what is neither training nor
    validation.
    """

    epoch: int
    step: int
    lr: float | None
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float
    val_accuracy: float
    num_images: int
    train_seconds: float
    val_seconds: float
    images_per_second: float | None
    peak_memory_mib: float
    wall_seconds: float | None = None
    measure: str = "accuracy"
    more: dict[str, float] = field(default_factory=dict)

    @property
    def leading(self) -> float:
        """The validation value by which epochs are compared."""
        return self.val_accuracy if self.measure == "accuracy" else self.more[f"val_{self.measure}"]

    def as_row(self) -> dict[str, Any]:
        """What stands in the history: one value by column."""
        values = asdict(self)
        more: dict[str, float] = values.pop("more")
        del values["measure"]
        return values | more


class DivergedError(Exception):
    """The loss of a run stopped being a finite number."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"the loss was no longer finite at step {step} (epoch {epoch})")
        self.epoch = epoch
        self.step = step


class TrainingState:
    """All that training changes, so that it can be saved after an epoch and go on from there."""

    def __init__(
        self, model: nn.Module, config: TrainConfig, precision: Precision, began: float | None = None
    ) -> None:
        """`began`: when the run was begun, by perf_counter; by default now."""
        self.model = model
        self.clock = perf_counter() if began is None else began
        self.keeps_last = config.keep == "last"
        self.sittings = 1  # how often training was begun or gone on with
        make_optimizer = catalog.resolve(catalog.OPTIMIZERS[config.optimizer.name])
        groups = parameters_by_lr(model)
        self.lr_factors = [factor for factor, _ in groups]  # one for each group of the optimizer
        self.optimizer: torch.optim.Optimizer = cast("Any", make_optimizer)(
            [{"params": params} for _, params in groups],
            config.lr,
            config.weight_decay,
            **config.optimizer.options,
        )
        self.scaler = torch.GradScaler(precision.device_type, enabled=precision.scales_gradients)
        self.rows: list[Epoch] = []
        self.probes: list[dict[str, Any]] = []  # one for each row
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}
        self.passes: Passes | None = None  # as `fit` makes them, which may take a while
        self.recorded = False  # whether the last steps were replayed

    def add(self, row: Epoch, measured: dict[str, Any]) -> None:
        """Appends a row and what was measured beside it, and keeps the weights if it is the best row.

        Best is by the measure that leads (validation accuracy or IoU), then by loss; or it is the last one,
        where the recipe keeps that.
        """
        before, self.clock = self.clock, perf_counter()
        row = replace(row, wall_seconds=self.clock - before)
        self.rows.append(row)
        self.probes.append(measured)
        best = self.rows[self.best_epoch]
        better = (row.leading, -row.val_loss) > (best.leading, -best.val_loss)
        if row is best or better or self.keeps_last:
            self.best_epoch = row.epoch
            self.best_weights = {
                name: value.detach().clone() for name, value in self.model.state_dict().items()
            }

    def end_training(self) -> None:
        """Lets go of what only steps need, recordings with their memory."""
        self.recorded = isinstance(self.passes, Recorded) and self.passes.replays
        self.passes = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sittings": self.sittings,
            "rows": [asdict(row) for row in self.rows],
            "probes": self.probes,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.sittings = state.get("sittings", 1)
        self.rows = [Epoch(**row) for row in state["rows"]]
        self.probes = list(state["probes"])
        self.best_epoch = state["best_epoch"]
        self.best_weights = state["best_weights"]


def fit(
    state: TrainingState,
    loader: Loader,
    config: TrainConfig,
    precision: Precision,
    *,
    seed: int,
    at_a_time: int = 1,
) -> Iterator[Step | Remark | Epoch]:
    """Trains from where `state` stands to the last epoch; yields Steps on the way and each epoch's row.

    `at_a_time` is how many runs share the memory. The row is in `state` when it is yielded, so that the
    caller can save it. Raises DivergedError after an epoch whose loss was not finite.
    """
    task = make_task(loader.dataset.task, config)
    begin_epoch(state.model, len(state.rows) or 1)
    if not state.rows:
        add_untrained_row(state, loader, config, precision, task)
        yield state.rows[-1]
    with reused_features(state.model, loader, precision, at_a_time) as (batches, remark):
        if remark is not None:
            yield Remark(remark)
        if state.passes is None:
            state.passes = training_passes(state.model, task, config, precision, loader.device)
            reason = why_not_recorded(state.model, loader.device)
            if reason is not None and loader.device.type == "cuda" and not config.compile:
                yield Remark(f"its steps are not recorded as CUDA graphs: {reason}")
        let_go = tuning_of(state.model).unfreeze_epoch or 0
        while len(state.rows) <= config.epochs and not stops_early(state.rows, config, let_go):
            yield from train_epoch(state, state.passes, batches, config, precision, seed)
            yield state.rows[-1]


def add_untrained_row(
    state: TrainingState, loader: Loader, config: TrainConfig, precision: Precision, task: Task
) -> None:
    """Row 0: the model as it begins."""
    start = perf_counter()
    task, val = evaluate_val(state.model, loader, precision, task)
    seconds = perf_counter() - start
    peak = memory.peak_mib(loader.device)
    row = Epoch(
        0, 0, None, None, None, val.loss, val.accuracy, 0, 0.0, seconds, None, peak,
        measure=task.leading, more=beyond_accuracy(val=val.measures) | task.chosen(),
    )  # fmt: skip
    measured: dict[str, Any] = {"epoch": row.epoch, "gradients": {}}
    if config.epochs or not loader.as_bytes:  # else a published network as it is
        measured = probe(state.model, loader, precision, row.epoch, task.loss)
    state.add(row, measured)


def beyond_accuracy(**measured: dict[str, float]) -> dict[str, float]:
    """val_iou and so on: what a task measures beside accuracy, by split."""
    return {
        f"{split}_{name}": value
        for split, measures in measured.items()
        for name, value in measures.items()
        if name != "accuracy"
    }


def train_epoch(
    state: TrainingState,
    passes: Passes,
    loader: Loader,
    config: TrainConfig,
    precision: Precision,
    seed: int,
) -> Iterator[Step]:
    """One pass over the training images and an evaluation; the row is added to `state`."""
    task = make_task(loader.dataset.task, config)
    epoch = len(state.rows)
    num_steps = loader.num_train_steps
    first_step = (epoch - 1) * num_steps
    lr = config.lr
    torch.manual_seed(mix(seed, epoch))  # dropout: the same in a resumed run
    # Losses and counts stay on the device until the epoch is over: reading one would wait for it.
    losses = torch.zeros(num_steps, device=loader.device)
    counts = torch.zeros((), dtype=torch.int64, device=loader.device)
    num_images = 0
    rate = learning_rates(config)
    resizing = config.progressive_resizing
    size = resizing.size_in(epoch, config.epochs) if resizing else None
    begin_epoch(state.model, epoch)
    state.model.train()
    start = last_report = perf_counter()
    for step, (inputs, targets) in enumerate(loader.train_batches(seed, epoch, size)):
        lr = rate((first_step + step + 0.5) / (config.epochs * num_steps))
        for group, factor in zip(state.optimizer.param_groups, state.lr_factors, strict=True):
            group["lr"] = lr * factor
        loss, counted = passes(inputs, targets)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if config.grad_clip is not None:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        forget_gradients(state.optimizer)
        losses[step] = loss.detach()
        counts = counts + counted
        num_images += len(targets)
        if (now := perf_counter()) - last_report > STEP_INTERVAL_SECONDS:
            last_report = now
            yield Step(epoch, step + 1, num_steps, num_images, now - start)
    step_losses = losses.cpu()  # waits for the device: the epoch's time ends here
    finish_epoch(
        state, loader, precision, task, Trained(step_losses, counts, lr, num_images, perf_counter() - start)
    )


@dataclass(frozen=True)
class Trained:
    """What is known of an epoch once its steps are done: losses (num_steps,), and the task's counts."""

    losses: Tensor  # on the CPU
    counts: Tensor
    lr: float
    num_images: int
    seconds: float


def finish_epoch(
    state: TrainingState, loader: Loader, precision: Precision, task: Task, trained: Trained
) -> None:
    """Evaluates the model after an epoch and adds the row to `state`; raises DivergedError."""
    epoch, num_steps = len(state.rows), len(trained.losses)
    first_step = (epoch - 1) * num_steps
    if not trained.losses.isfinite().all():
        bad = int(trained.losses.isfinite().logical_not().int().argmax())
        raise DivergedError(epoch, first_step + bad + 1)
    start = perf_counter()
    task, val = evaluate_val(state.model, loader, precision, task)
    measures = task.measures(trained.counts.cpu())
    if not math.isfinite(val.loss):
        raise DivergedError(epoch, first_step + num_steps)
    row = Epoch(
        epoch=epoch,
        step=first_step + num_steps,
        lr=trained.lr,
        train_loss=trained.losses.mean().item(),
        train_accuracy=measures["accuracy"],
        val_loss=val.loss,
        val_accuracy=val.accuracy,
        num_images=trained.num_images,
        train_seconds=trained.seconds,
        val_seconds=perf_counter() - start,
        images_per_second=trained.num_images / trained.seconds,
        peak_memory_mib=memory.peak_mib(loader.device),
        measure=task.leading,
        more=beyond_accuracy(train=measures, val=val.measures) | task.chosen(),
    )
    state.add(row, probe(state.model, loader, precision, epoch, task.loss))


def learning_rates(config: TrainConfig) -> Callable[[float], float]:
    """The learning rate as a function of progress, 0 to 1 of the planned training."""
    schedule = cast("Any", catalog.resolve(catalog.SCHEDULES[config.schedule.name]))
    options = config.schedule.options
    return lambda progress: config.lr * float(schedule(progress, **options))


def forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    """`zero_grad`, without what that writes down for a profiler at every step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def stops_early(rows: list[Epoch], config: TrainConfig, let_go: int = 0) -> bool:
    """Whether the leading validation measure has not risen by min_delta for `patience` epochs.

    Those before the epoch in which a backbone is let go do not count: what is to come then would be lost.
    """
    if config.early_stopping is None or rows[-1].epoch < let_go:
        return False
    rows = [row for row in rows if row.epoch >= let_go - 1]
    best = -math.inf
    best_epoch = 0
    for row in rows:
        if row.leading > best + config.early_stopping.min_delta:
            best, best_epoch = row.leading, row.epoch
    return rows[-1].epoch - best_epoch >= config.early_stopping.patience
