"""A forward pass with its loss, as training makes it; on a GPU it and the backward pass are recordings.

A small network's kernels take less time than it takes to launch them one by one. Recorded as a CUDA graph, a
pass is launched as a whole (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/).
"""

import gc
import warnings
from collections.abc import Callable, Sequence
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
KNOWN_LIBRARIES = ("cnnbench", "torch", "torchvision", "timm")


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
        return "a backbone is frozen, let go late or trained more gently"
    modules = {type(each).__module__ for each in model.modules()}
    unknown = sorted(each for each in modules if each.partition(".")[0] not in KNOWN_LIBRARIES)
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

    @property
    def replays(self) -> bool:
        """Whether the last batch's format could be recorded."""
        return self._passes is not self.scored

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        found = (inputs.shape, inputs.stride(), inputs.dtype, targets.shape)
        if found != self._format:
            self._passes = self.scored  # lets go of the graphs before
            self._format, self._passes = found, record(self.scored, inputs, targets)
        return self._passes(inputs, targets)


def record(scored: Scored, inputs: Tensor, targets: Tensor) -> Passes:
    """Passes that replay what this batch is put through; `scored` itself where that cannot be.

    Neither the model nor the device's state of random numbers is changed by it.
    """
    device = inputs.device
    gc.collect()  # frees graphs of before, which hold each other; not in the midst of a recording
    collects = gc.isenabled()
    gc.disable()
    buffers = [buffer.clone() for buffer in scored.buffers()]  # running statistics
    random = torch.cuda.get_rng_state(device)
    try:
        if not can_be_recorded(scored, inputs, targets) or not has_room(device):
            return scored
        # a module of its own, for what it is given is changed
        once_more = Scored(scored.model, scored.task, scored.precision)
        # gradients are added up in the stream of the recording, for which the engine waits as it should
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        with torch.autocast("cuda", enabled=False):  # an outer one would keep converted weights
            try:
                recorded = torch.cuda.make_graphed_callables(
                    once_more, (inputs.clone(), targets.clone()), allow_unused_input=True
                )
            except RuntimeError:  # something in it is not allowed, or memory ran out: it has worked without
                return scored
        return cast("Passes", recorded)
    finally:
        if collects:
            gc.enable()
        torch.cuda.set_rng_state(random, device)
        with torch.no_grad():
            for buffer, value in zip(scored.buffers(), buffers, strict=True):
                buffer.copy_(value)


def can_be_recorded(scored: Scored, inputs: Tensor, targets: Tensor) -> bool:
    """Whether a pass reads no value from the device, on which what follows may depend, and no two gradients
    are one tensor, which a recording would hand out twice.
    """
    before = torch.cuda.get_sync_debug_mode()
    try:
        set_sync_watch("error")
        loss, _ = scored(inputs, targets)
        trained = [each for each in scored.parameters() if each.requires_grad]
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return False
    finally:
        set_sync_watch(before)
    return are_apart([gradient for gradient in gradients if gradient is not None])


def are_apart(tensors: Sequence[Tensor]) -> bool:
    """Whether each has memory of its own."""
    return len({each.data_ptr() for each in tensors}) == len(tensors)


def set_sync_watch(mode: int | str) -> None:
    """Sets what PyTorch does where an operation waits for the device, without its word on a prototype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode(mode)


def has_room(device: torch.device) -> bool:
    """Whether the memory of a step is there twice: graphs keep their own, beside what evaluation takes."""
    torch.cuda.empty_cache()
    of_a_step = memory.peak_mib(device) * memory.MIB - torch.cuda.memory_allocated(device)
    return memory.available_bytes(device) > 2 * of_a_step
