"""What chosen layers of every variant put out for the same validation images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cnnbench.analyses.base import Subject, Table, Untrained
from cnnbench.analyses.capture import Layer, capture, convolutions, find_layer
from cnnbench.analyses.examples import Example, choose_examples
from cnnbench.analyses.image_grid import Maps, Row
from cnnbench.analyses.opening import LeftOut, check_one_has, open_models
from cnnbench.data.loader import Loader
from cnnbench.errors import CnnbenchError

ChooseLayers = Callable[[nn.Module, Tensor], list[Layer]]  # model, a batch -> layers; none if it has none


@dataclass(frozen=True)
class LayerMaps:
    """The strongest channels of a layer's output, by their numbers within it."""

    layer: Layer
    maps: Sequence[Maps]  # for each example (K, H, W)
    numbers: Sequence[int]  # of the K channels, the strongest first
    num_channels: int

    def amount(self) -> str:
        """How much of the layer is shown."""
        height, width = self.maps[0].shape[1:]
        return f"{len(self.numbers)} of {self.num_channels} channels of {height}×{width}"


@dataclass(frozen=True)
class Seen:
    """What one run shows."""

    variant: str
    seed: int
    examples: Sequence[Example]
    layers: Sequence[LayerMaps]

    def rows(self, layer: LayerMaps) -> list[Row]:
        """Each image with what the layer makes of it."""
        return [Row(example.pixels, maps) for example, maps in zip(self.examples, layer.maps, strict=True)]


def look(
    subject: Subject,
    images: Sequence[str | int] | None,
    num_channels: int,
    choose_layers: ChooseLayers,
    left_out: LeftOut,
) -> list[Seen]:
    """What the first readable seed of each variant shows of these images; the rest is told to `left_out`.

    Raises CnnbenchError where no variant has the images or the layers that were asked for.
    """
    seen: list[Seen] = []
    mistakes: list[str] = []
    for opened in open_models(subject, left_out):
        try:
            examples, layers = look_into(opened.model, opened.loader, images, num_channels, choose_layers)
        except CnnbenchError as mistake:
            mistakes.append(f"variant {opened.variant!r}: {mistake}")
            left_out.add(opened.variant, mistake)
            continue
        if layers:
            seen.append(Seen(opened.variant, opened.run.seed, examples, layers))
        else:
            left_out.add(opened.variant, "no convolution")
    if mistakes and not seen:
        raise CnnbenchError(mistakes[0])
    return seen


def look_into(
    model: nn.Module,
    loader: Loader,
    images: Sequence[str | int] | None,
    num_channels: int,
    choose_layers: ChooseLayers,
) -> tuple[list[Example], list[LayerMaps]]:
    """The images, and what the layers make of them; raises CnnbenchError where either is not there."""
    examples = choose_examples(loader.dataset, images)
    inputs = loader.normalize(
        torch.from_numpy(np.stack([example.pixels for example in examples])).to(loader.device)
    )
    layers = choose_layers(model, inputs)
    outputs = capture(model, inputs, [layer.output for layer in layers])
    found = []
    for layer in layers:
        output = outputs[layer.output]
        if output.dim() != 4:
            others = ", ".join(each.name for each in convolutions(model, inputs)) or "none"
            shape = "×".join(map(str, output.shape[1:]))
            raise CnnbenchError(
                f"layer {layer.name!r} puts out {shape or 'one'} values, no maps; "
                f"the convolutions are {others}"
            )
        numbers = strongest_channels(output, num_channels)
        maps = [each for each in output[:, numbers].float().cpu().numpy()]
        found.append(LayerMaps(layer, maps, numbers, output.shape[1]))
    return examples, found


def check_look(
    variants: Iterable[Untrained], images: Sequence[str | int] | None, choose_layers: ChooseLayers
) -> None:
    """Raises CnnbenchError where no variant has these images and layers."""
    check_one_has(variants, lambda each: look_into(each.model, each.loader, images, 1, choose_layers)[1])


def named_layers(names: Sequence[str]) -> ChooseLayers:
    """Chooses the layers of these names; the function raises CnnbenchError where there is none of a name."""
    return lambda model, inputs: [find_layer(model, inputs, name) for name in names]


def strongest_channels(outputs: Tensor, num_channels: int) -> list[int]:
    """The channels of (N, C, H, W) with the largest mean absolute value, the largest first."""
    strength = outputs.float().abs().mean((0, 2, 3)).nan_to_num()
    order = strength.sort(descending=True, stable=True).indices
    return [int(channel) for channel in order[:num_channels]]


def nothing_to_show(name: str, title: str, left_out: LeftOut) -> Table:
    """Instead of pictures: why there are none."""
    return Table(
        name=name,
        title=title,
        caption="There is nothing to show a picture of.",
        columns=["variant", "why it is not shown"],
        rows=left_out.reasons,
    )


def said_of_channels(num_channels: int) -> str:
    """For captions: which channels are shown."""
    if num_channels == 1:
        return "the channel with the largest mean absolute value over the images shown (numbers count from 0)"
    return (
        f"up to {num_channels} channels, those with the largest mean absolute value over the images shown, "
        "the largest first (numbers count from 0)"
    )
