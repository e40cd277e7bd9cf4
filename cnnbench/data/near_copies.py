"""Pictures that are nearly the same: a scene taken again, or a copy that was altered a little."""

import numpy as np
from numpy.typing import NDArray

SIDE = 32  # of the small grey pictures that are compared
ALIKE = 0.9  # correlation of their pixels from which two are one scene
ROWS = 1024  # compared at a time, so that memory stays small

Groups = NDArray[np.int64]  # (N,): images of one group have the same number


def near_copies(pictures: NDArray[np.uint8], largest: int) -> Groups | None:
    """A group for each of N small grey pictures (N, SIDE²): near copies of each other have the same.

    What is near a copy of a picture belongs to it too. None where there are so many pairs that a group must
    hold more than `largest`: then likeness says nothing of scenes.
    """
    from scipy.sparse import coo_array

    pixels = _standardized(pictures)
    most = len(pixels) * largest // 2
    pairs: list[NDArray[np.int64]] = []
    count = 0
    for start in range(0, len(pixels), ROWS):
        found = np.argwhere(np.triu(pixels[start : start + ROWS] @ pixels.T > ALIKE, start + 1))
        count += len(found)
        if count > most:
            return None
        pairs.append(found + np.array([start, 0]))
    rows, columns = np.concatenate(pairs).T
    return _components(coo_array((np.ones(count), (rows, columns)), shape=(len(pixels),) * 2))


def exact_copies(pictures: NDArray[np.uint8]) -> Groups:
    """A group for each of N small grey pictures (N, SIDE²): the very same have the same.

    A picture all of one tone, which shows nothing, is a copy of none.
    """
    _, first, groups = np.unique(pictures, axis=0, return_index=True, return_inverse=True)
    blank = (pictures == pictures[:, :1]).all(1)
    return np.where(blank, np.arange(len(pictures)), first[groups.reshape(-1)])


def joined(first: Groups, second: Groups) -> Groups:
    """Groups in which all stay together that are together in one of two groupings, numbered from 0."""
    from scipy.sparse import coo_array

    one, other = (np.unique(grouping, return_inverse=True)[1] for grouping in (first, second))
    num = int(one.max()) + int(other.max()) + 2
    # an image ties a group of the one grouping to a group of the other
    ties = coo_array((np.ones(len(one)), (one, int(one.max()) + 1 + other)), shape=(num, num))
    return np.unique(_components(ties)[one], return_inverse=True)[1].astype(np.int64)


def largest_group(groups: Groups) -> int:
    """How many images the largest group has."""
    return int(np.unique(groups, return_counts=True)[1].max())


def _components(graph: object) -> Groups:
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _standardized(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of mean 0 and length 1 each; zeros where a picture is all of one tone."""
    pixels = pictures.astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    length = np.linalg.norm(pixels, axis=1, keepdims=True)
    standardized: NDArray[np.float32] = np.divide(
        pixels, length, out=np.zeros_like(pixels), where=length > 1e-3
    )
    return standardized
