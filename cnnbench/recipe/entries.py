"""The variants as they are written: each entry of [[variants]], once for every point of [sweep]."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnnbench.recipe.checking import Checker
from cnnbench.recipe.merging import Layer
from cnnbench.recipe.mistakes import found
from cnnbench.recipe.naming import LONGEST, check_name
from cnnbench.recipe.overrides import Override
from cnnbench.recipe.sweep import Point, read_sweep
from cnnbench.recipe.toml_positions import Path


@dataclass(frozen=True)
class Entry:
    """A variant: its table, where that is written, and what [sweep] sets in it.

    `written` is its name as it is written, `name` the same if it can be one.
    """

    table: dict[str, Any]
    path: Path
    written: str | None
    name: str | None
    swept: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Entries:
    """All of them in order; `known` is false where a mistake in [sweep] leaves open what they are called.

    `as_written` is false too where `--set sweep.…` makes others than the file does.
    """

    entries: list[Entry]
    known: bool
    as_written: bool

    @property
    def names(self) -> list[str]:
        """As they are written, also those that cannot be."""
        return [entry.written for entry in self.entries if entry.written is not None]


def read_entries(check: Checker, document: Mapping[str, Any], overrides: Sequence[Override]) -> Entries:
    """The variants of a recipe; mistakes in their names and in [sweep] are noted."""
    set_here = [override for override in overrides if override.parts[0] == "sweep"]
    is_swept = "sweep" in document or bool(set_here)
    entries = list(_written(check, document, is_swept))
    if not is_swept:
        return Entries(entries, known=True, as_written=True)
    table = document.get("sweep", {})
    num_variants = len([entry for entry in entries if entry.path != ("sweep",)])
    sweep = read_sweep(check, table, set_here, num_variants)
    if sweep.sound:
        return Entries(list(_crossed(check, entries, sweep.points)), known=True, as_written=not set_here)
    # without what was meant to name it, a variant would seem to lack its model or data
    swept = [keys for point in sweep.points[:1] for keys in point.keys]
    if any(_names_unit(table, section, swept) for section in ("data", "model")):
        return Entries([], known=False, as_written=False)
    unnamed = [
        Entry(entry.table, entry.path, None, None, point.layers)
        for entry in entries
        for point in sweep.points
    ]
    return Entries(unnamed, known=False, as_written=False)


def _names_unit(sweep: Any, section: str, swept: Sequence[tuple[str, ...]]) -> bool:
    """Whether [sweep] was to name the unit of a section, but does not."""
    value = sweep.get(section) if isinstance(sweep, dict) else None
    is_meant = value is not None and (not isinstance(value, dict) or "name" in value)
    return is_meant and (section,) not in swept and (section, "name") not in swept


def _written(check: Checker, document: Mapping[str, Any], is_swept: bool) -> Iterator[Entry]:
    """The entries of [[variants]]; a nameless one where [sweep] alone makes the variants."""
    variants = document.get("variants", [])
    if not isinstance(variants, list):
        check.add(
            ("variants",), "expected [[variants]] (double brackets), once for each variant", on_key=True
        )
        return
    if not variants and is_swept:
        yield Entry({}, ("sweep",), None, None)
    elif not variants:
        check.add_for_file(
            "no variants: add a [[variants]] entry with a name (which is enough for one network) and what "
            "differs, or a [sweep]"
        )
        if "model" in document:  # so that its mistakes are told at once too
            yield Entry({}, ("variants",), None, None)
    taken: dict[str, str] = {}
    for index, table in enumerate(variants):
        path = ("variants", index)
        if not isinstance(table, dict):
            check.add(path, f"expected a table with a name, found {found(table)}")
            continue
        written = table.get("name")
        name = None
        if "name" not in table:
            check.add(path, "this variant needs a name", on_key=True)
        else:
            name = check_name(check, written, (*path, "name"), taken)
        yield Entry(table, path, written if isinstance(written, str) else None, name)


def _crossed(check: Checker, entries: Sequence[Entry], points: Sequence[Point]) -> Iterator[Entry]:
    """Every entry at every point of the sweep, entry by entry."""
    names = {entry.written for entry in entries}
    taken: dict[str, str] = {}
    for entry in entries:
        _check_not_swept(check, entry, points[0].keys)
        for point in points:
            if entry.path == ("sweep",):
                yield replace(entry, written=point.name, name=point.name, swept=point.layers)
                continue
            written = name = None
            if entry.written is not None:
                written = f"{entry.written}+{point.name}"
            if entry.name is not None and written is not None:
                name = written
                if len(name) > LONGEST:
                    check.add(
                        (*entry.path, "name"),
                        f'with [sweep] this variant is called "{name}": too long for a directory '
                        f"({len(name)} characters of {LONGEST})",
                    )
                elif name.lower() in taken:
                    check.add((*entry.path, "name"), f"with [sweep] two variants are called {found(name)}")
                taken[name.lower()] = name
            yield Entry(_matched(entry.table, names, point), entry.path, written, name, point.layers)


def _matched(table: dict[str, Any], names: set[str | None], point: Point) -> dict[str, Any]:
    """The variant's table, in which `like` names its counterpart at the same point of the sweep."""
    matching = table.get("match_params")
    if isinstance(matching, dict) and matching.get("like") in names:
        return {**table, "match_params": {**matching, "like": f"{matching['like']}+{point.name}"}}
    return table


def _check_not_swept(check: Checker, entry: Entry, swept: Sequence[tuple[str, ...]]) -> None:
    """What [sweep] sets in every variant cannot stand in one as well."""
    for keys in swept:
        value: Any = entry.table
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            check.add(
                (*entry.path, *keys),
                f"{'.'.join(keys)} is set here and by [sweep], for every variant: take it out of one of them",
                on_key=True,
            )
