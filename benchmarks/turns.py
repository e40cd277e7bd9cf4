"""What every benchmark here does: things take turns, so that all of them meet the same machine."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from statistics import median

from cnnbench import console


def positive(text: str) -> int:
    """An option that is a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def in_turns(ways: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """What each way returns, turn by turn, after one turn that does not count."""
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
    return found


def spread(values: list[float], form: str = ".2f") -> str:
    """The median, and the lowest and the highest value."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def ratios(above: list[float], below: list[float]) -> list[float]:
    """One ratio for each turn."""
    return [one / other for one, other in zip(above, below, strict=True)]


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    console.print_table(title, columns, rows, left=1)
