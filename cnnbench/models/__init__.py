"""Models by the name and options a recipe gives them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from cnnbench import catalog
from cnnbench.models.encoders import Encoder, StagedEncoder, TimmEncoder
from cnnbench.models.failures import naming_failures
from cnnbench.models.initialization import initialize
from cnnbench.recipe.config import Init, Named
from cnnbench.recipe.encoders import architecture, encoder_options, tuning_of
from cnnbench.recipe.initialization import takes_init
from cnnbench.recipe.merging import RUN


def build_model(
    config: Named, in_shape: tuple[int, int, int], num_classes: int, plugins: Sequence[str] = ()
) -> nn.Module:
    """The model on the current default device, with fresh weights from the current random state.

    They start as `init` says where the config has one; raises CnnbenchError where the model has no such
    layers.
    """
    target = catalog.target("model", config.name, tuple(plugins))
    options = config.options
    for key in encoder_options(target):
        if options.get(key) is not None:
            options[key] = build_encoder(options[key], in_shape, plugins)
    init = options.pop("init", None) if takes_init("model", target) else None
    make = cast("Callable[..., nn.Module]", catalog.resolve(target))
    if catalog.is_library_model(config.name, plugins):
        make = partial(make, config.name)
    model = make(in_shape, num_classes, **options)
    if init is not None:
        initialize(model, Init.model_validate(init))
    return model


def build_encoder(
    table: Mapping[str, Any], in_shape: tuple[int, int, int], plugins: Sequence[str]
) -> Encoder:
    """The encoder of a checked table, with fresh weights. Raises CnnbenchError for one that cannot be."""
    network, tuned = architecture(table), tuning_of(table)
    if catalog.is_library_model(network.name, plugins):
        return TimmEncoder(network.name, in_shape, tuned, **network.options)
    # on the CPU, where an image tells the sizes of its features: PyTorch's meta device takes seconds to
    with naming_failures(network, in_shape, plugins), torch.device("cpu"):
        built = build_model(network, in_shape, num_classes=2, plugins=plugins)
        encoder = StagedEncoder(network.name, built, in_shape, tuned, from_run=RUN in table)
    return encoder.to(torch.get_default_device())


def begin(
    model: nn.Module, classes: Sequence[str], encoder_weights: Mapping[str, Tensor] | None = None
) -> None:
    """Gives a model that brings weights of its own those weights; the others stay as they were built.

    `encoder_weights` are those of the run that the model's encoder is taken from. Raises CnnbenchError where
    they are not its own, WeightsAbsentError where they are not there.
    """
    take = getattr(model, "begin", None)
    if take is not None:
        take(classes)
    for module in model.modules():
        if isinstance(module, Encoder):
            module.begin(encoder_weights)


def fit_to(model: nn.Module, inputs: Callable[[], Tensor]) -> None:
    """Shows a training batch to a model that has a method of this name, to take weights from."""
    take = getattr(model, "fit_to", None)
    if take is not None:
        take(inputs())


def takes_bytes(config: Named, plugins: Sequence[str] = ()) -> bool:
    """Whether a model wants images as the bytes they are, having a preprocessing of its own."""
    unit = catalog.resolve(catalog.target("model", config.name, tuple(plugins)))
    of_library = (catalog.is_library_model(each.name, plugins) for each in _encoders(config, plugins))
    return bool(getattr(unit, "takes_bytes", False)) or any(of_library)


def brings_weights(config: Named, plugins: Sequence[str] = ()) -> bool:
    """Whether `begin` has something to take: weights that may be absent or not fit."""
    unit = catalog.resolve(catalog.target("model", config.name, tuple(plugins)))
    return hasattr(unit, "begin") or bool(_encoders(config, plugins))


def _encoders(config: Named, plugins: Sequence[str]) -> list[Named]:
    """The networks of a model's encoders."""
    keys = encoder_options(catalog.target("model", config.name, tuple(plugins)))
    tables = [config.options.get(key) for key in keys]
    return [architecture(table) for table in tables if isinstance(table, dict)]
