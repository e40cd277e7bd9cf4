"""The report of a recipe: what stands in it, what it says of diverged runs, and what it does to old files."""

import base64
import csv
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cnnbench.analyses.accuracy_vs_cost import AccuracyVsCost
from cnnbench.analyses.base import Analysis, Subject, Table
from cnnbench.analyses.learning_curves import LearningCurves
from cnnbench.analyses.overfitting import Overfitting
from cnnbench.analyses.stability import Stability
from cnnbench.comparison import compare
from cnnbench.comparison.sentences import conclusions
from cnnbench.data.datasets import Datasets
from cnnbench.recipe.config import JudgedOn
from cnnbench.report import write_report
from cnnbench.report.markup import markdown_text
from cnnbench.runs import Run

TARGETS = np.arange(100) % 4


def finish(
    directory: Path, variant: str, seed: int, right: int | None, *, width: int = 16, classes: int = 4
) -> None:
    """A run with so many of 100 predictions right on each split, or None for one that diverged."""
    path = directory / variant / f"seed{seed}"
    config = settings(width) | {"recipe": directory.name, "variant": variant, "seed": seed}
    run = Run(path)
    run.write_config(config)
    accuracies = [0.25, 0.4, 0.5, 0.6, (right or 0) / 100]
    run.write_history(
        [
            {"epoch": epoch, "train_accuracy": value if epoch else None, "val_accuracy": value,
             "train_loss": 1 - value if epoch else None, "val_loss": 1 - value}
            for epoch, value in enumerate(accuracies)
        ],
        [{"epoch": epoch, "gradients": {}} for epoch in range(len(accuracies))],
    )  # fmt: skip
    common = {
        "epochs": 4, "best_epoch": 4, "num_params": 1000 * width, "macs": 50_000 * width,
        "train_seconds": 12.5, "val_seconds": 1.0, "latency_ms": 2.5, "throughput": 400.0,
        "peak_memory_mib": 900.0, "precision": "fp32", "versions": {"torch": "2.15.0"},
        "device": {"type": "cpu", "name": "Test CPU <9>", "threads": 2},
    }  # fmt: skip
    if right is None:
        message = "the loss is not finite at step 400"
        run.finish({"status": "diverged", "message": message, "metrics": {}, **common}, None)
        return
    predictions = np.where(np.arange(100) < right, TARGETS, (TARGETS + 1) % classes)
    metrics = {f"{split}_accuracy": right / 100 for split in ("val", "test")} | {"train_accuracy": 0.99}
    arrays = {
        "test_predictions": predictions, "test_targets": TARGETS,
        "val_predictions": predictions, "val_targets": TARGETS,
    }  # fmt: skip
    run.finish({"status": "complete", "message": None, "metrics": metrics, **common}, arrays)


def settings(width: int) -> dict[str, Any]:
    return {
        "data": {"name": "digits", "limit": None, "augment": [{"name": "HorizontalFlip", "p": 0.5}]},
        "model": {"name": "cnn", "widths": [width]},
        "train": {"epochs": 4, "lr": 0.1},
    }


def report(
    directory: Path,
    variants: dict[str, list[int | None]],
    analyses: Sequence[Analysis] = (),
    *,
    question: str = "Is wider better?",
    planned: int | None = None,
    judged_on: JudgedOn = "test",
) -> str:
    """Writes runs and report; the text of report.md."""
    names = list(variants)
    plan = {
        "recipe": directory.name,
        "title": "Wide <or> *not*",
        "question": question,
        "judged_on": judged_on,
        "analyses": [],
        "variants": [
            {"name": name, "seeds": list(range(planned or len(seeds))), "config": settings(16 * (index + 1))}
            for index, (name, seeds) in enumerate(variants.items())
        ],
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "plan.json").write_text(json.dumps(plan))
    for index, name in enumerate(names):
        for seed, right in enumerate(variants[name]):
            if not (directory / name / f"seed{seed}").exists():
                finish(directory, name, seed, right, width=16 * (index + 1))
    runs = [Run(directory / name / f"seed{seed}") for name in names for seed in range(len(variants[name]))]
    cpu = torch.device("cpu")
    subject = Subject(directory.name, "Wide", runs, Datasets(Path()), cpu, judged_on=judged_on)
    done = [(type(one).__name__.lower(), list(one.analyse(subject))) for one in analyses]
    comparison = compare([directory])
    path = write_report(directory, plan=plan, subject=subject, analyses=done, comparison=comparison)
    assert path == directory / "report.md"
    return path.read_text()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "widths"


def test_the_sections_stand_in_order(directory: Path) -> None:
    text = report(directory, {"narrow": [80, 82], "wide": [90, 91]}, [Stability()])
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Answer", "Results", "Stability", "What the numbers do not say", "Settings", "Hardware and versions",
        "How to reproduce",
    ]  # fmt: skip
    assert text.startswith("# Wide \\<or\\> \\*not\\*\n\n> Is wider better?\n")


def test_the_answer_is_what_the_comparison_concludes(directory: Path) -> None:
    text = report(directory, {"narrow": [50, 52], "wide": [90, 91]})
    for sentence in conclusions(compare([directory])):
        assert f"- {markdown_text(sentence)}\n" in text


def test_the_main_table(directory: Path) -> None:
    text = report(directory, {"narrow": [80, 82, 84], "wide": [90]})
    header, _, narrow, wide = re.findall(r"^\|.*\|$", text, re.MULTILINE)[:4]
    cells = dict(
        zip(
            *([cell.strip() for cell in line.strip("|").split("|")] for line in (header, narrow)), strict=True
        )
    )
    assert cells["variant"] == "narrow"
    assert (cells["parameters"], cells["multiply-adds"]) == ("16,000", "800,000")
    assert cells["test accuracy (%)"] == "82.0 ± 2.0"  # by hand: 80, 82, 84
    assert cells["95 % interval (%)"] == "77.0 to 87.0"  # 82 ± 4.303 · 2 / √3
    assert cells["train − test (points)"] == "17.0"
    assert cells["training time (s)"].startswith("12.5")
    assert (cells["latency (ms)"], cells["best epoch"]) == ("2.50", "4")
    assert "82.6 to 94.5" in wide  # Wilson's interval of 90 in 100


def test_a_stage_of_a_search_does_not_look_at_test(directory: Path) -> None:
    analyses = [AccuracyVsCost(), Overfitting()]
    text = report(directory, {"narrow": [80, 82], "wide": [90, 91]}, analyses, judged_on="val")
    answer = text.partition("## Answer")[2].partition("## ")[0]
    assert "- What is built on this recipe takes wide. wide has the best validation accuracy" in answer
    assert "- Highest validation accuracy: wide" in answer
    assert "train − validation (points)" in text
    assert "Validation accuracy against parameters" in text
    assert "Test is left for the recipe at the end of the search." in text
    assert "counts the luck of training alone: the validation images are the same for each seed" in text
    assert "Times hold for the hardware below" in text
    unwanted = r"test accuracy|test \(%\)|train − test|test set|test images"
    assert re.findall(unwanted, text, re.IGNORECASE) == []
    text = report(directory.parent / "single", {"narrow": [80], "wide": [90]}, analyses, judged_on="val")
    assert (
        "One seed only: narrow, wide. There the interval counts which images happen to be in the valid"
        in text
    )
    assert re.findall(unwanted, text, re.IGNORECASE) == []


def test_what_validation_picks_is_measured_on_test(directory: Path) -> None:
    text = report(directory, {"narrow": [80, 82], "wide": [90, 91]}, judged_on="val_then_test")
    answer = text.partition("## Answer")[2].partition("## ")[0]
    assert answer.strip().startswith("- Validation picks wide; its test accuracy is 90.5 ± 0.7 % (mean ±")
    assert "- Highest validation accuracy: wide" in answer
    header = next(line for line in text.splitlines() if line.startswith("| variant | seeds"))
    assert "| validation accuracy (%) |  | 95 % interval (%) | test accuracy (%) |" in header


def test_all_numbers_are_in_a_csv(directory: Path) -> None:
    report(directory, {"narrow": [80, 82]})
    rows = list(csv.DictReader((directory / "tables/results.csv").read_text().splitlines()))
    assert float(rows[0]["test_accuracy_mean"]) == pytest.approx(0.81)


def test_a_diverged_run_is_named_with_its_message(directory: Path) -> None:
    text = report(directory, {"narrow": [80, None], "wide": [90, 91]}, [LearningCurves()])
    assert re.search(r"^- narrow: seed 1 diverged.*the loss is not finite at step 400", text, re.MULTILINE)
    assert "Diverged, so not counted: narrow seed 1." in text


def test_all_runs_diverged(directory: Path) -> None:
    text = report(directory, {"narrow": [None, None]}, [LearningCurves(), Stability()])
    assert text.count("diverged and does not count: the loss is not finite at step 400") == 2


def test_missing_runs_are_named(directory: Path) -> None:
    assert re.search(r"narrow: .*2.* not finished", report(directory, {"narrow": [80, 82]}, planned=3))


@pytest.mark.parametrize(("seeds", "said"), [([80], True), ([80, 82], False)], ids=["one seed", "two seeds"])
def test_one_seed_is_cautioned(directory: Path, seeds: list[int | None], said: bool) -> None:
    assert ("- One seed only: narrow." in report(directory, {"narrow": seeds})) is said


def test_shared_settings_stand_once_and_differences_by_variant(directory: Path) -> None:
    text = report(directory, {"narrow": [80], "wide": [90]})
    assert "| variant | model.widths |" in text
    assert "| narrow | \\[16\\] |" in text
    assert "| wide | \\[32\\] |" in text
    assert text.count("train.lr") == 1
    assert "| torch | 2.15.0 |" in text
    assert "| Test CPU \\<9\\> | cpu | 2 | 1 | fp32 | 2 |" in text


def test_pictures_and_tables_are_written_and_referred_to(directory: Path) -> None:
    text = report(directory, {"narrow": [80, 82]}, [LearningCurves(), Stability()])
    named = set(re.findall(r"\((figures/[^)]+|tables/[^)]+)\)", text))
    written = {
        path.relative_to(directory).as_posix()
        for folder in ("figures", "tables")
        for path in (directory / folder).iterdir()
    }
    assert named == written
    assert "figures/learning_curves_accuracy.png" in written
    assert "tables/stability.csv" in written


def test_old_files_of_a_report_go_and_others_stay(directory: Path) -> None:
    report(directory, {"narrow": [80, 82]}, [LearningCurves(), Stability()])
    (directory / "figures" / "mine.png").write_bytes(b"mine")
    report(directory, {"narrow": [80, 82]}, [LearningCurves()])
    assert not (directory / "figures/stability.png").exists()
    assert not (directory / "tables/stability.csv").exists()
    assert (directory / "figures/mine.png").read_bytes() == b"mine"
    assert (directory / "figures/learning_curves_loss.png").exists()


def test_a_report_is_the_same_each_time(directory: Path) -> None:
    texts = [report(directory, {"narrow": [80, 82]}, [LearningCurves()]) for _ in range(2)]
    assert texts[0] == texts[1]


class TwoOfOneName(Analysis):
    def analyse(self, subject: Subject) -> Any:
        for value in (1, 2.5, None):
            yield Table("same/name", "Title", "Caption.", ["n", "text"], [[value, "a|b"]])


def test_names_that_meet_or_are_unsafe_become_files_of_their_own(directory: Path) -> None:
    text = report(directory, {"narrow": [80]}, [TwoOfOneName()])
    assert len(list((directory / "tables").glob("*same_name.csv"))) == 3
    assert [line for line in text.splitlines() if "a\\|b" in line] == [
        "| 1 | a\\|b |", "| 2.50 | a\\|b |", "| – | a\\|b |",
    ]  # fmt: skip


class LongAndSmall(Analysis):
    def analyse(self, subject: Subject) -> Any:
        yield Table("long", "Long", "Every one.", ["n"], [[1], [2]], in_report=False)
        yield Table("small", "Small", "Caption.", ["x"], [[0.0], [0.004], [-3.2e-9], [0.0242]])


def test_a_table_too_long_to_read_is_a_file_alone(directory: Path) -> None:
    text = report(directory, {"narrow": [80]}, [LongAndSmall()])
    assert "\n| 1 |\n" not in text
    assert "Every one. ([tables/long.csv](tables/long.csv))" in text
    assert (directory / "tables/long.csv").read_text() == "n\n1\n2\n"
    assert "Every one. (tables/long.csv)" in (directory / "report.html").read_text()


def test_small_numbers_are_not_zero(directory: Path) -> None:
    text = report(directory, {"narrow": [80]}, [LongAndSmall()])
    assert "| 0.00 |\n| 0.004 |\n| \\-3.2e-09 |\n| 0.0242 |" in text


class Page(HTMLParser):
    """Collects tags, the sources of pictures, and whatever the page would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_self_contained(directory: Path) -> None:
    report(
        directory, {"narrow": [80, 82]}, [LearningCurves(), Stability()], question="<script>alert(1)</script>"
    )
    text = (directory / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.sources) == 2  # of stability there is none: training was too short
    prefix = "data:image/png;base64,"
    assert all(source.startswith(prefix) for source in page.sources)
    picture = base64.b64decode(page.sources[0].removeprefix(prefix))
    assert picture == (directory / "figures/learning_curves_accuracy.png").read_bytes()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "prefers-color-scheme: dark" in text
