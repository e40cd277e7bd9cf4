"""Solves `match_params`: scales a model's widths until it has as many parameters as another variant's.

All widths times one factor, found by bisection; then the closest count among a few moves around that.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations, product
from math import ceil, floor
from pathlib import Path

from cnnbench.data import describe_dataset
from cnnbench.errors import CnnbenchError, about
from cnnbench.recipe.blame import of_variant
from cnnbench.recipe.config import Match, MatchParams, Named, Recipe, Variant

MAX_WIDTH = 65_536
# Where a model refuses some widths (groups, heads), multiples of the next number are tried.
STEPS = (1, 2, 4, 8, 16, 32)
# Around the common scale so many widths move at once, each by so many steps; of these moves the most
# promising are counted.
NUM_MOVED, REACH, NUM_COUNTED = 2, 2, 8

MOST_ADVISED = 0.1  # a tolerance beyond which parameters are hardly equal any more

Widths = tuple[int, ...]
Count = Callable[[Widths], int]


def solve(recipe: Recipe, data_root: Path) -> Recipe:
    """The recipe with the widths of its matched variants solved; one that is solved comes back as it is.

    Raises CnnbenchError where a variant to be trained cannot be matched. The others are solved too, since
    the plan names their settings; where that fails they stay as they are.
    """
    if all(variant.match_params is None or variant.match is not None for variant in recipe.variants):
        return recipe
    variants = []
    for variant in recipe.variants:
        try:
            variants.append(_solved(recipe, variant, data_root))
        except CnnbenchError:
            if not recipe.only or variant.name in recipe.only:
                raise
            variants.append(variant)
    return recipe.model_copy(update={"variants": variants})


def _solved(recipe: Recipe, variant: Variant, data_root: Path) -> Variant:
    from cnnbench.models.summary import count_params

    asked, plugins = variant.match_params, recipe.plugins
    if asked is None or variant.match is not None:
        return variant
    with of_variant(recipe, variant.name):
        like = next((each for each in recipe.variants if each.name == asked.like), None)
        if like is None:
            raise CnnbenchError(f"there is no variant {asked.like!r} to be like").about(
                "match_params", "like"
            )
    with of_variant(recipe, like.name), about("model"):
        target = count_params(like.model, *describe_dataset(like.data, data_root, plugins), plugins)
        if target < 1:
            raise CnnbenchError(f"a model without parameters, which {variant.name!r} cannot be like")
    with of_variant(recipe, variant.name):
        in_shape, num_classes = describe_dataset(variant.data, data_root, plugins)

        @cache
        def count(widths: Widths) -> int:
            with about("model"):
                return count_params(_with_widths(variant.model, widths), in_shape, num_classes, plugins)

        widths = find_widths(tuple(variant.model.options["widths"]), target, count, asked.tolerance)
        match = Match(like=like.name, target_params=target, widths=list(widths), num_params=count(widths))
        _check_tolerance(match, asked)
    return variant.model_copy(update={"model": _with_widths(variant.model, widths), "match": match})


def _with_widths(model: Named, widths: Widths) -> Named:
    return Named(name=model.name, **{**model.options, "widths": list(widths)})


def _check_tolerance(match: Match, asked: MatchParams) -> None:
    if abs(match.difference) <= asked.tolerance:
        return
    if match.num_params > match.target_params and max(match.widths) == 1:
        reason = "even widths of 1 give more"
    elif match.num_params < match.target_params and max(match.widths) >= MAX_WIDTH:
        reason = f"widths beyond {MAX_WIDTH:,} are not tried"
    else:
        reason = "widths are whole numbers, and none that were tried come closer"
    percent = 100 * match.difference
    written = f"{percent:+.1f}" if abs(percent) >= 0.1 else f"{percent:+.1g}"
    needed = ceil(1000 * abs(match.difference)) / 1000
    raise CnnbenchError(
        f"no widths give it the {match.target_params:,} parameters of {match.like!r} within "
        f"{100 * asked.tolerance:g} %: {reason}. The closest are widths = {match.widths} with "
        f"{match.num_params:,} parameters ({written} %); "
        + (f"set match_params.tolerance = {needed:g}, or " if needed <= MOST_ADVISED else "")
        + "change other options of the model"
    ).about("match_params")


def find_widths(base: Widths, target: int, count: Count, tolerance: float) -> Widths:
    """The widths near a multiple of `base` whose count is closest to the target, within tolerance or not.

    Widths that are equal stay equal (a shortcut between them stays the identity), unless the tolerance (a
    share of the target) asks for more. Raises CnnbenchError where the model can be built with no others.
    """
    if count(base) == target:
        return base
    step, bracket = _bracket(base, target, count)
    start = min(bracket, key=lambda widths: abs(count(widths) - target))
    alike = [[index for index, width in enumerate(base) if width == each] for each in dict.fromkeys(base)]
    found = _nearest(start, alike, step, target, count)
    if abs(count(found) - target) > tolerance * target and len(alike) < len(base):
        found = _nearest(found, [[index] for index in range(len(base))], step, target, count)
    return found


def _bracket(base: Widths, target: int, count: Count) -> tuple[int, tuple[Widths, Widths]]:
    """The step, and the two scaled widths next to one another between which the target lies."""
    for step in STEPS:
        try:
            return step, _bisect(base, target, count, step)
        except CnnbenchError as error:
            refused = error
    raise CnnbenchError(
        f"match_params scales the widths, but with others than {list(base)}, {refused}"
    ).about("match_params")


def _bisect(base: Widths, target: int, count: Count, step: int) -> tuple[Widths, Widths]:
    """Twice the same at an end of the range: all widths as small as the step, or one at MAX_WIDTH."""

    def scaled(factor: float) -> Widths:
        return tuple(max(step, step * floor(width * factor / step + 0.5)) for width in base)

    most = max(1.0, MAX_WIDTH / max(base))
    low = high = 1.0
    while count(scaled(high)) < target and high < most:
        low, high = high, min(2 * high, most)
    while count(scaled(low)) > target and max(scaled(low)) > step:
        low, high = low / 2, low
    if count(scaled(high)) < target:
        low = high
    elif count(scaled(low)) > target:
        high = low
    for _ in range(50):  # until floats end; most steps count nothing new
        middle = (low + high) / 2
        if count(scaled(middle)) <= target:
            low = middle
        else:
            high = middle
    return scaled(low), scaled(high)


def _nearest(start: Widths, groups: Sequence[Sequence[int]], step: int, target: int, count: Count) -> Widths:
    """The closest count among the start and moves of a few groups of widths, fewer moves before more."""

    def moved(moves: Sequence[tuple[int, int]]) -> Widths:
        widths = list(start)
        for group, offset in moves:
            for index in groups[group]:
                widths[index] += step * offset
        return tuple(widths)

    slopes: dict[int, int] = {}
    for group in range(len(groups)):
        try:
            slopes[group] = count(moved([(group, 1)])) - count(start)
        except CnnbenchError:  # not a width for this model
            continue
    offsets = [offset for offset in range(-REACH, REACH + 1) if offset]
    promising = []
    for num_moved in range(1, NUM_MOVED + 1):
        for chosen in combinations(slopes, num_moved):
            for by in product(offsets, repeat=num_moved):
                moves = list(zip(chosen, by, strict=True))
                widths = moved(moves)
                if step <= min(widths) and max(widths) <= max(MAX_WIDTH, *start):
                    expected = count(start) + sum(slopes[group] * offset for group, offset in moves)
                    promising.append((abs(expected - target), num_moved, sum(map(abs, by)), widths))
    best = (abs(count(start) - target), 0, 0, start)
    for _, num_moved, distance, widths in sorted(promising)[:NUM_COUNTED]:
        try:
            best = min(best, (abs(count(widths) - target), num_moved, distance, widths))
        except CnnbenchError:
            continue
    return best[-1]
