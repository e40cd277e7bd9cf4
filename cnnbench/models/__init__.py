"""Models by the name and options a recipe gives them."""

from collections.abc import Callable, Sequence
from functools import partial
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
    make = cast("Callable[..., nn.Module]", catalog.resolve(target))
    if catalog.is_library_model(config.name, plugins):
        make = partial(make, config.name)
    model = make(in_shape, num_classes, **options)
    if init is not None:
        initialize(model, Init.model_validate(init))
    return model


def begin(model: nn.Module, classes: Sequence[str]) -> None:
    """Gives a model that brings weights of its own those weights; the others stay as they were built.

    Raises CnnbenchError where they are not its own, WeightsAbsentError where they are not there.
    """
    take = getattr(model, "begin", None)
    if take is not None:
        take(classes)


def takes_bytes(config: Named, plugins: Sequence[str] = ()) -> bool:
    """Whether a model wants images as the bytes they are, having a preprocessing of its own."""
    unit = catalog.resolve(catalog.target("model", config.name, tuple(plugins)))
    return bool(getattr(unit, "takes_bytes", False))


def brings_weights(config: Named, plugins: Sequence[str] = ()) -> bool:
    """Whether `begin` has something to take: weights that may be absent or not fit."""
    unit = catalog.resolve(catalog.target("model", config.name, tuple(plugins)))
    return hasattr(unit, "begin")
