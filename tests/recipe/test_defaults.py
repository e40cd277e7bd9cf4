"""Options that came after a run was trained stand at their defaults in its settings; nothing else changes."""

from pathlib import Path
from typing import Any

import pytest

from cnnbench.recipe import load_recipe
from cnnbench.recipe.config import RunConfig
from cnnbench.recipe.defaults import with_defaults

RECIPE = """
[data]
name = "synthetic"
val_size = 20
[train]
epochs = 3
optimizer = {name = "sgd", momentum = 0.5}
schedule = "one_cycle"
[[variants]]
name = "a"
model = {name = "cnn", widths = [8]}
"""


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    found: RunConfig = load_recipe(tmp_path / "recipe.toml").run_configs()[0]
    return found.model_dump(mode="json")


def test_complete_settings_stay_as_they_are(config: dict[str, Any]) -> None:
    assert with_defaults(config) == config


@pytest.mark.parametrize(
    "path",
    [
        ("model", "pool"), ("data", "normalize"), ("data", "limit"), ("train", "compile"),
        ("train", "optimizer", "nesterov"), ("train", "schedule", "shape"),
    ],
    ids=".".join,
)  # fmt: skip
def test_an_option_that_is_missing_stands_at_its_default(
    config: dict[str, Any], path: tuple[str, ...]
) -> None:
    older = RunConfig(**config).model_dump(mode="json")
    table = older
    for key in path[:-1]:
        table = table[key]
    del table[path[-1]]
    assert older != config
    assert with_defaults(older) == config


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": {"name": "of a plugin", "widths": [1]}},
        {"model": "no table", "data": 3, "train": []},
        {"model": {"name": ["odd"]}},
    ],
    ids=["nothing", "plugin", "no tables", "odd name"],
)
def test_what_is_not_ours_stays(settings: dict[str, Any]) -> None:
    assert with_defaults(settings) == settings
