"""Receptive fields, layer by layer: which pixels of the image each position of a layer's output depends on.

Sizes are those of Araujo, Norris & Sim (2019), "Computing receptive fields of convolutional neural networks":
padding counts like the image, so a field can be larger than the image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from cnnbench.models import build_model
from cnnbench.models.failures import naming_failures
from cnnbench.models.index_ranges import Range
from cnnbench.models.origins import Axis, Origin
from cnnbench.models.tracing import Tracing
from cnnbench.models.tracing_rules import tensors_in
from cnnbench.recipe.config import Named


@dataclass(frozen=True)
class LayerField:
    """The receptive field of one call of a module; pairs are (height, width).

    `problem` names the operation that makes the field unknown; it is "" where the field is known.
    """

    name: str
    kind: str
    call: int  # 0 for the first call of this module, 1 for the second …
    output_shape: tuple[int, ...]  # without the batch dimension
    axes: tuple[Axis, Axis]
    problem: str = ""
    is_map: bool = False  # (channels, height, width)
    mixes: bool = False  # has weights between channels or pixels
    whole_image: bool = False  # every element depends on every pixel, if only by a gate or a statistic

    @property
    def size(self) -> tuple[int, int] | None:
        """Pixels that one position sees by its place; None for an output without places, or unknown."""
        height, width = (axis.num_pixels for axis in self.axes)
        if height is None or width is None or not any(axis.ranges for axis in self.axes):
            return None
        return height, width

    @property
    def stride(self) -> tuple[Fraction, Fraction] | None:
        """Pixels between neighboring positions; None for an output that is no map, or unknown."""
        height, width = (axis.ranges for axis in self.axes)
        return (height.stride, width.stride) if height and width and self.is_map else None

    def region(self, row: int, column: int) -> tuple[Range, Range]:
        """Rows and columns of the image that a position of a map sees; they may lie outside it."""
        height, width = (axis.ranges for axis in self.axes)
        if height is None or width is None:
            raise ValueError(f"{self.name} has no map with known fields")
        return height.at(row), width.at(column)


def last_feature_layer(layers: Sequence[LayerField]) -> LayerField | None:
    """The last map with known fields and more than one position, else the last map, else None."""
    maps = [layer for layer in layers if layer.is_map]
    wide = [layer for layer in maps if math.prod(layer.output_shape[1:]) > 1]
    return next(reversed(wide or maps), None)


def receptive_fields_of(
    config: Named, in_shape: tuple[int, int, int], num_classes: int, plugins: Sequence[str] = ()
) -> list[LayerField]:
    """The fields of the model that a recipe names; it is built for this on the current default device.

    Raises CnnbenchError where a model of a plugin cannot be built or called.
    """
    with naming_failures(config, in_shape, plugins):
        return receptive_fields(build_model(config, in_shape, num_classes, plugins), in_shape)


def receptive_fields(model: nn.Module, in_shape: tuple[int, int, int]) -> list[LayerField]:
    """A row for each call of a module, in the order in which the calls end, from one pass of one image.

    A module with children has a row where its output is none of theirs: a sum or concatenation of branches.
    """
    parameter = next(model.parameters(), None)
    like = torch.empty(0) if parameter is None else parameter
    was_training = model.training
    with torch.no_grad():
        image = torch.zeros(1, *in_shape, dtype=like.dtype, device=like.device)
        watch = _Watch(model, Tracing(image), in_shape)
        try:
            with watch.tracing:
                model.eval()(image)
        finally:
            watch.remove()
            model.train(was_training)
    return watch.layers


class _Watch:
    """Notes the field of each module's output."""

    def __init__(self, model: nn.Module, tracing: Tracing, in_shape: tuple[int, int, int]) -> None:
        self.layers: list[LayerField] = []
        self.tracing = tracing
        self.image = Range(0, in_shape[1] - 1), Range(0, in_shape[2] - 1)
        self.num_calls: dict[str, int] = {}
        self.told: dict[int, Origin] = {}  # by the id of an output, which tracing keeps alive
        self.handles: list[RemovableHandle] = [
            module.register_forward_hook(partial(self._leave, name)) for name, module in model.named_modules()
        ]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _leave(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        call = self.num_calls.get(name, 0)
        self.num_calls[name] = call + 1
        first = next(iter(tensors_in(output)), None)
        origin = None if first is None else self.tracing.origin_of(first)
        if first is None or origin is None or isinstance(module, nn.Identity):
            return
        is_leaf = next(module.children(), None) is None
        if not is_leaf and self.told.get(id(first)) == origin:
            return
        self.told[id(first)] = origin
        self.layers.append(
            LayerField(
                name or "(model)",
                type(module).__name__,
                call,
                tuple(first.shape[1:]),
                origin.axes,
                origin.problem,
                is_map=origin.is_map,
                mixes=any(parameter.dim() > 1 for parameter in module.parameters()),
                whole_image=all(
                    axis.everywhere is not None and axis.everywhere.hull(image) == axis.everywhere
                    for axis, image in zip(origin.axes, self.image, strict=True)
                ),
            )
        )
