"""`best_of`: a model that is the winner of another recipe. What may be named and overridden, without torch.

Which variant has won is known only from runs: `cnnbench.comparison.stages` finds it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import tomli

from cnnbench import catalog
from cnnbench.options import PER_STAGE
from cnnbench.recipe.checking import Checker
from cnnbench.recipe.config import BestOf, Named, Recipe
from cnnbench.recipe.file import recipes_root
from cnnbench.recipe.merging import BEST_OF, Layer
from cnnbench.recipe.mistakes import RecipeError, choices, found, nearest


class Stages:
    """The recipes that one recipe is built on, each read once; mistakes go to the checker."""

    def __init__(self, check: Checker, path: Path, load: Callable[[Path], Recipe]) -> None:
        self.check = check
        self.path = path
        self.load = load
        self.read: dict[Path, Recipe | None] = {}

    def model(self, layer: Layer) -> tuple[Named | None, BestOf | None]:
        """A variant's model; where it is the winner of another recipe, a stand-in and what is asked for."""
        if BEST_OF not in layer.values:
            return self.check.model(layer), None
        best_of = self._best_of(layer)
        return (Named(name=BEST_OF), best_of) if best_of else (None, None)

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
            self._unknown(name, layer)
            return None
        upstream = self._load(name, file, layer)
        if upstream is None:
            return None
        options = {key: value for key, value in layer.values.items() if key != BEST_OF}
        models = [self._candidate(name, model, options, layer) for model in candidates(upstream)]
        kept = [model for model in models if model is not None]
        if len(kept) < len(models):
            return None
        return BestOf(recipe=name, file=file, options=options, models=_different(kept))

    def _unknown(self, name: str, layer: Layer) -> None:
        known = recipes_beside(self.path)
        near = next((each for each in known if each.endswith(f"/{name}")), None)
        near = near or nearest(name.removesuffix(".toml"), known)
        hint = "" if near else f"; expected {choices(known)}"
        where = layer.origin((BEST_OF,))
        self.check.add(where, f"no recipe {found(name)} in {_folder(self.path)}{hint}", near=near)

    def _load(self, name: str, file: Path, layer: Layer) -> Recipe | None:
        """The recipe that is built on; None, and a mistake noted, where that is not possible."""
        where = layer.origin((BEST_OF,))
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
        if unknown := [key for key in options if key not in known]:
            for key in unknown:
                what = f"option {{}} of {model.name}, a model of {recipe}"
                self.check.unknown(layer.origin((key,)), key, what, known, on_key=True)
            return None
        if self.check.named("model", {"name": model.name, **model.options, **options}, layer, ()) is None:
            return None
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
    """The file of the recipe that another one, at `path`, names in `best_of`; None where there is none."""
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts:
        return None
    file = recipes_root(path) / f"{name}.toml"
    if not file.is_file():
        return None
    return file if path.is_absolute() else Path(os.path.relpath(file))


def recipes_beside(path: Path) -> list[str]:
    """The names that `best_of` in this recipe may choose from."""
    root = recipes_root(path)
    files = root.rglob("*.toml") if root.name == "recipes" else [*root.glob("*.toml"), *root.glob("*/*.toml")]
    names = (file.relative_to(root).with_suffix("").as_posix() for file in sorted(files))
    return [name for name in names if root / f"{name}.toml" != path.absolute()]


def stage_files(path: Path) -> list[Path]:
    """The files of the recipes that a recipe names in `best_of`, read without judging any of it."""
    try:
        document = tomli.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return []  # told where the file is read for its own sake
    variants = document.get("variants")
    tables = [document, *(variants if isinstance(variants, list) else [])]
    models = [table.get("model") for table in tables if isinstance(table, dict)]
    names = [model.get(BEST_OF) for model in models if isinstance(model, dict)]
    files = [stage_file(path, name) for name in names if isinstance(name, str)]
    return list(dict.fromkeys(file for file in files if file is not None))


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
            if variant.best_of is not None and variant.best_of.file.resolve() not in loaded:
                upstream = load(variant.best_of.file)
                walk(upstream)
                loaded.setdefault(variant.best_of.file.resolve(), upstream)

    walk(recipe)
    return list(loaded.values())
