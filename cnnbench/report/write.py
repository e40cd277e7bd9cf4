"""Writes what a recipe found: figures/, tables/, report.md and report.html, all from its runs."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnbench import files
from cnnbench.checks.results import RULE as RULE_OF_CHECKS
from cnnbench.comparison import formats, winners
from cnnbench.comparison.built_on import built_on
from cnnbench.comparison.claims import rule
from cnnbench.comparison.sentences import conclusions
from cnnbench.report.conditions import (
    cautions,
    command_of,
    table_of_differences,
    table_of_hardware,
    table_of_images,
    table_of_shared,
    table_of_versions,
    taken_over,
)
from cnnbench.report.markup import render
from cnnbench.report.tables import RESULTS, TextTable, as_csv, results, table_of

if TYPE_CHECKING:
    from cnnbench.analyses.base import Figure, Subject, Table
    from cnnbench.checks.results import CheckResult
    from cnnbench.comparison import Comparison
    from cnnbench.comparison.claims import Judgement

OWN_FILES = re.compile(r"\((figures/[^()\s]+\.png|tables/[^()\s]+\.csv)\)")


@dataclass(frozen=True)
class _Picture:
    title: str
    caption: str
    file: str
    base64: str
    kind: str = "picture"


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
    earlier = report.read_text(encoding="utf-8", errors="replace") if report.exists() else ""
    before = set(OWN_FILES.findall(earlier))
    used = {RESULTS}
    sections = [
        {
            "title": name.replace("_", " ").capitalize(),
            "items": _write_items(recipe_directory, name, items, used),
        }
        for name, items in analyses
        if items
    ]
    main = results(comparison)
    files.write(recipe_directory / main.file, formats.to_csv(comparison))
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
        "results": main,
        "sections": sections,
        "cautions": [*cautions(plan, comparison), *taken_over(subject)],
        "problems": _problems(comparison, subject),
        "stages": _stages(plan),
        "stage_rule": winners.RULE,
        "shared": table_of_shared(plan),
        "differences": table_of_differences(plan),
        "images": table_of_images(subject),
        "hardware": table_of_hardware(subject),
        "versions": table_of_versions(subject),
        "command": command_of(plan),
    }
    markdown, html = render(content)
    files.write(recipe_directory / "report.html", html)
    files.write(report, markdown)
    for name in before - set(OWN_FILES.findall(markdown)):
        (recipe_directory / name).unlink(missing_ok=True)
    return report


def _write_items(
    directory: Path, analysis: str, items: "Sequence[Figure | Table]", used: set[str]
) -> "list[_Picture | TextTable]":
    """Writes pictures and tables; `used` holds the files' names so far, so that none overwrites another's."""
    from cnnbench.analyses.base import Figure
    from cnnbench.analyses.plots import save_figure

    shown: list[_Picture | TextTable] = []
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
            files.write(directory / file, as_csv(item.columns, item.rows))
            shown.append(table_of(item, file))
    return shown


def _problems(comparison: "Comparison", subject: "Subject") -> list[str]:
    problems = [f"{row.variant}: {problem}." for row in comparison.rows for problem in row.problems]
    for name, runs in subject.diverged().items():
        for run in runs:  # also one that the comparison passes over, for other settings than the plan's
            if not any(problem.startswith(f"{name}: seed {run.seed} diverged") for problem in problems):
                message = (run.result() or {}).get("message") or "no message was kept"
                problems.append(f"{name}: seed {run.seed} diverged: {message}.")
    return [*problems, *(f"{problem}." for problem in comparison.problems)]


def _stages(plan: Mapping[str, Any]) -> list[TextTable]:
    """What the variants are built on: the winners of other recipes, and why they are."""
    right = [column not in ("variant", "against the best") for column in winners.COLUMNS]
    return [
        TextTable(list(winners.COLUMNS), stage.rows, right, title=stage.title, notes=stage.sentences)
        for stage in built_on(plan)
    ]
