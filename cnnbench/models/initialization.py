"""How the weights of any model start: a scheme for all layers, and variances of single ones (`init`).

He: He et al. (2015), variance 2 / fan_in. Xavier: Glorot and Bengio (2010), variance 2 / (fan_in + fan_out).
Both draw from a normal distribution and set biases to zero.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from cnnbench.errors import CnnbenchError, about
from cnnbench.expressions import Expression, ExpressionError, Quantity
from cnnbench.parsing import parse
from cnnbench.recipe.config import Init
from cnnbench.recipe.initialization import FANS, in_order, positive
from cnnbench.recipe.mistakes import nearest


@dataclass(frozen=True)
class Fans:
    """How many weights lead into one unit of a layer, and out of one of its inputs."""

    fan_in: int
    fan_out: int


def layer_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weight of each layer, by its name. Scales of norms have one dimension: they are no layers."""
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter) and module.weight.dim() > 1
    }


def fans_of(weight: torch.Tensor) -> Fans:
    """As PyTorch counts them: channels times the size of the kernel, strides left out."""
    size = math.prod(weight.shape[2:])
    return Fans(weight.shape[1] * size, weight.shape[0] * size)


def variance_of(weight: torch.Tensor) -> float:
    """The sample variance of a layer's weights; that of a single one is 0."""
    return weight.detach().var().item() if weight.numel() > 1 else 0.0


def initialize(model: nn.Module, init: Init) -> None:
    """Gives the layers of a model their first weights, drawn in their order from the current random state.

    A layer of which the declaration says nothing keeps the weights it has under the scheme "default". On the
    meta device nothing is drawn. Raises CnnbenchError for unknown layers and variances that are not above
    zero.
    """
    weights = layer_weights(model)
    declared = declared_variances(model, init)
    with torch.no_grad():
        for name, weight in weights.items():
            if name in declared:
                weight.normal_(0, math.sqrt(declared[name]))
            elif not weight.is_meta:
                weight.mul_(init.scale)
            bias = getattr(model.get_submodule(name), "bias", None)
            if init.scheme != "default" and isinstance(bias, nn.Parameter):
                bias.zero_()


def declared_variances(model: nn.Module, init: Init) -> dict[str, float]:
    """The variance of each layer that the declaration draws anew, by its name.

    Under the scheme "default" a formula sees the variance of the weights that a layer has now, times the
    square of `scale`. Raises CnnbenchError as `initialize` does.
    """
    weights = layer_weights(model)
    known: dict[str, float] = {}
    if init.scheme != "default":
        known = {name: init.scale**2 * _of_scheme(init.scheme, weight) for name, weight in weights.items()}
    parsed: dict[str, Expression] = {}
    for name, value in init.variance.items():
        with about("init", "variance", name):
            _check_layer(name, weights, "init.variance")
        if isinstance(value, str):
            parsed[name] = parse(value, "number")
        else:
            known[name] = value

    def lookup(quantity: Quantity) -> float:
        layer = quantity.argument or quantity.name
        _check_layer(layer, weights, f'init.variance, "{current}"')
        if quantity.name in FANS and quantity.argument is not None:
            return float(getattr(fans_of(weights[layer]), quantity.name))
        if layer in known:
            return known[layer]
        weight = weights[layer]
        # nothing was drawn on the meta device: there PyTorch's own default stands for what will be
        started = 1 / (3 * fans_of(weight).fan_in) if weight.is_meta else variance_of(weight)
        return init.scale**2 * started

    for name in in_order(parsed):
        current = parsed[name].text
        with about("init", "variance", name):
            try:
                known[name] = positive(parsed[name], lookup)
            except ExpressionError as error:
                raise CnnbenchError(f'init: the variance of {name}, "{current}": {error.message}') from None
    return known


def _of_scheme(scheme: str, weight: torch.Tensor) -> float:
    fans = fans_of(weight)
    return 2 / fans.fan_in if scheme == "he" else 2 / (fans.fan_in + fans.fan_out)


def _check_layer(name: str, layers: dict[str, nn.Parameter], where: str) -> None:
    if name not in layers:
        near = nearest(name, layers)
        hint = f"did you mean {near!r}? It has " if near else "it has "
        raise CnnbenchError(f"{where}: the model has no layer {name!r}; {hint}{', '.join(layers)}")
