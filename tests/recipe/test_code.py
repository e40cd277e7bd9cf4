"""Which plugin files a run is made of, and that another file makes another run."""

import hashlib
from pathlib import Path

import pytest

from cnnbench.decisions import decide, is_complete, planned_settings
from cnnbench.recipe import Recipe, load_recipe
from cnnbench.running import run_recipe
from cnnbench.runs import Run

MODEL = """
from torch import nn

class Own(nn.Module):
    def __init__(self, in_shape, num_classes, *, bias: bool = True):
        super().__init__()
        self.head = nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], num_classes, bias=bias)
    def forward(self, inputs):
        return self.head(inputs.flatten(1))

MODELS = {"own": Own}
"""
OTHER = """
class Invert:
    def __init__(self, *, p: float = 0.5):
        self.p = p

AUGMENTATIONS = {"Invert": Invert}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(MODEL, encoding="utf-8")
    (tmp_path / "other.py").write_text(OTHER, encoding="utf-8")
    path = tmp_path / "r.toml"
    path.write_text(
        'plugins = ["own.py", "other.py"]\nanalyses = []\ndata = {name = "digits", limit = 100}\n'
        'train.epochs = 0\n[[variants]]\nname = "own"\nmodel = "own"\n'
        '[[variants]]\nname = "mlp"\nmodel = {name = "mlp", widths = [2]}\n',
        encoding="utf-8",
    )
    return path


def codes(recipe: Recipe) -> dict[str, dict[str, str]]:
    return {config.variant: config.code for config in recipe.run_configs()}


def test_files_that_a_run_is_made_of(recipe: Path) -> None:
    digest = hashlib.sha256(MODEL.encode()).hexdigest()[:16]
    assert codes(load_recipe(recipe)) == {"own": {"own.py": digest}, "mlp": {}}
    augmented = load_recipe(recipe, ['data.augment=["Invert"]'])
    assert {name: [*code] for name, code in codes(augmented).items()} == {
        "own": ["own.py", "other.py"],
        "mlp": ["other.py"],
    }


def test_a_changed_plugin_is_another_run(recipe: Path, tmp_path: Path) -> None:
    loaded = load_recipe(recipe)
    run_recipe(loaded, runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu")
    own, mlp = (Run(tmp_path / f"runs/r/{name}/seed0") for name in ("own", "mlp"))
    assert [
        decide(run, config).action for run, config in zip((own, mlp), loaded.run_configs(), strict=True)
    ] == [
        "reuse",
        "reuse",
    ]
    assert is_complete(own, planned_settings(loaded.planned()[0], 0))
    (tmp_path / "own.py").write_text(MODEL.replace("flatten(1)", "flatten(1) / 2"), encoding="utf-8")
    changed = load_recipe(recipe)
    found = decide(own, changed.run_configs()[0])
    assert (found.action, found.reason.partition("own.py")[0]) == ("replace", "its settings changed: code.")
    assert decide(mlp, changed.run_configs()[1]).action == "reuse"
    assert not is_complete(own, planned_settings(changed.planned()[0], 0))
