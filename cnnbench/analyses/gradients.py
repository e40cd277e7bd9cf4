"""What a run recorded of its gradients, and the rule by which a layer's vanish or explode.

What is judged is a layer's mean absolute gradient against that of the last layer at the same epoch. The
last layer is the measure because it has its gradient from the loss at first hand: that of cross entropy by
a logit is at most 1, whatever the depth. On the way back the gradient is multiplied layer by layer (Bengio,
Simard and Frasconi 1994; Glorot and Bengio 2010). The median or the largest layer would not do: where
gradients shrink by one factor at each layer, the last layers are far above the median and explode by that
measure; and where one layer explodes, all others vanish beside the largest.

A layer's gradient vanishes where it is zero or below 1/1000 of the last layer's, and explodes where it is
above 1000 times that, or not finite. The layers of a network that trains well can differ by factors of 10
to 100, since their weights are scaled differently and used at many places or at one: 1000 is beyond that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cnnbench.runs import Run

FACTOR = 1000.0
RULE = (
    f"A layer's gradient vanishes where its mean absolute value is zero or below 1/{FACTOR:g} of the last "
    f"layer's at that epoch, and explodes where it is above {FACTOR:g} times that or not finite; factors of "
    "10 to 100 between layers are ordinary."
)

State = Literal["ordinary", "vanishes", "explodes"]
Value = float | None  # None: it was not finite


def state_of(value: Value, last: Value) -> State:
    """The rule of this module for a layer's mean absolute gradient, given the last layer's.

    Where the last layer's is zero or not finite, no ratio exists: only the value itself is judged.
    """
    if value is None:
        return "explodes"
    if value == 0:
        return "vanishes"
    if not last:
        return "ordinary"
    if value < last / FACTOR:
        return "vanishes"
    return "explodes" if value > FACTOR * last else "ordinary"


def geometric_mean(values: Sequence[float]) -> float:
    """exp of the mean of the logarithms; all values must be above zero."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


@dataclass(frozen=True)
class Gradients:
    """What one run's probes measured: values by epoch and layer, layers in the order of the model."""

    run: Run
    layers: list[str]
    mean_abs: dict[int, dict[str, Value]]
    norm: dict[int, dict[str, Value]]

    @property
    def last_epoch(self) -> int:
        return max(self.mean_abs)

    def ratio(self, epoch: int) -> Value:
        """Mean absolute gradient of the first layer over that of the last; None where it has no meaning."""
        first, last = (self.mean_abs[epoch].get(layer) for layer in (self.layers[0], self.layers[-1]))
        return first / last if first and last else None

    def states(self, epoch: int) -> dict[str, State]:
        """The rule, for each layer."""
        values = self.mean_abs[epoch]
        last = values.get(self.layers[-1])
        return {layer: state_of(values[layer], last) for layer in self.layers if layer in values}


def gradients_of(run: Run) -> Gradients | None:
    """The gradients that a run recorded; None where it recorded none. Raises DamagedError."""
    rows = [row for row in run.probes() if row.get("gradients")]
    if not rows:
        return None
    mean_abs, norm = (
        {row["epoch"]: {layer: each.get(key) for layer, each in row["gradients"].items()} for row in rows}
        for key in ("mean_abs", "norm")
    )
    fullest = max(rows, key=lambda row: len(row["gradients"]))  # layers may be frozen in the first epochs
    return Gradients(run, list(fullest["gradients"]), mean_abs, norm)


def values_of(gradients: Gradients, measure: str) -> dict[int, dict[str, Value]]:
    values: dict[int, dict[str, Value]] = getattr(gradients, measure)
    return values
