"""How weights start, as a recipe declares it: each layer's variance is a number, or a formula over others'.

In a formula a bare name is a layer and stands for the variance its weights start with; `fan_in(layer)` and
`fan_out(layer)` are the numbers of weights that lead into and out of one unit.
"""

import math
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter

from cnnbench import catalog
from cnnbench.expressions import EvaluationError, Expression, ExpressionError, Quantity
from cnnbench.parsing import parse
from cnnbench.recipe.config import Init
from cnnbench.recipe.mistakes import nearest

FANS = ("fan_in", "fan_out")


def takes_init(kind: str, target: str) -> bool:
    """Whether `init` beside the options of a unit is ours to read: of any model without such an option."""
    return kind == "model" and all(option.name != "init" for option in catalog.signature(target))


def is_variance(value: object) -> bool:
    """Whether it can stand for a variance: a formula, or a number above zero."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) or (is_number and 0 < value < math.inf)  # type: ignore[operator]


def read_init(init: Init) -> Iterator[tuple[str | None, ExpressionError]]:
    """What is wrong with the formulas, each with its layer; what depends on the model shows only with it."""
    parsed: dict[str, Expression] = {}
    for name, value in init.variance.items():
        if isinstance(value, str):
            try:
                parsed[name] = expression = parse(value, "number")
                for quantity in expression.quantities():
                    _check_quantity(quantity)
                if not expression.quantities():
                    positive(expression, lambda _: 0.0)
            except ExpressionError as error:
                yield name, error
                return
    try:
        in_order(parsed)
    except CycleError as error:
        cycle = error.args[1]
        name, needed = cycle[1], cycle[0]
        text = " → ".join([*cycle[1:], cycle[1]])
        place = next(each for each in parsed[name].quantities() if _refers_to(each) == needed)
        yield name, ExpressionError(f"the variances depend on each other: {text}", place.start, place.end)


def in_order(parsed: dict[str, Expression]) -> list[str]:
    """The layers with a formula, each after those it depends on. Raises CycleError."""
    needed = {
        name: {other for each in expression.quantities() if (other := _refers_to(each)) is not None}
        for name, expression in parsed.items()
    }
    return [name for name in TopologicalSorter(needed).static_order() if name in parsed]


def positive(expression: Expression, lookup: Callable[[Quantity], float]) -> float:
    """The value of a formula for a variance. Raises ExpressionError where it has none above zero."""
    try:
        value = float(expression.value(lookup))
    except EvaluationError as error:
        raise ExpressionError(f"this variance has no value: {error}", 0, len(expression.text)) from None
    if not 0 < value < float("inf"):
        raise ExpressionError(
            f"a variance must be above zero, and this is {value:g}", 0, len(expression.text)
        )
    return value


def _refers_to(quantity: Quantity) -> str | None:
    """The layer whose variance it is; None for the others."""
    return quantity.name if quantity.argument is None else None


def _check_quantity(quantity: Quantity) -> None:
    if quantity.argument is not None and quantity.name not in FANS:
        raise ExpressionError(
            f"unknown function {quantity.name}; a layer's name alone stands for its variance, and there are "
            f"{' and '.join(FANS)}",
            quantity.start,
            quantity.end,
            nearest(quantity.name, FANS),
        )
    if quantity.argument is None and quantity.name in FANS:
        raise ExpressionError(
            f"{quantity.name} is of a layer: {quantity.name}(layer1)", quantity.start, quantity.end
        )
