"""Where the elements of a tensor come from in the image, and what becomes of that in operations of each kind.

Channels are not told apart: a position comes from whatever any of its channels comes from.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnnbench.models.index_ranges import Range, Ranges, Taps

NEITHER = -1  # neither height, which is 0, nor width, which is 1

# A dimension is a product of factors, each an axis of the image (or NEITHER) and its number of positions:
# flattening a map of 8 × 8 gives one dimension of two factors, which a later reshape can tell apart again.
# A size of 1 has no factor, unless it is an axis of the image.
Factors = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Axis:
    """What elements depend on along the image's height or width.

    `ranges` holds by position, where a dimension of the tensor is that axis; `everywhere` is what all
    elements depend on, wherever they stand (through a mean over the image, for example).
    """

    ranges: Ranges | None = None
    everywhere: Range | None = None

    @property
    def num_pixels(self) -> int | None:
        """How many pixels one element depends on: by its place if it has one, else as all do."""
        if self.ranges is not None:
            return self.ranges.size
        return None if self.everywhere is None else self.everywhere.size


@dataclass(frozen=True)
class Origin:
    """Where a tensor's elements come from; with a problem, that is unknown."""

    dims: tuple[Factors, ...] = ()
    axes: tuple[Axis, Axis] = (Axis(), Axis())
    problem: str = ""

    @property
    def is_constant(self) -> bool:
        return self.axes == (Axis(), Axis()) and not self.problem

    @property
    def is_map(self) -> bool:
        """Whether the tensor is (N, C, H, W)."""
        return len(self.dims) == 4 and [self.axis_of(dim) for dim in range(4)] == [NEITHER, NEITHER, 0, 1]

    def axis_of(self, dim: int) -> int | None:
        """The axis that a dimension is; NEITHER; or None where it is a mixture with one."""
        names = [axis for axis, _ in self.dims[dim]]
        if len(names) > 1 and any(axis != NEITHER for axis in names):
            return None
        return names[0] if names else NEITHER

    def with_dim(self, dim: int, *factors: Factors) -> "Origin":
        """The dimension replaced by none, one or several."""
        dim %= len(self.dims)
        return replace(self, dims=self.dims[:dim] + factors + self.dims[dim + 1 :])

    def with_axis(self, axis: int, **changes: Any) -> "Origin":
        height, width = self.axes
        if axis == 0:
            return replace(self, axes=(replace(height, **changes), width))
        return replace(self, axes=(height, replace(width, **changes)))

    def spread(self, dims: Iterable[int]) -> "Origin":
        """Every element also depends on all others along these dimensions."""
        origin = self
        for dim in dims:
            for axis, size in self.dims[dim]:
                if axis != NEITHER and (ranges := self.axes[axis].ranges) is not None:
                    everywhere = joined(origin.axes[axis].everywhere, ranges.span(size))
                    origin = origin.with_axis(axis, everywhere=everywhere)
        return origin

    def merged(self, dims: Iterable[int]) -> "Origin":
        """As `spread`; and these dimensions are no axis of the image any more."""
        dims = list(dims)
        origin = self.spread(dims)
        for dim in dims:
            for axis, _ in self.dims[dim]:
                if axis != NEITHER:
                    origin = origin.with_axis(axis, ranges=None)
            origin = origin.with_dim(dim, plain(math.prod(size for _, size in self.dims[dim])))
        return origin

    def read(self, dim: int, taps: Taps | None, num_outputs: int, what: str) -> "Origin":
        """What an operation makes that reads these positions along one dimension."""
        if self.problem:
            return self
        axis = self.axis_of(dim)
        if axis == NEITHER:
            return self.with_dim(dim, plain(num_outputs))
        ranges = None if axis is None else self.axes[axis].ranges
        found = None if ranges is None or taps is None else ranges.through(taps)
        if axis is None or found is None:
            return Origin(problem=what)
        return self.with_axis(axis, ranges=found).with_dim(dim, ((axis, num_outputs),))


Part = tuple[Origin, Sequence[int]]  # an origin, and the shape of its tensor


def plain(size: int) -> Factors:
    """A dimension that is no axis of the image."""
    return ((NEITHER, size),) if size > 1 else ()


def joined(first: Range | None, second: Range | None) -> Range | None:
    return first.hull(second) if first and second else first or second


def union(parts: Sequence[Part], shape: Sequence[int], what: str) -> Origin:
    """What an elementwise operation makes of tensors that are broadcast to `shape`."""
    result = Origin(tuple(plain(size) for size in shape))
    placed = []
    for origin, own in parts:
        if origin.problem:
            return origin
        offset = len(shape) - len(own)
        origin = origin.merged(dim for dim, size in enumerate(own) if size != shape[offset + dim])
        for dim, factors in enumerate(origin.dims, start=offset):
            if any(axis != NEITHER for axis, _ in factors):
                result = result.with_dim(dim, factors)
        placed.append((offset, origin))
    named = [axis for factors in result.dims for axis, _ in factors if axis != NEITHER]
    alike = all(
        factors == result.dims[dim] or all(axis == NEITHER for axis, _ in factors)
        for offset, origin in placed
        for dim, factors in enumerate(origin.dims, start=offset)
    )
    if not alike or len(named) != len(set(named)):
        return Origin(problem=f"{what} of tensors that lie differently")
    for _, origin in placed:
        for axis, (known, added) in enumerate(zip(result.axes, origin.axes, strict=True)):
            ranges = known.ranges or added.ranges
            if known.ranges is not None and added.ranges is not None:
                ranges = known.ranges.union(added.ranges)
                if ranges is None:
                    return Origin(problem=f"{what} of branches with different strides")
            everywhere = joined(known.everywhere, added.everywhere)
            result = result.with_axis(axis, ranges=ranges, everywhere=everywhere)
    return result


def reshaped(origin: Origin, old: Sequence[int], new: Sequence[int], what: str) -> Origin:
    """What a view makes: the factors in their order, grouped anew."""
    if tuple(old) == tuple(new):
        return origin
    if math.prod(old) != math.prod(new):
        return Origin(problem=what)
    # What a single position sees, all elements see.
    origin = origin.merged(dim for dim, size in enumerate(old) if size == 1)
    left = [factor for factors in origin.dims for factor in factors]
    dims: list[Factors] = []
    for size in new:
        taken: list[tuple[int, int]] = []
        while size > 1:
            axis, length = left.pop(0)
            if size % length == 0:
                taken.append((axis, length))
                size //= length
            elif length % size == 0:
                rest = length // size
                if axis != NEITHER:  # the positions within a group become something like channels
                    ranges = origin.axes[axis].ranges
                    found = None if ranges is None else ranges.through(Taps([list(range(rest))], rest))
                    if found is None:
                        return Origin(problem=what)
                    origin = origin.with_axis(axis, ranges=found)
                taken.append((axis, size))
                left.insert(0, (NEITHER, rest))
                size = 1
            else:
                return Origin(problem=what)
        dims.append(tuple(taken))
    origin = replace(origin, dims=tuple(dims))
    for dim in range(len(dims)):
        origin = _interleaved(origin, dim)
    return origin


def _interleaved(origin: Origin, dim: int) -> Origin:
    """An axis times something finer, as a pixel shuffle makes it, is that axis with more positions."""
    names = [axis for axis, _ in origin.dims[dim]]
    if len(names) < 2 or names[0] == NEITHER or any(axis != NEITHER for axis in names[1:]):
        return origin
    (axis, size), *others = origin.dims[dim]
    finer = math.prod(size for _, size in others)
    ranges = origin.axes[axis].ranges
    found = None if ranges is None else ranges.through(Taps([[0]] * finer, 1))
    if found is None:
        return origin
    return origin.with_axis(axis, ranges=found).with_dim(dim, ((axis, size * finer),))
