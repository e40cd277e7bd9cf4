import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cnnbench.data import load_dataset
from cnnbench.data.base import Dataset
from cnnbench.data.loader import Loader
from cnnbench.evaluation import evaluate
from cnnbench.models.tuning import Backboned, Tuning
from cnnbench.passes import training_passes
from cnnbench.precision import Precision
from cnnbench.recipe.config import DataConfig, EarlyStopping, Named, ProgressiveResizing, TrainConfig
from cnnbench.tasks import Classification, Segmentation
from cnnbench.training import (
    DivergedError,
    Epoch,
    Step,
    TrainingState,
    fit,
    stops_early,
    train_epoch,
)

CPU = torch.device("cpu")
FP32 = Precision("fp32", "cpu")
CROP_FLIP = [
    Named(name="PadIfNeeded", min_height=12, min_width=12),
    Named(name="RandomCrop", height=8, width=8),
    Named(name="HorizontalFlip"),
]
PLAIN_SGD = Named(name="sgd", momentum=0.0, nesterov=False)


def data_config(**options: Any) -> DataConfig:
    basis = {"name": "synthetic", "height": 8, "width": 8, "num_images": 320, "batch_size": 32}
    return DataConfig(**(basis | options))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(data_config(), Path())  # 288 train, 32 val, 80 test, 10 classes


class Net(nn.Module):
    """Small, with dropout and without running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8 * 36, 10)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.layers(inputs)
        return logits


def begin(
    dataset: Dataset, config: TrainConfig, precision: Precision = FP32, **options: Any
) -> tuple[TrainingState, Loader]:
    torch.manual_seed(0)
    state = TrainingState(Net(), config, precision)
    return state, Loader(dataset, data_config(**options), CPU, precision.dtype)


def rows_of(
    dataset: Dataset, config: TrainConfig, precision: Precision = FP32, **options: Any
) -> list[Epoch]:
    state, loader = begin(dataset, config, precision, **options)
    return [event for event in fit(state, loader, config, precision, seed=0) if isinstance(event, Epoch)]


def row(epoch: int, accuracy: float, loss: float = 1.0) -> Epoch:
    return Epoch(epoch, epoch, 0.1, 1.0, 0.5, loss, accuracy, 1, 1.0, 1.0, 1.0, 1.0)


class BackbonedNet(Backboned):
    """A frozen or gently trained convolution with batch norm, and a head."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__(tuning)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 36, 10)

    def backbone(self) -> list[nn.Module]:
        return list(self.features.modules())

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(inputs))
        return logits


def train_backboned(dataset: Dataset, tuning: Tuning, config: TrainConfig) -> list[dict[str, Tensor]]:
    """The weights after every epoch, the untrained ones first."""
    torch.manual_seed(0)
    state = TrainingState(BackbonedNet(tuning), config, FP32)
    loader = Loader(dataset, data_config(), CPU, torch.float32)
    return [
        copy.deepcopy(state.model.state_dict())
        for event in fit(state, loader, config, FP32, seed=0)
        if isinstance(event, Epoch)
    ]


# Rows


@pytest.fixture(scope="module")
def history(dataset: Dataset) -> list[Epoch]:
    return rows_of(dataset, TrainConfig(epochs=6, lr=3e-3))


def test_a_row_has_the_fields_of_the_history_in_order(history: list[Epoch]) -> None:
    fields = (
        "epoch step lr train_loss train_accuracy val_loss val_accuracy num_images "
        "train_seconds val_seconds images_per_second peak_memory_mib wall_seconds"
    )
    assert " ".join(history[0].as_row()) == fields


def test_row_0_is_the_untrained_model(dataset: Dataset, history: list[Epoch]) -> None:
    first = history[0]
    assert (first.epoch, first.step, first.num_images, first.train_seconds) == (0, 0, 0, 0.0)
    assert (first.lr, first.train_loss, first.train_accuracy, first.images_per_second) == (None,) * 4
    assert first.val_loss == pytest.approx(math.log(10), abs=0.5)  # it knows nothing of ten classes
    state, loader = begin(dataset, TrainConfig())
    untrained = evaluate(state.model, loader, dataset.val, FP32)
    assert (first.val_loss, first.val_accuracy) == (untrained.loss, untrained.accuracy)


def test_then_one_row_per_epoch(history: list[Epoch]) -> None:
    assert [each.epoch for each in history] == list(range(7))
    assert [each.step for each in history] == [9 * epoch for epoch in range(7)]  # 288 images by 32
    assert {each.num_images for each in history[1:]} == {288}
    assert {each.lr for each in history[1:]} == {3e-3}
    for each in history[1:]:
        assert each.images_per_second == pytest.approx(each.num_images / each.train_seconds)
        assert each.peak_memory_mib > 10


def test_the_model_learns(history: list[Epoch]) -> None:
    assert history[-1].train_loss is not None
    assert history[1].train_loss is not None
    assert history[-1].train_loss < 0.5 * history[1].train_loss
    assert history[-1].val_loss < 0.5 * history[0].val_loss
    assert history[0].val_accuracy < 0.4
    assert history[-1].val_accuracy > 0.9


def test_no_epochs_is_the_untrained_row_alone(dataset: Dataset) -> None:
    assert [each.epoch for each in rows_of(dataset, TrainConfig(epochs=0))] == [0]


def test_two_trainings_are_the_same_and_another_seed_is_another(
    dataset: Dataset, history: list[Epoch]
) -> None:
    again = rows_of(dataset, TrainConfig(epochs=2, lr=3e-3))
    assert [(r.train_loss, r.val_loss) for r in again] == [(r.train_loss, r.val_loss) for r in history[:3]]
    config = TrainConfig(epochs=1, lr=3e-3)
    state, loader = begin(dataset, config)
    other = [each for each in fit(state, loader, config, FP32, seed=1) if isinstance(each, Epoch)]
    assert other[1].train_loss != history[1].train_loss


def test_steps_say_where_an_epoch_stands(dataset: Dataset) -> None:
    class Slow(Net):
        def forward(self, inputs: Tensor) -> Tensor:
            if self.training:
                torch.rand(1_500_000).sort()  # longer than the interval between two Steps
            return super().forward(inputs)

    config = TrainConfig(epochs=1)
    state = TrainingState(Slow(), config, FP32)
    loader = Loader(dataset, data_config(batch_size=96), CPU)
    steps = [each for each in fit(state, loader, config, FP32, seed=0) if isinstance(each, Step)]
    assert steps
    for each in steps:
        assert (each.epoch, each.num_steps, each.num_images) == (1, 3, 96 * each.step)


# Going on


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "muon"])
def test_a_state_goes_on_as_if_nothing_had_happened(dataset: Dataset, optimizer: str) -> None:
    config = TrainConfig(epochs=3, optimizer=Named(name=optimizer), schedule=Named(name="cosine"))
    straight, loader = begin(dataset, config, augment=CROP_FLIP)
    saved: dict[str, Any] = {}
    for event in fit(straight, loader, config, FP32, seed=5):
        if isinstance(event, Epoch) and event.epoch == 1:
            saved = copy.deepcopy(straight.state_dict())
    torch.manual_seed(99)
    resumed = TrainingState(Net(), config, FP32)
    resumed.load_state_dict(saved)
    events = [each for each in fit(resumed, loader, config, FP32, seed=5) if isinstance(each, Epoch)]
    assert [each.epoch for each in events] == [2, 3]
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
    assert [r.train_loss for r in resumed.rows] == [r.train_loss for r in straight.rows]
    assert resumed.best_epoch == straight.best_epoch


# The best weights and the end


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([(0.1, 2.0), (0.5, 1.0), (0.4, 0.5)], 1),
        ([(0.1, 2.0), (0.5, 1.0), (0.5, 0.9), (0.5, 0.95)], 2),
        ([(0.5, 1.0), (0.5, 1.0)], 0),
        ([(0.6, 1.0), (0.5, 0.1)], 0),
        ([(0.1, math.nan), (0.5, 1.0)], 1),
    ],
    ids=["accuracy", "loss decides a tie", "the first of equals", "never better", "untrained NaN"],
)
def test_best_weights_by_accuracy_then_loss(rows: Sequence[tuple[float, float]], best: int) -> None:
    state = TrainingState(nn.Linear(1, 1), TrainConfig(), FP32)
    for epoch, (accuracy, loss) in enumerate(rows):
        with torch.no_grad():
            state.model.weight.fill_(epoch)  # type: ignore[operator, union-attr]
        state.add(row(epoch, accuracy, loss), {})
    assert state.best_epoch == best
    assert state.best_weights["weight"].item() == best


def test_the_last_weights_are_kept_where_the_recipe_says_so() -> None:
    state = TrainingState(nn.Linear(1, 1), TrainConfig(keep="last"), FP32)
    for epoch, accuracy in enumerate([0.1, 0.9, 0.5]):
        with torch.no_grad():
            state.model.weight.fill_(epoch)  # type: ignore[operator, union-attr]
        state.add(row(epoch, accuracy), {})
        assert state.best_epoch == epoch
        assert state.best_weights["weight"].item() == epoch


def test_a_row_has_the_seconds_since_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 104.5, 111.0])
    monkeypatch.setattr("cnnbench.training.perf_counter", lambda: next(times))
    state = TrainingState(nn.Linear(1, 1), TrainConfig(), FP32)
    state.add(row(0, 0.1), {})
    state.add(row(1, 0.2), {})
    assert [each.wall_seconds for each in state.rows] == [4.5, 6.5]
    monkeypatch.setattr("cnnbench.training.perf_counter", lambda: 20.0)
    state = TrainingState(nn.Linear(1, 1), TrainConfig(), FP32, began=17.0)  # and loading took 3 of them
    state.add(row(0, 0.1), {})
    assert state.rows[0].wall_seconds == 3.0


@pytest.mark.parametrize(("until", "small"), [(0.5, 2), (0.39, 1), (0.8, 4), (0.2, 1), (0.1, 0)])
def test_the_first_epochs_have_smaller_images(dataset: Dataset, until: float, small: int) -> None:
    """Of 5 epochs; validation images are never resized."""
    seen: dict[bool, list[int]] = {True: [], False: []}

    class Averaging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 10)

        def forward(self, inputs: Tensor) -> Tensor:
            seen[self.training].append(inputs.shape[2])
            logits: Tensor = self.linear(inputs.mean((2, 3)))
            return logits

    config = TrainConfig(epochs=5, progressive_resizing=ProgressiveResizing(size=6, until=until))
    state = TrainingState(Averaging(), config, FP32)
    loader = Loader(dataset, data_config(batch_size=288), CPU)  # an epoch is one batch
    sizes = []
    for event in fit(state, loader, config, FP32, seed=0):
        if isinstance(event, Epoch):  # and no Step, which a slow machine reports on the way
            sizes += seen[True][:1] if event.epoch else []
            seen[True].clear()
    assert sizes == small * [6] + (5 - small) * [8]
    assert set(seen[False]) == {8}


@pytest.mark.parametrize(
    ("accuracies", "patience", "min_delta", "stop"),
    [
        # by hand: best at epoch 2, then two epochs without a rise
        ([0.1, 0.5, 0.6, 0.6, 0.55, 0.7], 2, 0.0, 4),
        # rises of 0.05 do not count against 0.5 of epoch 1 with min_delta 0.1; 0.61 at epoch 4 does
        ([0.1, 0.5, 0.55, 0.6, 0.61, 0.62, 0.63, 0.64], 4, 0.1, None),
        ([0.1, 0.5, 0.55, 0.6, 0.6, 0.62], 3, 0.1, 4),
        ([0.3, 0.2, 0.9], 1, 0.0, 1),
        ([0.1, 0.2, 0.3, 0.4], 1, 0.0, None),
    ],
    ids=["stops at 4", "slow rise counts", "slow rise in vain", "worse than untrained", "always better"],
)
def test_early_stopping(accuracies: list[float], patience: int, min_delta: float, stop: int | None) -> None:
    config = TrainConfig(early_stopping=EarlyStopping(patience=patience, min_delta=min_delta))
    rows = [row(epoch, accuracy) for epoch, accuracy in enumerate(accuracies)]
    stops = [each.epoch for each in rows if stops_early(rows[: each.epoch + 1], config)]
    assert (stops[0] if stops else None) == stop
    assert not stops_early(rows, TrainConfig())


def test_early_stopping_waits_until_a_backbone_is_let_go() -> None:
    """And its patience begins anew there: epoch 5 is the first that is compared with the one before."""
    config = TrainConfig(early_stopping=EarlyStopping(patience=2))
    rows = [row(epoch, 0.5) for epoch in range(9)]
    stops = [each.epoch for each in rows if stops_early(rows[: each.epoch + 1], config, let_go=5)]
    assert stops[0] == 6


def test_fit_stops_early(dataset: Dataset) -> None:
    early = EarlyStopping(patience=2, min_delta=0.99)  # no rise is large enough
    rows = rows_of(dataset, TrainConfig(epochs=9, early_stopping=early))
    assert [each.epoch for each in rows] == [0, 1, 2]


# Divergence


class InfiniteAt(Net):
    """Its outputs are not finite in the n-th training step; probes call it between epochs of 9 steps too."""

    def __init__(self, step: int, value: float) -> None:
        super().__init__()
        self.at, self.value, self.calls = step, value, 0
        self.probed = {1, 11, 21}  # the first call, and one after each epoch

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        self.calls += self.training
        step = self.calls - sum(call <= self.calls for call in self.probed)
        is_step = self.training and self.calls not in self.probed
        return logits * self.value if is_step and step == self.at else logits


@pytest.mark.parametrize(("step", "epoch"), [(1, 1), (9, 1), (10, 2), (14, 2)])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_names_its_step(
    dataset: Dataset, step: int, epoch: int, value: float
) -> None:
    config = TrainConfig(epochs=3)
    state = TrainingState(InfiniteAt(step, value), config, FP32)
    loader = Loader(dataset, data_config(), CPU)
    message = rf"no longer finite at step {step} \(epoch {epoch}\)"
    with pytest.raises(DivergedError, match=message) as caught:
        list(fit(state, loader, config, FP32, seed=0))
    assert (caught.value.step, caught.value.epoch) == (step, epoch)
    assert [each.epoch for each in state.rows] == list(range(epoch))  # the good epochs stay


@pytest.fixture(scope="module")
def masks() -> Loader:
    config = DataConfig(name="lunar_synthetic", num_images=40, size=16, batch_size=36)
    return Loader(load_dataset(config, Path()), config, CPU)


def pixels() -> nn.Module:
    """A model of masks, the same one each time, by which rock is unlikely everywhere."""
    torch.manual_seed(0)
    model = nn.Conv2d(3, 1, 3, padding=1)
    assert model.bias is not None
    nn.init.constant_(model.bias, -2.0)
    return model


def fit_masks(masks: Loader, lr: float, epochs: int) -> list[Epoch]:
    model = pixels()
    config = TrainConfig(epochs=epochs, lr=lr, weight_decay=0.0, optimizer=PLAIN_SGD)
    state = TrainingState(model, config, FP32)
    return [event for event in fit(state, masks, config, FP32, seed=0) if isinstance(event, Epoch)]


def test_train_masks_are_measured_at_the_threshold_of_validation(masks: Loader) -> None:
    """Weights that hardly move and nothing augmented: train is then what an evaluation of it finds."""
    first, second = fit_masks(masks, 1e-12, epochs=1)
    threshold = second.more["threshold"]
    assert first.more["threshold"] == threshold < 0.5
    model = pixels()
    task = Segmentation(threshold=threshold)
    expected = evaluate(model, masks, masks.dataset.train, FP32, task).measures
    found = {name: second.more[f"train_{name}"] for name in expected if name != "accuracy"}
    assert found == pytest.approx({name: expected[name] for name in found})
    assert second.train_accuracy == pytest.approx(expected["accuracy"])
    at_one_half = evaluate(model, masks, masks.dataset.train, FP32, Segmentation())
    assert at_one_half.measures["iou"] < 0.5 * expected["iou"]


def test_masks_diverge_as_classes_do(masks: Loader) -> None:
    """One step an epoch: it is validation that finds weights which are no numbers any more."""
    with pytest.raises(DivergedError):
        fit_masks(masks, 1e38, epochs=3)


def test_a_huge_lr_diverges(dataset: Dataset) -> None:
    with pytest.raises(DivergedError):
        rows_of(dataset, TrainConfig(epochs=3, optimizer=Named(name="sgd"), lr=1e30))


# One step, by hand


def first_step(dataset: Dataset, **settings: Any) -> tuple[Net, dict[str, Tensor], Tensor, Tensor]:
    """A model before and after one step of plain SGD on the whole train split."""
    config = TrainConfig(epochs=1, optimizer=PLAIN_SGD, lr=0.5, **settings)
    torch.manual_seed(0)
    model = Net()
    model.layers[3].p = 0.0  # type: ignore[assignment]
    before = copy.deepcopy(model)
    state = TrainingState(model, config, FP32)
    loader = Loader(dataset, data_config(batch_size=288), CPU)
    list(fit(state, loader, config, FP32, seed=0))
    inputs, targets = next(loader.train_batches(0, 1))
    return before, model.state_dict(), inputs, targets


def gradients(model: Net, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def assert_stepped(before: Net, after: dict[str, Tensor], steps: list[Tensor]) -> None:
    for (name, value), step in zip(before.named_parameters(), steps, strict=True):
        torch.testing.assert_close(after[name], value - 0.5 * step, atol=1e-6, rtol=1e-4)


def test_plain_step(dataset: Dataset) -> None:
    before, after, inputs, targets = first_step(dataset)
    log_probabilities = before(inputs).log_softmax(1)
    loss = -log_probabilities[torch.arange(288), targets].mean()
    assert_stepped(before, after, gradients(before, loss))


def test_weight_decay_is_added_to_the_gradient(dataset: Dataset) -> None:
    before, after, inputs, targets = first_step(dataset, weight_decay=0.1)
    steps = gradients(before, F.cross_entropy(before(inputs), targets))
    decayed = [step + 0.1 * value.detach() for step, value in zip(steps, before.parameters(), strict=True)]
    assert_stepped(before, after, decayed)


def test_label_smoothing(dataset: Dataset) -> None:
    before, after, inputs, targets = first_step(dataset, label_smoothing=0.3)
    log_probabilities = before(inputs).log_softmax(1)
    wanted = 0.7 * F.one_hot(targets, 10) + 0.03  # Szegedy et al. 2016
    assert_stepped(before, after, gradients(before, -(wanted * log_probabilities).sum(1).mean()))


def test_gradients_are_clipped_to_a_norm(dataset: Dataset) -> None:
    before, after, inputs, targets = first_step(dataset, grad_clip=0.01)
    steps = gradients(before, F.cross_entropy(before(inputs), targets))
    norm = math.sqrt(sum(step.square().sum().item() for step in steps))
    assert norm > 0.1
    assert_stepped(before, after, [step * 0.01 / norm for step in steps])


def test_clipping_knows_all_gradients_whatever_their_rates(dataset: Dataset) -> None:
    config = TrainConfig(epochs=1, optimizer=PLAIN_SGD, lr=0.5, grad_clip=0.01)
    torch.manual_seed(0)
    model = BackbonedNet(Tuning(lr_factor=0.1))
    before = copy.deepcopy(model)
    loader = Loader(dataset, data_config(batch_size=288), CPU)
    list(fit(TrainingState(model, config, FP32), loader, config, FP32, seed=0))
    inputs, targets = next(loader.train_batches(0, 1))
    steps = torch.autograd.grad(F.cross_entropy(before(inputs), targets), list(before.parameters()))
    norm = math.sqrt(sum(step.square().sum().item() for step in steps))
    assert norm > 0.1
    after = dict(model.named_parameters())
    for (name, value), step in zip(before.named_parameters(), steps, strict=True):
        lr = 0.5 if name.startswith("head") else 0.05
        torch.testing.assert_close(after[name], value - lr * step * 0.01 / norm, atol=1e-6, rtol=1e-4)


def test_small_gradients_are_not_clipped(dataset: Dataset) -> None:
    before, after, inputs, targets = first_step(dataset, grad_clip=1e3)
    assert_stepped(before, after, gradients(before, F.cross_entropy(before(inputs), targets)))


def test_the_schedule_sets_the_lr_of_the_middle_of_each_step(dataset: Dataset) -> None:
    rows = rows_of(dataset, TrainConfig(epochs=2, lr=0.1, schedule=Named(name="cosine")), batch_size=96)
    # three steps an epoch, six in all: the last ones of the epochs are at 2.5/6 and 5.5/6
    expected = [0.1 * (1 + math.cos(math.pi * middle / 6)) / 2 for middle in (2.5, 5.5)]
    assert [each.lr for each in rows[1:]] == pytest.approx(expected)


# Precision, and no waiting


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_both_precisions_train_fp32_weights(dataset: Dataset, name: Any) -> None:
    precision = Precision(name, "cpu")
    config = TrainConfig(epochs=4, lr=3e-3)
    state, loader = begin(dataset, config, precision)
    assert next(loader.train_batches(0, 1))[0].dtype == precision.dtype
    list(fit(state, loader, config, precision, seed=0))
    assert state.rows[-1].val_accuracy > 0.8
    assert {value.dtype for value in state.model.state_dict().values()} == {torch.float32}


class Recorder(TorchDispatchMode):
    """Every operation, in order, and whether it took a mask as an index."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple):
            masks = [each for each in args[1] if each is not None and each.dtype == torch.bool]
            name += " by a mask" if masks else ""
        self.names.append(name)
        return func(*args, **(kwargs or {}))


WAITING = {
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "nonzero_static", "masked_select", "equal",
    "allclose", "unique", "_unique2", "unique_dim", "bincount", "index by a mask", "index_put_ by a mask",
}  # fmt: skip


@pytest.mark.parametrize("precision", [FP32, Precision("bf16", "cpu")], ids=["fp32", "bf16"])
def test_nothing_waits_for_the_device_within_an_epoch(dataset: Dataset, precision: Precision) -> None:
    config = TrainConfig(epochs=1, optimizer=Named(name="sgd"), grad_clip=1.0, label_smoothing=0.1)
    state, loader = begin(dataset, config, precision, augment=CROP_FLIP)
    state.add(row(0, 0.1), {})
    passes = training_passes(state.model, Classification(0.1), config, precision, CPU)
    with Recorder() as recorder:
        list(train_epoch(state, passes, loader, config, precision, seed=0))
    steps = [place for place, name in enumerate(recorder.names) if name.startswith("_fused_sgd")]
    assert len(steps) == loader.num_train_steps == 9
    between = recorder.names[steps[0] : steps[-1]]  # from the first step taken to the last one
    assert {"convolution", "convolution_backward", "index_select"} <= set(between)
    assert not WAITING & set(between)
    assert "_local_scalar_dense" in recorder.names[steps[-1] :]  # it is seen where it happens: at the end


def test_the_recorder_sees_what_waits() -> None:
    values = torch.arange(3)
    with Recorder() as recorder:
        bool(values.sum() > 1)
        values[values > 1]
        values.nonzero()
        values[values > 0] = torch.tensor([2, 2])
    assert {"_local_scalar_dense", "nonzero", "index by a mask", "index_put_ by a mask"} <= (
        set(recorder.names)
    )


# Backbones


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_frozen_backbone_stays_bit_for_bit_and_the_head_learns(dataset: Dataset, optimizer: str) -> None:
    config = TrainConfig(epochs=2, optimizer=Named(name=optimizer), weight_decay=0.1)
    first, *_, last = train_backboned(dataset, Tuning(freeze=True), config)
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed == {"head.weight", "head.bias"}


def test_a_backbone_that_is_unfrozen_late_learns_from_that_epoch_on(dataset: Dataset) -> None:
    weights = train_backboned(dataset, Tuning(unfreeze_epoch=3), TrainConfig(epochs=3))
    kept = [torch.equal(weights[0]["features.0.weight"], each["features.0.weight"]) for each in weights]
    assert kept == [True, True, True, False]
    assert weights[2]["features.1.num_batches_tracked"] == 0
    assert weights[3]["features.1.num_batches_tracked"] == 9  # the steps of the third epoch


def test_the_backbone_has_a_learning_rate_of_its_own(dataset: Dataset) -> None:
    """One step without momentum: the change is the rate times the gradient, so a tenth of it."""
    config = TrainConfig(epochs=1, lr=1e-3, optimizer=PLAIN_SGD)
    changes = []
    for factor in (1.0, 0.1):
        torch.manual_seed(0)
        state = TrainingState(BackbonedNet(Tuning(lr_factor=factor)), config, FP32)
        before = copy.deepcopy(state.model.state_dict())
        loader = Loader(dataset, data_config(batch_size=288), CPU, torch.float32)
        list(fit(state, loader, config, FP32, seed=0))
        changes.append({name: value - before[name] for name, value in state.model.state_dict().items()})
    whole, tenth = changes
    assert torch.allclose(tenth["features.0.weight"], 0.1 * whole["features.0.weight"], rtol=1e-2, atol=1e-8)
    assert torch.equal(tenth["head.weight"], whole["head.weight"])
