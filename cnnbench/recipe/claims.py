"""What a recipe claims beforehand: that some variants are better than others, to be held against the runs."""

from collections.abc import Sequence
from typing import Any

from cnnbench.recipe.checking import Checker
from cnnbench.recipe.checks import LEFT_ALONE, QUANTITIES, TEST_METRICS
from cnnbench.recipe.config import Claim, JudgedOn
from cnnbench.recipe.merging import Layer, written
from cnnbench.recipe.mistakes import found

METRICS = [name for name, known in QUANTITIES.items() if known.source == "run"]  # one value for each seed
EXACT = [name for name, known in QUANTITIES.items() if known.source == "shape" and not known.of_layer]


def check_claims(
    check: Checker, entries: Any, variants: Sequence[str] | None, judged_on: JudgedOn
) -> list[Claim]:
    """The claims of [[claims]]; what is wrong with one is noted, and it is left out.

    `variants` are None where a mistake elsewhere leaves open what they are called.
    """
    if not isinstance(entries, list):
        check.add(("claims",), "expected [[claims]] (double brackets), once for each claim", on_key=True)
        return []
    claims = [_claim(check, entry, index, variants, judged_on) for index, entry in enumerate(entries)]
    return [claim for claim in claims if claim is not None]


def _claim(
    check: Checker, entry: Any, index: int, variants: Sequence[str] | None, judged_on: JudgedOn
) -> Claim | None:
    if not isinstance(entry, dict):
        check.add(("claims", index), f"expected a table with text, better and than, found {found(entry)}")
        return None
    layer = written("claims", entry, ("claims", index))
    claim = check.claim(layer)
    if claim is None:
        return None
    if claim.metric in EXACT:
        said = f"{claim.metric} is known before training, so there is nothing to claim: make a check of it"
        check.add(layer.origin(("metric",)), said)
    elif claim.metric is not None and claim.metric not in METRICS:
        check.unknown(layer.origin(("metric",)), claim.metric, "metric {}", METRICS)
    elif judged_on == "val" and claim.metric in TEST_METRICS:
        check.add(layer.origin(("metric",)), LEFT_ALONE.format(claim.metric))
    for key, names in (
        ("better", claim.better), ("than", claim.than), ("by_more_than", claim.by_more_than or ()),
    ):  # fmt: skip
        for place, name in enumerate(names):
            if variants is not None and name not in variants:
                check.unknown(layer.origin((key, place)), name, "variant {}", variants)
    for place, name in enumerate(claim.than):
        if name in claim.better:
            check.add(layer.origin(("than", place)), f"{found(name)} cannot be better than itself")
    if claim.by_more_than is not None:
        _check_gain(check, claim, claim.by_more_than, layer)
    return claim


def _check_gain(check: Checker, claim: Claim, other: Sequence[str], layer: Layer) -> None:
    """Two gains of four variants: of one that is in both, more would have to be known than is tested."""
    for key, names in (("better", claim.better), ("than", claim.than)):
        if len(names) != 1:
            check.add(layer.origin((key,)), f"expected one variant beside by_more_than, found {found(names)}")
    for place, name in enumerate(other):
        if name in (*claim.better, *claim.than, *other[:place]):
            check.add(
                layer.origin(("by_more_than", place)),
                f"{found(name)} is in the claim already; by_more_than compares two pairs of four variants",
            )
