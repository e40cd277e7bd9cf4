"""Fair, repeated, honest comparisons of image models.

`load_recipe`, `run_recipe`, `compare`, `conclusions` and `predict` are what the commands do, for a notebook.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnbench.comparison import compare, conclusions
    from cnnbench.prediction import predict
    from cnnbench.recipe import load_recipe
    from cnnbench.running import run_recipe

__all__ = ["compare", "conclusions", "load_recipe", "predict", "run_recipe"]

_HOMES = {
    "compare": "cnnbench.comparison",
    "conclusions": "cnnbench.comparison",
    "load_recipe": "cnnbench.recipe",
    "predict": "cnnbench.prediction",
    "run_recipe": "cnnbench.running",
}


def __getattr__(name: str) -> Any:
    """Imports on first use, so that `import cnnbench` stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cnnbench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
