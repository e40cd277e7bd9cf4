"""Holds declared checks against finished runs, and against draws where they are random."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from cnnbench.analyses.base import Subject
from cnnbench.checks.anatomy import Anatomy, dissect
from cnnbench.checks.results import CheckResult, Verdict, worst
from cnnbench.course import numbers_of
from cnnbench.data import describe_dataset
from cnnbench.errors import CnnbenchError
from cnnbench.expressions import EvaluationError, Expression, Quantity
from cnnbench.models.initialization import layer_weights, variance_of
from cnnbench.recipe.checks import QUANTITIES, is_random, read_expression
from cnnbench.recipe.config import Check
from cnnbench.runs import Run
from cnnbench.signals import LayerSignal, draw_signals
from cnnbench.statistics import binomial_interval

_SIGNALS: dict[str, Callable[[LayerSignal], float]] = {
    "gradient": lambda layer: layer.gradient_norm,
    "gradient_rms": lambda layer: layer.gradient_rms,
    "forward_gain": lambda layer: layer.forward_gain,
    "backward_gain": lambda layer: layer.backward_gain,
    "weight_variance": lambda layer: layer.weight_variance,
}


def evaluate_checks(
    checks: Sequence[Check], subject: Subject, planned: Mapping[str, Sequence[int]]
) -> list[CheckResult]:
    """The result of each check; `planned` are the seeds of each variant of the recipe.

    What cannot be evaluated is said in the evidence: nothing is raised.
    """
    evaluator = _Evaluator(subject, planned)
    return [evaluator.result(check) for check in checks]


@dataclass(frozen=True)
class _Unit:
    """One seed's, or draw's, values of the quantities, and what the expression makes of them."""

    values: dict[str, float]
    sides: list[tuple[str, float]]
    holds: bool

    def shown(self) -> str:
        parts = [f"{name} = {_number(value)}" for name, value in [*self.values.items(), *self.sides]]
        return f"{', '.join(parts)}: {'holds' if self.holds else 'does not hold'}"


def _unit(expression: Expression, lookup: Callable[[Quantity], float]) -> _Unit:
    values = {str(quantity): lookup(quantity) for quantity in expression.quantities()}
    return _Unit(
        values,
        expression.sides(lambda quantity: values[str(quantity)]),
        bool(expression.value(lambda quantity: values[str(quantity)])),
    )


class _Evaluator:
    """One recipe's checks; draws and initial weights are shared between them."""

    def __init__(self, subject: Subject, planned: Mapping[str, Sequence[int]]) -> None:
        self.subject = subject
        self.planned = planned
        self.runs = subject.variants()
        self.drawn: dict[tuple[str, str | None], list[list[LayerSignal]]] = {}
        self.started: dict[str, dict[str, float]] = {}

    def result(self, check: Check) -> CheckResult:
        expression = read_expression(check.expression)
        evaluate = self._over_draws if is_random(expression) else self._over_seeds
        verdicts: list[Verdict] = []
        evidence: list[str] = []
        for variant in check.variants if check.variants is not None else self.planned:
            try:
                runs = self.runs.get(variant)
                if not runs:
                    raise EvaluationError("no finished run")
                config = self.subject.config(runs[0])
                root = self.subject.datasets.root
                anatomy = dissect(config.data, config.model, root, config.plugins, check.output)
                found, sentences = evaluate(check, expression, variant, runs, anatomy)
            except (EvaluationError, CnnbenchError) as error:
                found, sentences = ["not evaluated"], [f"{variant}: not evaluated: {error}"]
            verdicts += found
            evidence += sentences
        return CheckResult(check.text, check.expression, worst(verdicts), evidence)

    def _over_seeds(
        self, check: Check, expression: Expression, variant: str, runs: Sequence[Run], anatomy: Anatomy
    ) -> tuple[list[Verdict], list[str]]:
        verdicts: list[Verdict] = []
        by_sentence: dict[str, list[int]] = {}
        by_seed = {run.seed: run for run in runs}
        for seed in self.planned.get(variant, by_seed):
            try:
                if seed not in by_seed:
                    raise EvaluationError("no finished run")
                unit = _unit(expression, self._of_run(by_seed[seed], anatomy))
            except (EvaluationError, CnnbenchError) as error:
                verdicts.append("not evaluated")
                said = f"not evaluated: {error}"
            else:
                verdicts.append("holds" if unit.holds else "fails")
                said = unit.shown()
            by_sentence.setdefault(said, []).append(seed)
        sentences = [
            f"{variant}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: {said}"
            for said, seeds in by_sentence.items()
        ]
        return verdicts, sentences

    def _of_run(self, run: Run, anatomy: Anatomy) -> Callable[[Quantity], float]:
        result = run.result() or {}

        def lookup(quantity: Quantity) -> float:
            source = QUANTITIES[quantity.name].source
            if not QUANTITIES[quantity.name].of_layer:
                value = {**result, **(result.get("metrics") or {})}.get(quantity.name)
                if value is None and result.get("status") == "complete":
                    value = numbers_of(run, result).get(quantity.name)
                if value is None:
                    why = f": {result['message']}" if result.get("message") else ""
                    raise EvaluationError(f"the run has no {quantity.name}{why}")
                return float(value)
            if source == "shape":
                return anatomy.value(quantity)
            return self._start(run)[anatomy.layer(quantity)]

        return lookup

    def _start(self, run: Run) -> dict[str, float]:
        """Variance of each layer's weights as the run's seed makes them."""
        key = str(run.path)
        if key not in self.started:
            weights = layer_weights(self.subject.model(run, trained=False))
            self.started[key] = {name: variance_of(weight) for name, weight in weights.items()}
        return self.started[key]

    def _over_draws(
        self, check: Check, expression: Expression, variant: str, runs: Sequence[Run], anatomy: Anatomy
    ) -> tuple[list[Verdict], list[str]]:
        result = runs[0].result() or {}
        units = []
        for layers in self._draws(variant, runs[0], check):
            by_name = {layer.name: layer for layer in layers}

            def lookup(quantity: Quantity, by_name: dict[str, LayerSignal] = by_name) -> float:
                if quantity.name in _SIGNALS:
                    name = anatomy.layer(quantity)
                    if name not in by_name:  # weight_variance, which every layer has
                        raise CnnbenchError(f"{quantity}: {name} is not trained, and in draws not looked at")
                    return _SIGNALS[quantity.name](by_name[name])
                if QUANTITIES[quantity.name].of_layer:
                    return anatomy.value(quantity)
                return float(result[quantity.name])

            units.append(_unit(expression, lookup))
        successes = sum(unit.holds for unit in units)
        share = binomial_interval(successes, len(units))
        low, high = share.low or 0.0, share.high or 0.0
        verdict: Verdict = "holds" if low >= check.share else "fails" if high < check.share else "undecided"
        medians = [
            f"{name} = {_number(median(values))} ({_number(min(values))} to {_number(max(values))})"
            for name, values in _by_name(units).items()
        ]
        sentence = (
            f"{variant}: holds in {successes} of {len(units)} draws ({100 * share.mean:.1f} %, 95 % interval "
            f"{100 * low:.1f} to {100 * high:.1f} %; asked for are {100 * check.share:g} %); medians, with "
            f"lowest and highest: {', '.join(medians)}"
        )
        return [verdict], [sentence]

    def _draws(self, variant: str, run: Run, check: Check) -> list[list[LayerSignal]]:
        known = self.drawn.get((variant, check.output), [])
        if len(known) < check.draws:
            config = self.subject.config(run)
            in_shape, num_classes = describe_dataset(config.data, self.subject.datasets.root, config.plugins)
            known = self.drawn[variant, check.output] = list(
                draw_signals(
                    config.model, in_shape, num_classes, config.plugins, draws=check.draws,
                    output=check.output,
                )
            )  # fmt: skip
        return known[: check.draws]


def _by_name(units: Sequence[_Unit]) -> dict[str, list[float]]:
    """Values of quantities and sides over the draws; a side that cannot be told from another is one."""
    found: dict[str, list[float]] = {}
    for unit in units:
        for name, value in {**unit.values, **dict(unit.sides)}.items():
            found.setdefault(name, []).append(value)
    return found


def _number(value: float) -> str:
    """Four significant digits, whole numbers whole."""
    if abs(value) < 1e15 and value == int(value):
        return f"{int(value):,}"
    return f"{value:.4g}"
