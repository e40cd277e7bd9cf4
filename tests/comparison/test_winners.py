"""Which variant is carried on: the best, or among those that may be as good the cheapest."""

from dataclasses import replace

import pytest

from cnnbench.comparison.comparison import Comparison, Pair, Row
from cnnbench.comparison.quantities import KNOWN
from cnnbench.comparison.winners import COLUMNS, contender_rows, pick, picked
from cnnbench.errors import CnnbenchError
from cnnbench.paired_tests import PairedTest
from cnnbench.statistics import Estimate


def row(
    name: str, mean: float, macs: int | None = 100, num_params: int = 10, complete: bool = True, num: int = 3
) -> Row:
    std = None if num == 1 else 0.01
    return Row(
        recipe="r", variant=name, num_seeds=num, num_params=num_params, macs=macs, test_accuracy=None,
        val_accuracy=None, train_accuracy=None, train_seconds=None, latency_ms=None, throughput=None,
        peak_memory_mib=None, best_epoch=None, devices=frozenset(), complete=complete, ended=complete,
        problems=(), measured=Estimate(mean, std, mean - 0.02, mean + 0.02, num),
    )  # fmt: skip


def comparison(*rows: Row, same: str = "") -> Comparison:
    """All pairs tested; pairs of two names in `same` cannot be told apart."""
    pairs = []
    for index, a in enumerate(rows):
        for b in rows[index + 1 :]:
            assert a.measured is not None
            assert b.measured is not None
            difference = a.measured.mean - b.measured.mean
            p_value = 0.5 if {a.variant, b.variant} <= set(same) else 0.001
            test = PairedTest(difference, difference - 0.01, difference + 0.01, p_value, "t")
            pairs.append(Pair("r", a.variant, b.variant, test, p_value))
    return Comparison(list(rows), pairs, KNOWN["val_accuracy"])


@pytest.mark.parametrize(
    ("compared", "taken"),
    [
        pytest.param(comparison(row("a", 0.6), row("b", 0.7, macs=900)), "b", id="really better"),
        pytest.param(comparison(row("a", 0.6), row("b", 0.61, macs=900), same="ab"), "a", id="tie"),
        pytest.param(
            comparison(row("a", 0.6), row("b", 0.61, num_params=11), same="ab"), "a", id="tie, parameters"
        ),
        pytest.param(
            comparison(row("a", 0.6, macs=1000), row("b", 0.61, macs=1019), same="ab"),
            "b",
            id="costs within 2 % decide nothing",
        ),
        pytest.param(
            comparison(row("a", 0.6, macs=1000), row("b", 0.61, macs=1021), same="ab"),
            "a",
            id="costs beyond 2 % do",
        ),
        pytest.param(
            comparison(row("a", 0.6, macs=97, num_params=999), row("b", 0.61), same="ab"),
            "a",
            id="multiply-adds come first",
        ),
        pytest.param(comparison(row("a", 0.6), row("b", 0.61), same="ab"), "b", id="equal cost"),
        pytest.param(
            comparison(row("a", 0.5, macs=1), row("b", 0.6, macs=50), row("c", 0.61), same="bc"),
            "b",
            id="cheapest of the tied only",
        ),
        pytest.param(
            comparison(row("a", 0.59, macs=1), row("b", 0.6, macs=50), row("c", 0.61), same="abc"),
            "a",
            id="not of the best two only",
        ),
        pytest.param(
            comparison(row("a", 0.6), row("b", 0.9, complete=False)), "a", id="a seed of the best diverged"
        ),
        pytest.param(
            comparison(row("a", 0.6, macs=None), row("b", 0.61), same="ab"),
            "b",
            id="unknown cost is no bargain",
        ),
        pytest.param(comparison(row("a", 0.6)), "a", id="alone"),
    ],
)
def test_pick(compared: Comparison, taken: str) -> None:
    assert pick(compared)[0] == taken


def test_a_tie_is_told_with_its_numbers() -> None:
    tied = comparison(row("small", 0.6, macs=1000), row("large", 0.612, macs=4000, num_params=40), same="")
    pair = tied.pairs[0]
    tied = Comparison(tied.rows, [Pair("r", "small", "large", pair.test, 0.55)], tied.metric)
    _, contenders, reasons = pick(tied)
    assert reasons == [
        "large has the best validation accuracy, 61.2 ± 1.0 % (mean of 3 seeds).",
        "small (60.0 ± 1.0 %) cannot be told apart from it: "
        "1.2 points (95 % interval 0.2 to 2.2, corrected p = 0.550).",
        "So the cheaper one is taken, small: 1,000 multiply-adds and 10 parameters, against 4,000 "
        "multiply-adds and 40 parameters of large.",
    ]
    rows = contender_rows(contenders)
    assert all(len(each) == len(COLUMNS) for each in rows)
    assert rows[0] == [
        "small", "3", "60.0 ± 1.0", "58.0 to 62.0", "1,000", "10", "cannot be told apart", "0.550",
    ]  # fmt: skip
    assert rows[1][-2:] == ["best mean", "–"]


def test_what_else_is_told() -> None:
    _, _, reasons = pick(comparison(row("a", 0.6), row("b", 0.7), row("c", 0.9, complete=False)))
    text = " ".join(reasons)
    assert "a (60.0 ± 1.0 %) is worse: 10.0 points (95 % interval 9.0 to 11.0, corrected p = 0.001)." in text
    assert "Left out, since not every seed of it ended well: c." in text
    _, _, reasons = pick(comparison(row("a", 0.6, num=1), row("b", 0.61, num=1), same="ab"))
    assert "One seed each: how much another seed would change this is unknown." in reasons
    assert (
        "It is taken, since none of these is cheaper by more than 2 % (100 multiply-adds and 10 parameters)."
        in reasons
    )
    _, _, reasons = pick(comparison(row("a", 0.6, num=1), row("b", 0.7, num=1)))
    assert reasons[-1] == "One seed each: how much another seed would change this is unknown."


def test_a_variant_with_other_images_is_no_rival() -> None:
    both = comparison(row("a", 0.6, macs=1), row("b", 0.7))
    taken, _, reasons = pick(Comparison(both.rows, [], both.metric))
    assert taken == "b"
    assert "a (60.0 ± 1.0 %) had other validation images, so it was not tested." in reasons


def test_no_winner() -> None:
    with pytest.raises(CnnbenchError, match="r has no winner: no variant of it was trained with every seed"):
        pick(comparison(row("a", 0.6, complete=False)))


def test_what_is_picked_is_told_with_its_test_accuracy_where_that_is_to_be_looked_at() -> None:
    cheap = replace(row("a", 0.6, macs=50), test_accuracy=Estimate(0.58, 0.01, 0.555, 0.605, 3))
    compared = comparison(cheap, row("b", 0.61), same="ab")
    assert picked(compared, "ab") == []  # judged on test: nothing is picked
    (said,) = picked(replace(compared, judged_on="val"), "ab")
    assert said.startswith("What is built on this recipe takes a. b has the best validation accuracy, 61.0")
    assert "58.0" not in said
    (said,) = picked(replace(compared, judged_on="val_then_test"), "ab")
    assert said.startswith(
        "Validation picks a; its test accuracy is 58.0 ± 1.0 % (mean ± standard deviation over 3 seeds; 95 % "
        "interval 55.5 to 60.5 %). Test images had no part in the choice. b has the best validation accuracy"
    )
    (said,) = picked(replace(compared, judged_on="val"), "abc")
    assert said == "Nothing is picked yet: not every seed of c was trained to its end."
    some = comparison(row("a", 0.6), row("b", 0.7, complete=False))
    (said,) = picked(replace(some, judged_on="val_then_test"), "ab")
    assert said == "Nothing is picked yet: not every seed of b was trained to its end."
    diverged = replace(row("b", 0.7, complete=False), ended=True)
    (said,) = picked(replace(comparison(row("a", 0.6), diverged), judged_on="val"), "ab")
    assert said.startswith("What is built on this recipe takes a.")
    assert said.endswith("Left out, since not every seed of it ended well: b.")
    (said,) = picked(
        replace(comparison(replace(row("a", 0.6, complete=False), ended=True)), judged_on="val"), "a"
    )
    assert said == "Nothing is picked: r has no winner: no variant of it was trained with every seed."


def test_accuracies_on_several_data_sets_have_no_best() -> None:
    rows = [
        replace(row(name, mean), data=data)
        for name, mean, data in (("a", 0.6, "mnist"), ("b", 0.7, "digits"))
    ]
    several = replace(comparison(*rows, row("c", 0.5)), pairs=[], judged_on="val")
    why = r"r has no winner: its variants have several data sets \(mnist, digits, \), on which"
    with pytest.raises(CnnbenchError, match=why):
        pick(several)
    (said,) = picked(several, "abc")
    assert said.startswith("Nothing is picked: r has no winner: its variants have several data sets")
