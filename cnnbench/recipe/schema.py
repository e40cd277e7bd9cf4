"""The recipe language as a JSON Schema, so that editors complete and check recipes while they are written."""

from typing import Any, get_args

from pydantic import TypeAdapter

from cnnbench import catalog
from cnnbench.libraries import LIBRARIES
from cnnbench.recipe.claims import METRICS
from cnnbench.recipe.config import (
    Check,
    Claim,
    DataConfig,
    EarlyStopping,
    Init,
    JudgedOn,
    LibraryEncoder,
    Limits,
    Loss,
    MatchParams,
    ProgressiveResizing,
    RunEncoder,
    TrainConfig,
    TunedEncoder,
)
from cnnbench.recipe.config import Seeds as SeedList
from cnnbench.recipe.encoders import encoder_options
from cnnbench.recipe.option_models import options_model
from cnnbench.recipe.sweep import MODES

Schema = dict[str, Any]
LIBRARY_PATTERN = f"^({'|'.join(LIBRARIES)})/"  # thousands of models: their names are checked on reading
_LATER = {
    "data": ("name", "augment"),
    "train": ("optimizer", "schedule", "early_stopping", "progressive_resizing", "loss"),
}


def recipe_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a recipe: every section, every name of the catalog and its options."""
    definitions = {kind: _unit(kind) for kind in catalog.KINDS if kind != "dataset"}
    (table,) = (each for each in definitions["model"]["anyOf"] if each.get("type") == "object")
    table["properties"]["best_of"] = {"type": "string", "description": "the recipe whose winner it is"}
    definitions["early_stopping"] = _table(EarlyStopping.model_json_schema()["properties"], ["patience"])
    resizing = ProgressiveResizing.model_json_schema()["properties"]
    definitions["progressive_resizing"] = _table(resizing, ["size"])
    weights = Loss.model_json_schema()["properties"]
    definitions["loss"] = {"anyOf": [{"enum": list(weights)}, _table(weights)]}
    definitions["limits"] = _table(Limits.model_json_schema()["properties"])
    definitions["match_params"] = _table(MatchParams.model_json_schema()["properties"], ["like"])
    claim = Claim.model_json_schema()
    claim["properties"]["metric"] = {"enum": METRICS}
    definitions["claim"] = _table(claim["properties"], claim["required"])
    declared = Check.model_json_schema()
    definitions["check"] = _table(declared["properties"], declared["required"])
    init = Init.model_json_schema()["properties"]
    definitions["init"] = {"anyOf": [init["scheme"], _table(init)]}
    definitions["encoder"] = _encoder()
    definitions["data"] = _data()
    definitions["train"] = _train()
    sections = {key: {"$ref": f"#/$defs/{key}"} for key in ("data", "model", "train", "limits")}
    text = {"type": "string"}
    of_variant = {**sections, "match_params": {"$ref": "#/$defs/match_params"}}
    definitions["variant"] = _table({"name": text, **of_variant}, ["name"])
    definitions["sweep"] = _sweep(definitions)
    strict = _table(
        {
            "title": text,
            "question": text,
            "judged_on": {"enum": list(get_args(JudgedOn))},
            "analyses": {"type": "array", "items": {"$ref": "#/$defs/analysis"}},
            "reuse": {"type": "array", "items": text},
            **sections,
            "claims": {"type": "array", "items": {"$ref": "#/$defs/claim"}},
            "sweep": {"$ref": "#/$defs/sweep"},
            "checks": {"type": "array", "items": {"$ref": "#/$defs/check"}},
            "variants": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/variant"}},
        },
    )
    strict["anyOf"] = [{"required": ["variants"]}, {"required": ["sweep"]}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cnnbench recipe",
        "type": "object",
        "properties": {"plugins": {"type": "array", "items": {"type": "string", "pattern": r"\.py$"}}},
        # names that a user's own files add are not known here
        "if": {"required": ["plugins"]},
        "else": strict,
        "$defs": definitions,
    }


def _table(properties: Schema, required: list[str] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _options(kind: str, target: str) -> Schema:
    """Schema of each option, by name."""
    model = options_model(target, catalog.NOT_OPTIONS.get(kind, ()))
    properties: Schema = model.model_json_schema()["properties"] if model.model_fields else {}
    encoders = encoder_options(target) if kind == "model" else []
    return {**properties, **{key: {"$ref": "#/$defs/encoder"} for key in encoders}}


def _if_named(name: Schema, options: Schema, fixed: Schema) -> Schema:
    """Where the name is such, only these options may stand beside it."""
    return {
        "if": {"required": ["name"], "properties": {"name": name}},
        "then": {
            "properties": {"name": True, **dict.fromkeys(fixed, True), **options},
            "additionalProperties": False,
        },
    }


def _by_name(kind: str, fixed: Schema) -> list[Schema]:
    """For each name of a kind: once it is chosen, only its options may stand beside it."""
    return [
        _if_named({"const": name}, _options(kind, catalog.target(kind, name)), fixed)
        for name in catalog.names(kind)
    ]


def _described(kind: str) -> list[Schema]:
    targets = {name: catalog.target(kind, name) for name in catalog.names(kind)}
    return [{"const": name, "description": catalog.describe(target)} for name, target in targets.items()]


def _unit(kind: str) -> Schema:
    """A name, or a table with a name and options; a variant's table may leave the name to the recipe."""
    name: Schema = {"oneOf": _described(kind)}
    beside: Schema = {"init": {"$ref": "#/$defs/init"}} if kind == "model" else {}
    by_name = _by_name(kind, beside)
    if kind == "model":
        name["oneOf"].append({"type": "string", "pattern": LIBRARY_PATTERN})
        options = _options(kind, catalog.LIBRARY_MODEL)
        by_name.append(_if_named({"pattern": LIBRARY_PATTERN}, options, beside))
    table = {"type": "object", "properties": {"name": name, **beside}, "allOf": by_name}
    return {"anyOf": [name, table]}


def _encoder() -> Schema:
    """A network with stages by its name, or one that another recipe has trained."""
    tuned = TunedEncoder.model_json_schema()["properties"]
    of_run = RunEncoder.model_json_schema()["properties"]
    of_library = LibraryEncoder.model_json_schema()["properties"]
    known = [name for name in catalog.names("model") if catalog.has_stages(name)]
    name: Schema = {"anyOf": [{"enum": known}, {"type": "string", "pattern": "^timm/"}]}
    by_name = [
        _if_named({"const": each}, _options("model", catalog.target("model", each)), tuned) for each in known
    ]
    by_name.append(_if_named({"pattern": "^timm/"}, of_library, {}))
    if_run: Schema = {"if": {"required": ["run"]}, "then": _table(of_run)}
    table = {"type": "object", "properties": {"name": name, **tuned}, "allOf": [*by_name, if_run]}
    return {"anyOf": [name, table]}


def _data() -> Schema:
    properties = DataConfig.model_json_schema()["properties"]
    fixed = {key: value for key, value in properties.items() if key not in _LATER["data"]}
    fixed["augment"] = {"type": "array", "items": {"$ref": "#/$defs/augmentation"}}
    table = {
        "type": "object",
        "properties": {"name": {"oneOf": _described("dataset")}, **fixed},
        "allOf": _by_name("dataset", fixed),
    }
    return {"anyOf": [{"oneOf": _described("dataset")}, table]}


def _train() -> Schema:
    properties = TrainConfig.model_json_schema()["properties"]
    fixed = {key: value for key, value in properties.items() if key not in _LATER["train"]}
    later = {key: {"$ref": f"#/$defs/{key}"} for key in _LATER["train"]}
    return _table({**fixed, **later, "seeds": TypeAdapter(SeedList).json_schema()})


def _sweep(definitions: Schema) -> Schema:
    """[sweep]: a list of values wherever a section has a value; an option of a model can be any of them."""
    train = dict(definitions["train"]["properties"])
    del train["seeds"]  # what seeds there are makes no variants
    data = definitions["data"]["anyOf"][1]
    lists: Schema = {"anyOf": [{"$ref": "#/$defs/values"}, {"type": "object", "additionalProperties": True}]}
    definitions["values"] = {"type": "array", "minItems": 1}
    swept: Schema = {
        "train": {key: _swept(schema) for key, schema in train.items()},
        "data": {key: _swept(schema) for key, schema in data["properties"].items()},
        "model": {"name": _swept({"oneOf": _described("model")})},
    }
    for key in _LATER["train"]:
        swept["train"][key] = {"anyOf": [swept["train"][key], {"type": "object"}]}
    properties: Schema = {
        "mode": {"enum": list(MODES)},
        "names": {"type": "array", "items": {"type": "string"}},
    }
    for section, keys in swept.items():
        table = {"type": "object", "properties": keys}
        # a data set and a model have options of their own
        table["additionalProperties"] = False if section == "train" else lists
        properties[section] = {"anyOf": [_swept({"$ref": f"#/$defs/{section}"}), table]}
    return _table(properties)


def _swept(schema: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": schema}
