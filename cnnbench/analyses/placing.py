"""Where labels go, as arithmetic on pixels: moved apart on a line, or set around points."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The area the two share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The positions moved as little as possible (least squares) to be `gap` apart, within low..high.

    Where there is no room for all, the gap shrinks to what fits.
    """
    if not positions:
        return []
    gap = min(gap, (high - low) / max(len(positions) - 1, 1))
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    blocks: list[tuple[float, int]] = []  # (mean, size): pooled adjacent violators on position - rank * gap
    for rank, index in enumerate(order):
        mean, size = positions[index] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            earlier, count = blocks.pop()
            mean, size = (earlier * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    top = high - (len(flat) - 1) * gap
    placed = [0.0] * len(positions)
    for rank, index in enumerate(order):
        placed[index] = min(max(flat[rank], low), top) + rank * gap
    return placed


def place_labels(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    area: Box,
) -> list[Box]:
    """Boxes for labels near their anchors, clear of obstacles, of each other and of the area's edge.

    Greedy: each label takes the cheapest of 12 directions at growing distances.
    """
    directions = (
        (1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1),
        (0.5, 1), (0.5, -1), (-0.5, 1), (-0.5, -1),
    )  # fmt: skip
    placed: list[Box] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        best, best_cost = Box(x, y, x + width, y + height), math.inf
        for distance in (14, 24, 38, 54, 70, 88, 108, 130, 155, 180):
            for rank, (dx, dy) in enumerate(directions):
                reach = distance / math.hypot(dx, dy)
                left = x + dx * reach + width * (dx - 1) / 2
                bottom = y + dy * reach + height * (dy - 1) / 2
                box = Box(left, bottom, left + width, bottom + height)
                covered = sum(box.overlap(other) for other in (*obstacles, *placed))
                outside = width * height - box.overlap(area)
                crossed = _crossed(x, y, box, obstacles)
                cost = 100 * covered + 50 * outside + 60 * crossed + 3 * distance + rank
                if cost < best_cost:
                    best, best_cost = box, cost
        placed.append(best)
    return placed


def _crossed(x: float, y: float, box: Box, obstacles: Sequence[Box]) -> int:
    """How many of the obstacles a line from the point to the box would cross, its own marker apart."""
    near_x, near_y = min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)
    steps = [
        (x + (near_x - x) * step / 8, y + (near_y - y) * step / 8)
        for step in range(1, 9)
        if math.hypot(near_x - x, near_y - y) * step / 8 > 12
    ]
    return sum(
        any(other.left < px < other.right and other.bottom < py < other.top for px, py in steps)
        for other in obstacles
    )


def in_the_way(boxes: Sequence[Box], obstacles: Sequence[Box], inside: Box) -> bool:
    """Whether a tenth of any label lies on something else or outside."""
    for index, box in enumerate(boxes):
        size = box.overlap(box)
        covered = sum(box.overlap(other) for other in (*obstacles, *boxes[:index]))
        if covered + size - box.overlap(inside) > 0.1 * size:
            return True
    return False
