"""Choosing rows so that every class keeps its share; the same in every run, whatever its seed."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cnnbench.errors import CnnbenchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLIT_SEED = 20260101


def cut_validation(
    targets: Tensor, val_size: int | None, val_fraction: float | None
) -> tuple[Tensor, Tensor]:
    """Sorted rows of train and of val, which has each class in the same share as the whole."""
    total = len(targets)
    num_val = val_size if val_size is not None else max(1, round(total * (val_fraction or 0.1)))
    if num_val >= total:
        raise CnnbenchError(
            f"{num_val} validation images cannot be cut from {total} training images with any left to "
            "train on: lower data.val_size (or data.val_fraction), or take more images (raise data.limit, "
            "where it is set)"
        ).about("val_size")
    val = stratified_rows(targets, num_val)
    in_train = np.ones(total, dtype=bool)
    in_train[val] = False
    return torch.from_numpy(np.flatnonzero(in_train)), torch.from_numpy(val)


def cut_by_group(groups: Tensor, num_rows: int, num_least: int = 1) -> tuple[Tensor, Tensor]:
    """Sorted rows: the rest, and at most `num_rows` (or the smallest group) in whole groups, always the same.

    Raises CnnbenchError where fewer than `num_least` rows would be left.
    """
    names, sizes = np.unique(groups.numpy(), return_counts=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(names))
    taken: list[int] = []
    num_taken = 0
    for place in order:
        if num_taken + sizes[place] <= num_rows:
            taken.append(int(names[place]))
            num_taken += int(sizes[place])
    if not taken:
        taken = [int(names[order[sizes[order].argmin()]])]
    chosen = np.isin(groups.numpy(), taken)
    if len(chosen) - chosen.sum() < num_least:
        raise CnnbenchError(
            f"{num_rows} images cannot be cut from {len(chosen)} of {len(names)} sources with any left to "
            "train on, for images of one source, and copies of each other, stay together: lower the share "
            "that is cut off, or take more images (raise data.limit, where it is set)"
        )
    return torch.from_numpy(np.flatnonzero(~chosen)), torch.from_numpy(np.flatnonzero(chosen))


def stratified_rows(targets: Tensor, num_rows: int) -> "NDArray[np.int64]":
    """Sorted rows chosen at random, each class in its share to within one image; always the same choice."""
    labels = targets.numpy()
    counts = np.bincount(labels)
    generator = np.random.default_rng(SPLIT_SEED)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in enumerate(apportion(counts, num_rows))
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def apportion(counts: "NDArray[np.int64]", total: int) -> "NDArray[np.int64]":
    """`total` seats in proportion to `counts` by largest remainders (ties to the first); at most counts."""
    exact = counts * total  # in units of 1 / counts.sum(): whole numbers, so ties are ties
    seats, remainders = np.divmod(exact, counts.sum())
    extra = np.argsort(-remainders, kind="stable")[: total - seats.sum()]
    seats[extra] += 1
    return np.asarray(seats, dtype=np.int64)
