"""Models by the name and options a recipe gives them."""

from collections.abc import Sequence
from typing import cast

from torch import nn

from cnnbench import catalog
from cnnbench.models.initialization import initialize
from cnnbench.recipe.config import Init, Named
from cnnbench.recipe.initialization import takes_init


def build_model(
    config: Named, in_shape: tuple[int, int, int], num_classes: int, plugins: Sequence[str] = ()
) -> nn.Module:
    """The model on the current default device, with fresh weights from the current random state.

    They start as `init` says where the config has one; raises CnnbenchError where the model has no such
    layers.
    """
    target = catalog.target("model", config.name, tuple(plugins))
    options = config.options
    init = options.pop("init", None) if takes_init("model", target) else None
    make = cast("type[nn.Module]", catalog.resolve(target))
    model = make(in_shape, num_classes, **options)
    if init is not None:
        initialize(model, Init.model_validate(init))
    return model
