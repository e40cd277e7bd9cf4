"""What a recipe takes from another one: a model (`best_of`), or an encoder with its weights (`run`).

What may be named and overridden is checked here, without torch. Which variant has won, and which weights
there are, is known only from runs: `cnnbench.comparison.stages` finds it.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import tomli

from cnnbench import catalog
from cnnbench.options import PER_STAGE
from cnnbench.recipe.checking import Checker
from cnnbench.recipe.config import BestOf, EncoderOf, Named, Recipe
from cnnbench.recipe.encoders import asked_runs, no_stages
from cnnbench.recipe.file import recipes_root
from cnnbench.recipe.initialization import takes_init
from cnnbench.recipe.merging import BEST_OF, RUN, Layer
from cnnbench.recipe.mistakes import RecipeError, choices, found, nearest
from cnnbench.recipe.toml_positions import Path as Keys


class Stages:
    """The recipes that one recipe is built on, each read once; mistakes go to the checker."""

    def __init__(self, check: Checker, path: Path, load: Callable[[Path], Recipe]) -> None:
        self.check = check
        self.path = path
        self.load = load
        self.read: dict[Path, Recipe | None] = {}

    def model(self, layer: Layer) -> tuple[Named | None, BestOf | EncoderOf | None]:
        """A variant's model, and what it takes from another recipe.

        Where that is the whole model, it is a stand-in; where it is an encoder, that has no name yet.
        """
        if BEST_OF in layer.values:
            best_of = self._best_of(layer)
            return (Named(name=BEST_OF), best_of) if best_of else (None, None)
        model = self.check.model(layer)
        asked = {} if model is None else asked_runs(model, self.check.plugins)
        if not asked:
            return model, None
        if len(asked) > 1:
            where = layer.origin((list(asked)[1],))
            self.check.add(
                where, "one encoder of a model can come from a run, this is the second", on_key=True
            )
            return None, None
        ((option, table),) = asked.items()
        encoder_of = self._encoder_of(option, table, layer)
        return (model, encoder_of) if encoder_of else (None, None)

    def _encoder_of(self, option: str, table: Mapping[str, Any], layer: Layer) -> EncoderOf | None:
        name, keys = table[RUN], (option, RUN)
        file = stage_file(self.path, name)
        if file is None:
            self.unknown(name, layer.origin(keys))
            return None
        upstream = self._load(name, file, layer, keys)
        if upstream is None:
            return None
        known = [variant.name for variant in upstream.variants]
        wanted = table["variant"] or (known[0] if len(known) == 1 else None)
        if wanted not in (None, *known):
            self.check.unknown(layer.origin((option, "variant")), wanted, f"variant {{}} of {name}", known)
            return None
        chosen = [each for each in upstream.variants if wanted in (None, each.name)]
        models = candidates(upstream.model_copy(update={"variants": chosen}))
        for model in models:
            if not self._can_be_encoder(model):
                reason = no_stages(model.name, self.check.plugins)
                self.check.add(layer.origin(keys), f"no encoder comes from {name}: {reason}")
                return None
        return EncoderOf(recipe=name, file=file, option=option, variant=wanted, models=models)

    def _can_be_encoder(self, model: Named) -> bool:
        """Whether its weights can be told apart by stage: a library's network has other names than ours."""
        plugins = self.check.plugins
        return catalog.has_stages(model.name, plugins) and not catalog.is_library_model(model.name, plugins)

    def _best_of(self, layer: Layer) -> BestOf | None:
        name, where = layer.values[BEST_OF], layer.origin((BEST_OF,))
        if "name" in layer.values:
            self.check.add(
                layer.origin(("name",)),
                "name and best_of exclude each other: best_of takes the winner's model, whatever its name",
                on_key=True,
            )
            return None
        if not isinstance(name, str):
            self.check.add(where, f"expected the name of another recipe in quotes, found {found(name)}")
            return None
        file = stage_file(self.path, name)
        if file is None:
            self.unknown(name, where)
            return None
        upstream = self._load(name, file, layer, (BEST_OF,))
        if upstream is None:
            return None
        options = {key: value for key, value in layer.values.items() if key != BEST_OF}
        models = [self._candidate(name, model, options, layer) for model in candidates(upstream)]
        kept = [model for model in models if model is not None]
        if len(kept) < len(models):
            return None
        if "init" in options:  # filled in, as a model has it
            options["init"] = kept[0].options["init"]
        return BestOf(recipe=name, file=file, options=options, models=_different(kept))

    def unknown(self, name: str, where: Keys) -> None:
        """Notes that there is no recipe of this name."""
        known = recipes_beside(self.path)
        near = next((each for each in known if each.endswith(f"/{name}")), None)
        near = near or nearest(name.removesuffix(".toml"), known)
        hint = "" if near else f"; expected {choices(known)}"
        self.check.add(where, f"no recipe {found(name)} in {_folder(self.path)}{hint}", near=near)

    def _load(self, name: str, file: Path, layer: Layer, keys: Keys) -> Recipe | None:
        """The recipe that is built on; None, and a mistake noted, where that is not possible."""
        where = layer.origin(keys)
        circle = _way(file, self.path)
        if circle:
            steps = " → ".join(each.stem for each in (self.path, *circle))
            self.check.add(where, f"these recipes are built on one another in a circle: {steps}")
            return None
        if file not in self.read:
            try:
                self.read[file] = self.load(file)
            except RecipeError as error:
                self.read[file] = None
                first = str(error.mistakes[0]).partition("\n")[0]
                self.check.add(where, f"{found(name)} has mistakes of its own: {first}")
        recipe = self.read[file]
        for plugin in recipe.plugins if recipe else ():
            if plugin not in self.check.plugins:
                self.check.plugins.append(plugin)
        return recipe

    def _candidate(self, recipe: str, model: Named, options: dict[str, Any], layer: Layer) -> Named | None:
        """One of the models that may win with the options set anew; None where they do not fit it."""
        known = [option.name for option in catalog.options("model", model.name, self.check.plugins)]
        if takes_init("model", catalog.target("model", model.name, self.check.plugins)):
            known.append("init")
        if unknown := [key for key in options if key not in known]:
            for key in unknown:
                what = f"option {{}} of {model.name}, a model of {recipe}"
                self.check.unknown(layer.origin((key,)), key, what, known, on_key=True)
            return None
        merged = self.check.named("model", {"name": model.name, **model.options, **options}, layer, ())
        if merged is None:
            return None
        if asked_runs(merged, self.check.plugins):
            message = "best_of and an encoder from a run do not go together: give the model its name"
            self.check.add(layer.origin((BEST_OF,)), message)
            return None
        options = {key: merged.options["init"] if key == "init" else options[key] for key in options}
        num_stages = _num_stages(model, options, self.check.plugins)
        for key in per_stage(model, self.check.plugins) & options.keys():
            value = options[key]
            if num_stages is not None and isinstance(value, list) and len(value) < num_stages:
                self.check.add(
                    layer.origin((key,)),
                    f"{key} has {len(value)} entries, but a model of {recipe} that may win has {num_stages} "
                    "stages; give one for each (for a model with fewer stages the first ones are used)",
                )
                return None
        return with_options(model, options, self.check.plugins)[0]


def candidates(recipe: Recipe) -> list[Named]:
    """Every different model that a recipe's winner may have."""
    return _different(
        [
            model
            for each in recipe.variants
            for model in (each.best_of.models if each.best_of else [each.model])
        ]
    )


def with_options(model: Named, options: Mapping[str, Any], plugins: Sequence[str]) -> tuple[Named, list[str]]:
    """The model with these options set anew, and a sentence for each list that was too long for it.

    A list with one entry for each stage is cut to the stages that the model has, unless the options set all
    such lists anew.
    """
    num_stages = _num_stages(model, options, plugins)
    fitting, sentences = dict(options), []
    for key in sorted(per_stage(model, plugins) & options.keys()):
        value = options[key]
        if num_stages is not None and isinstance(value, list) and len(value) > num_stages:
            fitting[key] = value[:num_stages]
            first = "entry is" if num_stages == 1 else f"{num_stages} entries are"
            sentences.append(
                f"the model has {num_stages} stage{'s' * (num_stages > 1)}, so of {key} = {value} the first "
                f"{first} used: {fitting[key]}"
            )
    return Named(name=model.name, **{**model.options, **fitting}), sentences


def per_stage(model: Named, plugins: Sequence[str]) -> set[str]:
    """The model's options that are lists with an entry for each stage."""
    options = catalog.options("model", model.name, list(plugins))
    return {option.name for option in options if PER_STAGE in _metadata(option.annotation)}


def _metadata(annotation: Any) -> list[Any]:
    """What is annotated anywhere in a type."""
    inner = [item for arg in get_args(annotation) if not isinstance(arg, str) for item in _metadata(arg)]
    return [*getattr(annotation, "__metadata__", ()), *inner]


def _num_stages(model: Named, options: Mapping[str, Any], plugins: Sequence[str]) -> int | None:
    """How many stages the lists say that stay as they are; None where all are set anew."""
    kept = [model.options.get(key) for key in sorted(per_stage(model, plugins) - options.keys())]
    return next((len(value) for value in kept if isinstance(value, list)), None)


def _different(models: Sequence[Named]) -> list[Named]:
    kept: list[Named] = []
    for model in models:
        if model not in kept:
            kept.append(model)
    return kept


def stage_file(path: Path, name: str) -> Path | None:
    """The file of the recipe that another one, at `path`, names; None where there is none."""
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts:
        return None
    file = recipes_root(path) / f"{name}.toml"
    if not file.is_file():
        return None
    return file if path.is_absolute() else Path(os.path.relpath(file))


def recipes_beside(path: Path) -> list[str]:
    """The names that `best_of` or `run` in this recipe may choose from."""
    root = recipes_root(path)
    files = root.rglob("*.toml") if root.name == "recipes" else [*root.glob("*.toml"), *root.glob("*/*.toml")]
    names = (file.relative_to(root).with_suffix("").as_posix() for file in sorted(files))
    return [name for name in names if root / f"{name}.toml" != path.absolute()]


def stage_files(path: Path) -> list[Path]:
    """The files of the recipes that a recipe takes something from, read without judging any of it."""
    try:
        document = tomli.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return []  # told where the file is read for its own sake
    variants = document.get("variants")
    tables = [document, document.get("sweep"), *(variants if isinstance(variants, list) else [])]
    names = [name for table in tables if isinstance(table, dict) for name in _taken_from(table.get("model"))]
    files = [stage_file(path, name) for name in names]
    return list(dict.fromkeys(file for file in files if file is not None))


def _taken_from(written: Any) -> Iterator[str]:
    """The recipes that a model, or models in a list of [sweep], name: `best_of`, or `run` in an encoder."""
    if isinstance(written, list):
        for each in written:
            yield from _taken_from(each)
    elif isinstance(written, dict):
        for key, value in written.items():
            if key in (BEST_OF, RUN):
                yield from (
                    name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)
                )
            else:
                yield from _taken_from(value)


def _way(start: Path, end: Path, seen: frozenset[Path] = frozenset()) -> list[Path]:
    """How one recipe is built on another, both included; empty where it is not."""
    if start.resolve() == end.resolve():
        return [start]
    for file in stage_files(start):
        if file.resolve() not in seen and (way := _way(file, end, seen | {start.resolve()})):
            return [start, *way]
    return []


def _folder(path: Path) -> str:
    root = recipes_root(path)
    return str(root) if path.is_absolute() else os.path.relpath(root)


def load_stages(recipe: Recipe, load: Callable[[Path], Recipe]) -> list[Recipe]:
    """Every recipe that this one is built on, directly or not, each after those that it is built on itself.

    `load` reads one from its file.
    """
    loaded: dict[Path, Recipe] = {}

    def walk(each: Recipe) -> None:
        for variant in each.variants:
            taken = variant.best_of or variant.encoder_of
            if taken is not None and taken.file.resolve() not in loaded:
                upstream = load(taken.file)
                walk(upstream)
                loaded.setdefault(taken.file.resolve(), upstream)

    walk(recipe)
    return list(loaded.values())
