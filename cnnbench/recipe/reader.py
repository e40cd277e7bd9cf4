"""TOML -> Recipe: everything is validated before anything is loaded, and all mistakes are told at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from cnnbench import catalog
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.checking import Checker, TrainSection, home_of
from cnnbench.recipe.checks import read_checks
from cnnbench.recipe.claims import check_claims
from cnnbench.recipe.config import (
    BestOf,
    DataConfig,
    EncoderOf,
    JudgedOn,
    Limits,
    MatchParams,
    Named,
    Recipe,
    TrainConfig,
    Variant,
)
from cnnbench.recipe.encoders import check_unfreezing
from cnnbench.recipe.entries import Entries, Entry, read_entries
from cnnbench.recipe.file import parse, read_text, recipe_name
from cnnbench.recipe.matches import Asked, check_matches
from cnnbench.recipe.merging import BEST_OF, Layer, crossed, taken_back, what_fits, written
from cnnbench.recipe.mistakes import RecipeError, choices, found, nearest
from cnnbench.recipe.narrowing import narrowed, quickened
from cnnbench.recipe.overrides import Override, apply, directory_suffix, parse_overrides, with_units
from cnnbench.recipe.stages import Stages, stage_file
from cnnbench.recipe.toml_positions import TomlPositions

RECIPE_KEYS = (
    "title", "question", "judged_on", "analyses", "plugins", "reuse", "limits", "data", "model", "train",
    "sweep", "variants", "claims", "checks",
)  # fmt: skip
VARIANT_KEYS = ("name", "data", "model", "train", "limits", "match_params")
_TABLES = ("data", "model", "train", "limits")  # what a variant has, and the recipe for all of them
OF_TEST = ("confusion_matrix", "per_class", "predicted_examples", "segmentation_examples", "zero_shot")
DEFAULT_ANALYSES = ("learning_curves", "accuracy_vs_cost", "confusion_matrix", "stability")


def load_recipe(
    path: Path | str,
    overrides: Sequence[str] = (),
    *,
    quick: bool = False,
    seeds: int | None = None,
    only: Sequence[str] = (),
) -> Recipe:
    """The recipe with every setting resolved. Raises RecipeError with all mistakes of file and overrides.

    `overrides` are KEY=VALUE texts that win over the file; `quick` lowers epochs, data and seeds to a trial;
    `seeds` asks for that many; `only` keeps these variants.
    """
    path = Path(path)
    text = read_text(path)
    document = parse(path, text)
    reader = _Reader(path, text, document, parse_overrides(overrides), quick)
    recipe = reader.recipe()
    return narrowed(recipe, seeds, only)


class _Reader:
    """One pass over one file; mistakes gather in the checker until the end."""

    def __init__(
        self, path: Path, text: str, document: dict[str, Any], overrides: list[Override], quick: bool
    ) -> None:
        self.path = path
        self.text = text
        self.document = dict(document)
        self.overrides = overrides
        self.quick = quick
        self.broken: set[str] = set()  # sections that are no tables: nothing more is said of them
        self.entries = Entries([], known=False, as_written=False)
        self.check = Checker(str(path), TomlPositions(text), overrides)
        self.origins: dict[str, tuple[str | int, ...]] = {key: (key,) for key in document}
        self.stages = Stages(self.check, path, lambda file: load_recipe(file, quick=quick))

    def recipe(self) -> Recipe:
        check = self.check
        for key in self.document:
            if key not in RECIPE_KEYS:
                check.unknown((key,), key, "key {} in the recipe", RECIPE_KEYS, on_key=True)
        self._plugins()
        reuse = self._reuse()
        self.entries = read_entries(check, self.document, self.overrides)
        section_overrides = self._top_level_overrides()
        title = self._text("title")
        question = self._text("question")
        judged_on = self._judged_on()
        analyses = self._analyses(judged_on)
        variants = self._variants(section_overrides)
        names = self.entries.names
        known = names if self.entries.as_written else None
        claims = check_claims(check, self.document.get("claims", []), known, judged_on)
        checks = read_checks(check, self.document.get("checks", []), known, judged_on)
        # what is said of variants that `--set sweep.…` took away asks nothing any more
        claims = [claim for claim in claims if {*claim.variants} <= {*names}]
        checks = [declared for declared in checks if {*(declared.variants or ())} <= {*names}]
        if check.mistakes:
            raise RecipeError(check.mistakes)
        name = recipe_name(self.path)
        return Recipe(
            path=self.path,
            name=name,
            directory=name + directory_suffix(self.overrides, self.quick),
            title=title or name,
            question=question,
            judged_on=judged_on,
            analyses=analyses,
            variants=variants,
            claims=claims,
            checks=checks,
            plugins=check.plugins,
            reuse=reuse,
            quick=self.quick,
            overrides=[override.text for override in self.overrides],
            text=self.text,
        )

    def _judged_on(self) -> JudgedOn:
        value = self.document.get("judged_on", "test")
        for known in get_args(JudgedOn):
            if value == known:
                return cast("JudgedOn", known)
        if isinstance(value, str):
            self.check.unknown(("judged_on",), value, "judged_on = {}", get_args(JudgedOn))
        else:
            self.check.add(("judged_on",), f"expected {choices(get_args(JudgedOn))}, found {found(value)}")
        return "test"

    def _plugins(self) -> None:
        plugins = self.document.get("plugins", [])
        if not isinstance(plugins, list) or not all(isinstance(plugin, str) for plugin in plugins):
            self.check.add(("plugins",), f"expected a list of Python files, found {found(plugins)}")
            return
        for index, plugin in enumerate(plugins):
            try:
                file = (self.path.absolute().parent / plugin).resolve()
                if file.suffix != ".py":
                    raise CnnbenchError(f"{plugin} is no Python file (.py)")
                catalog.plugin_table(str(file))
            except (CnnbenchError, OSError, ValueError) as error:  # also of what no file can be called
                self.check.add(("plugins", index), str(error))
            else:
                self.check.plugins.append(str(file))

    def _reuse(self) -> list[str]:
        """The names of other recipes whose runs may be taken over."""
        names = self.document.get("reuse", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.check.add(("reuse",), f"expected a list of names of recipes, found {found(names)}")
            return []
        kept = []
        for index, name in enumerate(names):
            file = stage_file(self.path, name)
            if file is None:
                self.stages.unknown(name, ("reuse", index))
            elif file.resolve() == self.path.resolve():
                self.check.add(("reuse", index), "is this recipe itself, whose runs are reused anyway")
            else:
                kept.append(recipe_name(file))
        return kept

    def _text(self, key: str) -> str:
        value = self.document.get(key, "")
        if not isinstance(value, str):
            self.check.add(self.origins[key], f"expected text in quotes, found {found(value)}")
            return ""
        return value

    def _analyses(self, judged_on: JudgedOn) -> list[Named]:
        shown = [name for name in DEFAULT_ANALYSES if judged_on != "val" or name not in OF_TEST]
        asked = self.document.get("analyses", shown)
        origin = self.origins.get("analyses", ())
        if not isinstance(asked, list):
            self.check.add(origin, f"expected a list of analyses, found {found(asked)}")
            return []
        layer = Layer("analyses", {}, {(): origin})
        resolved = [self.check.named("analysis", entry, layer, (index,)) for index, entry in enumerate(asked)]
        for index, analysis in enumerate(resolved):
            if analysis is not None and judged_on == "val" and analysis.name in OF_TEST:
                self.check.add(
                    (*origin, index),
                    f"{analysis.name} shows test images, which a recipe that is judged on val leaves alone: "
                    "take it out",
                )
        return [analysis for analysis in resolved if analysis is not None]

    def _top_level_overrides(self) -> list[tuple[Override, str | None, str, list[str]]]:
        """Takes `title=...` and the like over; returns the others as (override, variant, section, keys)."""
        variants = self.entries.names
        within = []
        for override in self.overrides:
            first, *parts = override.parts
            variant = None
            if first == "variants" and parts:
                fitting = [name for name in variants if override.within(name)]
                if not fitting:
                    if ".".join(parts) in variants:
                        message = f"set a key of it, such as variants.{'.'.join(parts)}.train.epochs"
                        self.check.add((override.number,), message, on_key=True)
                    elif self.entries.known:
                        self.check.unknown((override.number,), parts[0], "variant {}", variants, on_key=True)
                    continue
                variant = max(fitting, key=len)
                first, *parts = override.within(variant) or []
            key = ".".join((first, *parts))
            if first == "match_params" and variant is None and not self._has_matched():
                self.check.add(
                    (override.number,),
                    f"no variant has match_params; to give it to one, set variants.NAME.{key}",
                    on_key=True,
                )
            elif first == "sweep" and variant is None:
                pass  # read with the variants
            elif first in (*_TABLES, "match_params"):
                within.append((override, variant, first, parts))
            elif first in ("title", "question", "analyses") and not parts and variant is None:
                self.document[first] = override.value
                self.origins[first] = (override.number,)
            elif first == "variants":
                self.check.add(
                    (override.number,), "only the file says which variants there are; set variants.NAME.KEY"
                )
            elif variant is not None and first == "name":
                message = (
                    f"only the file names a variant; set a key of it, such as variants.{variant}.train.lr"
                )
                self.check.add((override.number,), message, on_key=True)
            else:
                known = [*_TABLES, "match_params"]
                if variant is None:
                    known += ["title", "question", "analyses", "sweep", "variants"]
                within_variant = "" if variant is None else f"variants.{variant}."
                home, near = home_of(first), nearest(first, known)
                if home or near:
                    near = within_variant + (f"{home}.{key}" if home else ".".join([near or "", *parts]))
                hint = "" if near else f"; expected {choices(known)}, such as {within_variant}train.epochs"
                self.check.add(
                    (override.number,), f"unknown key {found(override.key)}{hint}", on_key=True, near=near
                )
        return within

    def _has_matched(self) -> bool:
        return any("match_params" in entry.table for entry in self.entries.entries)

    def _section(self, table: dict[str, Any], section: str, path: tuple[str | int, ...]) -> Layer:
        """A section as written in the recipe (path ()) or in a variant."""
        value = table.get(section, {})
        origin = (*path, section) if section in table else path
        if not isinstance(value, dict) and not (isinstance(value, str) and section in ("data", "model")):
            example = '{like = "…"}' if section == "match_params" else f"[{section}]"
            self.check.add(origin, f"expected a table such as {example}, found {found(value)}")
            self.broken.add(section)
            value = {}
        return written(section, value, origin)

    def _variants(self, overrides: list[tuple[Override, str | None, str, list[str]]]) -> list[Variant]:
        check = self.check
        shared = {section: self._section(self.document, section, ()) for section in _TABLES}
        check.data(shared["data"], partial=True)
        check.train(shared["train"], partial=True)
        if BEST_OF not in shared["model"].values:
            check.model(shared["model"], partial=True)
        check.limits(shared["limits"])
        bases = {
            section: with_units(
                layer,
                [
                    (override, parts)
                    for override, of, first, parts in overrides
                    if of is None and first == section
                ],
                [entry.table.get(section) for entry in self.entries.entries],
            )
            for section, layer in shared.items()
        }
        fitting: dict[int, bool] = {}  # of each override: does any variant have its key?
        known: dict[int, list[str]] = {}
        matched: list[Asked] = []
        variants = []
        for each in self.entries.entries:
            entry, path, name = each.table, each.path, each.name
            for key in entry:
                if key not in VARIANT_KEYS:
                    check.unknown((*path, key), key, "key {} in a variant", VARIANT_KEYS, on_key=True)
            layers = {
                section: crossed(
                    bases[section],
                    what_fits(
                        self._section(entry, section, path), shared[section], bases[section], check.keys
                    ),
                    [layer for layer in each.swept if layer.section == section],
                )
                for section in _TABLES
            }
            layers["match_params"] = self._section(entry, "match_params", path)
            if self.quick:
                layers = quickened(layers)
            for override, variant, section, parts in overrides:
                meant = variant is not None or section in _TABLES or _is_matched(entry, layers)
                if meant and variant in (None, name):
                    self._set(layers, each, override, section, parts, fitting, known)
            data = None if "data" in self.broken else check.data(layers["data"])
            model, taken = (None, None) if "model" in self.broken else self.stages.model(layers["model"])
            train, limits = check.train(layers["train"]), check.limits(layers["limits"])
            match_params = None
            if _is_matched(entry, layers) and "match_params" not in self.broken:
                match_params = check.match_params(layers["match_params"])
                matched.append(Asked(name, layers["match_params"], match_params, model))
            if model and train:
                check_unfreezing(check, layers["model"], model, train.epochs)
            if name and data and train and model and limits:
                variants.append(
                    _variant(name, data, model, taken, train, limits, match_params, self.quick, overrides)
                )
        check_matches(check, matched, self.entries.names)
        for override, _, _, parts in overrides:
            if not fitting.get(override.number, True):
                check.unknown(
                    (override.number,),
                    parts[-1],
                    f"key {{}} in {override.key}",
                    dict.fromkeys(known[override.number]),
                    on_key=True,
                )
        return variants

    def _set(
        self,
        layers: dict[str, Layer],
        entry: Entry,
        override: Override,
        section: str,
        parts: list[str],
        fitting: dict[int, bool],
        known: dict[int, list[str]],
    ) -> None:
        """Applies an override where the section has such a key, and notes whether it had."""
        keys = self.check.keys(layers[section], parts[:-1]) if parts else None
        fits = keys is None or parts[-1] in keys
        fitting[override.number] = fitting.get(override.number, False) or fits
        known.setdefault(override.number, []).extend(keys or [])
        if not override.can_be_set(section, parts):
            self.check.add((override.number,), f"expected a table, found {found(override.value)}")
        elif fits:
            before, layers[section] = layers[section], apply(layers[section], override, parts)
            for layer in entry.swept:
                key = taken_back(layer, before, layers[section]) if layer.section == section else None
                if key is not None:
                    self.check.add(
                        (override.number,),
                        f"{key} is what [sweep] varies and variants are called after: set sweep.{key}=[...]",
                        on_key=True,
                    )


def _is_matched(entry: dict[str, Any], layers: dict[str, Layer]) -> bool:
    return "match_params" in entry or bool(layers["match_params"].values)


def _variant(
    name: str,
    data: DataConfig,
    model: Named,
    taken: BestOf | EncoderOf | None,
    train: TrainSection,
    limits: Limits,
    match_params: MatchParams | None,
    quick: bool,
    overrides: list[tuple[Override, str | None, str, list[str]]],
) -> Variant:
    fixed = any(
        section == "train" and of in (None, name) and override.layer(section, parts).values.get("seeds")
        for override, of, section, parts in overrides
        if override.can_be_set(section, parts)
    )
    return Variant(
        name=name,
        data=data,
        model=model,
        best_of=taken if isinstance(taken, BestOf) else None,
        encoder_of=taken if isinstance(taken, EncoderOf) else None,
        train=TrainConfig(**{key: getattr(train, key) for key in TrainConfig.model_fields}),
        seeds=train.seeds[:1] if quick and not fixed else train.seeds,
        limits=limits,
        match_params=match_params,
    )
