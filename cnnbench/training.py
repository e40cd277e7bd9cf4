"""The train loop and the evaluation, for every task."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnbench import catalog, memory, metrics
from cnnbench.data.base import Split
from cnnbench.data.loader import Loader
from cnnbench.precision import Precision
from cnnbench.probes import probe
from cnnbench.recipe.config import TrainConfig
from cnnbench.seeds import mix

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
class Epoch:
    """One row of the history. Row 0 is the untrained model: it has no lr and no train values.

    train_loss and train_accuracy are averages over the epoch's augmented batches while the weights change.
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


class DivergedError(Exception):
    """The loss of a run stopped being a finite number."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"the loss was no longer finite at step {step} (epoch {epoch})")
        self.epoch = epoch
        self.step = step


@dataclass(frozen=True)
class Evaluation:
    """Mean cross entropy and accuracy over a split, and the predicted class of each image in order."""

    loss: float
    accuracy: float
    predictions: Tensor  # (N,) int64, on the CPU
    targets: Tensor  # (N,) int64, on the CPU


class TrainingState:
    """All that training changes, so that it can be saved after an epoch and go on from there."""

    def __init__(self, model: nn.Module, config: TrainConfig, precision: Precision) -> None:
        self.model = model
        make_optimizer = catalog.resolve(catalog.OPTIMIZERS[config.optimizer.name])
        self.optimizer: torch.optim.Optimizer = cast("Any", make_optimizer)(
            model.parameters(), config.lr, config.weight_decay, **config.optimizer.options
        )
        self.scaler = torch.GradScaler(precision.device_type, enabled=precision.scales_gradients)
        self.rows: list[Epoch] = []
        self.probes: list[dict[str, Any]] = []  # one for each row
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}

    def add(self, row: Epoch, measured: dict[str, Any]) -> None:
        """Appends a row and what was measured beside it, and keeps the weights if it is the best row.

        Best is by validation accuracy, then by loss.
        """
        self.rows.append(row)
        self.probes.append(measured)
        best = self.rows[self.best_epoch]
        if row is best or (row.val_accuracy, -row.val_loss) > (best.val_accuracy, -best.val_loss):
            self.best_epoch = row.epoch
            self.best_weights = {
                name: value.detach().clone() for name, value in self.model.state_dict().items()
            }

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rows": [asdict(row) for row in self.rows],
            "probes": self.probes,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.rows = [Epoch(**row) for row in state["rows"]]
        self.probes = list(state["probes"])
        self.best_epoch = state["best_epoch"]
        self.best_weights = state["best_weights"]


def fit(
    state: TrainingState, loader: Loader, config: TrainConfig, precision: Precision, *, seed: int
) -> Iterator[Step | Epoch]:
    """Trains from where `state` stands to the last epoch; yields Steps on the way and each epoch's row.

    The row is in `state` when it is yielded, so that the caller can save it. Raises DivergedError after an
    epoch whose loss was not finite.
    """
    if not state.rows:
        row = untrained_row(state, loader, precision)
        state.add(row, probe(state.model, loader, precision, row.epoch))
        yield state.rows[-1]
    forward = cast("nn.Module", torch.compile(state.model)) if config.compile else state.model
    while len(state.rows) <= config.epochs and not stops_early(state.rows, config):
        yield from train_epoch(state, forward, loader, config, precision, seed)
        yield state.rows[-1]


def untrained_row(state: TrainingState, loader: Loader, precision: Precision) -> Epoch:
    start = perf_counter()
    val = evaluate(state.model, loader, loader.dataset.val, precision)
    seconds = perf_counter() - start
    peak = memory.peak_mib(loader.device)
    return Epoch(0, 0, None, None, None, val.loss, val.accuracy, 0, 0.0, seconds, None, peak)


def train_epoch(
    state: TrainingState,
    forward: nn.Module,
    loader: Loader,
    config: TrainConfig,
    precision: Precision,
    seed: int,
) -> Iterator[Step]:
    """One pass over the training images and an evaluation; the row is added to `state`."""
    epoch = len(state.rows)
    num_steps = loader.num_train_steps
    first_step = (epoch - 1) * num_steps
    lr = config.lr
    torch.manual_seed(mix(seed, epoch))  # dropout: the same in a resumed run
    # Losses and hits stay on the device until the epoch is over: reading one would wait for it.
    losses = torch.zeros(num_steps, device=loader.device)
    num_correct = torch.zeros((), dtype=torch.int64, device=loader.device)
    num_images = 0
    forward.train()
    start = last_report = perf_counter()
    for step, (inputs, targets) in enumerate(loader.train_batches(seed, epoch)):
        lr = learning_rate(config, (first_step + step + 0.5) / (config.epochs * num_steps))
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        with precision.autocast():
            logits = forward(inputs)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if config.grad_clip is not None:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        losses[step] = loss.detach()
        num_correct += (logits.detach().argmax(1) == targets).sum()
        num_images += len(targets)
        if (now := perf_counter()) - last_report > STEP_INTERVAL_SECONDS:
            last_report = now
            yield Step(epoch, step + 1, num_steps, num_images, now - start)
    step_losses = losses.cpu()  # waits for the device: the epoch's time ends here
    train_seconds = perf_counter() - start
    if not step_losses.isfinite().all():
        bad = int(step_losses.isfinite().logical_not().int().argmax())
        raise DivergedError(epoch, first_step + bad + 1)
    start = perf_counter()
    val = evaluate(state.model, loader, loader.dataset.val, precision)
    if not math.isfinite(val.loss):
        raise DivergedError(epoch, first_step + num_steps)
    row = Epoch(
        epoch=epoch,
        step=first_step + num_steps,
        lr=lr,
        train_loss=step_losses.mean().item(),
        train_accuracy=num_correct.item() / num_images,
        val_loss=val.loss,
        val_accuracy=val.accuracy,
        num_images=num_images,
        train_seconds=train_seconds,
        val_seconds=perf_counter() - start,
        images_per_second=num_images / train_seconds,
        peak_memory_mib=memory.peak_mib(loader.device),
    )
    state.add(row, probe(state.model, loader, precision, epoch))


def learning_rate(config: TrainConfig, progress: float) -> float:
    """The learning rate at `progress`, 0 to 1 of the planned training."""
    schedule = catalog.resolve(catalog.SCHEDULES[config.schedule.name])
    return config.lr * float(cast("Any", schedule)(progress, **config.schedule.options))


def stops_early(rows: list[Epoch], config: TrainConfig) -> bool:
    """Whether validation accuracy has not risen by min_delta for `patience` epochs."""
    if config.early_stopping is None:
        return False
    best = -math.inf
    best_epoch = 0
    for row in rows:
        if row.val_accuracy > best + config.early_stopping.min_delta:
            best, best_epoch = row.val_accuracy, row.epoch
    return rows[-1].epoch - best_epoch >= config.early_stopping.patience


@torch.inference_mode()
def evaluate(model: nn.Module, loader: Loader, split: Split, precision: Precision) -> Evaluation:
    """Loss, accuracy and predictions over a split, without augmentation."""
    model.eval()
    total_loss = torch.zeros((), device=loader.device)
    predictions: list[Tensor] = []
    for inputs, targets in loader.eval_batches(split):
        with precision.autocast():
            logits = model(inputs)
        total_loss += F.cross_entropy(logits.float(), targets, reduction="sum")
        predictions.append(logits.argmax(1))
    predicted, targets = torch.cat(predictions), split.all_targets()
    matrix = metrics.confusion(targets, predicted, loader.dataset.num_classes)
    return Evaluation(
        loss=total_loss.item() / len(split),
        accuracy=metrics.accuracy(matrix),
        predictions=predicted.cpu(),
        targets=targets.cpu(),
    )
