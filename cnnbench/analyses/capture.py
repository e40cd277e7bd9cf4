"""What goes on inside a model: its convolutions, what follows them, and what a layer puts out."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.models.custom import SqueezeExcitation
from cnnbench.recipe.mistakes import choices, nearest

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

# what rescales the channels of a convolution and makes no others of them
RESCALING = (
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    nn.InstanceNorm2d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    layers.ChannelLayerNorm,
    SqueezeExcitation,
)
ACTIVATIONS = tuple(type(make()) for make in layers.ACTIVATIONS.values())
INACTIVE = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in evaluation they hand on what they are given
ADDITIONS = ("add", "add_", "__add__", "__iadd__", "__radd__")


class Call(NamedTuple):
    """One call of a module during a forward pass; `number` counts the calls of this module from 0."""

    name: str
    number: int = 0


@dataclass(frozen=True)
class Layer:
    """A module of a model, and the call whose output stands for it: its own, or that of what follows it."""

    name: str
    output: Call
    then: tuple[str, ...] = ()  # what lies between: kinds of modules, or "addition"

    def __str__(self) -> str:
        if not self.then:
            return self.name
        *others, last = self.then
        after = f"{', '.join(others)} and {last}" if others else last
        return f"{self.name}, after {after}"


@dataclass
class _Event:
    """A call of a module, or of a function where `module` is None; `end` counts the events to its end.

    Tensors are held, so that being the same one can be told by identity.
    """

    call: Call
    module: nn.Module | None
    inputs: Sequence[Any]
    outputs: Any = None
    end: int = 0

    def takes(self, tensor: Tensor) -> bool:
        return any(value is tensor for value in self.inputs)


def convolutions(model: nn.Module, inputs: Tensor) -> list[Layer]:
    """The model's convolutions, by the order in which their outputs come about.

    A convolution is a module whose own weight has four dimensions. Its output is taken after the norms,
    squeeze-and-excitation, additions (of a shortcut) and the activation that follow it, as far as each takes
    exactly what the one before returned. Of several that end in one sum the one with most weights is named.
    """
    events = _trace(model, inputs)
    found: dict[Call, tuple[int, int, Layer]] = {}  # by output: when it comes about, weights, the layer
    for event in events:
        if event.module is not None and is_convolution(event.module):
            layer, when = _with_followers(events, event)
            num_weights = _weight(event.module).numel()
            if layer.output not in found or found[layer.output][1] < num_weights:
                found[layer.output] = (when, num_weights, layer)
    named: dict[str, Layer] = {}
    for _, _, layer in sorted(found.values(), key=lambda each: each[0]):
        named.setdefault(layer.name, layer)  # a module that is called again counts once
    return list(named.values())


def is_convolution(module: nn.Module) -> bool:
    """Whether the module is a layer of kernels over images, whoever wrote it."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 4


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def first_weighted(model: nn.Module, inputs: Tensor) -> str | None:
    """The name of the first convolution or linear layer to be called; None where there is neither."""
    for event in _trace(model, inputs):
        if event.module is not None and (is_convolution(event.module) or isinstance(event.module, nn.Linear)):
            return event.call.name
    return None


def find_layer(model: nn.Module, inputs: Tensor, name: str) -> Layer:
    """The layer of this name with its own output, that of its last call.

    Raises CnnbenchError with the nearest name and the layers there are where it is none of them.
    """
    events = _trace(model, inputs)
    calls = Counter(event.call.name for event in events if event.module is not None and event.call.name)
    if name not in calls:
        near = nearest(name, calls)
        hint = f"did you mean {near!r}? It has " if near else "it has "
        raise CnnbenchError(f"there is no layer {name!r} in it; {hint}{choices(calls, most=60)}")
    return Layer(name, Call(name, calls[name] - 1))


def capture(model: nn.Module, inputs: Tensor, calls: Iterable[Call]) -> dict[Call, Tensor]:
    """What these calls return for a batch of inputs, copied, without gradients.

    A copy, because an activation that works in place would change it at once. Raises CnnbenchError where a
    call does not happen or returns no tensor. The model is left as it was, whatever happens.
    """
    wanted = set(calls)
    seen: Counter[str] = Counter()
    found: dict[Call, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        call = Call(name, seen[name])
        seen[name] += 1
        if call in wanted:
            if not isinstance(output, Tensor):
                raise CnnbenchError(f"layer {name!r} returns a {type(output).__name__}, not a tensor")
            found[call] = output.detach().clone()

    names = {call.name for call in wanted}
    with _hooks() as handles, torch.no_grad():
        for name, module in model.named_modules():
            if name in names:
                handles.append(module.register_forward_hook(_on_leave(name, keep)))
        model(inputs)
    missing = next((call for call in wanted if call not in found), None)
    if missing is not None:
        raise CnnbenchError(f"layer {missing.name!r} has no call {missing.number + 1} in a forward pass")
    return found


def _trace(model: nn.Module, inputs: Tensor) -> list[_Event]:
    """What happens in a forward pass of the first image, in the order in which it begins."""
    events: list[_Event] = []
    under_way: list[_Event] = []
    seen: Counter[str] = Counter()

    def enter(name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        events.append(_Event(Call(name, seen[name]), module, args[:1]))
        seen[name] += 1
        under_way.append(events[-1])

    def leave(_: str, outputs: Any) -> None:
        event = under_way.pop()
        event.outputs, event.end = outputs, len(events)

    with _hooks() as handles, torch.no_grad(), _Functions(events):
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(_on_enter(name, enter)))
            handles.append(module.register_forward_hook(_on_leave(name, leave)))
        model(inputs[:1])
    return events


class _Functions(TorchFunctionMode):
    """Notes every function of PyTorch that is called with tensors; operators are functions too."""

    def __init__(self, events: list[_Event]) -> None:
        super().__init__()
        self.events = events

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        self.events.append(_Event(Call(name), None, args, outputs, len(self.events) + 1))
        return outputs


@contextmanager
def _hooks() -> Iterator[list["RemovableHandle"]]:
    """Hooks put into the list are removed at the end, also after an error."""
    handles: list[RemovableHandle] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def _on_enter(
    name: str, note: Callable[[str, nn.Module, tuple[Any, ...]], None]
) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    return lambda module, args: note(name, module, args)


def _on_leave(name: str, note: Callable[[str, Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    return lambda module, args, output: note(name, output)


def _with_followers(events: Sequence[_Event], convolution: _Event) -> tuple[Layer, int]:
    """The convolution as a layer, and the number of the event before which its output comes about."""
    last = named = convolution
    then: list[str] = []
    num_then = 0  # how many of them come before `named`, the last that is a module
    place = convolution.end
    while place < len(events):
        event = events[place]
        place += 1
        if not event.takes(last.outputs):
            continue
        if event.module is None:
            if event.call.name in ADDITIONS:
                last = event
                then.append("addition")
            elif event.outputs is last.outputs:
                break  # changed in place by something else
        elif isinstance(event.module, INACTIVE):
            last, place = event, event.end
        elif _is_activation(event.module) or isinstance(event.module, RESCALING):
            last = named = event
            place = event.end
            then.append(type(event.module).__name__)
            num_then = len(then)
            if _is_activation(event.module):
                break
        elif next(event.module.children(), None) is None:
            break  # something else is made of it; a module with children may hand it on to a norm within
    return Layer(convolution.call.name, named.call, tuple(then[:num_then])), named.end


def _is_activation(module: nn.Module) -> bool:
    attention = isinstance(module, nn.MultiheadAttention)
    theirs = type(module).__module__ == "torch.nn.modules.activation" and not attention
    return theirs or isinstance(module, ACTIVATIONS)
