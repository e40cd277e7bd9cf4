"""[sweep]: lists of values for settings, and the points (combinations of values) that become variants."""

import json
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
from cnnbench.recipe.sweep_names import name_parts
from cnnbench.recipe.toml_positions import Path

SWEPT_SECTIONS = ("data", "model", "train")
SWEEP_KEYS = ("mode", "names", *SWEPT_SECTIONS)
MODES = ("grid", "zip")
MOST_VARIANTS = 100
_EXAMPLE = "such as train.lr = [1e-3, 1e-2]"

Keys = tuple[str, ...]
Origins = dict[Keys, Path]  # of keys that are set on the command line
Place = tuple[int, ...]  # for each axis which of its values


@dataclass(frozen=True)
class Axis:
    """A setting and the values it takes; `origin` is where the list stands."""

    keys: Keys
    values: list[Any]
    origin: Path

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
    keys: list[Keys]
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Sweep:
    """The points, by name; where a mistake was noted (not `sound`), points without a name.

    These have every value of every list once, so that mistakes in the values are found nevertheless.
    """

    points: list[Point]
    sound: bool


def read_sweep(check: Checker, table: Any, overrides: Sequence[Override], num_variants: int) -> Sweep:
    """[sweep] and `--set sweep.…` of a recipe with `num_variants` variants of its own; mistakes are noted."""
    before = len(check.mistakes)
    if not isinstance(table, dict):
        check.add(("sweep",), f"expected a table [sweep] with lists of values, {_EXAMPLE}", on_key=True)
        return Sweep([], sound=False)
    table, origins = _overridden(check, table, overrides)
    axes = list(_axes(check, table, (), origins))
    mode = table.get("mode", "grid")
    if mode not in MODES:
        near = nearest(mode, MODES)
        check.add(_origin(("mode",), origins), f"expected {choices(MODES)}, found {found(mode)}", near=near)
    if not axes and len(check.mistakes) == before:
        where = ("sweep",) if not overrides else (overrides[-1].number,)
        check.add(where, f"nothing is swept: add a key with a list of values, {_EXAMPLE}", on_key=True)
    sizes = [len(axis.values) for axis in axes]
    if mode == "zip":
        _check_lengths(check, axes)
    _check_number(check, sizes[:1] if mode == "zip" else sizes, num_variants)
    if len(check.mistakes) == before:
        places = _in_step(sizes) if mode == "zip" else list(product(*map(range, sizes)))
        points = _points(check, axes, places, table.get("names"), _origin(("names",), origins))
        if len(check.mistakes) == before:
            return Sweep(points, sound=True)
    places = _in_step(sizes) if mode == "zip" else _one_by_one(sizes)
    return Sweep([_point("", axes, place) for place in places[:MOST_VARIANTS]], sound=False)


def _overridden(
    check: Checker, table: dict[str, Any], overrides: Sequence[Override]
) -> tuple[dict[str, Any], Origins]:
    """The table with what is set on the command line, and the places of that."""
    origins: Origins = {}
    for override in overrides:
        keys = tuple(override.parts[1:])
        if keys:
            table = _with(table, keys, override.value)
            origins[keys] = (override.number,)
        else:
            check.add((override.number,), f"set a key of it, {_EXAMPLE.replace('train', 'sweep.train')}")
    return table, origins


def _with(table: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """The table with this one value set or replaced."""
    first, *rest = keys
    below = table.get(first)
    return {
        **table,
        first: _with(below if isinstance(below, dict) else {}, rest, value) if rest else value,
    }


def _origin(keys: Keys, origins: Origins) -> Path:
    """Where a key of [sweep] is written: on the command line, if it is set there, else in the file."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in origins:
            return origins[keys[:length]]
    return ("sweep", *keys)


def _axes(check: Checker, table: Mapping[str, Any], above: Keys, origins: Origins) -> Iterator[Axis]:
    """Walks down to the lists; what is none, or stands where nothing can be swept, is noted."""
    for key, value in table.items():
        keys = (*above, key)
        where = _origin(keys, origins)
        if not above and key in ("mode", "names"):
            continue
        if not above and key not in SWEPT_SECTIONS:
            _unknown(check, where, key)
        elif keys == ("train", "seeds") or (keys == ("train",) and _has_seeds(value)):
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
        elif _are_sections(check, keys, value, where):
            _check_different(check, value, where)
            yield Axis(keys, value, where)


def _has_seeds(values: Any) -> bool:
    return isinstance(values, list) and any(isinstance(each, dict) and "seeds" in each for each in values)


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


def _are_sections(check: Checker, keys: Keys, values: list[Any], where: Path) -> bool:
    """Whether the values, if they stand for a whole section, can be one."""
    if len(keys) > 1:
        return True
    kinds, wanted = ((dict, str), "a name or a table") if keys in NAMED else ((dict,), "a table")
    wrong = [index for index, value in enumerate(values) if not isinstance(value, kinds)]
    for index in wrong:
        check.add((*where, index), f"expected {wanted}, found {found(values[index])}")
    return not wrong


def _check_different(check: Checker, values: list[Any], where: Path) -> None:
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        first = seen.setdefault(_identity(value), index)
        if first != index:
            check.add(
                (*where, index), f"{found(value)} stands in this list twice (first as value {first + 1})"
            )


def _identity(value: Any) -> str:
    """Equal for equal values: 1 is 1.0, but true is not 1."""
    numbers = json.loads(json.dumps(value, default=str), parse_int=float)
    return json.dumps(numbers, sort_keys=True)


def _check_lengths(check: Checker, axes: Sequence[Axis]) -> None:
    for axis in axes[1:]:
        if len(axis.values) != len(axes[0].values):
            one, other = (f"{'.'.join(each.keys)} has {len(each.values)}" for each in (axis, axes[0]))
            check.add(axis.origin, f'mode = "zip" takes values in step, but {one} and {other}')


def _check_number(check: Checker, sizes: Sequence[int], num_variants: int) -> None:
    factors = [*sizes, *([num_variants] if num_variants else [])]
    if sizes and prod(factors) > MOST_VARIANTS:
        number = str(prod(factors))
        if len(factors) > 1:
            number = f"{' × '.join(map(str, factors))} = {number}"
        make = "[sweep] and [[variants]] make" if num_variants else "[sweep] makes"
        check.add(
            ("sweep",),
            f"{make} {number} variants, and a recipe may have {MOST_VARIANTS}",
            on_key=True,
        )


def _in_step(sizes: Sequence[int]) -> list[Place]:
    """First values together, second values together, and so on, as far as every axis has one."""
    return [(index,) * len(sizes) for index in range(min(sizes, default=0))]


def _one_by_one(sizes: Sequence[int]) -> list[Place]:
    """Every value of each axis beside the first ones of the others."""
    first = (0,) * len(sizes)
    return [
        (*first[:axis], index, *first[axis + 1 :]) for axis, size in enumerate(sizes) for index in range(size)
    ]


def _point(name: str, axes: Sequence[Axis], place: Place) -> Point:
    layers = tuple(axis.layer(index) for axis, index in zip(axes, place, strict=True))
    return Point(name, [axis.keys for axis in axes], layers)


def _points(
    check: Checker, axes: Sequence[Axis], places: Sequence[Place], names: Any, where: Path
) -> list[Point]:
    """The points under the names given, else under those of their values."""
    taken: dict[str, str] = {}
    if names is not None:
        if not isinstance(names, list) or len(names) != len(places):
            given = str(len(names)) if isinstance(names, list) else found(names)
            check.add(where, f"expected a list of {len(places)} names, one for each variant, found {given}")
            return []
        checked = [check_name(check, name, (*where, index), taken) for index, name in enumerate(names)]
        return [_point(name or "", axes, place) for name, place in zip(checked, places, strict=True)]
    ends = [axis.keys[-1] for axis in axes]
    parts = [
        name_parts(axis.keys, axis.values, end if ends.count(end) == 1 else ".".join(axis.keys))
        for axis, end in zip(axes, ends, strict=True)
    ]
    points = []
    for place in places:
        name = "+".join(part[index] for part, index in zip(parts, place, strict=True))
        last = (*axes[-1].origin, place[-1])
        if name.lower() in taken:
            check.add(last, f"two values make the same name {found(name)}: name the variants, names = [...]")
        elif name_problem(name, taken) is not None:
            check.add(last, f"{found(name)} is no good name for a variant: give them all one, names = [...]")
        taken[name.lower()] = name
        points.append(_point(name, axes, place))
    return points
