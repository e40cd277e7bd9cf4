"""Claims against tests with known differences: supported, contradicted, mixed, undecided, not tested."""

from dataclasses import replace

import pytest

from cnnbench.comparison.claims import RULE_OVER_SEEDS, judge, rule, rule_of_seeds
from cnnbench.comparison.comparison import Comparison, Gain, Pair, Row
from cnnbench.comparison.outlook import RULE as RULE_OF_SEEDS
from cnnbench.comparison.quantities import KNOWN
from cnnbench.errors import CnnbenchError
from cnnbench.paired_tests import PairedTest, compare_means
from cnnbench.seeds_needed import seeds_needed
from cnnbench.statistics import Estimate

# variant a against the others: clearly better than b, clearly worse than c, like d
PAIRS = {("a", "b"): (0.05, 0.001), ("c", "a"): (0.03, 0.04), ("a", "d"): (0.01, 0.2), ("b", "d"): (0.0, 1.0)}


def row(variant: str, num_seeds: int = 3) -> Row:
    return Row(
        recipe="demo", variant=variant, num_seeds=num_seeds, num_params=None, macs=None, test_accuracy=None,
        val_accuracy=None, train_accuracy=None, train_seconds=None, latency_ms=None, throughput=None,
        peak_memory_mib=None, best_epoch=None, devices=frozenset(), complete=True, ended=True, problems=(),
        measured=None,
    )  # fmt: skip


def comparison(num_seeds: int = 3) -> Comparison:
    pairs = [
        Pair("demo", a, b, PairedTest(difference, difference - 0.02, difference + 0.02, p / 4, "test"), p)
        for (a, b), (difference, p) in PAIRS.items()
    ]
    return Comparison([row(name, num_seeds) for name in "abcd"], pairs, KNOWN["test_accuracy"])


@pytest.mark.parametrize(
    ("better", "than", "verdict"),
    [
        ("a", "b", "supported"),
        ("b", "a", "contradicted"),
        ("a", "c", "contradicted"),  # the pair stands the other way round
        ("c", "a", "supported"),
        ("a", "d", "undecided"),
        ("a", "bd", "undecided"),  # better than one of the two only
        ("ca", "b", "not tested"),  # c and b were not compared
        ("a", "bcd", "mixed"),
        ("a", "cd", "contradicted"),  # one loss is enough where nothing is gained
        ("b", "d", "undecided"),
    ],
)
def test_verdicts(better: str, than: str, verdict: str) -> None:
    [found] = judge(comparison(), [{"text": "So it is.", "better": list(better), "than": list(than)}])
    assert (found.claim, found.verdict) == ("So it is.", verdict)
    assert len(found.evidence) == len(better) * len(than)


def test_the_evidence_says_difference_interval_and_p() -> None:
    [claim] = judge(comparison(), [{"text": "", "better": ["a"], "than": ["c", "b"]}])
    assert claim.evidence == [
        "a against c: −3.0 points (95 % interval, not corrected, −5.0 to −1.0; corrected p = 0.040)",
        "a against b: +5.0 points (95 % interval, not corrected, 3.0 to 7.0; corrected p = 0.001)",
    ]


def test_what_is_undecided_says_how_many_seeds_would_decide() -> None:
    """Two seeds each, 4.25 points apart: p = 0.15; a few more would do, and more yet for six pairs."""
    test = compare_means([0.9, 0.925], [0.96, 0.95])
    assert test.p_value == pytest.approx(0.146, abs=0.001)
    pair = Pair("demo", "a", "b", test, test.p_value)
    claim = {"text": "", "better": ["b"], "than": ["a"]}
    (open_one,) = judge(replace(comparison(), pairs=[pair]), [claim])
    needed = seeds_needed(test)
    assert needed == 4
    assert open_one.evidence[0].endswith(f"; to tell: about {needed} seeds each")
    assert rule_of_seeds([open_one]) == [RULE_OF_SEEDS]
    assert RULE_OF_SEEDS in rule([open_one])
    (of_six,) = judge(replace(comparison(), pairs=[pair] * 6), [claim])
    assert seeds_needed(test, 6) == 6
    assert of_six.evidence[0].endswith(f"; to tell: about {seeds_needed(test, 6)} seeds each")
    (decided,) = judge(replace(comparison(), pairs=[replace(pair, p_adjusted=0.05)]), [claim])
    assert "to tell" not in decided.evidence[0]
    assert rule_of_seeds([decided]) == []


def test_a_claim_about_the_course_of_training() -> None:
    rows = [replace(each, lengths=frozenset({8})) for each in comparison().rows]
    area = Pair("demo", "a", "b", PairedTest(0.051, 0.027, 0.075, 0.001, "test"), 0.002)

    def compare_by(metric: str) -> Comparison:
        return replace(comparison(), rows=rows, pairs=[area], metric=KNOWN[metric])

    claim = {"text": "a learns sooner.", "better": ["a"], "than": ["b"], "metric": "area_under_curve"}
    (found,) = judge(comparison(), [claim], compare_by)
    assert (found.verdict, found.over_seeds) == ("supported", True)
    assert found.evidence[0].startswith("a against b: +5.1 points of area under the learning curve (95 %")
    assert RULE_OVER_SEEDS in rule([found])
    assert RULE_OVER_SEEDS not in rule(judge(comparison(), [{**claim, "metric": None}]))
    d = {**claim, "than": ["d"]}  # of which there is no pair
    (found,) = judge(comparison(), [d], compare_by)
    assert found.evidence == ["a against d: not tested, for want of two seeds that measured it"]
    rows[3] = replace(rows[3], lengths=frozenset({7, 8}))  # a seed of d stopped early
    (found,) = judge(comparison(), [d], compare_by)
    assert found.verdict == "not tested"
    assert found.evidence == ["a against d: not tested, they were not trained for as many epochs"]
    rows[3] = replace(rows[3], images="others")
    (found,) = judge(comparison(), [{**d, "metric": "test_loss"}], compare_by)
    assert found.evidence == ["a against d: not tested, they do not have the same images"]
    rough = {**claim, "metric": "roughness", "better": ["b"], "than": ["a"]}
    (found,) = judge(comparison(), [rough], compare_by)
    assert found.verdict == "supported"  # of roughness less is better
    assert found.evidence[0].startswith("b against a: −5.1 points of roughness of training (")


def test_a_claim_about_a_cost_goes_by_that_and_less_is_better() -> None:
    took = Estimate(10.0, 0.1, 9.8, 10.2, 3)
    rows = [replace(each, devices=frozenset({"one"}), train_seconds=took) for each in comparison().rows]
    seconds = [Pair("demo", "a", "b", PairedTest(-12.5, -15.0, -10.0, 0.001, "test"), 0.002)]
    asked = []

    def compare_by(metric: str) -> Comparison:
        asked.append(metric)
        if metric == "test_iou":
            raise CnnbenchError(f'unknown metric "{metric}"')
        return replace(comparison(), rows=rows, pairs=seconds, metric=KNOWN[metric])

    claims = [
        {"text": "", "better": ["a"], "than": ["b"], "metric": "train_seconds"},
        {"text": "", "better": ["b"], "than": ["a"], "metric": "train_seconds"},
        {"text": "", "better": ["a"], "than": ["b"], "metric": None},
        {"text": "", "better": ["a"], "than": ["d"], "metric": "train_seconds"},
    ]
    faster, slower, better, untested = judge(comparison(), claims, compare_by)
    assert asked == ["train_seconds"]  # read once
    assert [each.verdict for each in (faster, slower, better)] == ["supported", "contradicted", "supported"]
    assert faster.evidence == [
        "a against b: −12.5 s of training time (95 % interval, not corrected, −15.0 to −10.0; corrected "
        "p = 0.002)"
    ]
    assert better.evidence[0].startswith("a against b: +5.0 points")
    (of_masks,) = judge(comparison(), [{**claims[0], "metric": "test_iou"}], compare_by)
    assert (of_masks.verdict, of_masks.evidence) == (
        "not tested",
        ["test_iou was not measured in these runs"],
    )
    rows[0] = replace(rows[0], devices=frozenset({"another"}))
    (elsewhere,) = judge(comparison(), claims[:1], compare_by)
    assert elsewhere.verdict == "not tested"
    assert "times of these runs do not compare" in elsewhere.evidence[0]
    assert untested.evidence == ["a against d: not tested, for want of two seeds that measured it"]


@pytest.mark.parametrize(
    ("better", "than", "difference", "p", "verdict"),
    [
        ("a", "b", 0.04, 0.01, "supported"),
        ("a", "b", -0.04, 0.01, "contradicted"),  # a gain, but a smaller one
        ("a", "b", 0.04, 0.2, "undecided"),
        ("a", "d", 0.04, 0.01, "undecided"),  # larger, but not known to be a gain
        ("a", "c", 0.04, 0.01, "contradicted"),  # a smaller loss is no gain
        ("a", "b", None, 0.0, "not tested"),
    ],
)
def test_a_gain_against_another_one(
    better: str, than: str, difference: float | None, p: float, verdict: str
) -> None:
    gains = []
    if difference is not None:
        test = PairedTest(difference, difference - 0.02, difference + 0.02, p, "test")
        gains = [Gain((better, than, "x", "y"), test, p)]
    claim = {"text": "", "better": [better], "than": [than], "by_more_than": ["x", "y"]}
    [found] = judge(replace(comparison(), gains=gains), [claim])
    assert found.verdict == verdict
    assert found.evidence[1].startswith(f"the gain of {better} over {than} against that of x over y: ")
    if verdict == "supported":
        assert found.evidence[1].endswith(
            "+4.0 points (95 % interval, not corrected, 2.0 to 6.0; corrected p = 0.010)"
        )
    assert "Where one gain is held against another" in rule([found])


def test_a_gain_over_one_seed_each_is_limited() -> None:
    rows = [row("x", 1), row("y", 1)]
    gain = Gain(("a", "b", "x", "y"), PairedTest(0.04, 0.02, 0.06, 0.01, "test"), 0.01)
    limited = replace(comparison(), rows=[*comparison().rows, *rows], gains=[gain])
    claim = {"text": "", "better": ["a"], "than": ["b"], "by_more_than": ["x", "y"]}
    [found] = judge(limited, [claim])
    assert found.words == "supported, for these runs alone"
    assert "one seed each" in found.evidence[1]


def test_memory_is_compared_on_one_device_alone() -> None:
    rows = [replace(each, devices=frozenset({each.variant})) for each in comparison().rows]
    elsewhere = replace(comparison(), rows=rows, metric=KNOWN["peak_memory_mib"])
    claim = {"text": "", "better": ["a"], "than": ["b"], "metric": "peak_memory_mib"}
    [found] = judge(elsewhere, [claim])
    assert found.verdict == "not tested"
    assert "memory of these runs does not compare" in found.evidence[0]


@pytest.mark.parametrize(("num_seeds", "warned"), [(1, True), (2, False)])
def test_one_seed_is_said(num_seeds: int, warned: bool) -> None:
    [claim] = judge(comparison(num_seeds), [{"text": "", "better": ["a"], "than": ["b"]}])
    assert ("one seed each" in claim.evidence[0]) is warned
    assert claim.words == ("supported, for these runs alone" if warned else "supported")
    assert ("For these runs alone" in rule([claim])) is warned


def test_claims_of_two_recipes_are_refused() -> None:
    one = comparison()
    both = Comparison([*one.rows, replace(one.rows[0], recipe="other")], one.pairs, one.metric)
    with pytest.raises(CnnbenchError, match="one recipe"):
        judge(both, [])


def test_several_seeds_of_a_fixed_variant_are_one() -> None:
    """Nothing of it is trained, so against one seed of another only the noise of images was counted."""
    rows = [replace(row("fixed", 3), is_fixed=True), row("trained", 1)]
    pair = Pair("r", "fixed", "trained", PairedTest(0.04, 0.02, 0.06, 0.01, "test"), 0.01)
    [found] = judge(
        replace(comparison(), rows=rows, pairs=[pair]),
        [{"text": "", "better": ["fixed"], "than": ["trained"]}],
    )
    assert found.words == "supported, for these runs alone"
