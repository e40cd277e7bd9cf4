"""Passes: a model with its loss, and its recording on a GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnbench.data import load_dataset
from cnnbench.data.base import Dataset
from cnnbench.data.loader import Loader
from cnnbench.models import build_model
from cnnbench.models.tuning import Backboned, Tuning
from cnnbench.passes import Recorded, Scored, are_apart, set_sync_watch, training_passes, why_not_recorded
from cnnbench.precision import Precision
from cnnbench.recipe.config import DataConfig, Named, ProgressiveResizing, TrainConfig
from cnnbench.tasks import Classification
from cnnbench.training import Epoch, TrainingState, fit

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
FP32 = Precision("fp32", "cpu")
ON_GPU = Precision("fp32", "cuda")
RESNET = Named(name="resnet", block="basic", widths=[8, 16], blocks=[1, 1])


class Foreign(nn.Linear):
    """A layer of someone else's, as plugins bring them."""


class Waits(nn.Module):
    """Reads a value in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs)
        return outputs * (2.0 if outputs.sum().item() > 0 else 1.0)


class Backed(Backboned):
    def backbone(self) -> list[nn.Module]:
        return []


def test_a_pass_is_the_loss_in_the_format_asked_for_and_the_counts() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    inputs, targets = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    loss, counts = Scored(model, Classification(0.1), FP32)(inputs, targets)
    torch.testing.assert_close(loss, F.cross_entropy(model(inputs), targets, label_smoothing=0.1))
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for target, prediction in zip(targets, model(inputs).argmax(1), strict=True):
        expected[target, prediction] += 1
    assert torch.equal(counts, expected)
    loss, _ = Scored(model, Classification(), Precision("bf16", "cpu"))(inputs, targets)
    rounded = F.linear(inputs.bfloat16(), model.weight.bfloat16(), model.bias.bfloat16()).float()
    torch.testing.assert_close(loss, F.cross_entropy(rounded, targets))


def test_on_a_processor_and_compiled_nothing_is_recorded() -> None:
    for device, compiled in ((CPU, False), (CPU, True), (CUDA, True)):
        config = TrainConfig(compile=compiled)
        passes = training_passes(nn.Linear(2, 2), Classification(), config, FP32, device)
        assert isinstance(passes, Scored)
    compiled_model = training_passes(nn.Linear(2, 2), Classification(), TrainConfig(compile=True), FP32, CPU)
    assert isinstance(compiled_model, Scored)
    assert "OptimizedModule" in type(compiled_model.model).__name__


@pytest.mark.parametrize(
    ("model", "device", "reason"),
    [
        (nn.Linear(2, 2), CUDA, None),
        (build_model(RESNET, (3, 8, 8), 10), CUDA, None),
        (build_model(Named(name="timm/resnet18", pretrained=False), (3, 8, 8), 10), CUDA, None),
        (nn.Linear(2, 2), CPU, "graphs are CUDA's"),
        (nn.Sequential(nn.ReLU(), Foreign(2, 2)), CUDA, "test_passes may do something else at every step"),
        (Backed(Tuning(freeze=True)), CUDA, "frozen, let go late or trained more gently"),
    ],
    ids=["torch", "cnnbench", "timm", "on a processor", "a plugin", "frozen"],
)
def test_what_is_recorded(model: nn.Module, device: torch.device, reason: str | None) -> None:
    found = why_not_recorded(model, device)
    assert found == reason if reason is None else reason in str(found)


def test_on_a_gpu_passes_are_recorded_for_each_format_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """When, not how: which needs a GPU."""
    made = training_passes(nn.Linear(2, 2), Classification(), TrainConfig(), FP32, CUDA)
    assert isinstance(made, Recorded)
    recorded: list[tuple[int, ...]] = []

    def record(scored: Scored, inputs: Tensor, targets: Tensor) -> Any:
        recorded.append(tuple(inputs.shape))
        return scored if len(inputs) == 5 else lambda *batch: scored(*batch)

    monkeypatch.setattr("cnnbench.passes.record", record)
    for size in (4, 4, 3, 3, 4, 5):
        loss, _ = made(torch.ones(size, 2), torch.zeros(size, dtype=torch.int64))
        assert loss.item() > 0
        assert made.replays is (size != 5)
    assert recorded == [(4, 2), (3, 2), (4, 2), (5, 2)]


def test_gradients_that_are_one_tensor_are_seen() -> None:
    one, other = torch.ones(3), torch.ones(3)
    assert are_apart([one, other])
    assert not are_apart([one, other, one.detach()])
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    assert not are_apart(torch.autograd.grad((weights[0] + weights[1]).sum(), weights))


def test_what_steps_need_is_let_go_of_at_the_end() -> None:
    state = TrainingState(nn.Linear(2, 2), TrainConfig(), FP32)
    state.passes = Scored(state.model, Classification(), FP32)
    state.end_training()
    assert (state.passes, state.recorded) == (None, False)
    state.passes = Recorded(Scored(state.model, Classification(), FP32))
    state.passes._passes = lambda inputs, targets: (inputs, targets)
    state.end_training()
    assert (state.passes, state.recorded) == (None, True)


def synthetic(**options: Any) -> tuple[Dataset, DataConfig]:
    basis = {"name": "synthetic", "height": 16, "width": 16, "num_images": 1280, "batch_size": 64}
    config = DataConfig(**(basis | options))
    return load_dataset(config, Path()), config


def trained(
    model: Named, config: TrainConfig, precision: Precision = ON_GPU, *, eager: bool = False
) -> tuple[TrainingState, list[Epoch]]:
    """Trains on the GPU, operation by operation if asked."""
    dataset, data = synthetic()
    torch.manual_seed(0)
    network = build_model(model, dataset.in_shape, dataset.num_classes).to(CUDA)
    network.to(memory_format=torch.channels_last)
    state = TrainingState(network, config, precision)
    if eager:
        state.passes = Scored(network, Classification(config.label_smoothing), precision)
    loader = Loader(dataset, data, CUDA, precision.dtype)
    rows = [each for each in fit(state, loader, config, precision, seed=0) if isinstance(each, Epoch)]
    state.end_training()
    assert state.recorded is not eager
    return state, rows


@needs_cuda
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize(
    "model",
    [
        RESNET,
        Named(name="cnn", widths=[8, 16], dropout=0.3),
        Named(name="whitened_cnn", widths=[8, 16]),
    ],
    ids=lambda each: each.name,
)
def test_replayed_steps_are_those_made_one_by_one(model: Named, optimizer: str) -> None:
    """Loss by loss, running statistics and dropout included; the first epochs, before sums drift apart."""
    config = TrainConfig(epochs=2, lr=1e-3, optimizer=Named(name=optimizer), label_smoothing=0.1)
    _, expected = trained(model, config, eager=True)
    state, found = trained(model, config)
    for one, other in zip(found, expected, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=2e-2)
        assert one.val_loss == pytest.approx(other.val_loss, rel=5e-2)
    steps = [value for name, value in state.model.named_buffers() if name.endswith("num_batches_tracked")]
    assert all(value.item() == 2 * 18 for value in steps)  # not those of the recording


@needs_cuda
def test_recording_changes_neither_weights_nor_statistics_nor_draws() -> None:
    dataset, data = synthetic()
    torch.manual_seed(0)
    model = build_model(RESNET, dataset.in_shape, dataset.num_classes).to(CUDA).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, targets = next(Loader(dataset, data, CUDA).train_batches(0, 1))
    passes = Recorded(Scored(model, Classification(), ON_GPU))
    torch.manual_seed(3)
    expected = torch.rand(4, device=CUDA)
    torch.manual_seed(3)
    loss, counts = passes(inputs, targets)
    loss.backward()
    assert counts.sum().item() == len(targets)
    # one pass was made, whatever recording took
    assert torch.equal(torch.rand(4, device=CUDA), expected)
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value.item() == 1
        elif "running" not in name:
            assert torch.equal(value, before[name])


@needs_cuda
def test_dropout_is_drawn_anew_at_every_replay() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 4)).to(CUDA)
    passes = Recorded(Scored(model, Classification(), ON_GPU))
    inputs, targets = torch.ones(8, 64, device=CUDA), torch.zeros(8, dtype=torch.int64, device=CUDA)
    losses = {passes(inputs, targets)[0].item() for _ in range(8)}
    assert passes.replays
    assert len(losses) == 8


@needs_cuda
def test_a_model_that_reads_a_value_is_left_as_it_is() -> None:
    model = Waits().to(CUDA)
    passes = Recorded(Scored(model, Classification(), ON_GPU))
    inputs, targets = torch.ones(8, 2, device=CUDA), torch.zeros(8, dtype=torch.int64, device=CUDA)
    passes(inputs, targets)[0].backward()  # type: ignore[no-untyped-call]
    assert not passes.replays
    assert torch.cuda.get_sync_debug_mode() == 0


@needs_cuda
def test_other_sizes_are_recorded_anew_and_fp16_is_scaled() -> None:
    resizing = ProgressiveResizing(size=8, until=0.5)
    config = TrainConfig(epochs=4, lr=3e-3, progressive_resizing=resizing, precision="fp16")
    state, rows = trained(
        Named(name="cnn", widths=[8, 16], global_pool=True), config, Precision("fp16", "cuda")
    )
    assert rows[-1].val_accuracy > 0.8
    assert state.scaler.get_scale() > 1
    assert {value.dtype for value in state.model.parameters()} == {torch.float32}


@needs_cuda
def test_no_step_waits_for_the_device(request: pytest.FixtureRequest) -> None:
    """By PyTorch's own watch, which raises where one does."""
    dataset, data = synthetic()
    augment = [
        Named(name="PadIfNeeded", min_height=20, min_width=20),
        Named(name="RandomCrop", height=16, width=16),
        Named(name="HorizontalFlip"),
    ]
    loader = Loader(dataset, data.model_copy(update={"augment": augment}), CUDA)
    model = build_model(RESNET, dataset.in_shape, dataset.num_classes).to(CUDA)
    config = TrainConfig(grad_clip=1.0)
    state = TrainingState(model, config, ON_GPU)
    passes = training_passes(model, Classification(), config, ON_GPU, CUDA)
    model.train()
    assert isinstance(passes, Recorded)
    before = torch.cuda.get_sync_debug_mode()
    for step, (inputs, targets) in enumerate(loader.train_batches(0, 1)):
        if step == 2:
            request.addfinalizer(lambda: set_sync_watch(before))
            set_sync_watch("error")
        loss, _ = passes(inputs, targets)
        state.scaler.scale(loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
    assert step == 17
    assert passes.replays
