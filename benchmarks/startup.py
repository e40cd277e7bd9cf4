"""How soon does cnnbench answer, and how soon does a recipe train?

    python benchmarks/startup.py [RECIPE]

The first is measured against `import typer, rich`, which any program made with them does. The second counts
from when torch is imported to when the first batch of training is there.
"""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import perf_counter

from turns import in_turns, positive, ratios, show, spread

QUICKSTART = Path(__file__).parents[1] / "recipes" / "quickstart.toml"
BASE = "import typer, rich"
COMMANDS = {
    "cnnbench --help": ["-m", "cnnbench", "--help"],
    "cnnbench list": ["-m", "cnnbench", "list"],
}
# Ends at the first call of the passes that a train loop is given.
FIRST_STEP = """
import sys, tempfile, time
from pathlib import Path
import torch
start = time.perf_counter()
from cnnbench import load_recipe, run_recipe, training
from cnnbench.errors import CnnbenchError
class Begun(Exception):
    pass
def begun(*batch):
    raise Begun
training.training_passes = lambda *given: begun
try:
    with tempfile.TemporaryDirectory() as runs:
        run_recipe(load_recipe(sys.argv[1]), runs_dir=Path(runs))
except Begun:
    print(time.perf_counter() - start)
except CnnbenchError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default=str(QUICKSTART), help="a TOML file (the quickstart)")
    parser.add_argument("--repeats", type=positive, default=7, help="turns that count (7)")
    asked = parser.parse_args()
    recipe = in_turns({asked.recipe: partial(first_step, asked.recipe)}, asked.repeats)
    ways = {BASE: ["-c", BASE]} | COMMANDS
    found = in_turns({name: partial(seconds, command) for name, command in ways.items()}, asked.repeats)
    show(
        "Start",
        ["command", "seconds", "times the import's"],
        [[name, spread(times), spread(ratios(times, found[BASE]))] for name, times in found.items()],
    )
    show(
        "First step, from torch's import on",
        ["recipe", "seconds"],
        [[name, spread(times)] for name, times in recipe.items()],
    )


def seconds(arguments: list[str]) -> float:
    start = perf_counter()
    output(arguments)
    return perf_counter() - start


def first_step(recipe: str) -> float:
    return float(output(["-c", FIRST_STEP, recipe]))


def output(arguments: list[str]) -> str:
    """What a Python program writes; ends with its message where it fails."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr)
        sys.exit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    main()
