"""What a model costs, layer by layer: output shapes, parameters, multiply-adds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from cnnbench.errors import CnnbenchError
from cnnbench.models import build_model
from cnnbench.recipe.config import Limits, Named


@dataclass(frozen=True)
class Layer:
    """One module without children that was called; output_shape is without the batch dimension."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    num_params: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """Layers in the order of their calls, and totals for one image."""

    layers: list[Layer]
    output_shape: tuple[int, ...]
    num_params: int
    macs: int


def summarize_config(
    config: Named, in_shape: tuple[int, int, int], num_classes: int, plugins: Sequence[str] = ()
) -> Summary:
    """The summary of a model that is never given memory: it is built on PyTorch's meta device."""
    with torch.device("meta"):
        model = build_model(config, in_shape, num_classes, plugins)
        return summarize(model, in_shape)


def summarize(model: nn.Module, in_shape: tuple[int, int, int]) -> Summary:
    """One forward pass of one image, counted. Multiply-adds are those of convolutions and matrix products."""
    layers: list[Layer] = []
    handles: list[RemovableHandle] = []
    device = next(model.parameters()).device
    was_training = model.training
    # Two counts of the same pass: PyTorch counts floating point operations, a multiply-add is two of them.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for name, module in model.named_modules():
            if next(module.children(), None) is None and not isinstance(module, nn.Identity):
                handles += _watch(name, module, counter, layers)
        try:
            output: Tensor = model.eval()(torch.empty(1, *in_shape, device=device))
        finally:
            for handle in handles:
                handle.remove()
            model.train(was_training)
    return Summary(
        layers,
        tuple(output.shape[1:]),
        sum(parameter.numel() for parameter in model.parameters()),
        counter.get_total_flops() // 2,
    )


def _watch(
    name: str, module: nn.Module, counter: FlopCounterMode, layers: list[Layer]
) -> list[RemovableHandle]:
    before = 0
    seen = False

    def enter(module: nn.Module, inputs: Any) -> None:
        nonlocal before
        before = counter.get_total_flops()

    def leave(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal seen
        # A module called twice owns its parameters once.
        num_params = 0 if seen else sum(parameter.numel() for parameter in module.parameters())
        seen = True
        macs = (counter.get_total_flops() - before) // 2
        layers.append(Layer(name, type(module).__name__, tuple(output.shape[1:]), num_params, macs))

    first: Callable[..., None] = enter
    last: Callable[..., None] = leave
    return [module.register_forward_pre_hook(first), module.register_forward_hook(last)]


def check_limits(summary: Summary, limits: Limits) -> None:
    """Raises CnnbenchError, naming the count and the layer that breaks it, where a limit is exceeded."""
    largest = max(summary.layers, key=lambda layer: layer.num_params)
    if limits.max_params is not None and summary.num_params > limits.max_params:
        raise CnnbenchError(
            f"{summary.num_params:,} parameters exceed max_params = {limits.max_params:,}; "
            f"the largest layer is {largest.name} ({largest.kind}) with {largest.num_params:,}"
        )
    costliest = max(summary.layers, key=lambda layer: layer.macs)
    if limits.max_macs is not None and summary.macs > limits.max_macs:
        raise CnnbenchError(
            f"{summary.macs:,} multiply-adds exceed max_macs = {limits.max_macs:,}; "
            f"the costliest layer is {costliest.name} ({costliest.kind}) with {costliest.macs:,}"
        )
    images = [layer for layer in summary.layers if len(layer.output_shape) == 3]
    for layer in images:
        if limits.max_channels is not None and layer.output_shape[0] > limits.max_channels:
            raise CnnbenchError(
                f"layer {layer.name} ({layer.kind}) has {layer.output_shape[0]:,} channels, "
                f"more than max_channels = {limits.max_channels:,}"
            )
