"""The recipe language: a TOML file in, a validated Recipe out, or all mistakes at once with their places."""

from cnnbench.recipe.config import (
    DataConfig,
    EarlyStopping,
    Limits,
    Match,
    MatchParams,
    Named,
    ProgressiveResizing,
    Recipe,
    RunConfig,
    TrainConfig,
    Variant,
)
from cnnbench.recipe.mistakes import Mistake, RecipeError
from cnnbench.recipe.reader import load_recipe
from cnnbench.recipe.schema import recipe_schema

__all__ = [
    "DataConfig",
    "EarlyStopping",
    "Limits",
    "Match",
    "MatchParams",
    "Mistake",
    "Named",
    "ProgressiveResizing",
    "Recipe",
    "RecipeError",
    "RunConfig",
    "TrainConfig",
    "Variant",
    "load_recipe",
    "recipe_schema",
]
