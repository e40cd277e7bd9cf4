"""Which pixels the positions along one axis of a tensor depend on: exact, in whole numbers, without borders.

A layer makes position i of its output from some positions of its input. For a convolution those move on by
the stride with every i; for upsampling they move on by one with every few i. Either way a pattern returns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

MAX_PERIOD = 4096  # longer patterns (resizing 1000 positions to 999) are given up


class Range(NamedTuple):
    """From pixel `low` to pixel `high`, both included."""

    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    def hull(self, other: "Range") -> "Range":
        """The shortest range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


class Taps(NamedTuple):
    """What a layer reads: output i reads input positions[i], and those `advance` further on for i + period.

    `positions` are given for the first `period` outputs; each one reads at least one position.
    """

    positions: Sequence[Sequence[int]]
    advance: int


@dataclass(frozen=True)
class Ranges:
    """Position i depends on `pattern[i]`, position i + len(pattern) on the same `advance` pixels further on.

    Positions outside the image count like all others, so that padding makes no range shorter.
    """

    pattern: tuple[Range, ...] = (Range(0, 0),)
    advance: int = 1

    def at(self, position: int) -> Range:
        """The pixels this position depends on; they may lie outside the image."""
        repeats, phase = divmod(position, len(self.pattern))
        low, high = self.pattern[phase]
        return Range(low + repeats * self.advance, high + repeats * self.advance)

    @property
    def size(self) -> int:
        """The number of pixels of the longest range."""
        return max(found.size for found in self.pattern)

    @property
    def stride(self) -> Fraction:
        """Pixels from one position to the next, on average."""
        return Fraction(self.advance, len(self.pattern))

    def span(self, num_positions: int) -> Range:
        """What the first so many positions depend on together."""
        return _hull([self.at(position) for position in range(num_positions)])

    def through(self, taps: Taps) -> "Ranges | None":
        """The ranges behind a layer; None where no pattern returns within MAX_PERIOD positions."""
        period = len(self.pattern)
        repeats = period // math.gcd(period, taps.advance)
        if repeats * len(taps.positions) > MAX_PERIOD:
            return None
        pattern = [
            _hull([self.at(position + repeat * taps.advance) for position in positions])
            for repeat in range(repeats)
            for positions in taps.positions
        ]
        return _shortest(pattern, taps.advance * repeats // period * self.advance)

    def union(self, other: "Ranges") -> "Ranges | None":
        """What either depends on; None where the two move on at different strides."""
        period = math.lcm(len(self.pattern), len(other.pattern))
        if self.stride != other.stride or period > MAX_PERIOD:
            return None
        pattern = [self.at(position).hull(other.at(position)) for position in range(period)]
        return _shortest(pattern, int(self.stride * period))


def window(kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Taps:
    """What a convolution or pooling reads."""
    return Taps([[tap * dilation - padding for tap in range(kernel_size)]], stride)


def transposed_window(kernel_size: int, stride: int, padding: int, dilation: int) -> Taps | None:
    """What a transposed convolution reads; None where some outputs read nothing."""
    positions = []
    for output in range(stride):
        starts = [output + padding - tap * dilation for tap in range(kernel_size)]
        positions.append([start // stride for start in starts if start % stride == 0])
    return Taps(positions, 1) if all(positions) else None


def bins(num_inputs: int, num_outputs: int) -> Taps:
    """What adaptive pooling reads: from floor(i n / m) up to ceil((i + 1) n / m)."""
    common = math.gcd(num_inputs, num_outputs)
    n, m = num_inputs // common, num_outputs // common
    return Taps([list(range(i * n // m, -((i + 1) * n // -m))) for i in range(m)], n)


def interpolation(num_inputs: int, num_outputs: int, mode: str, align_corners: bool = False) -> Taps:
    """What resizing reads, in the modes of `torch.nn.functional.interpolate` (nearest, nearest-exact, …)."""
    step = Fraction(num_inputs, num_outputs)
    if align_corners:
        step = Fraction(num_inputs - 1, num_outputs - 1) if num_outputs > 1 else Fraction(0)
    centered = not align_corners and mode != "nearest"
    shift = (step - 1) / 2 if centered else Fraction(0)
    before, after = {"linear": (0, 1), "cubic": (-1, 2)}.get(mode, (0, 0))
    positions = []
    for output in range(step.denominator):
        source = step * output + shift
        if mode == "nearest-exact":
            source += Fraction(1, 2)
        first = math.floor(source)
        between = after and source != first  # on a pixel's center the others weigh nothing
        positions.append(list(range(first + before, first + after + 1)) if between else [first])
    return Taps(positions, step.numerator)


def _hull(ranges: Sequence[Range]) -> Range:
    return Range(min(low for low, _ in ranges), max(high for _, high in ranges))


def _shortest(pattern: Sequence[Range], advance: int) -> Ranges:
    """The same ranges with the shortest pattern that returns."""
    found = Ranges(tuple(pattern), advance)
    for period in range(1, len(pattern)):
        if len(pattern) % period == 0 and advance * period % len(pattern) == 0:
            shorter = Ranges(tuple(pattern[:period]), advance * period // len(pattern))
            if all(shorter.at(position) == expected for position, expected in enumerate(pattern)):
                return shorter
    return found
