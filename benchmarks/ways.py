"""One recipe in several ways: how long does the whole command take in each?

    python benchmarks/ways.py recipes/quickstart.toml --way="--jobs 1" --way="--jobs 2"
    python benchmarks/ways.py recipes/quickstart.toml --way= --way="--parallel-seeds on" --each="--only mlp"

A way is what is added to `cnnbench recipe RECIPE`. Every turn trains anew, into a folder that is thrown away,
and all of it counts: starting, loading, training, the report.
"""

import argparse
import shlex
import subprocess
import sys
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter

from turns import in_turns, positive, ratios, show, spread


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", help="a TOML file")
    parser.add_argument(
        "--way", action="append", required=True, help="options of `cnnbench recipe`; repeatable"
    )
    parser.add_argument("--each", default="", metavar="OPTIONS", help="what is added to every way")
    parser.add_argument("--repeats", type=positive, default=3, help="turns that count (3)")
    asked = parser.parse_args()
    if len(set(asked.way)) < len(asked.way):
        parser.error("two ways are the same")
    if "--runs" in " ".join([asked.each, *asked.way]):
        parser.error("--runs cannot be given: every turn has a folder of its own")
    ways = {way: partial(seconds, asked.recipe, split(parser, f"{asked.each} {way}")) for way in asked.way}
    found = in_turns(ways, asked.repeats)
    first = found[asked.way[0]]
    show(
        " ".join(["cnnbench recipe", asked.recipe, asked.each]),
        ["way", "seconds", "times as fast as the first"],
        [
            [way or "(as it is)", spread(times, ".1f"), spread(ratios(first, times))]
            for way, times in found.items()
        ],
    )


def split(parser: argparse.ArgumentParser, options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError as error:
        parser.error(f"{options.strip()}: {error}")


def seconds(recipe: str, options: list[str]) -> float:
    """How long the command takes; ends with its message where it fails."""
    with TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "cnnbench", "recipe", recipe, "--runs", runs, *options]
        start = perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        taken = perf_counter() - start
    if done.returncode:
        sys.stderr.write(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}")
        sys.exit(done.returncode)
    return taken


if __name__ == "__main__":
    main()
