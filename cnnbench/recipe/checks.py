"""What a recipe declares must hold: formulas over named quantities, read before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cnnbench.expressions import Expression, ExpressionError, Quantity
from cnnbench.parsing import parse
from cnnbench.recipe.checking import Checker
from cnnbench.recipe.config import Check, JudgedOn
from cnnbench.recipe.merging import written
from cnnbench.recipe.mistakes import choices, found, nearest

Source = Literal["run", "start", "shape", "draw"]


@dataclass(frozen=True)
class Known:
    """A quantity that checks can name: what it is, whether of a layer, and where its value comes from.

    run: the result of a finished run. start: the model as the run's seed made it. shape: the same for every
    seed. draw: another in each draw of weights and inputs.
    """

    what: str
    source: Source
    of_layer: bool = True
    is_share: bool = False  # of 0 to 1, or a difference of such


_METRICS = {f"{split}_{name}": f"{name} on the {split} split" for split in ("test", "val", "train")
            for name in ("accuracy", "loss", "iou", "dice", "precision", "recall")}  # fmt: skip


def _of_run(what: str, *, is_share: bool = False) -> Known:
    return Known(what, "run", of_layer=False, is_share=is_share)


QUANTITIES: dict[str, Known] = {
    **{name: _of_run(what, is_share=not name.endswith("loss")) for name, what in _METRICS.items()},
    "area_under_curve": _of_run("mean over the epochs of what is validated by", is_share=True),
    "roughness": _of_run("how far its changes from epoch to epoch scatter", is_share=True),
    "val_gap": _of_run("by how much train is ahead of validation", is_share=True),
    "test_gap": _of_run("by how much train is ahead of test", is_share=True),
    "train_seconds": _of_run("training time in seconds"),
    "val_seconds": _of_run("validation time in seconds"),
    "latency_ms": _of_run("milliseconds for one image"),
    "throughput": _of_run("images per second"),
    "peak_memory_mib": _of_run("peak memory in MiB"),
    "best_epoch": _of_run("the epoch whose weights are kept"),
    "epochs": _of_run("epochs trained"),
    "num_params": Known("parameters", "shape", of_layer=False),
    "macs": Known("multiply-adds for one image", "shape", of_layer=False),
    "channels": Known("channels of a layer's output, or its features", "shape"),
    "height": Known("height of a layer's output", "shape"),
    "width": Known("width of a layer's output", "shape"),
    "fan_in": Known("weights that lead into a unit", "shape"),
    "fan_out": Known("weights that lead out of a unit", "shape"),
    "weight_variance": Known("variance of a layer's weights before training", "start"),
    "gradient": Known("norm (L2) of the gradient of a layer's weights before training", "draw"),
    "gradient_rms": Known("the same for each weight, root mean square", "draw"),
    "forward_gain": Known("by what the signal's RMS grows from a layer's input to the next's", "draw"),
    "backward_gain": Known("by what the gradient's RMS grows on its way back through a layer", "draw"),
}


TEST_METRICS = {name for name in QUANTITIES if name.startswith("test_")}
LEFT_ALONE = "{} is of the test images, which a recipe that is judged on val leaves alone: take validation's"


def read_checks(
    check: Checker, entries: Any, variants: Sequence[str] | None, judged_on: JudgedOn
) -> list[Check]:
    """The checks of [[checks]]; what is wrong with one is noted, and it is left out.

    `variants` are None where a mistake elsewhere leaves open what they are called.
    """
    if not isinstance(entries, list):
        check.add(("checks",), "expected [[checks]] (double brackets), once for each check", on_key=True)
        return []
    checks = [_check(check, entry, index, variants, judged_on) for index, entry in enumerate(entries)]
    return [declared for declared in checks if declared is not None]


def read_expression(text: str) -> Expression:
    """The statement of a check, with names that are known. Raises ExpressionError."""
    expression = parse(text, "statement")
    quantities = expression.quantities()
    if not quantities:
        raise ExpressionError("names no quantity, so there is nothing to check", 0, len(text))
    for quantity in quantities:
        _check_quantity(quantity)
    expression.check_constants()
    for quantity, number in expression.bounds():
        if QUANTITIES[quantity.name].is_share and number.value > 1:
            raise ExpressionError(
                f"{quantity.name} is written as a share: {number.value / 100:g} for {number.value:g} %",
                number.start,
                number.end,
            )
    sources = {QUANTITIES[quantity.name].source: quantity for quantity in quantities}
    if "draw" in sources and "run" in sources:
        drawn, run = sources["draw"], sources["run"]
        raise ExpressionError(
            f"{run.name} is of a trained run, {drawn.name} of many draws of untrained weights: they cannot "
            "stand in one check; make two of it",
            run.start,
            run.end,
        )
    return expression


def is_random(expression: Expression) -> bool:
    """Whether the statement is about draws rather than about runs."""
    return any(QUANTITIES[quantity.name].source == "draw" for quantity in expression.quantities())


def _check(
    check: Checker, entry: Any, index: int, variants: Sequence[str] | None, judged_on: JudgedOn
) -> Check | None:
    if not isinstance(entry, dict):
        check.add(("checks", index), f"expected a table with text and expression, found {found(entry)}")
        return None
    layer = written("checks", entry, ("checks", index))
    declared = check.declared_check(layer)
    if declared is None:
        return None
    for place, name in enumerate(declared.variants or ()):
        if variants is not None and name not in variants:
            check.unknown(layer.origin(("variants", place)), name, "variant {}", variants)
    where = layer.origin(("expression",))
    try:
        expression = read_expression(declared.expression)
        for quantity in expression.quantities():
            if judged_on == "val" and quantity.name in TEST_METRICS:
                raise ExpressionError(LEFT_ALONE.format(quantity.name), quantity.start, quantity.end)
    except ExpressionError as error:
        check.add_in_text(where, declared.expression, error)
        return None
    if not is_random(expression):
        for key in ("draws", "share", "output"):
            if key in entry:
                check.add(
                    layer.origin((key,)),
                    f"{key} is for random quantities ({choices(_drawn())}), and the expression names none",
                    on_key=True,
                )
    return declared


def _drawn() -> list[str]:
    return [name for name, known in QUANTITIES.items() if known.source == "draw"]


def _check_quantity(quantity: Quantity) -> None:
    start, name_end = quantity.start, quantity.start + len(quantity.name)
    known = QUANTITIES.get(quantity.name)
    if known is None:
        near = nearest(quantity.name, QUANTITIES)
        hint = "" if near else f"; expected {choices(QUANTITIES, most=len(QUANTITIES))}"
        raise ExpressionError(f"unknown quantity {quantity.name}{hint}", start, name_end, near)
    if known.of_layer and quantity.argument is None:
        raise ExpressionError(f"{quantity.name} is of a layer: {quantity.name}(layer1)", start, name_end)
    if not known.of_layer and quantity.argument is not None:
        raise ExpressionError(
            f"{quantity.name} is of a whole run, so it takes no layer", name_end, quantity.end
        )
