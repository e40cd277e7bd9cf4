"""Tables of the report as text: the main one, and those that analyses bring."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnnbench.comparison import formats
from cnnbench.comparison.quantities import KNOWN, MORE, Quantity, named, written, written_estimate

if TYPE_CHECKING:
    from cnnbench.analyses.base import Cell, Table
    from cnnbench.comparison import Comparison, Row
    from cnnbench.statistics import Estimate

DASH = "–"
RESULTS = "tables/results.csv"


@dataclass(frozen=True)
class TextTable:
    """A table as text; `right` says which columns hold numbers."""

    columns: list[str]
    rows: list[list[str]]
    right: list[bool]
    title: str = ""
    caption: str = ""
    file: str = ""
    notes: list[str] = field(default_factory=list)
    kind: str = "table"


def results(comparison: "Comparison") -> TextTable:
    """The main table, in the recipe's order."""
    masks = formats.of_masks(comparison)
    measure = "iou" if masks else "accuracy"
    split = "test" if comparison.judged_on == "test" else "val"
    beside = tuple(f"{split}_{name}" for name in ("dice", "precision", "recall", "accuracy")) if masks else ()
    if comparison.judged_on == "val_then_test":
        beside = (f"test_{measure}", *beside)
    main, train = named(f"{split}_{measure}", MORE), named(f"train_{measure}", MORE)
    gap = f"train − {main.label.partition(' ')[0]} (points)"
    columns = {
        "variant": False, "seeds": True, "parameters": True, "multiply-adds": True, main.axis: True,
        "": False, "95 % interval (%)": True, **{named(name, MORE).axis: True for name in beside},
        train.axis: True, gap: True,
        "training time (s)": True, "latency (ms)": True, "best epoch": True,
    }  # fmt: skip
    rows = [_result(row, formats.mark(comparison, row), main, train, beside) for row in comparison.rows]
    notes = [
        "± is the standard deviation over seeds; best epoch and latency are medians over seeds; parameters "
        "and multiply-adds (of one image) are exact. Latency is that of one image, measured at the end of "
        "each run beside whatever else was at work; the analysis inference measures it anew, all variants in "
        "turns."
    ]
    if masks:
        notes.append(
            "All measures but accuracy are of the class looked for, over all pixels of the images; "
            "accuracy is the share of pixels that are right, and high wherever most pixels are background. "
            "The threshold of the probability was chosen on validation, in every epoch anew."
        )
    if legend := formats.legend(comparison):
        notes.insert(0, legend + ".")
    return TextTable(list(columns), rows, list(columns.values()), file=RESULTS, notes=notes)


def _result(row: "Row", mark: str, of_main: Quantity, of_train: Quantity, beside: Sequence[str]) -> list[str]:
    main, train = row.estimate(of_main.name), row.estimate(of_train.name)
    gap = None if main is None or train is None else 100 * (train.mean - main.mean)
    return [
        row.variant,
        str(row.num_seeds),
        _number("num_params", row.num_params),
        _number("macs", row.macs),
        formats.SKIPPED if row.skipped else _estimate(of_main, main),
        mark,
        formats.interval(of_main, main),
        *(_estimate(named(name, MORE), row.estimate(name)) for name in beside),
        _estimate(of_train, train),
        DASH if gap is None else f"{gap:.1f}",
        _estimate(KNOWN["train_seconds"], row.train_seconds),
        _number("latency_ms", row.latency_ms),
        DASH if row.best_epoch is None else str(row.best_epoch),
    ]


def _number(name: str, value: float | None) -> str:
    return DASH if value is None else written(KNOWN[name], value)


def _estimate(quantity: Quantity, estimate: "Estimate | None") -> str:
    return DASH if estimate is None else written_estimate(quantity, estimate)


def table_of(item: "Table", file: str) -> TextTable:
    """A table of an analysis that stands in `file`; where it is not for the report, without its rows."""
    right = [all(not isinstance(row[i], str) for row in item.rows) for i in range(len(item.columns))]
    rows = [[_cell(cell) for cell in row] for row in item.rows] if item.in_report else []
    return TextTable(list(item.columns), rows, right, item.title, item.caption, file)


def as_csv(columns: Sequence[str], rows: "Sequence[Sequence[Cell]]") -> str:
    """One line per row, with a header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def _cell(value: "Cell") -> str:
    if value is None:
        return DASH
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or abs(value) >= 1:
            return f"{value:,.2f}"
        return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"
    return value
