"""Settings of an older run, completed by the options that have come since."""

from collections.abc import Mapping
from typing import Any

from cnnbench import catalog
from cnnbench.libraries import is_model
from cnnbench.recipe.config import DataConfig, LibraryEncoder, TrainConfig, TunedEncoder
from cnnbench.recipe.encoders import encoder_options


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with every option that they lack at its default.

    An option that is added later must change nothing by its default, so that finished runs still stand.
    """
    filled = dict(config)
    if isinstance(config.get("data"), Mapping):
        filled["data"] = {**_fields(DataConfig), **_named("dataset", config["data"])}
    if isinstance(config.get("model"), Mapping):
        filled["model"] = _named("model", config["model"])
    if isinstance(config.get("train"), Mapping):
        filled["train"] = train = {**_fields(TrainConfig), **config["train"]}
        for kind in ("optimizer", "schedule"):
            if isinstance(train[kind], Mapping):
                train[kind] = _named(kind, train[kind])
    return filled


def _fields(model: type[DataConfig] | type[TrainConfig]) -> dict[str, Any]:
    """Defaults as they stand in JSON, of the fields that have one."""
    complete = DataConfig.model_construct(name="") if model is DataConfig else TrainConfig()
    return complete.model_dump(mode="json", include={key for key in model.model_fields if key != "name"})


def _named(kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A unit with all its options; one of a plugin's or of nobody's stays as it is."""
    name = str(value.get("name"))
    if name not in catalog.KINDS[kind] and not (kind == "model" and is_model(name)):
        return dict(value)
    known = [option for option in catalog.options(kind, name) if option.readable]
    filled = {**{option.name: option.default for option in known if not option.required}, **value}
    if kind == "model":
        for key in encoder_options(catalog.target(kind, name)):
            if isinstance(filled[key], Mapping):
                filled[key] = _encoder(filled[key])
    return filled


def _encoder(table: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder with all its options: those of every one, and those of its network."""
    name = str(table.get("name"))
    if is_model(name):
        return {**LibraryEncoder(name=name).model_dump(mode="json"), **table}
    filled = _named("model", table) if "name" in table else dict(table)
    return {**TunedEncoder().model_dump(mode="json"), **filled}
