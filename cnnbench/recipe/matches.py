"""What `match_params` of a variant may name: a variant that is itself not matched, a model with widths."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from cnnbench import catalog
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.checking import Checker
from cnnbench.recipe.config import MatchParams, Named
from cnnbench.recipe.merging import BEST_OF, Layer
from cnnbench.recipe.mistakes import choices, found


@dataclass(frozen=True)
class Asked:
    """A variant with match_params as written; what did not fit is None, and a mistake noted before."""

    variant: str | None
    layer: Layer
    match_params: MatchParams | None
    model: Named | None


def check_matches(check: Checker, asked: Sequence[Asked], variants: Sequence[str]) -> None:
    """Notes what cannot be matched; `variants` are the names of all, in the order of the recipe."""
    likes = {each.variant: each.match_params.like for each in asked if each.variant and each.match_params}
    for each in asked:
        if each.match_params is not None:
            _check_like(check, each, each.match_params.like, likes, variants)
        if each.model is not None:
            _check_widths(check, each.layer, each.model)


def _check_like(
    check: Checker, asked: Asked, like: str, likes: dict[str, str], variants: Sequence[str]
) -> None:
    where = asked.layer.origin(("like",))
    originals = [name for name in variants if name not in likes and name != asked.variant]
    if like == asked.variant:
        check.add(where, f"{found(like)} cannot be like itself: name another variant, {choices(originals)}")
    elif like not in variants:
        check.unknown(where, like, "variant {}", originals)
    elif like in likes:
        original = _original(like, likes)
        instead = f"name {found(original)}" if original in originals else "name one that is not matched"
        check.add(where, f"{found(like)} is itself matched to {found(likes[like])}: {instead}")


def _original(name: str, likes: dict[str, str]) -> str | None:
    """The end of a chain of variants that are like one another; None where it goes round."""
    seen = {name}
    while name in likes:
        name = likes[name]
        if name in seen:
            return None
        seen.add(name)
    return name


def _check_widths(check: Checker, layer: Layer, model: Named) -> None:
    if model.name == BEST_OF:
        message = "a model with best_of has the widths of the winner, which match_params does not scale"
        check.add(layer.origin(()), message, on_key=True)
        return
    options = [option.name for option in catalog.options("model", model.name, check.plugins)]
    widths = model.options.get("widths")
    if "widths" not in options:
        message = f"{model.name} has no option widths to scale; these models have: {_with_widths(check)}"
    elif "widths" not in model.options:
        message = f"the widths of {model.name} must be written in the recipe: they are what is scaled"
    elif not isinstance(widths, list) or not all(type(width) is int and width >= 1 for width in widths):
        message = f"the widths of {model.name} are no list of whole numbers of at least 1: {found(widths)}"
    elif not widths:
        message = f"the list of widths of {model.name} is empty: there is nothing to scale"
    else:
        return
    check.add(layer.origin(()), message, on_key=True)


def _with_widths(check: Checker) -> str:
    known = []
    for name in catalog.names("model", check.plugins):
        with suppress(CnnbenchError):  # a plugin's model that cannot be read is told where it is named
            if any(option.name == "widths" for option in catalog.options("model", name, check.plugins)):
                known.append(name)
    return ", ".join(known)
