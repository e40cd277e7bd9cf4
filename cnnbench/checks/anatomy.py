"""The parts of a model that checks can name, found without giving it memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnbench.data import describe_dataset
from cnnbench.errors import CnnbenchError, about
from cnnbench.expressions import Expression, Quantity
from cnnbench.models import build_model
from cnnbench.models.failures import naming_failures
from cnnbench.models.initialization import Fans, fans_of, layer_weights
from cnnbench.recipe.blame import of_check
from cnnbench.recipe.checks import QUANTITIES, is_random, read_expression
from cnnbench.recipe.config import DataConfig, Named, Recipe
from cnnbench.recipe.mistakes import choices, nearest
from cnnbench.signals import check_output
from cnnbench.statistics import trials_needed

_SIZES = {"channels": 0, "height": 1, "width": 2}


@dataclass(frozen=True)
class Anatomy:
    """Output shapes of all modules, and the layers (with weights) in the order of their calls.

    `layers` are those before the module `output`, where a check names one; `trained` those of them that
    training changes: the others, such as a whitening, have no gradient.
    """

    shapes: Mapping[str, tuple[int, ...]]
    layers: Sequence[str]
    trained: Sequence[str]
    fans: Mapping[str, Fans]

    def layer(self, quantity: Quantity) -> str:
        """The module that a quantity is of: `first` and `last` are layers. Raises CnnbenchError."""
        name = str(quantity.argument)
        is_drawn = QUANTITIES[quantity.name].source == "draw"
        layers = self.trained if is_drawn else self.layers
        known = self.shapes if quantity.name in _SIZES else layers
        if name in known:
            return name
        if name in ("first", "last") and layers:
            return layers[0 if name == "first" else -1]
        near = nearest(name, [*known, "first", "last"])
        hint = f"did you mean {near!r}? There are " if near else "there are "
        what = "layer with weights that are trained" if is_drawn else "layer with weights"
        what = "module" if quantity.name in _SIZES else what
        raise CnnbenchError(f"{quantity}: there is no {what} {name!r}; {hint}{_listed(known)}")

    def value(self, quantity: Quantity) -> float:
        """A quantity of shapes. Raises CnnbenchError where a module has no such size."""
        name = self.layer(quantity)
        if quantity.name not in _SIZES:
            return float(getattr(self.fans[name], quantity.name))
        shape, index = self.shapes[name], _SIZES[quantity.name]
        if len(shape) not in (1, 3) or index >= len(shape):
            size = "×".join(map(str, shape)) or "no tensor"
            raise CnnbenchError(f"{quantity}: {name} puts out {size}, which has no {quantity.name}")
        return float(shape[index])


def dissect(
    data: DataConfig, model: Named, root: Path, plugins: Sequence[str], output: str | None = None
) -> Anatomy:
    """The anatomy of a variant's model. Raises CnnbenchError where it has no module `output`."""
    in_shape, num_classes = describe_dataset(data, root, plugins)
    with naming_failures(model, in_shape, plugins), torch.device("meta"):
        built = build_model(model, in_shape, num_classes, plugins).eval()
        with about("output"):
            check_output(built, output)
        weights = layer_weights(built)
        shapes: dict[str, tuple[int, ...]] = {}
        order: list[str] = []
        ended = False

        def watch(name: str) -> Any:
            def leave(_: nn.Module, __: Any, result: Any) -> None:
                nonlocal ended
                shapes.setdefault(name, tuple(result.shape[1:]) if isinstance(result, Tensor) else ())
                if name in weights and name not in order and not ended:
                    order.append(name)
                ended = ended or name == output

            return leave

        for name, module in built.named_modules():
            if name:
                module.register_forward_hook(watch(name))
        with torch.no_grad():
            built(torch.empty(1, *in_shape))
    trained = [name for name in order if weights[name].requires_grad]
    return Anatomy(shapes, order, trained, {name: fans_of(weight) for name, weight in weights.items()})


def check_names(recipe: Recipe, root: Path) -> None:
    """Raises CnnbenchError, before anything is trained, where a check cannot hold.

    It names a layer that a variant lacks, or has too few draws for the share that is asked for.
    """
    for check in recipe.checks:
        expression = read_expression(check.expression)
        if is_random(expression) and check.draws < (needed := trials_needed(check.share)):
            with of_check(recipe, check):
                raise CnnbenchError(
                    f"{check.draws} draws are too few to tell that it holds in {100 * check.share:g} % "
                    "of all: even if it held in each, the 95 % interval would begin below; set draws = "
                    f"{needed} or more"
                )
        for variant in recipe.variants:
            asked = not recipe.only or variant.name in recipe.only
            if asked and (check.variants is None or variant.name in check.variants):
                with of_check(recipe, check, variant.name):
                    anatomy = dissect(variant.data, variant.model, root, recipe.plugins, check.output)
                    _check_layers(expression, anatomy)


def _listed(names: Iterable[str]) -> str:
    return choices(names, most=40).removeprefix("one of ")


def _check_layers(expression: Expression, anatomy: Anatomy) -> None:
    for quantity in expression.quantities():
        known = QUANTITIES[quantity.name]
        if known.of_layer:
            anatomy.layer(quantity)
            if known.source == "shape":
                anatomy.value(quantity)
