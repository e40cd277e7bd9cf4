"""What a recipe claims beforehand, held against its runs: supported, contradicted, mixed or undecided."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cnnbench.comparison.comparison import (
    INCOMPARABLE,
    MEMORY,
    TIMES,
    Comparison,
    Four,
    on_one_device,
    times_compare,
    why_apart,
)
from cnnbench.comparison.measurements import gain_of
from cnnbench.comparison.outlook import RULE as RULE_OF_SEEDS
from cnnbench.comparison.outlook import images_of, to_tell
from cnnbench.comparison.quantities import written, written_interval
from cnnbench.errors import CnnbenchError
from cnnbench.paired_tests import PairedTest
from cnnbench.statistics import SIGNIFICANT, written_p

Verdict = Literal["supported", "contradicted", "mixed", "undecided", "not tested"]
RULE = (
    "Supported: every variant named as better is better than every other one it is held against, each "
    "difference beyond the noise (p at most 0.05, corrected for all pairs of the recipe). Contradicted: "
    "differences beyond the noise go the other way round only. Mixed: they go both ways. Undecided: neither."
)
RULE_OF_GAINS = (
    "Where one gain is held against another, it must be a gain, and larger beyond the noise (p corrected for "
    "all gains of the recipe that are held against others)."
)
RULE_OF_SINGLE = (
    "For these runs alone: some of them are one seed against one, and another seed may say otherwise."
)
RULE_OVER_SEEDS = (
    "Of losses, train accuracy, gaps, roughness and areas the noise is that of seeds alone: which images "
    "happen to be in the splits is not counted."
)
TO_TELL = "; to tell: "


@dataclass(frozen=True)
class Judgement:
    """A claim, the verdict, and a sentence for each pair of variants it is about.

    It is `single` where a pair of one seed each was tested: the luck of training is then unknown.
    """

    claim: str
    verdict: Verdict
    evidence: list[str]
    single: bool = False
    of_gains: bool = False
    over_seeds: bool = False  # of what is not known image by image, and no cost

    @property
    def words(self) -> str:
        """The verdict as it is told: "supported", or "supported, for these runs alone"."""
        limited = self.single and self.verdict in ("supported", "contradicted", "mixed")
        return f"{self.verdict}, for these runs alone" if limited else self.verdict


def judge(
    comparison: Comparison,
    claims: Iterable[Mapping[str, Any]],
    compare_by: Callable[[str], Comparison] | None = None,
) -> list[Judgement]:
    """The verdict on each claim ("text", "better", "than") from the tested pairs of one recipe.

    A claim about another "metric" than the comparison's goes by what `compare_by` returns for its name.
    Raises CnnbenchError where the comparison is one of several recipes: whose claims they are is not known.
    """
    if len(comparison.recipes()) > 1:
        raise CnnbenchError("claims belong to one recipe; compare it alone")
    found = {comparison.metric.name: comparison}
    judged = []
    for claim in claims:
        metric = claim.get("metric") or comparison.metric.name
        try:
            if metric not in found:
                assert compare_by is not None, f"nobody compares by {metric}"
                found[metric] = compare_by(metric)
        except CnnbenchError:  # another task's
            judged.append(
                Judgement(claim["text"], "not tested", [f"{metric} was not measured in these runs"])
            )
            continue
        judged.append(_judge(found[metric], claim["text"], claim["better"], claim["than"], gain_of(claim)))
    return judged


def rule(judgements: Sequence[Judgement]) -> str:
    """What the verdicts mean, as far as these judgements need it."""
    rules = [RULE]
    if any(each.of_gains for each in judgements):
        rules.append(RULE_OF_GAINS)
    if any(each.over_seeds for each in judgements):
        rules.append(RULE_OVER_SEEDS)
    rules += rule_of_seeds(judgements)
    if any(each.words != each.verdict for each in judgements):
        rules.append(RULE_OF_SINGLE)
    return " ".join(rules)


def rule_of_seeds(judgements: Sequence[Judgement]) -> list[str]:
    """What the numbers of seeds mean, where there are any."""
    return [RULE_OF_SEEDS] if any(TO_TELL in line for each in judgements for line in each.evidence) else []


def _judge(
    comparison: Comparison, text: str, better: Sequence[str], than: Sequence[str], gain: Four | None
) -> Judgement:
    rows = [row for row in comparison.rows if row.variant in {*better, *than, *(gain or ())}]
    if comparison.metric.name in TIMES and not times_compare(rows):
        return Judgement(text, "not tested", [f"times of these runs do not compare ({INCOMPARABLE})"])
    if comparison.metric.name == MEMORY and not on_one_device(rows):
        why = "several machines, or seeds that were one model on one of them"
        return Judgement(text, "not tested", [f"memory of these runs does not compare ({why})"])
    evidence, gains, losses, missing = [], 0, 0, 0
    for one in better:
        for other in than:
            test, p_adjusted = _test(comparison, one, other)
            if test is None:
                evidence.append(f"{one} against {other}: not tested, {_why_untested(comparison, one, other)}")
                missing += 1
                continue
            single = _is_single(comparison, one, other)
            line = _written(comparison, f"{one} against {other}", test, p_adjusted, single)
            evidence.append(line + _outlook(comparison, test, p_adjusted, len(comparison.pairs)))
            if p_adjusted <= SIGNIFICANT:
                is_gain = (test.difference > 0) == comparison.metric.higher_is_better
                gains += is_gain
                losses += not is_gain
    if gain is not None:
        line, sign = _held_against(comparison, gain)
        evidence.append(line)
        missing += sign is None
        if sign is not None and sign < 0:
            gains, losses = 0, 1
        gains += sign == 1
    verdict: Verdict = "undecided"
    if losses:
        verdict = "mixed" if gains and gain is None else "contradicted"
    elif missing:
        verdict = "not tested"
    elif gains == len(evidence):
        verdict = "supported"
    pairs = [(one, other) for one in better for other in than] + ([gain[2:]] if gain is not None else [])
    single = any(_is_single(comparison, one, other) for one, other in pairs)
    over_seeds = comparison.metric.split is None and not comparison.metric.is_cost
    return Judgement(text, verdict, evidence, single, gain is not None, over_seeds)


def _held_against(comparison: Comparison, gain: Four) -> tuple[str, int | None]:
    """A sentence on two gains, and whether the first is larger (1), smaller (-1), neither (0), not tested."""
    a, b, c, d = gain
    what = f"the gain of {a} over {b} against that of {c} over {d}"
    found = next((each for each in comparison.gains if each.variants == gain), None)
    if found is None:
        want = "several seeds of each, or of none, and the same images in each pair"
        if comparison.metric.split is None:
            want = "two seeds in each pair that measured it"
        return f"{what}: not tested, for want of {want}", None
    single = _is_single(comparison, a, b) or _is_single(comparison, c, d)
    larger = (found.test.difference > 0) == comparison.metric.higher_is_better
    sign = 0 if found.p_adjusted > SIGNIFICANT else 1 if larger else -1
    outlook = _outlook(comparison, found.test, found.p_adjusted, len(comparison.gains))
    return _written(comparison, what, found.test, found.p_adjusted, single) + outlook, sign


def _outlook(comparison: Comparison, test: PairedTest, p_adjusted: float, num_tests: int) -> str:
    """What it would take to decide, where the test has not."""
    if p_adjusted <= SIGNIFICANT:
        return ""
    needed = to_tell(test, num_tests, images_of(comparison.metric, comparison.by_scene))
    return f"{TO_TELL}{needed}" if needed else ""


def _test(comparison: Comparison, one: str, other: str) -> tuple[PairedTest | None, float]:
    """The test of one - other and its corrected p-value; None where the pair was not tested."""
    for pair in comparison.pairs:
        if (pair.a, pair.b) == (one, other):
            return pair.test, pair.p_adjusted
        if (pair.a, pair.b) == (other, one):
            return pair.test.turned(), pair.p_adjusted
    return None, 1.0


def _written(
    comparison: Comparison, what: str, test: PairedTest, p_adjusted: float, single: bool = False
) -> str:
    metric = comparison.metric
    spread = (test.high - test.low) / 2
    sign = "+" if test.difference > 0 else "−" if test.difference < 0 else ""
    interval = written_interval(metric, test.low, test.high).replace("-", "−")
    seeds = "; one seed each, so the luck of training is not counted" if single else ""
    unit = "points" if metric.is_proportion else str(metric.unit)
    if metric.split is None:
        unit = f"{unit} of {metric.label}".lstrip()
    return (
        f"{what}: {sign}{written(metric, abs(test.difference), spread)} {unit} "
        f"(95 % interval, not corrected, {interval}; corrected p {written_p(p_adjusted)}{seeds})"
    )


def _why_untested(comparison: Comparison, one: str, other: str) -> str:
    if comparison.metric.split:
        return "for want of runs on the same images"
    rows = [row for row in comparison.rows if row.variant in (one, other)]
    return why_apart(comparison.metric, rows) or "for want of two seeds that measured it"


def _is_single(comparison: Comparison, one: str, other: str) -> bool:
    """Whether no seed's noise was counted, and a seed matters; of a fixed variant the first alone counts."""
    rows = [row for row in comparison.rows if row.variant in (one, other)]
    return all(row.num_seeds == 1 or row.is_fixed for row in rows) and not all(row.is_fixed for row in rows)
