"""`encoder` of a model: a network with stages by its name, or the one that another recipe has trained.

What stands in such a table is checked here; which weights they are is known only from runs
(`cnnbench.comparison.encoders`).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_args

from cnnbench import catalog
from cnnbench.errors import CnnbenchError
from cnnbench.libraries import is_model, split_name
from cnnbench.options import ENCODER
from cnnbench.recipe.config import LibraryEncoder, Named, RunEncoder, TunedEncoder
from cnnbench.recipe.merging import RUN
from cnnbench.recipe.mistakes import choices, found
from cnnbench.recipe.toml_positions import Path
from cnnbench.recipe.tuning import Tuning

if TYPE_CHECKING:
    from cnnbench.recipe.checking import Checker
    from cnnbench.recipe.merging import Layer

TUNING = tuple(field.name for field in fields(Tuning))
EXAMPLE = '{run = "lunar/1_classifier", freeze = true} or {name = "resnet"}'


def encoder_options(target: str) -> list[str]:
    """The options of a model that are encoders."""
    return [option.name for option in catalog.signature(target) if _is_encoder(option.annotation)]


def _is_encoder(annotation: Any) -> bool:
    inner = (_is_encoder(each) for each in get_args(annotation) if not isinstance(each, str))
    return ENCODER in getattr(annotation, "__metadata__", ()) or any(inner)


def asked_runs(model: Named, plugins: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The encoders of a checked model whose weights are another recipe's, by their option."""
    try:
        keys = encoder_options(catalog.target("model", model.name, list(plugins)))
    except KeyError:  # a stand-in
        return {}
    tables = {key: model.options.get(key) for key in keys}
    return {key: table for key, table in tables.items() if isinstance(table, dict) and RUN in table}


def architecture(table: Mapping[str, Any]) -> Named:
    """The network of an encoder that has a name: what is left of its table."""
    ours = (*TUNING, RUN, "variant")
    return Named(**{key: value for key, value in table.items() if key not in ours})


def is_random(table: Mapping[str, Any]) -> bool:
    """Whether an encoder with a name begins with the weights that it is made with."""
    return not table.get("pretrained") and table.get("weights") is None


def tuning_of(table: Mapping[str, Any]) -> Tuning:
    """How the encoder is trained."""
    return Tuning(**{key: table[key] for key in TUNING if key in table})


def with_stages(plugins: Sequence[str]) -> list[str]:
    """The names of all models that can be an encoder."""
    known = []
    for name in catalog.names("model", list(plugins)):
        with suppress(CnnbenchError):  # a plugin's model that cannot be read is told where it is named
            if catalog.has_stages(name, list(plugins)):
                known.append(name)
    return [*known, "timm/NAME"]


def no_stages(name: str, plugins: Sequence[str]) -> str:
    """Why a model cannot be an encoder, or one that was trained here cannot hand its weights over."""
    library = split_name(name)
    if library is not None and library[0] == "timm":
        return f'{name} is timm\'s; take its published weights, {{name = "{name}", pretrained = true}}'
    if library is not None and is_model(f"timm/{library[1]}"):
        return f"{name} has no stages by name, so it cannot be an encoder: take timm/{library[1]}"
    return f"{name} has no stages, so it cannot be an encoder: expected {choices(with_stages(plugins))}"


def read_encoder(
    check: "Checker", value: Any, layer: "Layer", path: Path, partial: bool
) -> dict[str, Any] | None:
    """The table with every option filled in; None, and the mistakes noted, where something does not fit.

    `partial`: what variants share, which need not be complete. A table that is checked may come in again.
    """
    before = len(check.mistakes)
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        check.add(layer.origin(path), f"expected a table such as {EXAMPLE}, found {found(value)}")
    elif RUN in value and "name" in value:
        message = "name and run exclude each other: run takes the network of that recipe, whatever its name"
        check.add(layer.origin((*path, "name")), message, on_key=True)
    elif RUN in value:
        checked = check.fields(RunEncoder, value, layer, path, "key {} in an encoder with run")
        table = {} if checked is None else checked.model_dump(mode="json")
    elif "name" in value:
        table = _by_name(check, value, layer, path, partial)
    else:
        table = {}
        if not partial:
            check.add(layer.origin(path), f"an encoder needs a run or a name, such as {EXAMPLE}")
    if len(check.mistakes) > before:
        return None
    try:
        tuning = tuning_of(table)
    except CnnbenchError as error:
        key = "unfreeze_epoch" if table["unfreeze_epoch"] is not None else "lr_factor"
        check.add(layer.origin((*path, key)), str(error), on_key=True)
        return None
    if (
        tuning.frozen(1)
        and is_random(table)
        and catalog.is_library_model(table.get("name", ""), check.plugins)
    ):
        key = "freeze" if tuning.freeze else "unfreeze_epoch"
        message = (
            "an encoder that is frozen needs weights, and these would be random: set pretrained = true or "
            'weights = "file"'
        )
        check.add(layer.origin((*path, key)), message, on_key=True)
        return None
    return table


def _by_name(
    check: "Checker", value: dict[str, Any], layer: "Layer", path: Path, partial: bool
) -> dict[str, Any]:
    """What the table holds; where a mistake was noted, nothing that counts."""
    if check.target("model", layer, path, partial, value) is None:
        return {}
    name = value["name"]
    if not catalog.has_stages(name, check.plugins):
        check.add(layer.origin((*path, "name")), no_stages(name, check.plugins))
        return {}
    if catalog.is_library_model(name, check.plugins):
        checked = check.fields(LibraryEncoder, value, layer, path, f"option {{}} of the encoder {name}")
        table = {} if checked is None else checked.model_dump(mode="json")
        if table.get("pretrained") and table["weights"] is not None:
            message = "pretrained = true and weights exclude each other"
            check.add(layer.origin((*path, "weights")), message, on_key=True)
        return table
    known = [option.name for option in catalog.options("model", name, check.plugins)]
    if taken := sorted({*known} & {*TUNING, RUN, "variant"}):
        message = f"{name} cannot be an encoder: its option {taken[0]} is called like one of every encoder"
        check.add(layer.origin((*path, "name")), message)
        return {}
    for key in [key for key in value if key not in ("name", *known, *TUNING)]:
        where = layer.origin((*path, key))
        check.unknown(where, key, f"option {{}} of the encoder {name}", [*known, *TUNING], on_key=True)
    given = {key: item for key, item in value.items() if key in TUNING}
    tuned = check.fields(TunedEncoder, given, layer, path, "key {} in an encoder")
    rest = {key: item for key, item in value.items() if key in ("name", *known)}
    named = check.named("model", rest, layer, path, partial)
    if tuned is None or named is None:
        return {}
    return {**named.model_dump(mode="json"), **tuned.model_dump(mode="json")}


def keys_to_set(layer: "Layer", parts: Sequence[str], plugins: Sequence[str]) -> list[str] | None:
    """Which keys of this table of [model] can be set alone: of an encoder that is not there, what it is."""
    try:
        target = catalog.target("model", str(layer.values.get("name")), list(plugins))
        if len(parts) != 1 or parts[0] not in encoder_options(target):
            return None
        table = layer.values.get(parts[0])
        if not isinstance(table, dict):
            return [RUN, "name"]
        if RUN in table or catalog.is_library_model(str(table.get("name")), list(plugins)):
            return None
        known = catalog.options("model", str(table.get("name")), list(plugins))
        return [RUN, "name", *(option.name for option in known), *TUNING]
    except (KeyError, CnnbenchError):
        return None


def check_unfreezing(check: "Checker", layer: "Layer", model: Named, epochs: int) -> None:
    """Notes an encoder that would be let go after the last epoch: it would never be."""
    try:
        keys = encoder_options(catalog.target("model", model.name, check.plugins))
    except KeyError:
        return
    for key in keys:
        table = model.options.get(key)
        late = table.get("unfreeze_epoch") if isinstance(table, dict) else None
        if late is not None and late > epochs:
            check.add(
                layer.origin((key, "unfreeze_epoch")),
                f"of {epochs} epochs none is epoch {late}, so nothing would be unfrozen: take an earlier "
                "one, or freeze = true",
            )
