"""Finished runs of recipes -> one table with uncertainty: tests each pair of variants."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median, median_low
from typing import TYPE_CHECKING, Any

from cnnbench import measures
from cnnbench.comparison.comparison import Comparison, Four, Gain, Pair, Row, why_apart
from cnnbench.comparison.measurements import (
    Measurement,
    RecipeMeasurements,
    VariantMeasurements,
    read_planned,
)
from cnnbench.comparison.quantities import KNOWN, MORE, Quantity
from cnnbench.paired_tests import (
    PairedTest,
    Scored,
    compare_gains,
    compare_gains_of_means,
    compare_means,
    compare_predictions,
)
from cnnbench.settings import Digests, choice_of_images, differ
from cnnbench.statistics import (
    Estimate,
    binomial_interval,
    holm,
    image_interval,
    mean_interval,
    typical_variance,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEADING_OF_MASKS = f"test_{measures.LEADING['segmentation']}"


def compare_planned(
    directory: Path, name: str, plan: Sequence[Mapping[str, Any]], quantity: Quantity
) -> Comparison:
    """Compares the runs in one directory by a plan at hand: what `plan.json` holds under "variants"."""
    return compared([read_planned(directory, name, plan)], quantity)


def compared(recipes: Sequence[RecipeMeasurements], quantity: Quantity) -> Comparison:
    """The comparison of recipes that have been read."""
    masks = [
        recipe.name for recipe in recipes if any(LEADING_OF_MASKS in run.values for run in runs_of(recipe))
    ]
    rows: list[Row] = []
    pairs, problems, gains = [], [], []
    if masks and len(masks) < len(recipes) and quantity.name.endswith("_accuracy"):
        problems.append(
            f"accuracy is of pixels in {', '.join(masks)}, where IoU says more: compare them by themselves"
        )
    for recipe in recipes:
        own = {variant.name: _row(recipe.name, variant, quantity) for variant in recipe.variants}
        tested, untested = _pairs(recipe, quantity, own)
        rows += own.values()
        pairs += tested
        gains += _gains(recipe, quantity, own)
        problems += [f"{recipe.name}: {problem}" for problem in recipe.problems + untested]
    by_scene = any(run.counts_by_scene(quantity.name) for recipe in recipes for run in runs_of(recipe))
    return Comparison(rows, pairs, quantity, problems, gains=gains, by_scene=by_scene)


def runs_of(recipe: RecipeMeasurements) -> list[Measurement]:
    """Every run that counts."""
    return [run for variant in recipe.variants for run in variant.measurements]


def _row(recipe: str, variant: VariantMeasurements, quantity: Quantity) -> Row:
    def middle(name: str) -> float | None:
        values = variant.values(name)
        return float(median(values)) if values else None

    def count(name: str) -> int | None:
        return int(variant.size[name]) if name in variant.size else None

    epochs = [int(epoch) for epoch in variant.values("best_epoch")]
    return Row(
        recipe=recipe,
        variant=variant.name,
        num_seeds=len(variant.measurements),
        num_params=count("num_params"),
        macs=count("macs"),
        test_accuracy=_estimate(variant, KNOWN["test_accuracy"]),
        val_accuracy=_estimate(variant, KNOWN["val_accuracy"]),
        train_accuracy=_estimate(variant, KNOWN["train_accuracy"]),
        train_seconds=_estimate(variant, KNOWN["train_seconds"]),
        latency_ms=middle("latency_ms"),
        throughput=middle("throughput"),
        peak_memory_mib=middle("peak_memory_mib"),
        best_epoch=median_low(epochs) if epochs else None,
        devices=frozenset(run.device for run in variant.measurements),
        lengths=frozenset(int(epochs) for epochs in variant.values("epochs")),
        images=choice_of_images(variant.config),
        digests=variant.digests,
        complete=len(variant.measurements) == len(variant.seeds),
        ended=len(variant.measurements) + len(variant.diverged) == len(variant.seeds),
        problems=tuple(variant.problems),
        measured=_estimate(variant, quantity),
        skipped=variant.skipped is not None and not variant.measurements,
        is_fixed=variant.is_fixed,
        is_untrained=variant.is_untrained,
        loss=json.dumps(variant.config.get("train", {}).get("loss"), sort_keys=True),
        data=str(variant.config.get("data", {}).get("name", "")),
        more={
            name: estimate
            for name, each in MORE.items()
            if (estimate := _estimate(variant, each)) is not None
        },
    )


def _estimate(variant: VariantMeasurements, quantity: Quantity) -> Estimate | None:
    """Over seeds where there are several; of one seed over images, where predictions are stored."""
    values = variant.values(quantity.name)
    if not values:
        return None
    scores = variant.measurements[0].scores.get(quantity.name)
    only = variant.is_fixed or len(values) == len(variant.measurements) == 1
    if only and scores is not None:
        if scores.dtype == bool:
            return binomial_interval(int(scores.sum()), len(scores))
        return image_interval(scores)
    return mean_interval(values, within=quantity.range)


def _pairs(
    recipe: RecipeMeasurements, quantity: Quantity, rows: Mapping[str, Row]
) -> tuple[list[Pair], list[str]]:
    """Every pair of variants that can be tested, and what is to be said of those that cannot."""
    if quantity.is_exact:
        return [], []
    tested = []
    problems: list[str] = []
    if quantity.split is None:
        known = [variant for variant in recipe.variants if variant.values(quantity.name)]
        if why := why_apart(quantity, [rows[variant.name] for variant in known]):
            problems.append(f"{quantity.label}: not all variants are tested against each other: {why}")
        for one, other in combinations(known, 2):
            values = one.values(quantity.name), other.values(quantity.name)
            if max(map(len, values)) > 1 and not why_apart(quantity, [rows[one.name], rows[other.name]]):
                tested.append((one.name, other.name, compare_means(*values)))
    else:
        fixed = {variant.name: variant.is_fixed for variant in recipe.variants}
        groups, problems = _same_images(recipe, quantity.name, quantity.split)
        for group in groups:
            typical = _typical(group, fixed)
            for a, b in combinations(group, 2):
                test = compare_predictions(
                    group[a], group[b], fixed_a=fixed[a], fixed_b=fixed[b], typical=typical
                )
                tested.append((a, b, test))
    adjusted = holm([test.p_value for _, _, test in tested])
    return [
        Pair(recipe.name, a, b, test, p) for (a, b, test), p in zip(tested, adjusted, strict=True)
    ], problems


def _gains(recipe: RecipeMeasurements, quantity: Quantity, rows: Mapping[str, Row]) -> list[Gain]:
    """The gains that the recipe claims something of, as far as they can be tested."""
    tested: list[tuple[Four, PairedTest]] = []
    for four in dict.fromkeys(four for metric, four in recipe.gains if metric in (None, quantity.name)):
        try:
            test = _test_of_gains(recipe, quantity, four, rows)
        except ValueError:  # one pair has several seeds, the other has not
            continue
        if test is not None:
            tested.append((four, test))
    adjusted = holm([test.p_value for _, test in tested])
    return [Gain(four, test, p) for (four, test), p in zip(tested, adjusted, strict=True)]


def _test_of_gains(
    recipe: RecipeMeasurements, quantity: Quantity, four: Four, rows: Mapping[str, Row]
) -> PairedTest | None:
    if quantity.split is None:
        known = [[rows[name] for name in pair if name in rows] for pair in (four[:2], four[2:])]
        if any(why_apart(quantity, pair) for pair in known):
            return None
        found = {variant.name: variant.values(quantity.name) for variant in recipe.variants}
        a, b, c, d = (found.get(name, []) for name in four)
        return compare_gains_of_means((a, b), (c, d)) if a and b and c and d else None
    fixed = {variant.name: variant.is_fixed for variant in recipe.variants}
    groups, _ = _same_images(recipe, quantity.name, quantity.split)
    pairs = [
        (Scored(group[a], group[b], fixed[a], fixed[b], _typical(group, fixed)), group)
        for a, b in (four[:2], four[2:])
        for group in groups
        if a in group and b in group
    ]
    if len(pairs) < 2:
        return None
    (one, images), (other, other_images) = pairs
    return compare_gains(one, other, same_images=images is other_images)


def _typical(group: "Mapping[str, NDArray[Any]]", fixed: Mapping[str, bool]) -> float | None:
    """The typical variance between seeds of variants that had the same images."""
    return typical_variance([scores for name, scores in group.items() if not fixed[name]])


def _digests_of(variant: VariantMeasurements, recipe: RecipeMeasurements) -> Digests:
    """The digests of a variant's images; of one too old to know one that of the others on the same images."""
    chosen = choice_of_images(variant.config)
    alike = [each.digests for each in recipe.variants if choice_of_images(each.config) == chosen]
    of_all = frozenset[tuple[str, str]]().union(*(one for one in alike if not differ(one | variant.digests)))
    own = {name for name, _ in variant.digests}
    return variant.digests | {(name, value) for name, value in of_all if name not in own}


def _same_images(
    recipe: RecipeMeasurements, measure: str, split: str
) -> "tuple[list[dict[str, NDArray[Any]]], list[str]]":
    """Groups of variants that were tested on the same images: scores (num_seeds, N) by variant."""
    import numpy as np

    groups: dict[tuple[str, bytes, Digests], dict[str, NDArray[Any]]] = {}
    problems = []
    for variant in recipe.variants:
        runs = [run for run in variant.measurements if measure in run.scores]
        if not runs:
            continue
        targets = {run.targets[split].astype(np.int64).tobytes() for run in runs}
        if len(targets) > 1 or differ(variant.digests):
            problems.append(f"the seeds of {variant.name} had different {split} images, so it is not tested")
            continue
        key = (choice_of_images(variant.config), targets.pop(), _digests_of(variant, recipe))
        groups.setdefault(key, {})[variant.name] = np.stack([run.scores[measure] for run in runs])
    if len(groups) > 1:
        sets = "; ".join(", ".join(group) for group in groups.values())
        as_set = len({choice for choice, *_ in groups}) < len(groups)
        hint = ": the files of a data set have changed; train anew with --fresh" if as_set else ""
        problems.append(
            f"not all variants had the same {split} images ({sets}), so only those that did are tested{hint}"
        )
    return list(groups.values()), problems
