"""A comparison as JSON, CSV and Markdown, and as a table of text for the terminal."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from cnnbench import files
from cnnbench.comparison.comparison import Comparison, Row, Standing
from cnnbench.comparison.quantities import KNOWN, MORE, Quantity, written, written_estimate, written_interval
from cnnbench.comparison.sentences import conclusions
from cnnbench.errors import CnnbenchError
from cnnbench.statistics import Estimate

ESTIMATES = ("test_accuracy", "val_accuracy", "train_accuracy", "train_seconds")
# Of masks, accuracy comes last: nearly all pixels are ground.
ESTIMATES_OF_MASKS = (
    "test_iou", "val_iou", "train_iou", "test_dice", "test_precision", "test_recall", "test_accuracy",
    "train_seconds",
)  # fmt: skip
BRIEF_OF_MASKS = ("test_dice", "test_accuracy", "train_iou", "train_seconds")
SINGLES = ("num_params", "macs", "latency_ms", "throughput", "peak_memory_mib", "best_epoch")
BRIEF_ESTIMATES = ("train_accuracy", "train_seconds")
BRIEF_SINGLES = ("num_params", "latency_ms", "best_epoch")
MARKS: dict[Standing, str] = {"best": "★", "tied": "≈", "worse": "", "untested": "?", "unmeasured": ""}
LEGEND = {
    "★": "the best mean",
    "≈": "cannot be told apart from it at 95 %, corrected for the number of pairs",
    "?": "not tested against it",
}
DASH = "–"
SKIPPED = "skipped"


def to_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Plain rows; an estimate is mean, std, low, high, each None where unknown."""
    return [_plain(row, comparison.metric) for row in comparison.rows]


def to_json(comparison: Comparison) -> str:
    """A JSON list of rows, proportions as fractions."""
    return json.dumps(to_rows(comparison), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def to_csv(comparison: Comparison) -> str:
    """One line per row with a header; an estimate is four columns such as `test_accuracy_mean`."""
    flat = []
    for row in to_rows(comparison):
        cells: dict[str, Any] = {}
        for key, value in row.items():
            if isinstance(value, dict):
                cells |= {f"{key}_{part}": number for part, number in value.items()}
            else:
                cells[key] = "; ".join(value) if isinstance(value, list) else value
        flat.append(cells)
    text = io.StringIO()
    if flat:
        writer = csv.DictWriter(
            text, fieldnames=list(dict.fromkeys(key for cells in flat for key in cells)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(flat)
    return text.getvalue()


def to_table(comparison: Comparison, *, brief: bool = False) -> tuple[list[str], list[list[str]]]:
    """Column titles with units, and the cells as text; `brief` leaves out what a terminal has no room for."""
    metric = comparison.metric
    several = len(comparison.recipes()) > 1
    names: tuple[str, ...] = BRIEF_ESTIMATES if brief else ESTIMATES
    if of_masks(comparison):
        names = BRIEF_OF_MASKS if brief else ESTIMATES_OF_MASKS
    if comparison.judged_on == "val":  # test is left for the end of the search
        names = tuple(name for name in names if not name.startswith("test_"))
    elif comparison.judged_on == "val_then_test" and "test_accuracy" not in names:
        names = ("test_accuracy", *names)
    others = [(KNOWN | MORE)[name] for name in names if name != metric.name]
    singles = [KNOWN[name] for name in (BRIEF_SINGLES if brief else SINGLES) if name != metric.name]
    columns = [*(["recipe"] if several else []), "variant", "seeds", metric.axis, "", "95 % interval"]
    columns += [quantity.axis for quantity in (*others, *singles)]
    body = []
    for row in comparison.rows:
        estimate = row.measured
        body.append(
            [
                *([row.recipe] if several else []),
                row.variant,
                str(row.num_seeds),
                SKIPPED if row.skipped else _text(metric, estimate),
                mark(comparison, row),
                interval(metric, estimate),
                *(_text(quantity, row.estimate(quantity.name)) for quantity in others),
                *(_single(quantity, getattr(row, quantity.name)) for quantity in singles),
            ]
        )
    return columns, body


def of_masks(comparison: Comparison) -> bool:
    """Whether every measured variant has what is measured of masks."""
    measured = [row for row in comparison.rows if row.num_seeds]
    return bool(measured) and all("test_iou" in row.more for row in measured)


def mark(comparison: Comparison, row: Row) -> str:
    """How a variant stands to the best of its recipe; nothing where all of them guess."""
    return "" if comparison.guesses(row.recipe) else MARKS[comparison.standing(row)]


def legend(comparison: Comparison) -> str:
    """What the marks in the table mean, those that occur."""
    used = {mark(comparison, row) for row in comparison.rows}
    said = "; ".join(f"{each} {meaning}" for each, meaning in LEGEND.items() if each in used)
    several = any(len(comparison.data_sets(recipe)) > 1 for recipe in comparison.recipes())
    return f"{said} (each data set by itself)" if said and several else said


def markdown_table(comparison: Comparison) -> str:
    """The table and its legend."""
    columns, body = to_table(comparison)
    text_columns = {"recipe", "variant", ""}
    rule = ["---" if column in text_columns else "---:" for column in columns]
    lines = [_line(columns), _line(rule), *(_line(cells) for cells in body)]
    note = legend(comparison)
    return "\n".join([*lines, *(["", note] if note else [])]) + "\n"


def to_markdown(comparison: Comparison) -> str:
    """The table, what it allows to conclude, and the problems met, under headings of their own."""
    text = markdown_table(comparison)
    parts = {"What this allows to say": conclusions(comparison), "Problems": comparison.all_problems()}
    for title, sentences in parts.items():
        if sentences:
            text += f"\n## {title}\n\n" + "".join(f"- {sentence}\n" for sentence in sentences)
    return text


FORMATS = {".json": to_json, ".csv": to_csv, ".md": to_markdown}


def save(comparison: Comparison, file: Path) -> None:
    """Writes the comparison in the format of the suffix (.json, .csv, .md), wholly or not at all."""
    write = FORMATS.get(file.suffix.lower())
    if write is None:
        raise CnnbenchError(f"cannot save to {file}: the name must end in {', '.join(FORMATS)}")
    try:
        files.write(file, write(comparison))
    except OSError as error:
        raise CnnbenchError(f"cannot save to {file}: {error.strerror or error}") from error


def _plain(row: Row, metric: Quantity) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "recipe": row.recipe,
        "variant": row.variant,
        "num_seeds": row.num_seeds,
        "num_params": row.num_params,
        "macs": row.macs,
        **{name: _parts(getattr(row, name)) for name in ESTIMATES},
        "latency_ms": row.latency_ms,
        "throughput": row.throughput,
        "peak_memory_mib": row.peak_memory_mib,
        "best_epoch": row.best_epoch,
        "device": row.device,
        "complete": row.complete,
        "problems": list(row.problems),
    }
    plain |= {name: _parts(estimate) for name, estimate in row.more.items()}
    if metric.name not in plain:
        plain[metric.name] = _parts(row.measured)
    return plain


def _parts(estimate: Estimate | None) -> dict[str, float | None]:
    return {part: getattr(estimate, part, None) for part in ("mean", "std", "low", "high")}


def _text(quantity: Quantity, estimate: Estimate | None) -> str:
    return DASH if estimate is None else written_estimate(quantity, estimate)


def _single(quantity: Quantity, value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:,}" if isinstance(value, int) else written(quantity, value)


def interval(quantity: Quantity, estimate: Estimate | None) -> str:
    """Both ends of the 95 % interval, or a dash where there is none."""
    if quantity.is_exact or estimate is None or estimate.low is None or estimate.high is None:
        return DASH
    return written_interval(quantity, estimate.low, estimate.high)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
