"""The variance of each layer's first weights: as declared, as drawn, and how far apart the two may lie.

The variance of n normal numbers varies from draw to draw by sqrt(2 / (n - 1)) of itself (one standard error).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnbench.analyses.base import Analysis, Cell, Subject, Table
from cnnbench.analyses.opening import LeftOut
from cnnbench.analyses.starting import declared_of, start_weights
from cnnbench.errors import CnnbenchError
from cnnbench.models.initialization import fans_of, variance_of

FAR = 3.0  # standard errors; a good draw lies beyond them once in 370 times


@dataclass(frozen=True)
class Drawn:
    """One layer over the seeds of a variant."""

    num_weights: int
    fan_in: int
    fan_out: int
    variances: list[float]
    declared: list[float | None]

    @property
    def standard_error(self) -> float:
        """Of the variance of one seed's weights, as a share of it."""
        return standard_error(self.num_weights)

    @property
    def ratios(self) -> list[float]:
        """Drawn over declared, for each seed that has both."""
        pairs = zip(self.variances, self.declared, strict=True)
        return [drawn / declared for drawn, declared in pairs if declared]

    @property
    def furthest(self) -> float | None:
        """The deviation of the seed that is furthest off, in standard errors."""
        return max(((r - 1) / self.standard_error for r in self.ratios), key=abs, default=None)


def standard_error(num_weights: int) -> float:
    """Relative standard error of the sample variance of normal numbers."""
    return math.sqrt(2 / (num_weights - 1)) if num_weights > 1 else math.inf


class Initialization(Analysis):
    """Whether every layer started with the variance that its recipe declares."""

    def analyse(self, subject: Subject) -> Iterator[Table]:
        """Yields a table of all layers."""
        left_out = LeftOut()
        rows: list[list[Cell]] = []
        deviations: list[float] = []
        for name, runs in subject.variants().items():
            try:
                seeds = [(start_weights(subject, run), declared_of(subject, run)) for run in runs]
            except CnnbenchError as error:
                left_out.add(name, error)
                continue
            for layer, weight in seeds[0][0].items():
                fans = fans_of(weight)
                drawn = Drawn(
                    weight.numel(),
                    fans.fan_in,
                    fans.fan_out,
                    [variance_of(weights[layer]) for weights, _ in seeds],
                    [declared.get(layer) for _, declared in seeds],
                )
                deviations += [(ratio - 1) / drawn.standard_error for ratio in drawn.ratios]
                rows.append(_row(name, layer, drawn))
        yield Table(
            name="initialization",
            title="Variance of the first weights",
            caption="Of each layer's weights before training, the mean over seeds. Sampling error: one "
            "standard error of one seed's variance, sqrt(2 / (n − 1)) for n normal weights. Furthest seed: "
            "its deviation from the declared variance, in standard errors. Layers without a declared "
            "variance start as the model itself draws them, scaled where init says so. "
            + _said_of(deviations)
            + left_out.note(),
            columns=[
                "variant", "layer", "weights", "fan in", "fan out", "declared", "drawn", "drawn / declared",
                "sampling error (%)", "furthest seed (standard errors)",
            ],
            rows=rows,
        )  # fmt: skip


def _said_of(deviations: Sequence[float]) -> str:
    """How many layers of how many seeds are far off."""
    if not deviations:
        return "No variant declares a variance (init), so there is nothing to hold what was drawn against."
    far = sum(abs(deviation) > FAR for deviation in deviations)
    return (
        f"Of {len(deviations)} drawn variances {far or 'none'} {'lies' if far == 1 else 'lie'} more than "
        f"{FAR:g} standard errors from the declared one; chance alone puts one in 370 there."
    )


def _row(variant: str, layer: str, drawn: Drawn) -> list[Cell]:
    declared = [value for value in drawn.declared if value is not None]
    ratios, furthest = drawn.ratios, drawn.furthest
    return [
        variant,
        layer,
        drawn.num_weights,
        drawn.fan_in,
        drawn.fan_out,
        f"{_mean(declared):.4g}" if declared else None,
        f"{_mean(drawn.variances):.4g}",
        f"{_mean(ratios):.4f}" if ratios else None,
        f"{100 * drawn.standard_error:.2f}" if declared else None,
        f"{furthest:+.1f}" if furthest is not None else None,
    ]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
