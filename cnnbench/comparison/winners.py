"""Which variant of a recipe is carried on to the next one: the best, or the cheapest that may be as good."""

from collections.abc import Callable, Collection, Iterable, Sequence

from cnnbench.comparison.comparison import EQUAL_COST, Comparison, Row
from cnnbench.comparison.quantities import KNOWN, written, written_estimate, written_interval
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import Contender
from cnnbench.statistics import Estimate, written_p

METRIC, TEST = KNOWN["val_accuracy"], KNOWN["test_accuracy"]
RULE = (
    "By validation accuracy. Among the best variant and all that cannot be told apart from it (paired test "
    "on the same validation images, corrected for all pairs), the one with the fewest multiply-adds is "
    "taken, then with the fewest parameters, then the best; costs within 2 % of each other count as equal."
)
COLUMNS = (
    "variant", "seeds", "validation accuracy (%)", "95 % interval (%)", "multiply-adds", "parameters",
    "against the best", "corrected p",
)  # fmt: skip
_STANDINGS = {
    "best": "best mean",
    "tied": "cannot be told apart",
    "worse": "worse",
    "untested": "not tested",
}
DASH = "–"


def pick(comparison: Comparison) -> tuple[str, list[Contender], list[str]]:
    """The variant to take of the one recipe that was compared, all that were measured, and the reasons.

    A variant of which a seed diverged is no candidate. Raises CnnbenchError where none is left, or where the
    variants have several data sets.
    """
    (recipe,) = comparison.recipes()
    one_data_set(recipe, comparison.data_sets(recipe))
    rows = [row for row in comparison.rows if row.complete and row.measured is not None]
    names = {row.variant for row in rows}
    pairs = [pair for pair in comparison.pairs if {pair.a, pair.b} <= names]
    left = Comparison(rows, pairs, comparison.metric)
    if not rows:
        raise CnnbenchError(f"{recipe} has no winner: no variant of it was trained with every seed")
    best = left.best(recipe)
    assert best is not None  # there are rows, and all are measured
    tied = [row for row in rows if left.standing(row) == "tied"]
    taken = _cheapest([best, *tied])
    contenders = [_contender(left, row, best) for row in rows]
    reasons = list(_reasons(left, best, tied, taken))
    if left_out := [row.variant for row in comparison.rows if row.variant not in names]:
        reasons.append(f"Left out, since not every seed of it ended well: {', '.join(left_out)}.")
    return taken.variant, contenders, reasons


def one_data_set(recipe: str, names: Iterable[str]) -> None:
    """Raises CnnbenchError where these data sets of a recipe's variants are several."""
    if len(several := list(dict.fromkeys(names))) > 1:
        raise CnnbenchError(
            f"{recipe} has no winner: its variants have several data sets ({', '.join(several)}), on which "
            "accuracies do not compare"
        )


def picked(comparison: Comparison, planned: Collection[str]) -> list[str]:
    """Sentences on which variant validation picks, and where the recipe is judged so, what test says of it.

    None where validation accuracy is not what is compared, or nothing can be picked yet; `planned` are all
    the variants that there are to be.
    """
    if comparison.metric.name != METRIC.name or comparison.judged_on == "test":
        return []
    if missing := sorted({*planned} - {row.variant for row in comparison.rows if row.ended}):
        return [f"Nothing is picked yet: not every seed of {', '.join(missing)} was trained to its end."]
    try:
        variant, _, reasons = pick(comparison)
    except CnnbenchError as error:
        return [f"Nothing is picked: {error}."]
    if comparison.judged_on == "val":
        return [f"What is built on this recipe takes {variant}. {' '.join(reasons)}"]
    (row,) = (row for row in comparison.rows if row.variant == variant)
    test = row.test_accuracy
    if test is None:
        return [f"Validation picks {variant}. {' '.join(reasons)}"]
    how = "one seed" if test.num == 1 else f"mean ± standard deviation over {test.num} seeds"
    if test.low is not None and test.high is not None:
        how += f"; 95 % interval {written_interval(TEST, test.low, test.high)} %"
    return [
        f"Validation picks {variant}; its test accuracy is {written_estimate(TEST, test)} % ({how}). Test "
        f"images had no part in the choice. {' '.join(reasons)}"
    ]


def _cheapest(rows: Sequence[Row]) -> Row:
    """By multiply-adds, then parameters, where they differ by more than EQUAL_COST; then the better mean."""
    costs: tuple[Callable[[Row], int | None], ...] = (lambda row: row.macs, lambda row: row.num_params)
    for cost in costs:
        known = [value for row in rows if (value := cost(row)) is not None]
        if known:
            most = EQUAL_COST * min(known)
            rows = [row for row in rows if (value := cost(row)) is not None and value <= most]
    return max(rows, key=lambda row: _estimate(row).mean)


def _contender(comparison: Comparison, row: Row, best: Row) -> Contender:
    estimate = _estimate(row)
    pair = comparison.pair(row, best)
    return Contender(
        variant=row.variant, num_seeds=estimate.num, mean=estimate.mean, std=estimate.std, low=estimate.low,
        high=estimate.high, num_params=row.num_params, macs=row.macs, standing=comparison.standing(row),
        p_value=None if pair is None else pair.p_adjusted,
    )  # fmt: skip


def _reasons(comparison: Comparison, best: Row, tied: Sequence[Row], taken: Row) -> list[str]:
    seeds = "one seed" if _estimate(best).num == 1 else f"mean of {_estimate(best).num} seeds"
    said = [f"{best.variant} has the best validation accuracy, {_accuracy(best)} ({seeds})."]
    for row in tied:
        said.append(
            f"{row.variant} ({_accuracy(row)}) cannot be told apart from it: {_test(comparison, best, row)}."
        )
    if taken is not best:
        said.append(
            f"So the cheaper one is taken, {taken.variant}: {_price(taken)}, against {_price(best)} of "
            f"{best.variant}."
        )
    elif tied:
        said.append(f"It is taken, since none of these is cheaper by more than 2 % ({_price(best)}).")
    worse = [row for row in comparison.rows if comparison.standing(row) == "worse"]
    for row in worse:
        said.append(f"{row.variant} ({_accuracy(row)}) is worse: {_test(comparison, best, row)}.")
    for row in comparison.rows:
        if comparison.standing(row) == "untested":
            said.append(
                f"{row.variant} ({_accuracy(row)}) had other validation images, so it was not tested."
            )
    if all(_estimate(row).num == 1 for row in comparison.rows) and len(comparison.rows) > 1:
        said.append("One seed each: how much another seed would change this is unknown.")
    return said


def _test(comparison: Comparison, best: Row, row: Row) -> str:
    """`0.8 points (95 % interval -1.9 to 3.5, corrected p = 0.55)`."""
    pair = comparison.pair(best, row)
    assert pair is not None  # a test is what made the row tied or worse
    test = pair.test if pair.a == best.variant else pair.test.turned()
    interval = written_interval(METRIC, test.low, test.high).replace("-", "−")
    points = written(METRIC, test.difference, (test.high - test.low) / 2)
    return f"{points} points (95 % interval {interval}, corrected p {written_p(pair.p_adjusted)})"


def _estimate(row: Row) -> Estimate:
    assert row.measured is not None  # `pick` leaves others out
    return row.measured


def _accuracy(row: Row) -> str:
    return f"{written_estimate(METRIC, _estimate(row))} %"


def _price(row: Row) -> str:
    macs = "unknown" if row.macs is None else f"{row.macs:,}"
    num_params = "unknown" if row.num_params is None else f"{row.num_params:,}"
    return f"{macs} multiply-adds and {num_params} parameters"


def contender_rows(contenders: Sequence[Contender]) -> list[list[str]]:
    """A row under COLUMNS for each, as text."""
    return [_contender_row(each) for each in contenders]


def _contender_row(each: Contender) -> list[str]:
    estimate = Estimate(each.mean, each.std, each.low, each.high, each.num_seeds)
    has_interval = each.low is not None and each.high is not None
    p_value = "" if each.p_value is None else written_p(each.p_value)
    return [
        each.variant,
        str(each.num_seeds),
        written_estimate(METRIC, estimate),
        written_interval(METRIC, each.low, each.high) if has_interval else DASH,  # type: ignore[arg-type]
        DASH if each.macs is None else f"{each.macs:,}",
        DASH if each.num_params is None else f"{each.num_params:,}",
        _STANDINGS.get(each.standing, each.standing),
        p_value.removeprefix("= ") or DASH,
    ]
