"""Speeds as a table, as Markdown and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from cnnbench import files
from cnnbench.errors import CnnbenchError

if TYPE_CHECKING:
    from cnnbench.bench.measure import Compiling, Speeds, VariantSpeed

COLUMNS = (
    "variant",
    "data alone",
    "forward and backward",
    "whole loop",
    "notebook loop",
    "whole / notebook",
    "data's share",
    "share of peak",
    "peak memory (MiB)",
)


def to_rows(speeds: "Speeds") -> list[list[str]]:
    """The cells under COLUMNS: medians over the turns, and of the ratio the lowest and the highest."""
    return [_row(each) for each in speeds.variants]


def _row(speed: "VariantSpeed") -> list[str]:
    ratios = speed.ratios
    ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "–"
    return [
        speed.variant,
        *(_rate(rates) for rates in (speed.data_alone, speed.steps_alone, speed.whole_loop, speed.notebook)),
        ratio,
        f"{100 * speed.data_share:.1f} %",
        f"{100 * speed.peak_share:.0f} % of {speed.precision}",
        f"{speed.peak_memory_mib:,.0f}",
    ]


def _rate(rates: Sequence[float]) -> str:
    return f"{median(rates):,.0f}" if rates else "–"


def explanation(speeds: "Speeds") -> list[str]:
    """What stands in the columns, and on what it was measured."""
    machine = speeds.machine
    peaks = ", ".join(f"{name} {flops:,.0f}" for name, flops in machine["peak_gflops"].items())
    count = max((len(each.whole_loop) for each in speeds.variants), default=0)
    workers = {str(each.workers) for each in speeds.variants if each.workers is not None}
    return [
        f"{machine['device']}, {machine['threads']} threads, Python {machine['python']}, PyTorch "
        f"{machine['torch']}; a matrix product alone does {peaks} GFLOP/s.",
        f"Images per second, median of {count} turn{'s' * (count != 1)}. "
        "The whole loop augments, trains, counts its metrics and validates; what happens once an epoch "
        "(probing gradients, writing history and weights) is not in it. The notebook's loop has PIL images, "
        "a DataLoader"
        + (f" ({' or '.join(sorted(workers))} workers, what was faster)" if workers else "")
        + ", fp32 and the same model, batch, optimizer and validation.",
        "Share of peak: six operations for each multiply-add of a forward pass, against the matrix product.",
        *(f"{note}." for note in speeds.notes),
        *time_to_train(speeds.variants),
        *(compiling(each.variant, each.compiling) for each in speeds.variants if each.compiling is not None),
    ]


def time_to_train(variants: "Sequence[VariantSpeed]") -> list[str]:
    """A sentence on how long a run of each variant takes, and all of them, as far as that is known."""
    known = [(each, seconds) for each in variants if (seconds := each.run_seconds) is not None]
    if not any(seconds for _, seconds in known):
        return []
    runs = [f"{each.variant} {each.num_runs} × {written_time(seconds)}" for each, seconds in known]
    num_runs = sum(each.num_runs for each, _ in known)
    total = written_time(sum(each.num_runs * seconds for each, seconds in known))
    together = f", {total} together" if num_runs > 1 else ""
    less = " or less" if any(each.may_be_less for each, _ in known) else ""
    unknown = [each.variant for each in variants if each.run_seconds is None]
    rest = f"; not known of {', '.join(unknown)}, whose epochs take unequally long" if unknown else ""
    return [
        f"To train, one run after another, takes about{less} (at the rate of the whole loop): "
        f"{', '.join(runs)}{together}{rest}."
    ]


def written_time(seconds: float) -> str:
    """`40 s`, `12 min` or `2 h 10 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def compiling(variant: str, found: "Compiling") -> str:
    """Whether torch.compile pays back within a run of the recipe, and by what figures."""
    gains = [100 * (new / old - 1) for new, old in zip(found.compiled, found.eager, strict=True)]
    gain = f"{median(gains):+.0f} % ({min(gains):+.0f} to {max(gains):+.0f})".replace("-", "−")
    took = f"{variant}: torch.compile takes {found.seconds:.0f} s and changes forward and backward by {gain}"
    if found.saved_seconds is None:
        return f"{took}; how many images of this size a run has is not known, so neither is whether it pays."
    verdict = "it pays" if found.pays else "it does not pay"
    saved = f"{abs(found.saved_seconds):,.0f} s"
    by_run = f"gains {saved}" if found.saved_seconds > 0 else f"loses {saved}"
    return f"{took}; a run of {found.run_images:,} images {by_run} by it, so {verdict}."


def to_markdown(speeds: "Speeds") -> str:
    lines = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *to_rows(speeds)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n" + "\n".join(explanation(speeds)) + "\n"


def to_json(speeds: "Speeds") -> str:
    values = asdict(speeds) | {"variants": [each.as_dict() for each in speeds.variants]}
    return json.dumps(values, indent=2)


def check_file(file: Path | None) -> None:
    """Raises CnnbenchError where speeds cannot be written as that kind of file."""
    if file is not None and file.suffix not in (".md", ".json"):
        raise CnnbenchError(f"--save {file}: give it a name that ends in .md or .json")


def save(speeds: "Speeds", file: Path) -> Path:
    """Writes them as Markdown or JSON, by the file's name; returns where."""
    check_file(file)
    files.write(file, to_markdown(speeds) if file.suffix == ".md" else to_json(speeds) + "\n")
    return file
