"""A recipe as a whole: what is to be done, doing it, and the report of it."""

from cnnbench.running.ahead import is_ready, look_ahead, stages_of
from cnnbench.running.recipe import iterate_recipe, run_recipe
from cnnbench.running.reporting import complete_runs, report_recipe

__all__ = [
    "complete_runs", "is_ready", "iterate_recipe", "look_ahead", "report_recipe", "run_recipe", "stages_of",
]  # fmt: skip
