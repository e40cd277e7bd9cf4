"""The recipe language as a JSON Schema, so that editors complete and check recipes while they are written."""

from typing import Any

from pydantic import TypeAdapter

from cnnbench import catalog
from cnnbench.recipe.config import Claim, DataConfig, EarlyStopping, Limits, Loss, MatchParams, TrainConfig
from cnnbench.recipe.config import Seeds as SeedList

Schema = dict[str, Any]
_LATER = {"data": ("name", "augment"), "train": ("optimizer", "schedule", "early_stopping", "loss")}


def recipe_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a recipe: every section, every name of the catalog and its options."""
    definitions = {kind: _unit(kind) for kind in catalog.KINDS if kind != "dataset"}
    definitions["early_stopping"] = _table(EarlyStopping.model_json_schema()["properties"], ["patience"])
    weights = Loss.model_json_schema()["properties"]
    definitions["loss"] = {"anyOf": [{"enum": list(weights)}, _table(weights)]}
    definitions["limits"] = _table(Limits.model_json_schema()["properties"])
    definitions["match_params"] = _table(MatchParams.model_json_schema()["properties"], ["like"])
    claim = Claim.model_json_schema()
    definitions["claim"] = _table(claim["properties"], claim["required"])
    definitions["data"] = _data()
    definitions["train"] = _train()
    sections = {key: {"$ref": f"#/$defs/{key}"} for key in ("data", "model", "train", "limits")}
    text = {"type": "string"}
    of_variant = {**sections, "match_params": {"$ref": "#/$defs/match_params"}}
    definitions["variant"] = _table({"name": text, **of_variant}, ["name"])
    strict = _table(
        {
            "title": text,
            "question": text,
            "analyses": {"type": "array", "items": {"$ref": "#/$defs/analysis"}},
            **sections,
            "claims": {"type": "array", "items": {"$ref": "#/$defs/claim"}},
            "variants": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/variant"}},
        },
        required=["variants"],
    )
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


def _options(kind: str, name: str) -> Schema:
    """Schema of each option, by name."""
    model = catalog.options_model(catalog.target(kind, name), catalog.NOT_OPTIONS.get(kind, ()))
    properties: Schema = model.model_json_schema()["properties"] if model.model_fields else {}
    return properties


def _by_name(kind: str, fixed: Schema) -> list[Schema]:
    """For each name of a kind: once it is chosen, only its options may stand beside it."""
    return [
        {
            "if": {"required": ["name"], "properties": {"name": {"const": name}}},
            "then": {
                "properties": {"name": True, **dict.fromkeys(fixed, True), **_options(kind, name)},
                "additionalProperties": False,
            },
        }
        for name in catalog.names(kind)
    ]


def _described(kind: str) -> list[Schema]:
    targets = {name: catalog.target(kind, name) for name in catalog.names(kind)}
    return [{"const": name, "description": catalog.describe(target)} for name, target in targets.items()]


def _unit(kind: str) -> Schema:
    """A name, or a table with a name and options; a variant's table may leave the name to the recipe."""
    name = {"oneOf": _described(kind)}
    return {"anyOf": [name, {"type": "object", "properties": {"name": name}, "allOf": _by_name(kind, {})}]}


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
