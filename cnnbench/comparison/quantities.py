"""What can be compared: what a number is called, its unit, which direction is better, how it is written."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cnnbench import measures
from cnnbench.errors import CnnbenchError
from cnnbench.statistics import Estimate


@dataclass(frozen=True)
class Quantity:
    """A measured number. `split`: of which images single predictions are stored, for tests of pairs."""

    name: str
    label: str
    unit: Literal["%", "points", "s", "ms", "images/s", "MiB", ""] = ""
    higher_is_better: bool = False
    is_cost: bool = False  # what a variant costs, against how good it is
    is_exact: bool = False  # the same for each seed: nothing to estimate
    split: Literal["test", "val"] | None = None
    is_symptom: bool = False  # of how training went: what learns nothing has little of it
    is_signed: bool = False  # a difference of shares, which may lie below zero

    @property
    def axis(self) -> str:
        """The name with its unit, for axes and columns."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def is_proportion(self) -> bool:
        """Whether a value is a share, which is written times 100; differences of such are points."""
        return self.unit in ("%", "points")

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value there can be."""
        if self.is_proportion:
            return (-1.0 if self.is_signed else 0.0), 1.0
        return (0.0 if self.is_cost else -math.inf), math.inf


def shares(measure: str) -> list[Quantity]:
    """A measure of 0 to 1 on each of the splits."""
    name = measures.label(measure)
    return [
        Quantity(f"test_{measure}", f"test {name}", "%", higher_is_better=True, split="test"),
        Quantity(f"val_{measure}", f"validation {name}", "%", higher_is_better=True, split="val"),
        Quantity(f"train_{measure}", f"train {name}", "%", higher_is_better=True),
    ]


AREA = "area_under_curve"
KNOWN = {
    quantity.name: quantity
    for quantity in (
        *shares("accuracy"),
        Quantity("test_loss", "test loss"),
        Quantity("val_loss", "validation loss"),
        Quantity("train_loss", "train loss"),
        Quantity(AREA, "area under the learning curve", "%", higher_is_better=True),
        Quantity("roughness", "roughness of training", "points", is_symptom=True),
        Quantity("val_gap", "gap between train and validation", "points", is_symptom=True, is_signed=True),
        Quantity("test_gap", "gap between train and test", "points", is_symptom=True, is_signed=True),
        Quantity("train_seconds", "training time", "s", is_cost=True),
        Quantity("val_seconds", "validation time", "s", is_cost=True),
        Quantity("latency_ms", "latency", "ms", is_cost=True),
        Quantity("throughput", "throughput", "images/s", higher_is_better=True, is_cost=True),
        Quantity("peak_memory_mib", "peak memory", "MiB", is_cost=True),
        Quantity("best_epoch", "best epoch", is_cost=True),
        Quantity("epochs", "epochs", is_cost=True),
        Quantity("num_params", "parameters", is_cost=True, is_exact=True),
        Quantity("macs", "multiply-adds", is_cost=True, is_exact=True),
    )
}
# what only some tasks measure
MORE = {
    quantity.name: quantity
    for measure in measures.LABELS
    if measure != "accuracy"
    for quantity in shares(measure)
}


def named(name: str, measured: Iterable[str] = ()) -> Quantity:
    """The quantity of this name; one only a task measures (`test_iou`) must be among `measured`."""
    if name in KNOWN:
        return KNOWN[name]
    measured = list(measured)
    if name in MORE and name in measured:
        return MORE[name]
    known = list(dict.fromkeys((*KNOWN, *measured)))
    if name in known:
        lower = any(word in name for word in ("loss", "error", "seconds"))
        return Quantity(name, name.replace("_", " "), higher_is_better=not lower)
    from cnnbench.recipe.mistakes import choices, nearest  # loads pydantic

    near = nearest(name, known)
    hint = f'did you mean "{near}"?' if near else f"expected {choices(known, most=len(known))}"
    raise CnnbenchError(f'unknown metric "{name}": {hint}')


FINE = 0.0015  # a share with less spread than this has two decimals in %


def written(quantity: Quantity, value: float, spread: float | None = None) -> str:
    """A number without its unit, as exact as its spread allows: 91.2, or 91.23 where seeds differ little."""
    if quantity.is_exact:
        return f"{value:,.0f}"
    if quantity.is_proportion:
        return _plain(f"{100 * value:.{2 if spread is not None and 0 < spread < FINE else 1}f}")
    return _plain(f"{value:,.{_decimals(value)}f}")


def _plain(text: str) -> str:
    """Zero without a sign."""
    return text.removeprefix("-") if not text.strip("-0.") else text


def written_estimate(quantity: Quantity, estimate: Estimate) -> str:
    """The mean, and the standard deviation over seeds where there is one: `91.2 ± 0.3`."""
    if quantity.is_exact:
        return written(quantity, estimate.mean)
    spread = estimate.std
    if spread is None and estimate.low is not None and estimate.high is not None:
        spread = (estimate.high - estimate.low) / 2
    mean = written(quantity, estimate.mean, spread)
    if estimate.std is None:
        return mean
    if quantity.is_proportion:
        return f"{mean} ± {written(quantity, estimate.std, spread)}"
    return f"{mean} ± {estimate.std:,.{_decimals(estimate.mean)}f}"


def written_interval(quantity: Quantity, low: float, high: float) -> str:
    """Both ends of an interval: `90.5 to 91.9`."""
    spread = (high - low) / 2
    if quantity.is_proportion:
        return f"{written(quantity, low, spread)} to {written(quantity, high, spread)}"
    decimals = _decimals(max(abs(low), abs(high)))
    return f"{low:,.{decimals}f} to {high:,.{decimals}f}"


def _decimals(value: float) -> int:
    """Decimals that leave about three significant digits."""
    for decimals, bound in enumerate((100, 10, 1, 0.1)):
        if abs(value) >= bound:
            return decimals
    return 4
