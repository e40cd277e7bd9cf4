"""Checks the sections of a recipe against the config classes and the catalog, and collects every mistake."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError, create_model

from cnnbench import catalog
from cnnbench.errors import CnnbenchError
from cnnbench.expressions import ExpressionError
from cnnbench.recipe.config import (
    Check,
    Claim,
    DataConfig,
    EarlyStopping,
    Init,
    Limits,
    Loss,
    MatchParams,
    Named,
    ProgressiveResizing,
    Seeds,
    TrainConfig,
)
from cnnbench.recipe.encoders import encoder_options, keys_to_set, read_encoder
from cnnbench.recipe.findings import bare, innermost
from cnnbench.recipe.initialization import is_variance, read_init, takes_init
from cnnbench.recipe.merging import DEFAULT_NAMES, Layer
from cnnbench.recipe.mistakes import Mistake, choices, expected, found, nearest
from cnnbench.recipe.option_models import options_model
from cnnbench.recipe.overrides import Override
from cnnbench.recipe.toml_positions import Path, TomlPositions
from cnnbench.signatures import is_file_target, split_target


class TrainSection(TrainConfig):
    """[train] as written: the seeds say which runs there are, not how one is trained."""

    seeds: Seeds = [0]  # noqa: RUF012 (pydantic copies it)


SCHEMES = get_args(Init.model_fields["scheme"].annotation)
EXPECTED_INIT = f"a scheme ({choices(SCHEMES)}) or a table with scheme, scale and variance"
SECTIONS: dict[str, type[BaseModel]] = {
    "data": DataConfig,
    "train": TrainSection,
    "limits": Limits,
    "match_params": MatchParams,
}
# which table names a unit of which kind
_KINDS: dict[tuple[str, ...], str] = {
    ("data",): "dataset",
    ("model",): "model",
    ("train", "optimizer"): "optimizer",
    ("train", "schedule"): "schedule",
}


class Checker:
    """Turns layers into config objects; what is wrong goes to `mistakes`, each where it was written."""

    def __init__(self, place: str, positions: TomlPositions, overrides: Sequence[Override]) -> None:
        self.place = place
        self.positions = positions
        self.overrides = overrides
        self.plugins: list[str] = []
        self.mistakes: list[Mistake] = []

    def add(self, path: Path, message: str, *, on_key: bool = False, near: str | None = None) -> None:
        """A mistake at this path of the file, or of a `--set` where the path begins with its number."""
        if path and isinstance(path[0], int):
            override = self.overrides[path[0]]
            mistake = Mistake(f"--set {override.text}", message, override.mark(not on_key), near)
        else:
            mark = self.positions.key(path) if on_key else self.positions.value(path)
            mistake = Mistake(self.place, message, mark, near)
        if mistake not in self.mistakes:  # a shared section is checked once for each variant
            self.mistakes.append(mistake)

    def add_in_text(self, path: Path, text: str, error: ExpressionError) -> None:
        """A mistake within the text that is the value of this path."""
        if path and isinstance(path[0], int):
            self.add(path, error.message, near=error.near)
            return
        mark = self.positions.within(path, text, error.start, error.end)
        mistake = Mistake(self.place, error.message, mark, error.near)
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def add_for_file(self, message: str) -> None:
        """A mistake of the file as a whole."""
        mistake = Mistake(self.place, message)
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def unknown(
        self, path: Path, word: object, what: str, known: Iterable[str], *, on_key: bool = False
    ) -> None:
        """A name that is none of the known ones; `what` is said of it: "key {} in [data]"."""
        known = list(known)
        if on_key:
            path = _of_key(path)
        home = home_of(word) if on_key else None
        near = nearest(word, known) if home is None else None
        place = f"[{home}]" if home else None
        if on_key and "match_params" in (word, home):
            place = "match_params of a variant" if home else "a variant, beside its model"
        hint = "" if near else f"; it belongs in {place}" if place else f"; expected {choices(known)}"
        self.add(path, f"unknown {what.replace('{}', found(word))}{hint}", on_key=on_key, near=near)

    def data(self, layer: Layer, *, partial: bool = False) -> DataConfig | None:
        """`partial`: what the variants share, which need not be complete."""
        model: type[BaseModel] = DataConfig
        failed = False
        target = self.target("dataset", layer, (), partial)
        if target is not None:
            model = _with_options(target)
        values = dict(layer.values)
        if isinstance(values.get("augment"), list):
            entries = [
                self.named("augmentation", entry, layer, ("augment", index), partial)
                for index, entry in enumerate(values["augment"])
            ]
            failed = None in entries
            values["augment"] = [entry for entry in entries if entry is not None]
        if target is None:  # which options there are is not known
            values = {key: value for key, value in values.items() if key in DataConfig.model_fields}
        else:
            self._tell_before_star(target, values, layer, ())
        checked = self.fields(model, values, layer, (), "key {} in [data]", partial or target is None)
        if checked is None or target is None or failed:
            return None
        return DataConfig.model_validate(checked.model_dump(mode="json"))

    def train(self, layer: Layer, *, partial: bool = False) -> TrainSection | None:
        values = dict(layer.values)
        failed = False
        for key in ("optimizer", "schedule"):
            resolved = self.named(key, values.get(key, {}), layer, (key,), partial)
            failed |= resolved is None
            values.pop(key, None)
            if resolved is not None:
                values[key] = resolved
        checked = self.fields(TrainSection, values, layer, (), "key {} in [train]", partial)
        seeds = values.get("seeds")
        if isinstance(seeds, list) and len(seeds) != len({str(seed) for seed in seeds}):
            self.add(layer.origin(("seeds",)), f"the same seed twice: {found(seeds)}")
            failed = True
        return checked if isinstance(checked, TrainSection) and not failed else None

    def model(self, layer: Layer, *, partial: bool = False) -> Named | None:
        return self.named("model", layer.values, layer, (), partial)

    def limits(self, layer: Layer) -> Limits | None:
        checked = self.fields(Limits, layer.values, layer, (), "key {} in limits")
        return checked if isinstance(checked, Limits) else None

    def match_params(self, layer: Layer) -> MatchParams | None:
        checked = self.fields(MatchParams, layer.values, layer, (), "key {} in match_params")
        return checked if isinstance(checked, MatchParams) else None

    def claim(self, layer: Layer) -> Claim | None:
        checked = self.fields(Claim, layer.values, layer, (), "key {} in a claim")
        return checked if isinstance(checked, Claim) else None

    def declared_check(self, layer: Layer) -> Check | None:
        checked = self.fields(Check, layer.values, layer, (), "key {} in a check")
        return checked if isinstance(checked, Check) else None

    def named(self, kind: str, value: Any, layer: Layer, path: Path, partial: bool = False) -> Named | None:
        """A unit of the catalog with all its options filled in from its signature."""
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            self.add(layer.origin(path), f"expected {expected(Named)}, found {found(value)}")
            return None
        target = self.target(kind, layer, path, partial, value)
        if target is None:
            return None
        name = value.get("name", _default_name(layer, path))
        given = {key: item for key, item in value.items() if key != "name"}
        init = self._init(given.pop("init"), layer) if takes_init(kind, target) and "init" in given else {}
        encoders = {
            key: read_encoder(self, given.pop(key), layer, (*path, key), partial)
            for key in (encoder_options(target) if kind == "model" else ())
            if given.get(key) is not None
        }
        model = options_model(target, catalog.NOT_OPTIONS.get(kind, ()))
        what = f"option {{}} of {name}"
        misplaced = given.keys() & set(catalog.NOT_OPTIONS.get(kind, ()))
        for key in sorted(misplaced):
            where = _of_key(layer.origin((*path, key)))
            self.add(where, f"{key} is set in [train], not in {kind}", on_key=True)
            del given[key]
        self._tell_before_star(target, given, layer, path)
        also = ("init",) if takes_init(kind, target) else ()
        checked = self.fields(model, given, layer, path, what, partial, also)
        if checked is None or misplaced or init is None or None in encoders.values():
            return None
        filled = checked.model_dump(mode="json", exclude_unset=catalog.is_foreign(target))
        if init and (key := next((key for key in ("pretrained", "weights") if filled.get(key)), None)):
            message = (
                f"init says how random weights start, and those of {key} take their place: leave one out"
            )
            self.add(layer.origin(("init",)), message, on_key=True)
            return None
        unreadable = {o.name for o in catalog.signature(target) if not o.readable} - given.keys()
        filled = {key: item for key, item in filled.items() if key not in unreadable}
        return Named(name=str(name), **{**filled, **encoders}, **init)

    def _tell_before_star(self, target: str, given: dict[str, Any], layer: Layer, path: Path) -> None:
        """Takes those out, and says so, that a plugin has, but before the * of its parameters."""
        fixed = catalog.before_star(target) if is_file_target(target) else []
        ours = {"in_shape", "num_classes", "root", *DataConfig.model_fields}
        for key in sorted(given.keys() & set(fixed) - ours):
            where = _of_key(layer.origin((*path, key)))
            unit = split_target(target)[1]
            self.add(where, f"{key} of {unit} is no option: only what stands after a * is", on_key=True)
            del given[key]

    def _init(self, value: Any, layer: Layer) -> dict[str, Any] | None:
        """How a model's weights start, as one more option of it; None, and the mistakes noted, else."""
        before = len(self.mistakes)
        if not isinstance(value, dict) and value not in SCHEMES:
            near = nearest(value, SCHEMES) if isinstance(value, str) else None
            self.add(layer.origin(("init",)), f"expected {EXPECTED_INIT}, found {found(value)}", near=near)
            return None
        values = value if isinstance(value, dict) else {"scheme": value}
        variance = values.get("variance", {})
        for name, item in variance.items() if isinstance(variance, dict) else ():
            if not is_variance(item):
                hint = "; a name with dots stands in quotes" if isinstance(item, dict) else ""
                expects = "expected a number above zero or a formula in quotes"
                self.add(layer.origin(("init", "variance", name)), f"{expects}, found {found(item)}{hint}")
        if len(self.mistakes) > before:
            return None
        init = self.fields(Init, values, layer, ("init",), "key {} in init")
        if not isinstance(init, Init):
            return None
        for name, error in read_init(init):
            path = ("init",) if name is None else ("init", "variance", name)
            self.add_in_text(layer.origin(path), str(init.variance.get(name or "", "")), error)
        return {"init": init.model_dump(mode="json")} if len(self.mistakes) == before else None

    def target(
        self, kind: str, layer: Layer, path: Path, partial: bool, value: dict[str, Any] | None = None
    ) -> str | None:
        """Where the named unit lives; None, and a mistake noted, where nothing readable has that name."""
        value = layer.values if value is None else value
        known = catalog.names(kind, self.plugins) if kind != "augmentation" else ()
        where = layer.origin((*path, "name")) if "name" in value else layer.origin(path)
        name = value.get("name", _default_name(layer, path))
        if name is None:
            if not partial and kind == "dataset" and not value:
                self.add_for_file(f"no data set: add [data] with a name, {choices(known)}")
            elif not partial:
                other = ", or best_of and another recipe" if kind == "model" else ""
                self.add(where, f"the {kind} needs a name: {choices(known)}{other}", on_key=True)
            return None
        if not isinstance(name, str):
            self.add(where, f"expected the name of a {kind}, found {found(name)}")
            return None
        try:
            target = catalog.target(kind, name, self.plugins)
            catalog.signature(target)
        except KeyError:
            self.unknown(where, name, f"{kind} {{}}", catalog.names_like(kind, name, self.plugins))
        except CnnbenchError as error:
            self.add(where, f"{kind} {name} cannot be used: {error}")
        else:
            return target
        return None

    def fields(
        self,
        model: type[BaseModel],
        values: dict[str, Any],
        layer: Layer,
        path: Path,
        what: str,
        partial: bool = False,
        also: Sequence[str] = (),
    ) -> BaseModel | None:
        """The values as an instance of the model; None, and the mistakes noted, where they do not fit it.

        `also`: keys that are known beside the model's, and read elsewhere.
        """
        before = len(self.mistakes)
        unknown = [key for key in values if key not in model.model_fields]
        for key in unknown:
            self.unknown(layer.origin((*path, key)), key, what, (*model.model_fields, *also), on_key=True)
        try:
            checked = model.model_validate({key: item for key, item in values.items() if key not in unknown})
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False):
                self._explain(problem, model, values, layer, path, partial)
            return None
        return None if unknown or len(self.mistakes) > before else checked

    def _explain(
        self, problem: Any, model: type[BaseModel], values: Any, layer: Layer, path: Path, partial: bool
    ) -> None:
        """One of pydantic's findings in our words: the innermost place there is, and what fits there."""
        place = innermost(model, values, problem["loc"], path)
        where, key = layer.origin(place.path), place.key
        if problem["type"] == "missing" and key is not None:
            if not partial:
                named = isinstance(place.value, dict) and "name" in place.value  # that which asks for it
                where = layer.origin((*place.path, "name")) if named else where
                self.add(
                    where, f"{key} is missing: expected {expected(place.expected_of_key())}", on_key=True
                )
        elif problem["type"] == "extra_forbidden" and key is not None:
            what = f"key {{}} in {place.path[-1] if place.path else layer.section}"
            known = place.annotation.model_fields
            self.unknown(layer.origin((*place.path, key)), key, what, known, on_key=True)
        elif problem["type"] == "value_error":
            message = str(problem["msg"]).removeprefix("Value error, ")
            self.add(layer.origin(("val_size",)) if "val_size" in message else where, message, on_key=True)
        else:
            near = None
            if isinstance(place.value, str):
                fitting = [arg for arg in get_args(bare(place.annotation)) if isinstance(arg, str)]
                near = nearest(place.value, fitting)
            self.add(where, f"expected {expected(place.annotation)}, found {found(place.value)}", near=near)

    def keys(self, layer: Layer, parts: Sequence[str]) -> list[str] | None:
        """What may stand in this table of a section; None where anything may, or nobody knows."""
        table = (layer.section, *parts)
        if table == ("train", "early_stopping"):
            return list(EarlyStopping.model_fields)
        if table == ("train", "progressive_resizing"):
            return list(ProgressiveResizing.model_fields)
        if table == ("train", "loss"):
            return list(Loss.model_fields)
        kind = _KINDS.get(table)
        known = list(SECTIONS[layer.section].model_fields) if not parts and layer.section in SECTIONS else []
        if kind is None:
            return keys_to_set(layer, parts, self.plugins) if layer.section == "model" else known
        value: Any = layer.values
        for part in parts:
            value = value.get(part, {}) if isinstance(value, dict) else {}
        name = value.get("name", _default_name(layer, tuple(parts))) if isinstance(value, dict) else None
        try:
            options = [option.name for option in catalog.options(kind, str(name), self.plugins)]
        except (KeyError, CnnbenchError):
            return None
        options += ["init"] if table == ("model",) else []
        return list(dict.fromkeys([*known, "name", *options]))


def _of_key(path: Path) -> Path:
    """Where a key is written; the values of a swept one stand in a list behind it."""
    return path[:-1] if len(path) > 1 and isinstance(path[-1], int) else path


def home_of(key: object) -> str | None:
    """The section that has this key."""
    return next((section for section, model in SECTIONS.items() if key in model.model_fields), None)


def _default_name(layer: Layer, path: Path) -> str | None:
    return DEFAULT_NAMES.get((layer.section, *map(str, path)))


@lru_cache(maxsize=64)
def _with_options(target: str) -> type[BaseModel]:
    """DataConfig and the loader's options as one model."""
    options = options_model(target, catalog.NOT_OPTIONS["dataset"])
    fields: dict[str, Any] = {key: (field.annotation, field) for key, field in options.model_fields.items()}
    return create_model("Data", __base__=DataConfig, **fields)
