"""scikit-learn's 1,797 real handwritten digits (Alpaydin and Kaynak, 1998), 8x8 grey, already installed."""

from pathlib import Path

import numpy as np
import torch

from cnnbench.data.base import Format, Source
from cnnbench.data.split import stratified_rows

TEST_SHARE = 0.2


def describe(root: Path) -> Format:
    """The format of the images, known without the files."""
    return Format((1, 8, 8), 10)


def load(root: Path) -> Source:
    """Images (1, 8, 8), 0..16 spread over 0..255; a fixed stratified fifth is test."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    pixels = np.rint(values.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    images, targets = torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64))
    test = stratified_rows(targets, round(TEST_SHARE * len(targets)))
    in_test = torch.zeros(len(targets), dtype=torch.bool)
    in_test[torch.from_numpy(test)] = True
    return Source(images[~in_test], targets[~in_test], images[in_test], targets[in_test], tuple("0123456789"))
