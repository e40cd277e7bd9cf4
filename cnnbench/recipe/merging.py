"""A variant's settings over the recipe's, key by key, remembering where in the file each was written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnbench.recipe.toml_positions import Path

# what a section or sub-table is called where nothing names it
DEFAULT_NAMES: dict[Path, str] = {("train", "optimizer"): "adam", ("train", "schedule"): "constant"}
# tables for which their name alone may stand
NAMED: set[Path] = {("data",), ("model",), *DEFAULT_NAMES}
BEST_OF = "best_of"  # in a model, in place of its name
RUN = "run"  # in an encoder, in place of its name
_OTHERS = (BEST_OF, RUN)
# settings of [data] that stay where another data set is named: any can have them, whatever its size and kind
OF_ANY_DATA = {"batch_size", "val_fraction", "limit", "normalize"}
_EXCLUSIVE = {"val_fraction", "val_size"}  # setting one lets go of the other


@dataclass(frozen=True)
class Layer:
    """The values of a section, and for each table and key in it the path where it was written."""

    section: str
    values: dict[str, Any]
    origins: dict[Path, Path]

    def origin(self, path: Path) -> Path:
        """Where this value was written: its own place, or that of the nearest table around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return (*self.origins[path[:length]], *path[length:])
        return ()


def written(section: str, value: Mapping[str, Any] | str, origin: Path, *, at_once: bool = False) -> Layer:
    """A layer from a table of the file; `at_once` where all of it was written in one place (`--set`)."""
    origins: dict[Path, Path] = {}

    def walk(value: Any, path: Path, origin: Path) -> Any:
        origins[path] = origin
        if isinstance(value, str) and (section, *path) in NAMED:
            origins[(*path, "name")] = origin
            return {"name": value}
        if not isinstance(value, Mapping):
            return value
        return {
            key: walk(item, (*path, key), origin if at_once else (*origin, key))
            for key, item in value.items()
        }

    return Layer(section, walk(value, (), origin), origins)


def merge(base: Layer, over: Layer) -> Layer:
    """`over` wins key by key; where it changes what a table is called, that table starts afresh.

    Of [data] what all data can have stays, so that another data set is trained under the same conditions.
    """
    origins = dict(base.origins)

    def take(path: Path) -> None:
        depth = len(path)
        for old in [old for old in origins if old[:depth] == path]:
            del origins[old]
        origins.update({new: origin for new, origin in over.origins.items() if new[:depth] == path})

    def walk(old: dict[str, Any], new: dict[str, Any], path: Path) -> dict[str, Any]:
        if _renamed(old, new, DEFAULT_NAMES.get((base.section, *path))):
            old = {
                key: old[key] for key in old if (base.section, path) == ("data", ()) and key in OF_ANY_DATA
            }
            kept = {place: origin for place, origin in origins.items() if old and place and place[0] in old}
            take(path)
            if not old:
                return new
            origins.update(kept)
        if path in over.origins:
            origins[path] = over.origins[path]
        replaces = base.section == "data" and not path and bool(_EXCLUSIVE & new.keys())
        gone = _EXCLUSIVE - new.keys() if replaces else set()
        merged = {key: value for key, value in old.items() if key not in gone}
        for key, value in new.items():
            if isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = walk(merged[key], value, (*path, key))
            else:
                merged[key] = value
                take((*path, key))
        return merged

    return Layer(base.section, walk(base.values, over.values, ()), origins)


def crossed(base: Layer, own: Layer, swept: Sequence[Layer]) -> Layer:
    """A variant's section at a point of a sweep: what either sets stands, over what all variants have.

    What would start a table afresh in which the variant sets something (another model, another optimizer)
    goes before that, so that what the variant sets is set there too.
    """
    merged = merge(base, own)
    first = [layer for layer in swept if taken_back(own, merged, merge(merged, layer))]
    for layer in first:
        base = merge(base, layer)
    merged = merge(base, own)
    for layer in swept:
        if layer not in first:
            merged = merge(merged, layer)
    return merged


def part(layer: Layer, key: str) -> Layer:
    """What a layer says of one key."""
    origins = {path: origin for path, origin in layer.origins.items() if path[:1] == (key,)}
    return Layer(layer.section, {key: layer.values[key]} if key in layer.values else {}, origins)


def names_unit(layer: Layer) -> bool:
    """Whether it says which unit a table is of: a data set, a model, an optimizer."""

    def walk(table: Mapping[str, Any]) -> bool:
        return bool(_called(table)) or any(
            isinstance(value, dict) and walk(value) for value in table.values()
        )

    return walk(layer.values)


def what_fits(
    own: Layer, shared: Layer, base: Layer, keys: Callable[[Layer, Sequence[str]], Sequence[str] | None]
) -> Layer:
    """`own` without what the unit of `shared` can have and that of `base`, which takes its place, can not.

    `keys` tells what may stand in a table of a layer, None where anything may, or nobody knows.
    """
    gone: set[Path] = set()
    for parts in [(), *((key,) for key, value in own.values.items() if isinstance(value, dict))]:
        of_own, before, after = (_table(layer.values, parts) for layer in (own, shared, base))
        if _called(of_own) or _called(before) == _called(after):
            continue
        could, can = keys(shared, parts), keys(base, parts)
        if could is not None and can is not None:
            gone |= {(*parts, key) for key in of_own if key in could and key not in can}
    return Layer(own.section, _without(own.values, gone), own.origins)


def _table(values: Any, keys: Sequence[str]) -> Mapping[str, Any]:
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def _without(values: dict[str, Any], gone: set[Path], above: Path = ()) -> dict[str, Any]:
    return {
        key: _without(value, gone, (*above, key)) if isinstance(value, dict) else value
        for key, value in values.items()
        if (*above, key) not in gone
    }


def taken_back(part: Layer, before: Layer, after: Layer) -> str | None:
    """The first setting of `part`, by its dotted key, that `before` has and `after` has not."""
    for keys, value in _leaves(part.values):
        if _holds(before.values, keys, value) and not _holds(after.values, keys, value):
            return ".".join((part.section, *keys))
    return None


def _leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _holds(values: Any, keys: tuple[str, ...], value: Any) -> bool:
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return bool(values == value)


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any], default: str | None) -> bool:
    """Whether the new table is of another unit than the old one: another name, or of another recipe."""
    before = _called(old) or (None, default)
    after = _called(new) or before
    if before[1] is None:
        return False
    return after[1] != before[1] or (after[0] in _OTHERS and after[0] not in old)


def _called(table: Mapping[str, Any]) -> tuple[str | None, Any] | None:
    """The key that says which unit a table is of, and what it says."""
    return next(((key, table[key]) for key in (*_OTHERS, "name") if key in table), None)
