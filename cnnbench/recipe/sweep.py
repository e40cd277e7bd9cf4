"""[sweep]: lists of values for settings, and the points (combinations of values) that become variants."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from cnnbench.recipe.checking import SECTIONS, Checker, home_of
from cnnbench.recipe.merging import NAMED, Layer, written
from cnnbench.recipe.mistakes import choices, found, nearest
from cnnbench.recipe.naming import check_name, name_problem
from cnnbench.recipe.overrides import Override
from cnnbench.recipe.toml_positions import Path

SWEPT_SECTIONS = ("data", "model", "train")
SECTION_KEYS = {(section,) for section in SWEPT_SECTIONS}
SWEEP_KEYS = ("mode", "names", *SWEPT_SECTIONS)
MODES = ("grid", "zip")
MOST_VARIANTS = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
Origins = dict[tuple[str, ...], Path]  # of keys that are set on the command line
_EXAMPLE = "such as train.lr = [1e-3, 1e-2]"


@dataclass(frozen=True)
class Axis:
    """A setting and the values it takes; `origin` is where the list stands."""

    keys: tuple[str, ...]
    values: list[Any]
    origin: Path

    @property
    def key(self) -> str:
        return ".".join(self.keys)

    def layer(self, index: int) -> Layer:
        """What the value at `index` sets, as a layer over its section."""
        section, *inner = self.keys
        value = self.values[index]
        for key in reversed(inner):
            value = {key: value}
        if isinstance(self.origin[0], int):  # from the command line
            return written(section, value, self.origin, at_once=True)
        layer = written(section, value, ("sweep", section))
        length = len(self.origin)
        origins = {
            path: (*origin[:length], index, *origin[length:]) if len(origin) >= length else origin
            for path, origin in layer.origins.items()
        }
        return Layer(section, layer.values, origins)


@dataclass(frozen=True)
class Point:
    """One variant's share of the sweep: what it is called after, which keys it sets, and how."""

    name: str
    keys: list[tuple[str, ...]]
    layers: tuple[Layer, ...]


def read_sweep(check: Checker, table: Any, overrides: Sequence[Override]) -> list[Point]:
    """The points of [sweep] and of `--set sweep.…`; none where something is wrong with it, which is noted."""
    before = len(check.mistakes)
    if not isinstance(table, dict):
        check.add(("sweep",), f"expected a table [sweep] with lists of values, {_EXAMPLE}", on_key=True)
        return []
    origins: Origins = {}
    for override in overrides:
        keys = tuple(part.strip().strip("\"'") for part in override.key.split("."))[1:]
        if not keys:
            check.add((override.number,), f"set a key of it, {_EXAMPLE.replace('train', 'sweep.train')}")
            continue
        table = _with(table, keys, override.value)
        origins[keys] = (override.number,)
    axes = list(_axes(check, table, (), origins))
    mode = table.get("mode", "grid")
    if mode not in MODES:
        near = nearest(mode, MODES)
        check.add(_origin(("mode",), origins), f"expected {choices(MODES)}, found {found(mode)}", near=near)
    if not axes and len(check.mistakes) == before:
        check.add(("sweep",), f"nothing is swept: add a key with a list of values, {_EXAMPLE}", on_key=True)
    if len(check.mistakes) > before:
        return []
    places = _zipped(check, axes) if mode == "zip" else _grid(check, axes)
    points = _points(check, axes, places, table.get("names"), _origin(("names",), origins))
    return points if len(check.mistakes) == before else []


def takes_back(swept: Sequence[Layer], before: Layer, after: Layer) -> str | None:
    """The first swept setting that is there before a change of its section, and no longer after it."""
    for layer in swept:
        if layer.section == after.section and _holds(before.values, layer.values):
            for keys, value in _leaves(layer.values):
                if not _holds(after.values, _with({}, keys, value)):
                    return ".".join((layer.section, *keys))
    return None


def _axes(
    check: Checker, table: Mapping[str, Any], above: tuple[str, ...], origins: Origins
) -> Iterator[Axis]:
    """Walks down to the lists; what is none, or stands where nothing can be swept, is noted."""
    for key, value in table.items():
        keys = (*above, key)
        where = _origin(keys, origins)
        if not above and key in ("mode", "names"):
            continue
        if not above and key not in SWEPT_SECTIONS:
            _unknown(check, where, key)
        elif keys == ("train", "seeds"):
            check.add(where, "seeds are runs of each variant: list them in [train], not here", on_key=True)
        elif isinstance(value, dict) and value:
            yield from _axes(check, value, keys, origins)
        elif not isinstance(value, list):
            check.add(
                where,
                f"expected a list of values for {'.'.join(keys)}, found {found(value)}; "
                "what all variants share stands outside of [sweep]",
            )
        elif not value:
            check.add(where, f"the list is empty: give {'.'.join(keys)} the values to compare")
        else:
            _check_values(check, keys, value, where)
            yield Axis(keys, value, where)


def _unknown(check: Checker, where: Path, key: str) -> None:
    home = home_of(key)
    near = f"{home}.{key}" if home in SWEPT_SECTIONS else None
    if near is None and key.partition(".")[0] in SWEPT_SECTIONS:
        check.add(where, f"unknown key {found(key)} in [sweep]: write it without quotes", on_key=True)
    elif near is not None or key in SECTIONS:
        hint = "" if near else f"; only {', '.join(SWEPT_SECTIONS)} can be swept"
        check.add(where, f"unknown key {found(key)} in [sweep]{hint}", on_key=True, near=near)
    else:
        check.unknown(where, key, "key {} in [sweep]", SWEEP_KEYS, on_key=True)


def _check_values(check: Checker, keys: tuple[str, ...], values: list[Any], where: Path) -> None:
    """All different; and values of a whole section must be what a section can be."""
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        if keys in SECTION_KEYS and not isinstance(value, dict if keys not in NAMED else dict | str):
            a_name = "" if keys not in NAMED else "a name or "
            check.add((*where, index), f"expected {a_name}a table, found {found(value)}")
        first = seen.setdefault(_identity(value), index)
        if first != index:
            check.add(
                (*where, index), f"{found(value)} stands in this list twice (first as value {first + 1})"
            )


def _identity(value: Any) -> str:
    """Equal for equal values: 1 is 1.0, but true is not 1."""
    numbers = json.loads(json.dumps(value, default=str), parse_int=float)
    return json.dumps(numbers, sort_keys=True)


def _grid(check: Checker, axes: Sequence[Axis]) -> list[tuple[int, ...]]:
    """Every combination, the last key fastest."""
    sizes = [len(axis.values) for axis in axes]
    if prod(sizes) > MOST_VARIANTS:
        _too_many(check, " × ".join(map(str, sizes)) + f" = {prod(sizes)}")
        return []
    return list(product(*(range(size) for size in sizes)))


def _zipped(check: Checker, axes: Sequence[Axis]) -> list[tuple[int, ...]]:
    """First values together, second values together, and so on."""
    first, *others = axes
    for axis in others:
        if len(axis.values) != len(first.values):
            check.add(
                axis.origin,
                f'mode = "zip" takes values in step, but {axis.key} has {len(axis.values)} and {first.key} '
                f"has {len(first.values)}",
            )
            return []
    if len(first.values) > MOST_VARIANTS:
        _too_many(check, str(len(first.values)))
        return []
    return [(index,) * len(axes) for index in range(len(first.values))]


def _too_many(check: Checker, count: str) -> None:
    check.add(
        ("sweep",),
        f"this sweep makes {count} variants, and a recipe may have {MOST_VARIANTS}: sweep fewer values",
        on_key=True,
    )


def _points(
    check: Checker, axes: Sequence[Axis], places: Sequence[tuple[int, ...]], names: Any, where: Path
) -> list[Point]:
    if names is not None and (not isinstance(names, list) or len(names) != len(places)):
        if places:
            given = f"{len(names)}" if isinstance(names, list) else found(names)
            check.add(where, f"expected a list of {len(places)} names, one for each variant, found {given}")
        return []
    texts = [_texts(axis, axes) for axis in axes]
    taken: dict[str, str] = {}
    points = []
    for number, place in enumerate(places):
        parts = [words[index] for words, index in zip(texts, place, strict=True)]
        layers = tuple(axis.layer(index) for axis, index in zip(axes, place, strict=True))
        if names is not None:
            origin = (*where, number)
            check_name(check, names[number], origin, taken)
        else:
            origin = (*axes[-1].origin, place[-1])
            _check_made(check, "+".join(parts), origin, taken)
        name = "+".join(parts) if names is None else str(names[number])
        points.append(Point(name, [axis.keys for axis in axes], layers))
    return points


def _check_made(check: Checker, name: str, where: Path, taken: dict[str, str]) -> None:
    if name.lower() in taken:
        check.add(where, f"two values make the same name {found(name)}: name the variants, names = [...]")
    elif name_problem(name, taken) is not None:
        check.add(where, f"{found(name)} is no good name for a variant: give them all one, names = [...]")
    taken[name.lower()] = name


def _texts(axis: Axis, axes: Sequence[Axis]) -> list[str]:
    """What each value of an axis adds to a name; a longer form where the shorter ones are not different."""
    same_end = [other for other in axes if other.keys[-1] == axis.keys[-1]]
    label = axis.keys[-1] if len(same_end) == 1 else axis.key
    is_unit = axis.keys in NAMED or (axis.keys[-1] == "name" and axis.keys[:-1] in NAMED)
    for long in (False, True):
        texts = [_text(value, long) for value in axis.values]
        if len({text.lower() for text in texts}) == len(texts):
            break
    return [
        text if is_unit and not _is_nameless(value) else f"{label}-{text}"
        for value, text in zip(axis.values, texts, strict=True)
    ]


def _is_nameless(value: Any) -> bool:
    return isinstance(value, dict) and "name" not in value


def _text(value: Any, long: bool) -> str:
    """A value in characters that a directory's name may have."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "-".join(_text(item, long) for item in value) or "none"
    if isinstance(value, dict):
        inner = [f"{key}-{_text(item, long)}" for key, item in value.items() if key != "name"]
        if "name" not in value:
            return "-".join(inner)
        return "-".join([_text(value["name"], long), *(inner if long else [])])
    return _UNSAFE.sub("_", str(value)).strip("_") or "_"


def _origin(keys: tuple[str, ...], origins: Origins) -> Path:
    """Where a key of [sweep] is written: on the command line, if it is set there, else in the file."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in origins:
            return origins[keys[:length]]
    return ("sweep", *keys)


def _with(table: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """The table with this one value set or replaced."""
    first, *rest = keys
    below = table.get(first)
    return {
        **table,
        first: _with(below if isinstance(below, dict) else {}, rest, value) if rest else value,
    }


def _leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _holds(values: Any, part: Any) -> bool:
    """Whether everything in `part` is so in `values`."""
    if isinstance(part, dict) and isinstance(values, dict):
        return all(key in values and _holds(values[key], item) for key, item in part.items())
    return bool(values == part)
