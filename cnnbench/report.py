"""Writes what a recipe found: figures/, tables/, report.md and report.html, all from its runs."""

import base64
import csv
import io
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnbench import files
from cnnbench.checks.results import RULE as RULE_OF_CHECKS
from cnnbench.comparison import formats, winners
from cnnbench.comparison.built_on import built_on
from cnnbench.comparison.claims import rule
from cnnbench.comparison.conclusions import conclusions
from cnnbench.comparison.quantities import (
    KNOWN,
    MORE,
    Quantity,
    named,
    written,
    written_estimate,
)
from cnnbench.runs import flatten

if TYPE_CHECKING:
    from cnnbench.analyses.base import Cell, Figure, Subject, Table
    from cnnbench.checks.results import CheckResult
    from cnnbench.comparison import Comparison, Row
    from cnnbench.comparison.claims import Judgement
    from cnnbench.recipe.config import JudgedOn
    from cnnbench.statistics import Estimate

DASH = "–"
RESULTS = "tables/results.csv"
ON_TEST: "dict[JudgedOn, str]" = {
    "test": "Test was read once in each run, at its end, and chose nothing there; who picks a variant by it "
    "should expect a bit less on new images.",
    "val": "It also ranks the variants here, which makes the best of them look better still. Test is left "
    "for the recipe at the end of the search.",
    "val_then_test": "It also picks the variant, which makes that look better still; test had no part in it.",
}
OWN_FILES = re.compile(r"\((figures/[^()\s]+\.png|tables/[^()\s]+\.csv)\)")


@dataclass(frozen=True)
class _Picture:
    title: str
    caption: str
    file: str
    base64: str
    kind: str = "picture"


@dataclass(frozen=True)
class _TextTable:
    """A table as text; `right` says which columns hold numbers."""

    columns: list[str]
    rows: list[list[str]]
    right: list[bool]
    title: str = ""
    caption: str = ""
    file: str = ""
    notes: list[str] = field(default_factory=list)
    kind: str = "table"


def write_report(
    recipe_directory: Path,
    *,
    plan: Mapping[str, Any],
    subject: "Subject",
    analyses: "Sequence[tuple[str, Sequence[Figure | Table]]]",
    comparison: "Comparison",
    claims: "Sequence[Judgement]" = (),
    checks: "Sequence[CheckResult]" = (),
) -> Path:
    """Writes the report of a recipe's complete runs and returns the path of report.md.

    Pictures and tables that an earlier report referred to and this one does not are removed.
    """
    report = recipe_directory / "report.md"
    before = set(OWN_FILES.findall(report.read_text(encoding="utf-8"))) if report.exists() else set()
    used = {RESULTS}
    sections = [
        {
            "title": name.replace("_", " ").capitalize(),
            "items": _write_items(recipe_directory, name, items, used),
        }
        for name, items in analyses
        if items
    ]
    results = _results(comparison)
    files.write(recipe_directory / results.file, formats.to_csv(comparison))
    content = {
        "title": plan["title"],
        "question": plan["question"],
        "answer": [
            *winners.picked(comparison, [each["name"] for each in plan["variants"]]),
            *conclusions(comparison),
        ],
        "claims": claims,
        "rule": rule(claims),
        "checks": checks,
        "rule_of_checks": RULE_OF_CHECKS,
        "results": results,
        "sections": sections,
        "cautions": cautions(plan, comparison),
        "problems": _problems(comparison, subject),
        "stages": _stages(plan),
        "stage_rule": winners.RULE,
        "shared": _shared(plan),
        "differences": _differences(plan),
        "hardware": _hardware(subject),
        "versions": _versions(subject),
        "command": command_of(plan),
    }
    markdown, html = _render(content)
    files.write(recipe_directory / "report.html", html)
    files.write(report, markdown)
    for name in before - set(OWN_FILES.findall(markdown)):
        (recipe_directory / name).unlink(missing_ok=True)
    return report


def markdown_text(text: object) -> str:
    """Text on one line in which Markdown and HTML see no marks of theirs."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*\[\]<>|~])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", line)
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line)
    return re.sub(r"^(\d+)([.)])(?=\s|$)|^([#+\-=])", _escape_start, line)


def _escape_start(match: re.Match[str]) -> str:
    return f"{match[1]}\\{match[2]}" if match[1] else f"\\{match[3]}"


def cautions(plan: Mapping[str, Any], comparison: "Comparison") -> list[str]:
    """What a reader must not take from the numbers, for this recipe's seeds, split and augmentation."""
    measured = [row for row in comparison.rows if row.test_accuracy is not None]
    single = [row.variant for row in measured if row.num_seeds == 1 and not row.is_fixed]
    several = [row.variant for row in measured if row.num_seeds > 1]
    split = "test" if comparison.judged_on == "test" else "validation"
    sentences = []
    if single:
        sentences.append(
            f"One seed only: {', '.join(single)}. There the interval counts which images happen to be in the "
            f"{split} set; how much another seed would change the figure is unknown."
        )
    if several:
        sentences.append(
            f"An interval over seeds counts the luck of training alone: the {split} images are the same for "
            "each seed, and other images would move all variants somewhat."
        )
    last = [each["name"] for each in plan["variants"] if each["config"]["train"].get("keep") == "last"]
    but = f" (but of {', '.join(last)}: there they are the last, and the table's best epoch is that)" * bool(
        last
    )
    epochs = {variant["config"]["train"].get("epochs") for variant in plan["variants"]}
    if 0 in epochs:
        who = "Nothing" if epochs == {0} else "Where epochs = 0, nothing"
        sentences.append(
            f"{who} was trained: the weights are those the model began with, validation chose nothing, "
            "and the train images were not looked at."
        )
    if epochs != {0}:
        sentences.append(
            "Validation is cut from train, by the same fixed rule for every seed, and picks the epoch whose "
            f"weights are kept{but}: its figures are therefore a bit too good. "
            f"{ON_TEST[comparison.judged_on]}"
        )
        sentences.append(
            "What the table says of train is measured with the kept weights on the train split without "
            "augmentation; in learning curves it is the average over an epoch of training, with augmentation."
        )
    limits = {variant["config"]["data"].get("limit") for variant in plan["variants"]} - {None}
    if limits:
        sentences.append(
            f"At most so many images were used for training and validation, and for test (limit = "
            f"{', '.join(map(str, sorted(limits)))}): where a data set has more, the figures do not stand "
            "for all of it."
        )
    if any(row.train_seconds is not None for row in measured):
        sentences.append(
            "Times hold for the hardware below and whatever else ran on it; they order variants, no more."
        )
    return sentences


def command_of(plan: Mapping[str, Any]) -> str:
    """The command these runs were trained with, or the plainest one where a program trained them."""
    recorded = str(plan.get("command") or "")
    return recorded or shlex.join(["cnnbench", "recipe", f"recipes/{plan['recipe']}.toml"])


def _write_items(
    directory: Path, analysis: str, items: "Sequence[Figure | Table]", used: set[str]
) -> "list[_Picture | _TextTable]":
    """Writes pictures and tables; `used` holds the files' names so far, so that none overwrites another's."""
    from cnnbench.analyses.base import Figure
    from cnnbench.analyses.plots import save_figure

    shown: list[_Picture | _TextTable] = []
    for item in items:
        folder, suffix = ("figures", ".png") if isinstance(item, Figure) else ("tables", ".csv")
        name = re.sub(r"[^\w.-]+", "_", item.name)
        while (file := f"{folder}/{name}{suffix}") in used:
            name = f"{analysis}_{name}"
        used.add(file)
        if isinstance(item, Figure):
            encoded = base64.b64encode(save_figure(item.figure, directory / file).read_bytes()).decode()
            shown.append(_Picture(item.title, item.caption, file, encoded))
        else:
            files.write(directory / file, _csv(item.columns, item.rows))
            right = [all(not isinstance(row[i], str) for row in item.rows) for i in range(len(item.columns))]
            rows = [[_cell(cell) for cell in row] for row in item.rows] if item.in_report else []
            shown.append(_TextTable(list(item.columns), rows, right, item.title, item.caption, file))
    return shown


def _csv(columns: Sequence[str], rows: "Sequence[Sequence[Cell]]") -> str:
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


def _results(comparison: "Comparison") -> _TextTable:
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
            "The threshold of the probability was chosen on validation."
        )
    if legend := formats.legend(comparison):
        notes.insert(0, legend + ".")
    return _TextTable(list(columns), rows, list(columns.values()), file=RESULTS, notes=notes)


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


def _problems(comparison: "Comparison", subject: "Subject") -> list[str]:
    problems = [f"{row.variant}: {problem}." for row in comparison.rows for problem in row.problems]
    for name, runs in subject.diverged().items():
        for run in runs:  # also one that the comparison passes over, for other settings than the plan's
            if not any(problem.startswith(f"{name}: seed {run.seed} diverged") for problem in problems):
                message = (run.result() or {}).get("message") or "no message was kept"
                problems.append(f"{name}: seed {run.seed} diverged: {message}.")
    return [*problems, *(f"{problem}." for problem in comparison.problems)]


def _stages(plan: Mapping[str, Any]) -> list[_TextTable]:
    """What the variants are built on: the winners of other recipes, and why they are."""
    right = [column not in ("variant", "against the best") for column in winners.COLUMNS]
    return [
        _TextTable(list(winners.COLUMNS), stage.rows, right, title=stage.title, notes=stage.sentences)
        for stage in built_on(plan)
    ]


def _setting(value: Any) -> str:
    if value is None:
        return DASH
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _settings(plan: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Flat settings by variant, the keys on which all agree, and the others."""
    flat = [flatten(variant["config"]) for variant in plan["variants"]]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    # unset in one variant and a table in another: the table's own keys say so
    keys = [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]
    same = [key for key in keys if all(settings.get(key) == flat[0].get(key) for settings in flat)]
    return flat, same, [key for key in keys if key not in same]


def _shared(plan: Mapping[str, Any]) -> _TextTable:
    flat, same, _ = _settings(plan)
    # unset in one variant and no option of the first one: nothing to tell
    rows = [[key, _setting(flat[0][key])] for key in same if key in flat[0]]
    seeds = list(dict.fromkeys(json.dumps(variant["seeds"]) for variant in plan["variants"]))
    if len(seeds) == 1:
        rows.append(["train.seeds", seeds[0]])
    return _TextTable(["setting", "value"], rows, [False, False])


def _differences(plan: Mapping[str, Any]) -> _TextTable:
    """Variants by settings or the other way round, whichever is narrower."""
    flat, _, different = _settings(plan)
    names = [variant["name"] for variant in plan["variants"]]
    cells = [[_setting(settings.get(key)) for key in different] for settings in flat]
    if not different:
        return _TextTable([], [], [])
    if len(different) <= len(names):
        rows = [[name, *row] for name, row in zip(names, cells, strict=True)]
        return _TextTable(["variant", *different], rows, [False] * (len(different) + 1))
    rows = [[key, *(row[index] for row in cells)] for index, key in enumerate(different)]
    return _TextTable(["setting", *names], rows, [False] * (len(names) + 1))


def _at_a_time(device: "Mapping[str, Any]") -> str:
    seeds = device.get("seeds_in_one") or 1
    return f"{seeds}, as one model" if seeds > 1 else str(device.get("at_a_time") or 1)


def _hardware(subject: "Subject") -> _TextTable:
    """Where, how and when the runs were trained: a line for each combination of the first two."""
    found: dict[tuple[str, ...], list[str]] = {}
    for result in _run_results(subject):
        device = result.get("device") or {}
        key = (
            str(device.get("name") or DASH), str(device.get("type") or DASH),
            str(device.get("threads") or DASH), _at_a_time(device),
            str(result.get("precision") or DASH),
        )  # fmt: skip
        found.setdefault(key, []).append(str(result.get("finished") or "")[:10])  # the day
    rows = [[*key, str(len(days)), _period(days)] for key, days in found.items()]
    return _TextTable(
        ["hardware", "device", "threads", "runs at a time", "precision", "runs", "finished"],
        rows,
        [False, False, True, True, False, True, False],
    )


def _period(days: Sequence[str]) -> str:
    known = sorted({day for day in days if day})
    return " to ".join(dict.fromkeys((known[0], known[-1]))) if known else DASH


def _versions(subject: "Subject") -> _TextTable:
    found: dict[str, list[str]] = {}
    for result in _run_results(subject):
        for package, number in (result.get("versions") or {}).items():
            if number not in found.setdefault(package, []):
                found[package].append(number)
    return _TextTable(
        ["package", "version"],
        [[package, ", ".join(numbers)] for package, numbers in found.items()],
        [False, False],
    )


def _run_results(subject: "Subject") -> list[dict[str, Any]]:
    return [result for run in subject.runs if (result := run.result()) is not None]


def _render(content: Mapping[str, Any]) -> tuple[str, str]:
    """The report as Markdown and as one self-contained page of HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    texts = []
    for name, autoescape in (("report.md.j2", False), ("report.html.j2", True)):
        environment = Environment(
            loader=PackageLoader("cnnbench", "templates"), autoescape=autoescape, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        environment.filters["md"] = markdown_text
        texts.append(environment.get_template(name).render(content).strip() + "\n")
    return re.sub(r"\n{3,}", "\n\n", texts[0]), texts[1]
