"""Receptive fields in words: `5 × 5`, or that they reach over the whole image."""

from collections.abc import Sequence

from cnnbench.models.receptive_field import LayerField


def written_size(sizes: Sequence[int]) -> str:
    """`5 × 5`."""
    return " × ".join(map(str, sizes))


def sees_more(layer: LayerField) -> bool:
    """Whether a feature sees more than what lies about its place, as a mean over the image does."""
    return any(axis.everywhere is not None for axis in layer.axes)


def written_field(layer: LayerField) -> str:
    """The layer's field in words."""
    if layer.problem:
        return "unknown"
    if layer.size is None:
        sizes = [axis.num_pixels or 0 for axis in layer.axes]
        return "whole image" if layer.whole_image else f"{written_size(sizes)}, the same everywhere"
    if not sees_more(layer):
        return written_size(layer.size)
    return f"{written_size(layer.size)} + {'whole' if layer.whole_image else 'part of the'} image"


def short_field(layer: LayerField | None) -> str:
    """The same for a heading: a plus stands for what is seen beside it."""
    if layer is None or layer.size is None:
        return "unknown"
    return written_size(layer.size) + (" +" if sees_more(layer) else "")
