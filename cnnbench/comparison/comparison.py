"""A table of variants with its uncertainty, and what it allows to conclude, in plain sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cnnbench.comparison.quantities import (
    KNOWN,
    Quantity,
    written,
    written_estimate,
    written_interval,
    written_p,
)
from cnnbench.statistics import Estimate, PairedTest, Point, is_steady, pareto_front

if TYPE_CHECKING:
    from cnnbench.recipe.config import JudgedOn

Cost = Literal["num_params", "train_seconds", "macs", "latency_ms"]
Standing = Literal["best", "tied", "worse", "untested", "unmeasured"]
SIGNIFICANT = 0.05
INCOMPARABLE = (
    "single runs, several machines, more or less other work on one, or seeds that took unequally long"
)
EQUAL_COST = 1.02  # sizes matched on purpose differ by up to 2 %: no reason to prefer one


@dataclass(frozen=True)
class Row:
    """One variant. Single numbers are medians over the seeds that count; what was not measured is None."""

    recipe: str
    variant: str
    num_seeds: int
    num_params: int | None
    macs: int | None
    test_accuracy: Estimate | None
    val_accuracy: Estimate | None
    train_accuracy: Estimate | None
    train_seconds: Estimate | None
    latency_ms: float | None
    throughput: float | None
    peak_memory_mib: float | None
    best_epoch: int | None
    devices: frozenset[str]  # of all its runs
    complete: bool  # every planned seed counts
    problems: tuple[str, ...]
    measured: Estimate | None  # the quantity that is compared
    skipped: bool = False  # it could not be run here; `problems` says why
    is_fixed: bool = False  # no seed can change it: pretrained, and nothing trained
    is_untrained: bool = False  # random weights: what it gets right is chance
    data: str = ""  # the data set's name: accuracies on different ones do not compare
    more: dict[str, Estimate] = field(default_factory=dict)  # what only some tasks measure: test_iou ...

    @property
    def device(self) -> str | None:
        """All of them in one line."""
        return " and ".join(sorted(self.devices)) or None

    def estimate(self, name: str) -> Estimate | None:
        """What is known of a quantity over the seeds: `test_accuracy`, `test_iou`, `train_seconds`."""
        known: Estimate | None = self.more.get(name) or getattr(self, name, None)
        return known


@dataclass(frozen=True)
class Pair:
    """The test of two variants of a recipe; `p_adjusted` is corrected (Holm) for all pairs of that recipe."""

    recipe: str
    a: str
    b: str
    test: PairedTest
    p_adjusted: float

    @property
    def differs(self) -> bool:
        return self.p_adjusted <= SIGNIFICANT


Four = tuple[
    str, str, str, str
]  # variants: the gain of the first over the second, of the third over the fourth


@dataclass(frozen=True)
class Gain:
    """Whether one gain is larger than another; `p_adjusted` is corrected for all gains of the recipe."""

    variants: Four
    test: PairedTest
    p_adjusted: float


@dataclass(frozen=True)
class Comparison:
    """Rows in the recipes' order, tested pairs, the quantity compared, problems beyond single rows.

    `judged_on` says whether the test images may be looked at (see Recipe).
    """

    rows: list[Row]
    pairs: list[Pair]
    metric: Quantity
    problems: list[str] = field(default_factory=list)
    judged_on: "JudgedOn" = "test"
    gains: list[Gain] = field(default_factory=list)  # those that the recipe claims something of

    def recipes(self) -> dict[str, list[Row]]:
        """Rows by recipe, in order."""
        grouped: dict[str, list[Row]] = {}
        for row in self.rows:
            grouped.setdefault(row.recipe, []).append(row)
        return grouped

    def all_problems(self) -> list[str]:
        """What was met in reading: of recipes, then of single rows, each with its name."""
        several = len(self.recipes()) > 1
        return [
            *self.problems,
            *(
                f"{f'{row.recipe}, ' * several}{row.variant}: {problem}"
                for row in self.rows
                for problem in row.problems
            ),
        ]

    def best(self, recipe: str, data: str | None = None) -> Row | None:
        """The row with the best mean, the smaller one if two are equal; None where nothing was measured.

        With `data` among the variants on that data set.
        """
        rows = [row for row in _measured(self.recipes()[recipe]) if data is None or row.data == data]
        return max(rows, key=self._goodness, default=None)

    def data_sets(self, recipe: str) -> list[str]:
        """The data sets of a recipe's variants, in order, where what is compared is of their images."""
        return list(dict.fromkeys(row.data for row in self.recipes()[recipe])) if self.metric.split else []

    def standing(self, row: Row) -> Standing:
        """How a variant stands to the best of its recipe; `tied` means that the two cannot be told apart.

        Where the recipe's variants have several data sets, to the best on its own.
        """
        if row.measured is None:
            return "unmeasured"
        best = self.best(row.recipe, row.data if self.metric.split else None)
        if best is None or best is row:
            return "best"
        if self.metric.is_exact:
            return "tied" if _mean(row) == _mean(best) else "worse"
        pair = self.pair(best, row)
        if pair is None:
            return "untested"
        return "worse" if pair.differs else "tied"

    def guesses(self, recipe: str) -> bool:
        """Whether a recipe trains nothing, and what is compared is what its networks get right."""
        return self.metric.split is not None and all(row.is_untrained for row in self.recipes()[recipe])

    def points(self, x: Cost) -> list[Point]:
        """The measured variants of which the cost is known, for a picture."""
        several = len(self.recipes()) > 1
        points = []
        for row in _measured(self.rows):
            cost, estimate = _cost(row, x), row.measured
            if cost is not None and estimate is not None:
                label = f"{row.recipe}: {row.variant}" if several else row.variant
                points.append(Point(label, cost, estimate.mean, estimate.low, estimate.high))
        return points

    def conclusions(self) -> list[str]:
        """What the numbers allow to say, recipe by recipe, a sentence or two each."""
        several = len(self.recipes()) > 1
        return [
            f"{recipe}: {sentence}" if several else sentence
            for recipe, rows in self.recipes().items()
            for sentence in self._conclude(recipe, rows)
        ]

    def _conclude(self, recipe: str, rows: list[Row]) -> Iterator[str]:
        best, measured = self.best(recipe), _measured(rows)
        if "+quick" in recipe and best is not None:
            yield (
                "A trial in reduced form (--quick: 2 epochs, 2,000 images, one seed), which shows that "
                "everything runs: what follows is no answer to the question."
            )
        if best is None:
            yield f"No {self.metric.label} has been measured yet."
            return
        if self.guesses(recipe):
            yield (
                "Nothing was trained: these networks guess, and their accuracy says nothing of them. The "
                "answer is in the checks and analyses."
            )
            return
        if len(data_sets := self.data_sets(recipe)) > 1:
            for data in data_sets:
                alike = [row for row in measured if row.data == data]
                if (best := self.best(recipe, data)) is not None:
                    yield from (f"{data}: {sentence}" for sentence in self._conclude_alike(best, alike))
            return
        yield from self._conclude_alike(best, measured)

    def _conclude_alike(self, best: Row, measured: list[Row]) -> Iterator[str]:
        """The same of variants that can be held against each other."""
        yield self._headline(best, alone=len(measured) == 1)
        if self.metric.is_exact:
            return
        if len(measured) > 1:
            yield from self._differences(best, measured)
        yield from self._caution(measured)
        if len(measured) > 1 and not self.metric.is_cost:
            yield from self._payoff(best, measured)

    def _headline(self, best: Row, *, alone: bool) -> str:
        estimate, metric = _estimate(best), self.metric
        unit = f" {metric.unit}" if metric.unit else ""
        how = "one seed" if estimate.num == 1 else f"mean ± standard deviation over {estimate.num} seeds"
        if estimate.low is not None and estimate.high is not None:
            how += f"; 95 % interval {written_interval(metric, estimate.low, estimate.high)}{unit}"
        how = "" if metric.is_exact else f" ({how})"
        lowest = "Fewest" if metric.is_exact else "Lowest"
        start = "Only" if alone else "Highest" if metric.higher_is_better else lowest
        return f"{start} {metric.label}: {best.variant}, {written_estimate(metric, estimate)}{unit}{how}."

    def _differences(self, best: Row, measured: list[Row]) -> Iterator[str]:
        """Which variants the tests tell apart from the best."""
        by_standing: dict[Standing, list[Row]] = {}
        for row in measured:
            by_standing.setdefault(self.standing(row), []).append(row)
        tied, worse = by_standing.get("tied", []), by_standing.get("worse", [])
        if tied:
            tests = {pair.test.method for row in tied if (pair := self.pair(best, row))}
            num_pairs = sum(pair.recipe == best.recipe for pair in self.pairs)
            how = f"at 95 % ({' or '.join(sorted(tests))}; {_corrected(num_pairs)})"
            who = _listed([row.variant for row in tied])
            yield (
                f"{who} cannot be told apart from the best, {best.variant}, {how}. "
                f"{self._advice([best, *tied])}"
            )
        if worse:
            yield f"Worse than {best.variant}: {'; '.join(self._worse(best, row) for row in worse)}."
        if untested := by_standing.get("untested", []):
            who = _listed([row.variant for row in untested])
            why = self._why_untested(measured)
            yield f"Whether {best.variant} is really better than {who} was not tested: {why}."

    def _why_untested(self, measured: list[Row]) -> str:
        if any(_estimate(row).num == 1 for row in measured) and self.metric.split is None:
            return f"one seed says nothing about the noise of {self.metric.label}; use --seeds 3 or more"
        return "they were not tested on the same images, or their predictions are not stored"

    def _worse(self, best: Row, row: Row) -> str:
        pair = self.pair(best, row)
        assert pair is not None  # it is what made the row "worse"
        test = pair.test if pair.a == best.variant else pair.test.turned()
        low, high = (test.low, test.high) if test.difference > 0 else (-test.high, -test.low)
        unit = " points" if self.metric.is_proportion else f" {self.metric.unit}" if self.metric.unit else ""
        spread = (high - low) / 2
        interval = written_interval(self.metric, low, high)
        return (
            f"{row.variant} by {written(self.metric, abs(test.difference), spread)}{unit} "
            f"(95 % interval, not corrected, {interval}; corrected {written_p(pair.p_adjusted)})"
        )

    def _advice(self, tied: list[Row]) -> str:
        """Which of several equals to take: the cheaper one to run, or the smaller, or the faster to train."""
        found: dict[str, str] = {}
        for name, words in (
            ("macs", "takes the fewest multiply-adds ({})"),
            ("num_params", "is the smallest ({} parameters)"),
        ):
            if said := _cheapest(tied, name):
                found.setdefault(said[0], f"{said[0]} {words.format(said[1])}")
        if len(found) > 1:
            return f"Which is cheaper depends: {', and '.join(found.values())}."
        if found:
            return f"Take the cheaper one: {next(iter(found.values()))}."
        if not _times_say_something(tied):
            return f"They are of one size, and their training times do not compare ({INCOMPARABLE})."
        if said := _cheapest(tied, "train_seconds"):
            return f"Take the cheaper one: {said[0]} is the fastest to train ({said[1]} s)."
        return "Neither size nor time speaks for one of them."

    def _caution(self, measured: list[Row]) -> Iterator[str]:
        """What a single seed leaves open, and why an interval is missing."""
        alike = [row for row in measured if _estimate(row).num > 1 and _estimate(row).low is None]
        if alike:
            yield (
                f"{_listed([row.variant for row in alike])}: all seeds gave the very same "
                f"{self.metric.label}; an interval of no width would say too much, so there is none."
            )
        single = [row.variant for row in measured if _estimate(row).num == 1 and not row.is_fixed]
        if all(row.is_fixed for row in measured):
            yield (
                "Nothing was trained, so no seed can change these figures; intervals count which images "
                f"happen to be in the {f'{self.metric.split} set' if self.metric.split else 'measurement'}."
            )
        if not single or self.metric.split is None:
            return
        if len(single) == len(measured):
            yield (
                f"With one seed only the noise of the {self.metric.split} images is counted: what another "
                "seed would change in these figures is unknown, and a small difference may be the seed's. "
                "Use --seeds 3 or more."
            )
        else:
            yield (
                f"One seed only: {_listed(single)}. What another seed would change there is unknown; "
                "the tests assume the noise that the other variant of the pair has."
            )

    def _payoff(self, best: Row, measured: list[Row]) -> Iterator[str]:
        """Accuracy per parameter and per second: the variants that nothing cheaper matches."""
        standings = {self.standing(row) for row in measured}
        if standings <= {"best", "tied"} or "untested" in standings:
            return  # a better mean within the noise pays for nothing, nor does one on easier images
        better = (
            "more accurate" if self.metric.name.endswith("accuracy") else f"better in {self.metric.label}"
        )
        for name, start, cheaper in (
            ("num_params", "Per parameter", "smaller"),
            ("train_seconds", "Per second of training", "faster"),
        ):
            costs = {row.variant: cost for row in measured if (cost := _cost(row, name)) is not None}
            if len(costs) < len(measured) or max(costs.values()) <= EQUAL_COST * min(costs.values()):
                continue
            if name == "train_seconds" and not _times_say_something(measured):
                continue
            goodness = [self._goodness(row)[0] for row in measured]
            indices = pareto_front([costs[row.variant] for row in measured], goodness)
            front = [measured[index] for index in indices]
            if len(front) == 1:
                equals = [row.variant for row in measured if self.standing(row) == "tied"]
                doubt = f" (but {_listed(equals)} may be as good)" if equals else ""
                yield f"{start}: no other variant is {cheaper} or {better} than {best.variant}{doubt}."
                continue
            who = _listed([f"{row.variant} ({_written_cost(name, costs[row.variant])})" for row in front])
            doubts = "".join(self._doubt(front[: place + 1], cheaper) for place in range(1, len(front)))
            yield f"{start}: no other variant is both {cheaper} and {better} than {who}.{doubts}"

    def _doubt(self, front: list[Row], cheaper: str) -> str:
        """Says of the last one of a front that its gain over a cheaper one may be noise."""
        *others, row = front
        for other in others:
            pair = self.pair(row, other)
            if pair is None or not pair.differs:
                return f" What {row.variant} gains over the {cheaper} {other.variant} may be noise."
        return ""

    def pair(self, one: Row, other: Row) -> Pair | None:
        """The test of two variants of one recipe; None where there is none."""
        names = {one.variant, other.variant}
        return next(
            (pair for pair in self.pairs if pair.recipe == one.recipe and {pair.a, pair.b} == names), None
        )

    def _goodness(self, row: Row) -> tuple[float, float]:
        size = -row.num_params if row.num_params is not None else float("-inf")
        return (_mean(row) if self.metric.higher_is_better else -_mean(row)), size


def times_compare(rows: Sequence[Row]) -> bool:
    """Whether seconds of training can be held against each other.

    All runs had the same device, as it is written, and the runs of a variant took about equally long.
    """
    return on_one_device(rows) and all(is_steady(row.train_seconds) for row in rows)


def on_one_device(rows: Sequence[Row]) -> bool:
    """Whether all runs had the same device, as it is written, and shared it with as many others."""
    return len(frozenset[str]().union(*(row.devices for row in rows))) == 1


def _times_say_something(rows: list[Row]) -> bool:
    return times_compare(rows) and all(_estimate(row).num > 1 for row in rows)


def _cheapest(rows: list[Row], name: str) -> tuple[str, str] | None:
    """The variant of the least cost, and that as text; None where costs are as good as equal, or unknown."""
    costs = {row.variant: cost for row in rows if (cost := _cost(row, name)) is not None}
    if len(costs) < len(rows) or max(costs.values()) <= EQUAL_COST * min(costs.values()):
        return None
    cheapest = min(costs, key=lambda variant: costs[variant])
    return cheapest, written(KNOWN[name], costs[cheapest])


def _measured(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.measured is not None]


def _estimate(row: Row) -> Estimate:
    if row.measured is None:
        raise ValueError(f"{row.variant} was not measured")
    return row.measured


def _mean(row: Row) -> float:
    return _estimate(row).mean


def _cost(row: Row, name: str) -> float | None:
    value = getattr(row, name)
    return value.mean if isinstance(value, Estimate) else value


def _written_cost(name: str, cost: float) -> str:
    """`272,474 parameters`, `182 s`."""
    return f"{written(KNOWN[name], cost)} {KNOWN[name].unit or KNOWN[name].label}"


def _corrected(num_pairs: int) -> str:
    return "one pair" if num_pairs == 1 else f"corrected for {num_pairs} pairs"


def _listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
