"""Models by the name and options a recipe gives them."""

from collections.abc import Sequence
from typing import cast

from torch import nn

from cnnbench import catalog
from cnnbench.recipe.config import Named


def build_model(
    config: Named, in_shape: tuple[int, int, int], num_classes: int, plugins: Sequence[str] = ()
) -> nn.Module:
    """The model on the current default device, with fresh weights from the current random state."""
    make = cast("type[nn.Module]", catalog.resolve(catalog.target("model", config.name, tuple(plugins))))
    return make(in_shape, num_classes, **config.options)
