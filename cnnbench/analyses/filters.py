"""What each variant's first layer looks for: its weights as pictures (Zeiler and Fergus 2014, fig. 6)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Figure, Subject, Table
from cnnbench.analyses.capture import first_weighted, is_convolution
from cnnbench.analyses.image_grid import GAP, MARGIN, Sheet, in_portions
from cnnbench.analyses.looking import nothing_to_show
from cnnbench.analyses.opening import LeftOut, Opened, open_models
from cnnbench.models.custom import ScaledConv2d
from cnnbench.options import Count

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

MOST_FILTERS = 64
MOST_UNITS = 32
IN_A_LINE = 16
MOST_LINES = 12  # in one picture
NUMBER_WIDTH = 0.24  # inches, for the number of a line's first filter

Weights = NDArray[np.float32]  # (K, C, H, W)


@dataclass(frozen=True)
class _Filters:
    """The first layer of one variant."""

    variant: str
    seed: int
    layer: str
    what: str  # "filters" or "units"
    weights: Weights
    num_all: int  # there are in the layer

    @property
    def largest(self) -> float:
        """The largest absolute value shown."""
        return float(np.abs(in_colors(self.weights)).max())

    def detail(self) -> str:
        size = "×".join(map(str, self.weights.shape[1:]))
        shown = len(self.weights)
        count = f"{shown}" if shown == self.num_all else f"the first {shown} of {self.num_all}"
        averaged = "" if self.weights.shape[1] in (1, 3) else ", mean over inputs"
        return (
            f"seed {self.seed}, {self.layer}: {count} {self.what} of {size}{averaged}; "
            f"black −{self.largest:.2g}, white +{self.largest:.2g}"
        )

    def num_lines(self) -> int:
        return math.ceil(len(self.weights) / IN_A_LINE)


class Filters(Analysis):
    """First-layer weights as pictures: kernels of a convolution, or what units of an MLP weigh pixels by."""

    def __init__(self, *, most: Count = MOST_FILTERS) -> None:
        self.most = most

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields pictures of several variants each, or a table that says why there are none."""
        left_out = LeftOut()
        found = []
        for opened in open_models(subject, left_out):
            first = self._first_layer(opened)
            if first is None:
                left_out.add(opened.variant, "its first layer is neither a convolution nor one over pixels")
            else:
                found.append(first)
        if not found:
            yield nothing_to_show("filters", "First-layer weights", left_out)
            return
        pictures = in_portions(found, MOST_LINES)
        for number, shown in enumerate(pictures, start=1):
            which = f" ({number} of {len(pictures)})" if len(pictures) > 1 else ""
            yield Figure(
                name="filters" if len(pictures) == 1 else f"filters_{number}",
                title=f"First-layer weights{which}",
                caption=_caption(shown) + left_out.note(),
                figure=_draw(shown),
            )

    def _first_layer(self, opened: Opened) -> _Filters | None:
        in_shape = opened.loader.dataset.in_shape
        inputs = torch.zeros(1, *in_shape, device=opened.loader.device)
        name = first_weighted(opened.model, inputs)
        if name is None:
            return None
        module = opened.model.get_submodule(name)
        weight, what, most = weight_of(module), "filters", MOST_FILTERS
        if not is_convolution(module):
            if weight.shape[1] != math.prod(in_shape):
                return None
            weight, what, most = weight.reshape(-1, *in_shape), "units", MOST_UNITS
        shown = weight[: min(self.most, most)].float().cpu().numpy()
        return _Filters(opened.variant, opened.run.seed, name, what, shown, len(weight))


def weight_of(module: nn.Module) -> torch.Tensor:
    """The weight a layer applies: that of a scaled convolution is multiplied by its learned scale."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    if isinstance(module, ScaledConv2d):
        weight = weight * module.scale[:, None, None, None]
    return weight.detach()


def in_colors(weights: Weights) -> Weights:
    """Weights (K, C, H, W) as (K, H, W, 3): three inputs as red, green and blue, others as their mean."""
    colors = weights if weights.shape[1] == 3 else weights.mean(axis=1, keepdims=True)
    last = colors.transpose(0, 2, 3, 1)
    shown: Weights = np.nan_to_num(np.broadcast_to(last, (*last.shape[:3], 3)))
    return shown


def as_pictures(weights: Weights) -> NDArray[np.float32]:
    """Weights (K, C, H, W) as pictures (K, H, W, 3) from 0 to 1 on one scale: a weight of 0 is mid-grey."""
    colors = in_colors(weights)
    pictures: NDArray[np.float32] = 0.5 + colors / (2 * float(np.abs(colors).max()) or 1.0)
    return pictures


def _caption(shown: Sequence[_Filters]) -> str:
    parts = [
        "Each small picture is what one channel of the first layer weighs its input by, in the order of the "
        "channels; the number at the left of a line is that of its first. Mid-grey is a weight of zero, and "
        "each variant has a scale of its own, symmetric around zero, up to its largest absolute weight."
    ]
    inputs = {each.weights.shape[1] for each in shown}
    if 3 in inputs:
        parts.append(
            "Over three input channels the three weights of a pixel are its red, green and blue, so that a "
            "grey pixel weighs all three alike."
        )
    if inputs - {1, 3}:
        parts.append("Over other numbers of input channels their mean is shown.")
    if any(each.what == "units" for each in shown):
        parts.append("A fully connected unit has one weight for each pixel: they stand where the pixels do.")
    parts.append(
        "One seed per variant, named in the heading; another seed learns other filters in another order."
    )
    return " ".join(parts)


def _draw(shown: Sequence[_Filters]) -> "MplFigure":
    sheet = Sheet()
    first = MARGIN + NUMBER_WIDTH
    width = (plots.WIDTH - first - MARGIN) / IN_A_LINE - GAP
    for each in shown:
        sheet.heading(each.variant, each.detail())
        pictures = as_pictures(each.weights)
        height = width * min(pictures.shape[1] / pictures.shape[2], 3.0)
        for start in range(0, len(pictures), IN_A_LINE):
            sheet.bottom += height / 2
            sheet.text(first - GAP, f"{start}", ha="right", va="center", color=plots.MUTED)
            sheet.bottom -= height / 2
            for column, picture in enumerate(pictures[start : start + IN_A_LINE]):
                sheet.image(picture, first + column * (width + GAP), width, height)
            sheet.bottom += height + GAP
        sheet.bottom += 0.08
    return sheet.finish()
