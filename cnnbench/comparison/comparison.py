"""A table of variants with its uncertainty, the tested pairs, and how each stands to the best."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cnnbench.comparison.quantities import AREA, Quantity
from cnnbench.paired_tests import PairedTest
from cnnbench.settings import Digests, differ
from cnnbench.statistics import SIGNIFICANT, Estimate, Point, is_steady

if TYPE_CHECKING:
    from cnnbench.recipe.config import JudgedOn

Cost = Literal["num_params", "train_seconds", "macs", "latency_ms"]
Standing = Literal["best", "tied", "worse", "untested", "unmeasured"]
INCOMPARABLE = (
    "single runs, several machines, more or less other work on one, or seeds that took unequally long"
)
TIMES = ("train_seconds", "val_seconds", "latency_ms", "throughput")
MEMORY = "peak_memory_mib"
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
    ended: bool  # every planned seed counts or diverged: no run is to come
    problems: tuple[str, ...]
    measured: Estimate | None  # the quantity that is compared
    skipped: bool = False  # it could not be run here; `problems` says why
    is_fixed: bool = False  # no seed can change it: pretrained, and nothing trained
    is_untrained: bool = False  # random weights: what it gets right is chance
    lengths: frozenset[int] = frozenset()  # in epochs, of all its runs
    images: str = ""  # the settings that decide which images are in which split
    digests: Digests = frozenset()  # what is known of these images, of all its runs
    loss: str = ""  # what is minimized, as far as it can be chosen
    data: str = ""  # the data set's name: accuracies on different ones do not compare
    more: dict[str, Estimate] = field(default_factory=dict)  # what only some tasks measure: test_iou ...

    @property
    def device(self) -> str | None:
        """All of them in one line."""
        return " and ".join(sorted(self.devices)) or None

    @property
    def known(self) -> Estimate:
        """What is compared, of a variant that has it; raises ValueError where it was not measured."""
        if self.measured is None:
            raise ValueError(f"{self.variant} was not measured")
        return self.measured

    def cost(self, name: Cost) -> float | None:
        """What it costs: the number itself, of an estimate its mean; None where it is not known."""
        value: float | Estimate | None = getattr(self, name)
        return value.mean if isinstance(value, Estimate) else value

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


# variants: the gain of the first over the second, of the third over the fourth
Four = tuple[str, str, str, str]


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
    by_scene: bool = False  # images that show one thing count as one

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
        rows = [row for row in measured_rows(self.recipes()[recipe]) if data is None or row.data == data]
        return max(rows, key=self.goodness, default=None)

    def data_sets(self, recipe: str) -> list[str]:
        """The data sets of a recipe's variants, in order, where what is compared is of their images."""
        rows = [] if self.metric.is_cost else self.recipes()[recipe]
        return list(dict.fromkeys(row.data for row in rows))

    def standing(self, row: Row) -> Standing:
        """How a variant stands to the best of its recipe; `tied` means that the two cannot be told apart.

        Where the recipe's variants have several data sets, to the best on its own.
        """
        if row.measured is None:
            return "unmeasured"
        best = self.best(row.recipe, None if self.metric.is_cost else row.data)
        if best is None or best is row:
            return "best"
        if self.metric.is_exact:
            return "tied" if row.known.mean == best.known.mean else "worse"
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
        for row in measured_rows(self.rows):
            cost, estimate = row.cost(x), row.measured
            if cost is not None and estimate is not None:
                label = f"{row.recipe}: {row.variant}" if several else row.variant
                points.append(Point(label, cost, estimate.mean, estimate.low, estimate.high))
        return points

    def pair(self, one: Row, other: Row) -> Pair | None:
        """The test of two variants of one recipe; None where there is none."""
        names = {one.variant, other.variant}
        return next(
            (pair for pair in self.pairs if pair.recipe == one.recipe and {pair.a, pair.b} == names), None
        )

    def goodness(self, row: Row) -> tuple[float, float]:
        """What variants are ordered by: the larger, the better; of equals the smaller one."""
        size = -row.num_params if row.num_params is not None else float("-inf")
        return (row.known.mean if self.metric.higher_is_better else -row.known.mean), size


def why_apart(metric: Quantity, rows: Sequence[Row]) -> str | None:
    """Why values of a quantity that is not known image by image do not compare; None where they do."""
    if metric.name in TIMES and not times_compare(rows):
        return f"times of these runs do not compare ({INCOMPARABLE})"
    if metric.name == MEMORY and not on_one_device(rows):
        return "they did not have the same device for themselves"
    if metric.is_cost:
        return None
    if metric.name.endswith("_loss") and len({row.loss for row in rows}) > 1:
        return "their losses are not the same measure (train.loss)"
    digests = frozenset[tuple[str, str]]().union(*(row.digests for row in rows))
    if len({row.images for row in rows}) > 1 or differ(digests):
        return "they do not have the same images"
    if metric.name == AREA and len(frozenset[int]().union(*(row.lengths for row in rows))) > 1:
        return "they were not trained for as many epochs"
    return None


def times_compare(rows: Sequence[Row]) -> bool:
    """Whether seconds of training can be held against each other.

    All runs had the same device, as it is written, and the runs of a variant took about equally long.
    """
    return on_one_device(rows) and all(is_steady(row.train_seconds) for row in rows)


def on_one_device(rows: Sequence[Row]) -> bool:
    """Whether all runs had the same device, as it is written, and shared it with as many others."""
    return len(frozenset[str]().union(*(row.devices for row in rows))) == 1


def measured_rows(rows: Sequence[Row]) -> list[Row]:
    """Those in which what is compared was measured."""
    return [row for row in rows if row.measured is not None]
