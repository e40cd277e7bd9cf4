"""Says of what goes wrong after a recipe was read whose mistake it is, and shows the line it stands in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cnnbench.errors import CnnbenchError, Setting
from cnnbench.recipe.config import Check, Recipe
from cnnbench.recipe.file import parse
from cnnbench.recipe.mistakes import Mistake, RecipeError
from cnnbench.recipe.overrides import Override, parse_overrides
from cnnbench.recipe.toml_positions import TomlPositions


@contextmanager
def of_variant(recipe: Recipe, variant: str) -> Iterator[None]:
    """A CnnbenchError within is shown with the line of this variant's setting that it is about."""
    try:
        yield
    except RecipeError:  # its line is known
        raise
    except CnnbenchError as error:
        raise _of_variant(recipe, variant, error) from error


@contextmanager
def of_analysis(recipe: Recipe, number: int) -> Iterator[None]:
    """A CnnbenchError within is shown with the line that asks for the analysis of this number."""
    try:
        yield
    except CnnbenchError as error:
        said = f"analysis {recipe.analyses[number].name!r}: {error}"
        raise RecipeError([_placed(recipe, said, "", ("analyses", number))]) from error


@contextmanager
def of_check(recipe: Recipe, check: Check, variant: str = "") -> Iterator[None]:
    """A CnnbenchError within is shown with the line of this check."""
    try:
        yield
    except CnnbenchError as error:
        of_variant = f", variant {variant!r}" if variant else ""
        said = f'check "{check.text}"{of_variant}: {error}'
        entries = [(each["text"], each["expression"]) for each in parse(recipe.path, recipe.text)["checks"]]
        key = "output" if error.setting == ("output",) else "expression"
        path = ("checks", entries.index((check.text, check.expression)), key)
        raise RecipeError([_placed(recipe, said, variant, path)]) from error


def told_once(mistakes: list[Mistake]) -> RecipeError:
    """One error of all; what several variants share, written in one place, is told of the first alone."""
    first: dict[tuple[object, str], Mistake] = {}
    for mistake in mistakes:
        first.setdefault((mistake.mark, mistake.message.partition(": ")[2]), mistake)
    return RecipeError(list(first.values()))


def _of_variant(recipe: Recipe, variant: str, error: CnnbenchError) -> RecipeError:
    document = parse(recipe.path, recipe.text)
    own, setting = _entry(document, variant), error.setting
    # where two have as much of the setting, the first of them is the one that counts
    depths = {base: _depth(document, (*base, *setting)) - len(base) for base in (own, ("sweep",), ())}
    base = max(depths, key=lambda each: depths[each])
    path = (*base, *setting) if setting and depths[base] > 0 else (*own, "name")
    return RecipeError([_placed(recipe, f"variant {variant!r}: {error}", variant, path, setting)])


def _placed(recipe: Recipe, said: str, variant: str, path: Setting, setting: Setting = ()) -> Mistake:
    """The mistake at this path of the file, or at the `--set` that has taken its place."""
    for override in reversed(parse_overrides(recipe.overrides)):
        if _sets(override, variant, setting or path):
            return Mistake(f"--set {override.text}", said, override.mark(on_value=True))
    positions = TomlPositions(recipe.text)
    is_there = _depth(parse(recipe.path, recipe.text), path) == len(path)
    return Mistake(str(recipe.path), said, positions.value(path) if is_there else positions.key(path))


def _sets(override: Override, variant: str, setting: Setting) -> bool:
    parts = tuple(override.within(variant) or override.parts)
    parts = parts[1:] if parts[0] == "sweep" else parts
    return bool(parts) and parts == setting[: len(parts)]


def _entry(document: dict[str, Any], variant: str) -> Setting:
    """Where this variant is written: its entry of [[variants]], or [sweep] where that alone makes it."""
    entries = document.get("variants", [])
    names = {index: str(entry.get("name")) for index, entry in enumerate(entries) if isinstance(entry, dict)}
    fitting = [index for index, name in names.items() if name == variant]
    begun = [index for index, name in names.items() if variant.startswith(f"{name}+")]
    fitting += sorted(begun, key=lambda index: -len(names[index]))  # "a+x+lr-0.1" is of "a+x", and not of "a"
    return ("variants", fitting[0]) if fitting else ("sweep",)


def _depth(document: Any, path: Setting) -> int:
    """How many steps of the path there are in the document."""
    for depth, step in enumerate(path):
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(path)
