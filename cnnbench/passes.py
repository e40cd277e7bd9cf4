"""A forward pass with its loss, as training makes it; on a GPU it and the backward pass are recordings.

A small network's kernels take less time than it takes to launch them one by one. Recorded as a CUDA graph, a
pass is launched as a whole (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/).
"""

import warnings
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from cnnbench import memory
from cnnbench.models.tuning import Tuning, tuning_of
from cnnbench.precision import Precision
from cnnbench.recipe.config import TrainConfig
from cnnbench.tasks import Task

# Inputs (B, C, H, W) and targets -> the mean loss () of the batch and the task's counts, not waited for.
Passes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# Whose forward passes are known to do the same at every step: a graph replays what Python did once.
KNOWN = ("cnnbench", "torch", "torchvision", "timm")


def training_passes(
    model: nn.Module, task: Task, config: TrainConfig, precision: Precision, device: torch.device
) -> Passes:
    """The passes of a model in training: compiled if asked for, else recorded where that can be."""
    if config.compile:
        return Scored(cast("nn.Module", torch.compile(model)), task, precision)
    scored = Scored(model, task, precision)
    return scored if why_not_recorded(model, device) else Recorded(scored)


def why_not_recorded(model: nn.Module, device: torch.device) -> str | None:
    """Why the passes of a model are not recorded on this device; None where they are."""
    if device.type != "cuda":
        return "graphs are CUDA's"
    if tuning_of(model) != Tuning():
        return "what is trained of a backbone can change from epoch to epoch"
    modules = {type(each).__module__ for each in model.modules()}
    unknown = sorted(each for each in modules if each.partition(".")[0] not in KNOWN)
    if unknown:
        return f"{unknown[0]} may do something else at every step, which a recording would not"
    return None


class Scored(nn.Module):
    """Passes of a model, operation by operation."""

    def __init__(self, model: nn.Module, task: Task, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.task, self.precision = task, precision

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        # weights are used once a pass, and a recording must not find them converted already
        with self.precision.autocast(keeps_weights=False):
            logits = self.model(inputs)
        loss = self.task.train_loss(logits.float(), targets)
        return loss, self.task.counts(logits.detach(), targets)


class Recorded:
    """The same, recorded for the format of the batch that comes and again where that changes."""

    def __init__(self, scored: Scored) -> None:
        self.scored = scored
        self._format: object = None
        self._passes: Passes = scored

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        found = (inputs.shape, inputs.stride(), inputs.dtype, targets.shape)
        if found != self._format:
            self._passes = self.scored  # lets go of the graphs before, and of their memory
            self._format, self._passes = found, record(self.scored, inputs, targets)
        return self._passes(inputs, targets)


def record(scored: Scored, inputs: Tensor, targets: Tensor) -> Passes:
    """Passes that replay what this batch is put through; `scored` itself where that cannot be.

    Neither the model nor the state of random numbers is changed by it.
    """
    device = inputs.device
    buffers = [buffer.clone() for buffer in scored.buffers()]  # running statistics
    random = torch.cuda.get_rng_state(device)
    try:
        if waits_for_device(scored, inputs, targets) or not has_room(device):
            return scored
        # a module of its own, for what it is given is changed
        once_more = Scored(scored.model, scored.task, scored.precision)
        # gradients are added up in the stream of the recording, for which the engine waits as it should
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        with torch.autocast("cuda", enabled=False):  # an outer one would keep converted weights
            recorded = torch.cuda.make_graphed_callables(
                once_more, (inputs.clone(), targets.clone()), allow_unused_input=True
            )
        return cast("Passes", recorded)
    finally:
        torch.cuda.set_rng_state(random, device)
        with torch.no_grad():
            for buffer, value in zip(scored.buffers(), buffers, strict=True):
                buffer.copy_(value)


def waits_for_device(scored: Scored, inputs: Tensor, targets: Tensor) -> bool:
    """Whether a pass reads a value from the device, on which what follows may depend."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        watch("error")
        loss, _ = scored(inputs, targets)
        trained = [each for each in scored.parameters() if each.requires_grad]
        torch.autograd.grad(loss, trained, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return True
    finally:
        watch(before)
    return False


def watch(mode: int | str) -> None:
    """Sets what PyTorch does where an operation waits for the device, without its word on a prototype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode(mode)


def has_room(device: torch.device) -> bool:
    """Whether the memory of a step is there a second time: graphs keep their own."""
    torch.cuda.empty_cache()
    return memory.available_bytes(device) > memory.peak_mib(device) * memory.MIB
