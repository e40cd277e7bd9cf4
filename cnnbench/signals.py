"""How signals and gradients pass through a freshly initialized network: random weights, random images.

Images are drawn from the standard normal distribution. The loss is the mean of the squares of what a module
puts out: any output has it, and it needs no targets. All sizes are root mean squares (RMS), which do not grow
with the number of values as norms do.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import build_model, fit_to
from cnnbench.models.failures import naming_failures
from cnnbench.models.initialization import Fans, fans_of, layer_weights, variance_of
from cnnbench.probes import training_mode
from cnnbench.recipe.config import Named
from cnnbench.recipe.mistakes import choices, nearest
from cnnbench.seeds import mix

NUM_IMAGES = 8  # of a draw
_TAG = 0x5167  # keeps these draws apart from those of training


Between = Literal["relu", "nothing", "other"]


@dataclass(frozen=True)
class LayerSignal:
    """One layer in one draw. "After" is where the next layer begins, or what the loss is taken of.

    `between` says what happens to the layer's output until there, as far as it is ReLU or nothing at all.
    """

    name: str
    fans: Fans
    stride: int
    num_weights: int
    num_uses: int  # of a weight: images times places of the output, or of the input that is spread out
    weight_variance: float
    input_rms: float
    after_rms: float
    error_rms: float  # gradient of the layer's own output, before the activation
    input_gradient_rms: float
    after_gradient_rms: float
    gradient_norm: float  # of the weight, L2
    between: Between

    @property
    def gradient_rms(self) -> float:
        return self.gradient_norm / math.sqrt(self.num_weights)

    @property
    def forward_gain(self) -> float:
        """By what the signal grows from this layer's input to the next one's."""
        return _ratio(self.after_rms, self.input_rms)

    @property
    def backward_gain(self) -> float:
        """By what the gradient grows on its way back from the next layer's input to this one's."""
        return _ratio(self.input_gradient_rms, self.after_gradient_rms)

    @property
    def alignment(self) -> float:
        """How far the terms of a weight's gradient, error times input, add up: 1 if they are independent."""
        return _ratio(self.gradient_rms, self.error_rms * self.input_rms * math.sqrt(self.num_uses))


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def draw_signals(
    config: Named,
    in_shape: tuple[int, int, int],
    num_classes: int,
    plugins: Sequence[str] = (),
    *,
    draws: int,
    output: str | None = None,
) -> Iterator[list[LayerSignal]]:
    """The layers in the order of their calls, once for each draw of weights and images, on the CPU.

    Draws are numbered from 0 and the same ones in every call. Raises CnnbenchError where the model has no
    module `output`, or not every layer before it leads there.
    """
    for draw in range(draws):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(_TAG, draw))
            with naming_failures(config, in_shape, plugins):
                model = build_model(config, in_shape, num_classes, plugins)
                images = torch.randn(NUM_IMAGES, *in_shape)
                fit_to(model, images.clone)
                measured = measure_signals(model, images, output)
        yield measured


class _Watch:
    """Notes the tensors' sizes as they pass, for in-place activations change them at once."""

    def __init__(self, model: nn.Module, output: str | None) -> None:
        # what is never trained, such as a whitening, has no gradient
        self.weights = {name: weight for name, weight in layer_weights(model).items() if weight.requires_grad}
        self.order: list[str] = []
        self.input_rms: list[float] = []
        self.num_uses: list[int] = []
        self.between: list[Between] = []  # after each layer but the last
        self.output = torch.empty(0)  # of the layer before
        self.gradients: dict[tuple[str, str], float] = {}
        self.result: Tensor | None = None
        self.handles: list[Any] = []
        for name in self.weights:
            module = model.get_submodule(name)
            self.handles.append(module.register_forward_pre_hook(self._entering(name)))
            self.handles.append(module.register_forward_hook(self._leaving(name)))
        if output is not None:
            self.handles.append(model.get_submodule(output).register_forward_hook(self._ending))

    def remove(self) -> None:
        """Takes the hooks away, and lets go of the pass: held in a circle, its memory would be freed late."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self.result = None

    def _entering(self, name: str) -> Any:
        def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
            if self.result is None and name not in self.order:
                if self.order:
                    self.between.append(_between(self.output, args[0]))
                self.order.append(name)
                self.input_rms.append(_rms(args[0]))
                self._note_gradient(args[0], name, "input")

        return enter

    def _leaving(self, name: str) -> Any:
        def leave(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            if self.result is None and len(self.num_uses) < len(self.order):
                transposed = isinstance(module, nn.ConvTranspose2d)  # its weight begins with input channels
                used = args[0] if transposed else output
                self.num_uses.append(used.numel() // self.weights[name].shape[0])
                self.output = output.detach().clone()
                self._note_gradient(output, name, "error")

        return leave

    def _ending(self, _: nn.Module, __: Any, output: Tensor) -> None:
        if self.result is None:
            self.result = output

    def _note_gradient(self, tensor: Tensor, name: str, what: str) -> None:
        def note(gradient: Tensor) -> None:
            self.gradients[name, what] = _rms(gradient)

        if tensor.requires_grad:
            self.handles.append(tensor.register_hook(note))  # type: ignore[no-untyped-call]


def measure_signals(model: nn.Module, images: Tensor, output: str | None = None) -> list[LayerSignal]:
    """One forward and one backward pass; the model's weights and their gradients are left as they are.

    Raises CnnbenchError as `draw_signals` does.
    """
    check_output(model, output)
    watch = _Watch(model, output)
    try:
        with training_mode(model):
            inputs = images.clone().requires_grad_()
            result = model(inputs)
            result = result if watch.result is None else watch.result
            used = {name: watch.weights[name] for name in watch.order}
            if not used:
                raise CnnbenchError(f"no layer with weights comes before {output or 'the output'}")
            between = [*watch.between, _between(watch.output, result)]
            loss = result.square().mean()
            found = torch.autograd.grad(loss, [result, inputs, *used.values()], allow_unused=True)
    finally:
        watch.remove()
    after = _rms(found[0])
    measured = []
    for index, (name, gradient) in enumerate(zip(used, found[2:], strict=True)):
        if gradient is None:
            raise CnnbenchError(f"layer {name!r} does not lead to {output or 'the output'}")
        last = index + 1 == len(used)
        following = watch.order[index + 1] if not last else ""
        stride = getattr(model.get_submodule(name), "stride", 1)
        measured.append(
            LayerSignal(
                name=name,
                fans=fans_of(used[name]),
                stride=stride[0] if isinstance(stride, tuple) else int(stride),
                num_weights=used[name].numel(),
                num_uses=watch.num_uses[index],
                weight_variance=variance_of(used[name]),
                input_rms=watch.input_rms[index],
                after_rms=_rms(result) if last else watch.input_rms[index + 1],
                error_rms=watch.gradients.get((name, "error"), math.nan),
                input_gradient_rms=watch.gradients.get((name, "input"), math.nan),
                after_gradient_rms=after if last else watch.gradients.get((following, "input"), math.nan),
                gradient_norm=gradient.norm().item(),
                between=between[index],
            )
        )
    return measured


def _between(output: Tensor, after: Tensor) -> Between:
    """What makes the one of the other; flattened they may be."""
    if output.numel() != after.numel() or len(output) != len(after):
        return "other"
    before, after = output.flatten(1), after.detach().flatten(1)
    if torch.equal(before, after):
        return "nothing"
    return "relu" if torch.equal(before.clamp(min=0), after) else "other"


def check_output(model: nn.Module, output: str | None) -> None:
    """Raises CnnbenchError where the model has no module of this name."""
    known = dict(model.named_modules())
    if output is not None and (not output or output not in known):
        near = nearest(output, filter(None, known))
        listed = choices(filter(None, known), most=40).removeprefix("one of ")
        hint = f"did you mean {near!r}? It has " if near else "it has "
        raise CnnbenchError(f"the model has no module {output!r}; {hint}{listed}")


def _rms(tensor: Tensor) -> float:
    return tensor.detach().float().square().mean().sqrt().item()
