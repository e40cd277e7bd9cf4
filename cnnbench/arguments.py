"""What the commands take: choices, and arguments and options that several of them share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PrecisionChoice(StrEnum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class CompareFormat(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


class ShowFormat(StrEnum):
    table = "table"
    json = "json"


class BenchFormat(StrEnum):
    table = "table"
    json = "json"
    markdown = "markdown"


class Kind(StrEnum):
    recipes = "recipes"
    models = "models"
    datasets = "datasets"
    analyses = "analyses"
    optimizers = "optimizers"
    schedules = "schedules"
    augmentations = "augmentations"


RecipePaths = Annotated[list[Path], typer.Argument(metavar="RECIPE", help="TOML files, one after another.")]
RunsDir = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where runs are kept.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where data sets are; else CNNBENCH_DATA, else data/."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Overrides a setting, such as train.epochs=2. Repeatable."
    ),
]
NumSeeds = Annotated[
    int | None, typer.Option("--seeds", min=1, max=1000, metavar="N", help="How many seeds.")
]
MOST_JOBS = 256


def _checked_jobs(text: str) -> str:
    if text != "auto" and not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_JOBS):
        raise typer.BadParameter(f"expected auto or a number from 1 to {MOST_JOBS}, found {text}")
    return text


Jobs = Annotated[
    str,
    typer.Option(
        "--jobs",
        metavar="N|auto",
        callback=_checked_jobs,
        help="So many runs at a time, each in a process of its own with its share of the processor; auto: as "
        "many as there are cores and memory for, or up to four on each GPU.",
    ),
]


def number_of_jobs(text: str) -> int | None:
    """None is auto."""
    return None if text == "auto" else int(text)


class SeedsAtOnce(StrEnum):
    """Whether the seeds of a variant are one batched model."""

    off = "off"
    on = "on"
    auto = "auto"


ParallelSeeds = Annotated[
    SeedsAtOnce,
    typer.Option(
        "--parallel-seeds",
        help="The seeds of a variant as one batched model, where it can be; auto: on a GPU alone, where "
        "their steps cannot be recorded, and not beside --jobs.",
    ),
]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="VARIANT", help="This variant alone. Repeatable.")
]
WithStages = Annotated[
    bool,
    typer.Option(
        "--with-stages", help="Runs the recipes first that this one is built on (best_of, run), in order."
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="A reduced form: 2 epochs, 2,000 images, one seed.")]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Ends with exit code 3 unless every check that the recipe declares holds."),
]
RunPath = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The directory of a finished run, or of a variant: its first one."),
]
ImagePaths = Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Pictures of your own.")]
TopClasses = Annotated[
    int | None, typer.Option("--top", min=1, metavar="N", help="How many classes to name; by default 5.")
]
MasksDir = Annotated[
    Path | None,
    typer.Option("--save", metavar="DIR", help="Where to write masks; by default beside each picture."),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A recipe's plugin, where the run needs it. Repeatable."),
]
