"""How fast the variants of a recipe train, where the time goes, and what the loop of a notebook would do."""

from pathlib import Path

from cnnbench.bench.measure import Speeds, VariantSpeed, bench_recipe, iterate_bench

STANDARD = Path(__file__).with_name("standard.toml")  # what is timed without a recipe

__all__ = ["STANDARD", "Speeds", "VariantSpeed", "bench_recipe", "iterate_bench"]
