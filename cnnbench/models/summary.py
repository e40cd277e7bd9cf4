"""What a model costs, layer by layer: output shapes, parameters, multiply-adds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from cnnbench.errors import CnnbenchError
from cnnbench.models import build_model
from cnnbench.models.failures import naming_failures
from cnnbench.models.tuning import Tuning, num_trained, tuning_of
from cnnbench.recipe.config import Limits, Named

# Up to so many parameters, one image through memory is quicker than PyTorch's meta device, whose
# convolutions and norms import its compiler (seconds).
LARGE = 50_000_000


@dataclass(frozen=True)
class Layer:
    """What one module costs beyond its children; output_shape is without the batch dimension."""

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
    num_trained: int  # parameters that are not frozen for good
    tuning: Tuning


def summarize_config(
    config: Named,
    in_shape: tuple[int, int, int],
    num_classes: int,
    plugins: Sequence[str] = (),
    shown: tuple[int, int, int] | None = None,
) -> Summary:
    """The summary of a model whose weights are never drawn; a large one is never given memory either.

    `shown`: the shape of the image that is counted, by default `in_shape`.
    """
    with torch.device("meta"), _WithoutDraws():
        model = build_model(config, in_shape, num_classes, plugins)
        parameters = list(model.parameters())
        is_lazy = any(isinstance(parameter, nn.UninitializedParameter) for parameter in parameters)
        if is_lazy or sum(parameter.numel() for parameter in parameters) > LARGE:
            return summarize(model, shown or in_shape)
    with _WithoutDraws():
        return summarize(build_model(config, in_shape, num_classes, plugins), shown or in_shape)


def count_params(
    config: Named, in_shape: tuple[int, int, int], num_classes: int, plugins: Sequence[str] = ()
) -> int:
    """The parameters of a model, built as in `summarize_config` but not called unless it is lazy.

    Raises CnnbenchError where a model of a plugin cannot be built.
    """
    with naming_failures(config, in_shape, plugins), torch.device("meta"), _WithoutDraws():
        model = build_model(config, in_shape, num_classes, plugins)
        parameters = list(model.parameters())
        if any(isinstance(parameter, nn.UninitializedParameter) for parameter in parameters):
            return summarize(model, in_shape).num_params
        return sum(parameter.numel() for parameter in parameters)


class _WithoutDraws(TorchFunctionMode):
    """Draws no initial weights: meta tensors hold none, and PyTorch loads half a compiler to see to that."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return function(*args, **(kwargs or {}))


def summarize(model: nn.Module, in_shape: tuple[int, int, int]) -> Summary:
    """One forward pass of one image, counted. Multiply-adds are those of convolutions and matrix products.

    A module with children has a row where it has parameters or multiply-adds that no child accounts for.
    Raises CnnbenchError where the model has no parameters.
    """
    first = next(model.parameters(), None)
    if first is None:
        raise CnnbenchError(f"the model ({type(model).__name__}) has no parameters: nothing could be trained")
    device = first.device
    was_training = model.training
    with _without_fused_layers(), _Counting() as counter, torch.no_grad():
        watch = _Watch(model, counter)
        try:
            output: Tensor = model.eval()(torch.empty(1, *in_shape, device=device))
        finally:
            watch.remove()
            model.train(was_training)
    return Summary(
        watch.layers,
        tuple(output.shape[1:]),
        sum(parameter.numel() for parameter in model.parameters()),
        counter.macs,
        num_trained(model),
        tuning_of(model),
    )


@contextmanager
def _without_fused_layers() -> Iterator[None]:
    """Attention and recurrent layers as the matrix products they are: fused, nothing of them is counted."""
    fast, mkldnn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.mkldnn.enabled = mkldnn


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up multiply-adds by PyTorch's own formulas; its FlopCounterMode would load half a compiler."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to say so would load the compiler

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        if (count := flop_registry.get(function._overloadpacket)) is not None:
            # PyTorch counts floating point operations; a multiply-add is two of them.
            self.macs += int(count(*args, **kwargs, out_val=output)) // 2
        return output


class _Watch:
    """Notes what each module costs beyond its children, in the order in which the modules finish."""

    def __init__(self, model: nn.Module, counter: _Counting) -> None:
        self.layers: list[Layer] = []
        self.counter = counter
        self.open: list[list[int]] = []  # for each call under way: count at its start, count of its children
        self.seen: set[nn.Parameter] = set()
        self.handles: list[RemovableHandle] = []
        for name, module in model.named_modules():
            self.handles.append(module.register_forward_pre_hook(self._enter))
            self.handles.append(module.register_forward_hook(partial(self._leave, name)))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self.open.append([self.counter.macs, 0])

    def _leave(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        start, of_children = self.open.pop()
        of_this = self.counter.macs - start
        if self.open:
            self.open[-1][1] += of_this
        # A module called twice owns its parameters once, and those of children that were never called.
        own = [parameter for parameter in module.parameters() if parameter not in self.seen]
        self.seen.update(own)
        num_params = sum(parameter.numel() for parameter in own)
        macs = of_this - of_children
        is_leaf = next(module.children(), None) is None and not isinstance(module, nn.Identity)
        if is_leaf or num_params or macs:
            shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
            self.layers.append(Layer(name or "(model)", type(module).__name__, shape, num_params, macs))


def check_limits(summary: Summary, limits: Limits) -> None:
    """Raises CnnbenchError, naming the count and the layer that breaks it, where a limit is exceeded."""
    if limits.max_params is not None and summary.num_params > limits.max_params:
        raise CnnbenchError(
            f"{summary.num_params:,} parameters exceed max_params = {limits.max_params:,}; "
            + _blame(summary.layers, limits.max_params, lambda layer: layer.num_params, "largest")
        ).about("limits", "max_params")
    if limits.max_macs is not None and summary.macs > limits.max_macs:
        raise CnnbenchError(
            f"{summary.macs:,} multiply-adds exceed max_macs = {limits.max_macs:,}; "
            + _blame(summary.layers, limits.max_macs, lambda layer: layer.macs, "costliest")
        ).about("limits", "max_macs")
    images = [layer for layer in summary.layers if len(layer.output_shape) == 3]
    for layer in images:
        if limits.max_channels is not None and layer.output_shape[0] > limits.max_channels:
            raise CnnbenchError(
                f"layer {layer.name} ({layer.kind}) has {layer.output_shape[0]:,} channels, "
                f"more than max_channels = {limits.max_channels:,}"
            ).about("limits", "max_channels")


def _blame(layers: Sequence[Layer], limit: int, count: Callable[[Layer], int], most: str) -> str:
    """At which layer, in the order of the calls, the sum passes the limit, and which layers add most."""
    total = 0
    for layer in layers:
        total += count(layer)
        if total > limit:
            break
    largest = sorted(layers, key=count, reverse=True)[:3]
    listed = ", ".join(f"{each.name} ({each.kind}) with {count(each):,}" for each in largest)
    layers_are = "layer is" if len(largest) == 1 else "layers are"
    return (
        f"layer {layer.name} ({layer.kind}) passes the limit, at {total:,}; the {most} {layers_are} {listed}"
    )
