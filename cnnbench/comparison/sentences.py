"""What a comparison allows to say, in plain sentences."""

from collections.abc import Iterator
from itertools import pairwise

from cnnbench.comparison.comparison import (
    EQUAL_COST,
    INCOMPARABLE,
    Comparison,
    Cost,
    Row,
    Standing,
    measured_rows,
    times_compare,
    why_apart,
)
from cnnbench.comparison.outlook import TOO_CLOSE, images_of, to_tell
from cnnbench.comparison.quantities import KNOWN, written, written_estimate, written_interval
from cnnbench.statistics import pareto_front, written_p


def conclusions(comparison: Comparison) -> list[str]:
    """What the numbers allow to say, recipe by recipe, a sentence or two each."""
    several = len(comparison.recipes()) > 1
    return [
        f"{recipe}: {sentence}" if several else sentence
        for recipe, rows in comparison.recipes().items()
        for sentence in _conclude(comparison, recipe, rows)
    ]


def _conclude(comparison: Comparison, recipe: str, rows: list[Row]) -> Iterator[str]:
    best, measured = comparison.best(recipe), measured_rows(rows)
    if "+quick" in recipe and best is not None:
        yield (
            "A trial in reduced form (--quick: 2 epochs, 2,000 images, one seed), which shows that "
            "everything runs: what follows is no answer to the question."
        )
    if best is None:
        rows = comparison.recipes()[recipe]
        diverged = all(any("diverged" in problem for problem in row.problems) for row in rows)
        yield f"No {comparison.metric.label} has been measured{'' if diverged else ' yet'}."
        return
    if comparison.guesses(recipe):
        yield (
            "Nothing was trained: these networks guess, and their accuracy says nothing of them. The "
            "answer is in the checks and analyses."
        )
        return
    if len(data_sets := comparison.data_sets(recipe)) > 1:
        for data in data_sets:
            alike = [row for row in measured if row.data == data]
            if (best := comparison.best(recipe, data)) is not None:
                yield from (f"{data}: {sentence}" for sentence in _conclude_alike(comparison, best, alike))
        return
    yield from _conclude_alike(comparison, best, measured)


def _conclude_alike(comparison: Comparison, best: Row, measured: list[Row]) -> Iterator[str]:
    """The same of variants that can be held against each other."""
    yield _headline(comparison, best, alone=len(measured) == 1)
    if comparison.metric.is_exact:
        return
    if len(measured) > 1:
        yield from _differences(comparison, best, measured)
    yield from _caution(comparison, measured)
    if comparison.metric.is_symptom:
        yield (
            f"{comparison.metric.label.capitalize()}: it says how training went, and not how good a network "
            "is; one that has learned nothing has little of it."
        )
    elif len(measured) > 1 and not comparison.metric.is_cost:
        yield from _payoff(comparison, best, measured)


def _headline(comparison: Comparison, best: Row, *, alone: bool) -> str:
    estimate, metric = best.known, comparison.metric
    unit = f" {metric.unit}" if metric.unit else ""
    how = "one seed" if estimate.num == 1 else f"mean ± standard deviation over {estimate.num} seeds"
    if estimate.low is not None and estimate.high is not None:
        how += f"; 95 % interval {written_interval(metric, estimate.low, estimate.high)}{unit}"
    how = "" if metric.is_exact else f" ({how})"
    lowest = "Fewest" if metric.is_exact else "Lowest"
    start = "Only" if alone else "Highest" if metric.higher_is_better else lowest
    return f"{start} {metric.label}: {best.variant}, {written_estimate(metric, estimate)}{unit}{how}."


def _differences(comparison: Comparison, best: Row, measured: list[Row]) -> Iterator[str]:
    """Which variants the tests tell apart from the best."""
    by_standing: dict[Standing, list[Row]] = {}
    for row in measured:
        by_standing.setdefault(comparison.standing(row), []).append(row)
    tied, worse = by_standing.get("tied", []), by_standing.get("worse", [])
    if tied:
        tests = {pair.test.method for row in tied if (pair := comparison.pair(best, row))}
        num_pairs = sum(pair.recipe == best.recipe for pair in comparison.pairs)
        how = f"at 95 % ({' or '.join(sorted(tests))}; {_corrected(num_pairs)})"
        who = _listed([row.variant for row in tied])
        yield (
            f"{who} cannot be told apart from the best, {best.variant}, {how}."
            + ("" if comparison.metric.is_symptom else f" {_advice(comparison, [best, *tied])}")
        )
        yield from _outlook(comparison, best, tied, num_pairs)
    if worse:
        than = "Larger than that of" if comparison.metric.is_symptom else "Worse than"
        yield f"{than} {best.variant}: {'; '.join(_worse(comparison, best, row) for row in worse)}."
    if untested := by_standing.get("untested", []):
        who = _listed([row.variant for row in untested])
        why = _why_untested(comparison, measured)
        yield f"Whether {best.variant} is really better than {who} was not tested: {why}."


def _outlook(comparison: Comparison, best: Row, tied: list[Row], num_pairs: int) -> Iterator[str]:
    """How many seeds would tell the equals from the best, where a plan can be made for one of them at all."""
    needed: dict[str, list[str]] = {}
    for row in tied:
        pair = comparison.pair(best, row)
        said = (
            to_tell(pair.test, num_pairs, images_of(comparison.metric, comparison.by_scene))
            if pair is not None
            else None
        )
        if said is not None:
            needed.setdefault(said, []).append(row.variant)
    if needed.keys() - {TOO_CLOSE}:
        each = "; ".join(f"{_listed(variants)}, {said}" for said, variants in needed.items())
        how = f"differences as measured, power 80 %, {_corrected(num_pairs)}"
        yield f"What it would take to tell from {best.variant} ({how}): {each}."


def _why_untested(comparison: Comparison, measured: list[Row]) -> str:
    if comparison.metric.split is None and (why := why_apart(comparison.metric, measured)):
        return why
    if any(row.known.num == 1 for row in measured) and comparison.metric.split is None:
        return f"one seed says nothing about the noise of {comparison.metric.label}; use --seeds 3 or more"
    return "they were not tested on the same images, or their predictions are not stored"


def _worse(comparison: Comparison, best: Row, row: Row) -> str:
    pair = comparison.pair(best, row)
    assert pair is not None  # it is what made the row "worse"
    test = pair.test if pair.a == best.variant else pair.test.turned()
    low, high = (test.low, test.high) if test.difference > 0 else (-test.high, -test.low)
    metric, spread = comparison.metric, (high - low) / 2
    unit = " points" if metric.is_proportion else f" {metric.unit}" if metric.unit else ""
    interval = written_interval(metric, low, high)
    return (
        f"{row.variant} by {written(metric, abs(test.difference), spread)}{unit} "
        f"(95 % interval, not corrected, {interval}; corrected p {written_p(pair.p_adjusted)})"
    )


def _advice(comparison: Comparison, tied: list[Row]) -> str:
    """Which of several equals to take: the cheaper one to run, or the smaller, or the faster to train."""
    found: dict[str, str] = {}
    sizes: tuple[tuple[Cost, str], ...] = (
        ("macs", "takes the fewest multiply-adds ({})"),
        ("num_params", "is the smallest ({} parameters)"),
    )
    for name, words in sizes:
        if said := _cheapest(tied, name):
            found.setdefault(said[0], f"{said[0]} {words.format(said[1])}")
    if len(found) > 1:
        return f"Which is cheaper depends: {', and '.join(found.values())}."
    if found:
        return f"Take the cheaper one: {next(iter(found.values()))}."
    if not _times_say_something(tied):
        return f"They are of one size, and their training times do not compare ({INCOMPARABLE})."
    if (said := _cheapest(tied, "train_seconds")) and _is_fastest(tied, said[0]):
        return f"Take the cheaper one: {said[0]} is the fastest to train ({said[1]} s)."
    return "Neither size nor time speaks for one of them."


def _caution(comparison: Comparison, measured: list[Row]) -> Iterator[str]:
    """What a single seed leaves open, and why an interval is missing."""
    alike = [row for row in measured if row.known.num > 1 and row.known.low is None]
    if alike:
        yield (
            f"{_listed([row.variant for row in alike])}: all seeds gave the very same "
            f"{comparison.metric.label}; an interval of no width would say too much, so there is none."
        )
    split = comparison.metric.split
    single = [row.variant for row in measured if row.known.num == 1 and not row.is_fixed]
    if all(row.is_fixed for row in measured):
        yield (
            "Nothing was trained, so no seed can change these figures; intervals count which images "
            f"happen to be in the {f'{split} set' if split else 'measurement'}."
        )
    if not single or split is None:
        return
    if len(single) == len(measured):
        yield (
            f"With one seed only the noise of the {split} images is counted: what another "
            "seed would change in these figures is unknown, and a small difference may be the seed's. "
            "Use --seeds 3 or more."
        )
        return
    lends = any(row.known.num > 1 and not row.is_fixed for row in measured)
    alone = len(single) > 1 or any(row.is_fixed for row in measured)
    counted = "the noise of the images alone" if alone else ""
    if lends:
        lent = "the noise that the other variant of the pair has"
        counted = f"{lent}, and where that has one seed too or none matters, {counted}" if alone else lent
    yield (
        f"One seed only: {_listed(single)}. What another seed would change there is unknown; "
        f"the tests {'assume' if lends else 'count'} {counted}."
    )


def _payoff(comparison: Comparison, best: Row, measured: list[Row]) -> Iterator[str]:
    """Accuracy per parameter and per second: the variants that nothing cheaper matches."""
    standings = {comparison.standing(row) for row in measured}
    if standings <= {"best", "tied"} or "untested" in standings:
        return  # a better mean within the noise pays for nothing, nor does one on easier images
    metric = comparison.metric
    better = "more accurate" if metric.name.endswith("accuracy") else f"better in {metric.label}"
    prices: tuple[tuple[Cost, str, str], ...] = (
        ("num_params", "Per parameter", "smaller"),
        ("train_seconds", "Per second of training", "faster"),
    )
    for name, start, cheaper in prices:
        costs = {row.variant: cost for row in measured if (cost := row.cost(name)) is not None}
        if len(costs) < len(measured) or max(costs.values()) <= EQUAL_COST * min(costs.values()):
            continue
        if name == "train_seconds" and not _times_say_something(measured):
            continue
        goodness = [comparison.goodness(row)[0] for row in measured]
        indices = pareto_front([costs[row.variant] for row in measured], goodness)
        front = [measured[index] for index in indices]
        if len(front) == 1:
            first = front[0]  # of equal means the cheapest, which need not be the one that is called best
            equals = [
                row.variant for row in measured if row is not first and comparison.standing(row) != "worse"
            ]
            doubt = f" (but {_listed(equals)} may be as good)" if equals else ""
            yield f"{start}: no other variant is {cheaper} or {better} than {first.variant}{doubt}."
            continue
        who = _listed([f"{row.variant} ({_written_cost(name, costs[row.variant])})" for row in front])
        doubts = "".join(_doubt(comparison, front[: place + 1], cheaper) for place in range(1, len(front)))
        if name == "train_seconds":
            doubts += "".join(
                f" That {one.variant} is faster than {other.variant} may be noise."
                for one, other in pairwise(sorted(front, key=lambda row: costs[row.variant]))
                if not _is_fastest([one, other], one.variant)
            )
        yield f"{start}: no other variant is both {cheaper} and {better} than {who}.{doubts}"


def _doubt(comparison: Comparison, front: list[Row], cheaper: str) -> str:
    """Says of the last one of a front that its gain over a cheaper one may be noise."""
    *others, row = front
    for other in others:
        pair = comparison.pair(row, other)
        if pair is None or not pair.differs:
            return f" What {row.variant} gains over the {cheaper} {other.variant} may be noise."
    return ""


def _times_say_something(rows: list[Row]) -> bool:
    return times_compare(rows) and all(row.known.num > 1 for row in rows)


def _cheapest(rows: list[Row], name: Cost) -> tuple[str, str] | None:
    """The variant of the least cost, and that as text; None where costs are as good as equal, or unknown.

    Sizes are exact, so that any of several small ones is as good; of times the second shortest must differ.
    """
    costs = {row.variant: cost for row in rows if (cost := row.cost(name)) is not None}
    if len(costs) < len(rows):
        return None
    ascending = sorted(costs.values())
    if ascending[1 if name == "train_seconds" else -1] <= EQUAL_COST * ascending[0]:
        return None
    cheapest = min(costs, key=lambda variant: costs[variant])
    return cheapest, written(KNOWN[name], costs[cheapest])


def _is_fastest(rows: list[Row], variant: str) -> bool:
    """Whether its 95 % interval of training time ends before each other one begins: a mean may be luck."""
    times = {row.variant: row.train_seconds for row in rows if row.train_seconds is not None}
    own = times.pop(variant)
    end = own.mean if own.high is None else own.high
    return all(end < (each.mean if each.low is None else each.low) for each in times.values())


def _written_cost(name: Cost, cost: float) -> str:
    """`272,474 parameters`, `182 s`."""
    return f"{written(KNOWN[name], cost)} {KNOWN[name].unit or KNOWN[name].label}"


def _corrected(num_pairs: int) -> str:
    return "one pair" if num_pairs == 1 else f"corrected for {num_pairs} pairs"


def _listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
