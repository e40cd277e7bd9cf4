"""Comparisons of run directories that the test writes, with numbers known beforehand."""

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnbench.comparison import Comparison, compare
from cnnbench.comparison.comparison import times_compare, why_apart
from cnnbench.comparison.formats import legend, save, to_csv, to_json, to_markdown, to_rows, to_table
from cnnbench.comparison.quantities import KNOWN, written
from cnnbench.comparison.sentences import conclusions
from cnnbench.errors import CnnbenchError
from cnnbench.paired_tests import (
    Scored,
    compare_gains,
    compare_means,
    compare_predictions,
)
from cnnbench.statistics import typical_variance

NUM_TEST, NUM_VAL = 1000, 100
CONFIG: dict[str, Any] = {
    "data": {"name": "digits", "batch_size": 128, "augment": []},
    "model": {"name": "cnn", "widths": [8, 16]},
    "train": {"epochs": 3, "lr": 0.001},
}


@dataclass
class RecipeRuns:
    """Writes the runs of a recipe as training would; `right` is how many of the test images are right."""

    directory: Path
    name: str = ""
    variants: list[dict[str, Any]] = field(default_factory=list)

    def add(self, variant: str, right: Sequence[int], **changes: Any) -> "RecipeRuns":
        """A variant whose run with seed k has `right[k]` of the test images right."""
        self.variants.append({"name": variant, "seeds": list(range(len(right))), "config": CONFIG})
        name = self.name or self.directory.name
        self.directory.mkdir(parents=True, exist_ok=True)
        plan = {"recipe": name, "title": "T", "question": "Q?", "analyses": []}
        (self.directory / "plan.json").write_text(json.dumps({**plan, "variants": self.variants}))
        for seed, count in enumerate(right):
            write_run(self.run(variant, seed), seed, count, **changes)
        return self

    def run(self, variant: str, seed: int) -> Path:
        return self.directory / variant / f"seed{seed}"


def write_run(
    path: Path,
    seed: int,
    right: int,
    *,
    hard_first: int = 0,
    targets_seed: int = 0,
    config: dict[str, Any] = CONFIG,
    predictions: bool = True,
    **result: Any,
) -> None:
    """A run that is wrong on images `hard_first ...`, the last `right` ones being right."""
    path.mkdir(parents=True)
    rng = np.random.default_rng(targets_seed)
    test_targets, val_targets = rng.integers(0, 10, NUM_TEST), rng.integers(0, 10, NUM_VAL)
    wrong = np.roll(np.arange(NUM_TEST) < NUM_TEST - right, hard_first)
    test_predictions = np.where(wrong, (test_targets + 1) % 10, test_targets)
    metrics = {
        "train_loss": 0.1,
        "train_accuracy": 0.95,
        "val_loss": 0.2,
        "val_accuracy": 1.0,
        "test_loss": 1 - right / NUM_TEST,
        "test_accuracy": right / NUM_TEST,
    }
    content = {
        "status": "complete",
        "message": None,
        "epochs": 3,
        "best_epoch": 2 + seed,
        "metrics": metrics,
        "num_params": 1000,
        "macs": 50_000,
        "train_seconds": 10.0 + seed,
        "val_seconds": 1.0,
        "latency_ms": 0.5 + seed,
        "throughput": 2000.0,
        "peak_memory_mib": 300.0,
        "precision": "bf16",
        "device": {"type": "cpu", "name": "Test CPU", "threads": 2},
        "versions": {"torch": "2.11", "python": "3.11"},
        **result,
    }
    (path / "config.json").write_text(json.dumps({"recipe": "r", "variant": "v", "seed": seed, **config}))
    epochs = range(content["epochs"] + 1)
    (path / "history.jsonl").write_text("".join(f'{{"epoch": {epoch}}}\n' for epoch in epochs))
    if predictions:
        np.savez_compressed(
            path / "predictions.npz",
            test_predictions=test_predictions,
            test_targets=test_targets,
            val_predictions=val_targets,
            val_targets=val_targets,
        )
    (path / "result.json").write_text(json.dumps(content))


def only_row(comparison: Comparison) -> dict[str, Any]:
    (row,) = to_rows(comparison)
    return row


def test_several_seeds_by_hand(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "runs" / "a").add("cnn", [900, 910, 920])
    row = only_row(compare(runs_dir=tmp_path / "runs"))
    half = 4.302653 * 0.01 / math.sqrt(3)  # t(0.975, 2)
    assert row["test_accuracy"] == pytest.approx(
        {"mean": 0.91, "std": 0.01, "low": 0.91 - half, "high": 0.91 + half}
    )
    # seeds that tie do not show that a seed changes nothing: no interval of no width
    assert row["val_accuracy"] == {"mean": 1.0, "std": 0.0, "low": None, "high": None}
    assert row["train_seconds"]["mean"] == pytest.approx(11)
    assert (row["latency_ms"], row["throughput"], row["peak_memory_mib"]) == (1.5, 2000, 300)
    assert (row["num_seeds"], row["num_params"], row["macs"], row["best_epoch"]) == (3, 1000, 50_000, 3)
    assert (row["device"], row["complete"], row["problems"]) == ("cpu, Test CPU", True, [])


def test_one_seed_has_the_binomial_interval(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("cnn", [900])
    row = only_row(compare([tmp_path / "a"]))
    # Wilson: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    z, n, p = 1.959964, NUM_TEST, 0.9
    center, scale = p + z**2 / (2 * n), 1 + z**2 / n
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert row["test_accuracy"] == pytest.approx(
        {"mean": 0.9, "std": None, "low": (center - half) / scale, "high": (center + half) / scale}
    )
    assert row["train_seconds"] == {"mean": 10.0, "std": None, "low": None, "high": None}


def test_json_has_the_promised_fields(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("cnn", [900, 910])
    rows = json.loads(to_json(compare([tmp_path])))
    assert list(rows[0]) == [
        *("recipe", "variant", "num_seeds", "num_params", "macs"),
        *("test_accuracy", "val_accuracy", "train_accuracy", "train_seconds"),
        *("latency_ms", "throughput", "peak_memory_mib", "best_epoch", "device", "complete", "problems"),
    ]


def test_a_better_variant_is_told_apart(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a")
    runs.add("small", [850, 852, 848]).add("large", [930, 932, 934], num_params=9000)
    comparison = compare([tmp_path])
    (pair,) = comparison.pairs
    assert (pair.a, pair.b, pair.differs) == ("small", "large", True)
    assert pair.test.difference == pytest.approx(-0.082)
    assert [comparison.standing(row) for row in comparison.rows] == ["worse", "best"]
    text = " ".join(conclusions(comparison))
    assert "Highest test accuracy: large, 93.2 ± 0.2 %" in text
    assert "Worse than large: small by 8.2 points (95 % interval, not corrected," in text
    assert (
        "no other variant is both smaller and more accurate than small (1,000 parameters) and large" in text
    )
    assert "One seed" not in text


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (0.9288, 0.005, "92.9"), (0.9944, 0.0003, "99.44"), (0.0006, 0.001, "0.06"), (0.97, None, "97.0"),
        (-0.0002, 0.001, "-0.02"), (-0.0002, 0.01, "0.0"), (-0.00002, 0.001, "0.00"),
    ],
)  # fmt: skip
def test_shares_are_as_exact_as_they_are_known(value: float, spread: float | None, text: str) -> None:
    """In %: two decimals where little varies, and never a zero with a sign."""
    assert written(KNOWN["test_accuracy"], value, spread) == text


def test_a_reduced_form_is_no_answer(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a+quick").add("small", [850]).add("large", [930])
    first, *_ = conclusions(compare([tmp_path]))
    assert first.startswith("A trial in reduced form (--quick: 2 epochs, 2,000 images, one seed)")
    assert first.endswith("no answer to the question.")


def test_within_the_noise_the_cheaper_one_is_named(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a")
    runs.add("small", [900, 912, 905]).add("large", [911, 903, 909], num_params=9000, hard_first=40)
    comparison = compare([tmp_path])
    assert [comparison.standing(row) for row in comparison.rows] == ["tied", "best"]
    sentence = conclusions(comparison)[1]
    assert " cannot be told apart from the best, " in sentence
    assert sentence.endswith("Take the cheaper one: small is the smallest (1,000 parameters).")


def test_what_would_tell_the_tied_ones_apart(tmp_path: Path) -> None:
    """One whose seeds scatter, one that gets other images right, one as good as equal."""
    runs = RecipeRuns(tmp_path / "a").add("best", [915, 925, 920]).add("rough", [870, 918, 900])
    runs.add("other", [900, 898, 899], hard_first=300).add("same", [921, 917, 921], hard_first=700)
    comparison = compare([tmp_path])
    assert [comparison.standing(row) for row in comparison.rows] == ["best", "tied", "tied", "tied"]
    (said,) = [line for line in conclusions(comparison) if line.startswith("What it would take")]
    assert said == (
        "What it would take to tell from best (differences as measured, power 80 %, corrected for 6 pairs): "
        "rough, about 20 seeds each; other, these 1,000 test images are too few, however many seeds; "
        "same, too close to plan for."
    )


def test_where_costs_speak_for_different_ones_both_are_named(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("small", [900, 905], macs=90_000)
    runs.add("quick", [901, 904], num_params=9000, macs=20_000)
    sentence = conclusions(compare([tmp_path]))[1]
    words = "quick takes the fewest multiply-adds (20,000), and small is the smallest (1,000 parameters)."
    assert sentence.endswith(f"Which is cheaper depends: {words}")


def test_of_equal_sizes_the_faster_one_is_named(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("slow", [900, 905], train_seconds=60.0)
    runs.add("fast", [901, 904], num_params=1019, train_seconds=40.0)
    assert conclusions(compare([tmp_path]))[1].endswith("fast is the fastest to train (40.0 s).")
    runs.add("as-fast", [902, 903], num_params=1010, train_seconds=40.5)
    assert conclusions(compare([tmp_path]))[1].endswith("Neither size nor time speaks for one of them.")


@pytest.mark.parametrize(("second", "is_faster"), [(41.0, True), (44.0, False)])
def test_the_faster_one_is_named_where_that_is_beyond_the_noise(
    tmp_path: Path, second: float, is_faster: bool
) -> None:
    """Seeds of 40 and 41 s: 34.1 to 46.9 s (t of 12.706); of 40 and 44 s: 16.6 to 67.4 s."""
    runs = RecipeRuns(tmp_path / "a").add("slow", [900, 905], train_seconds=60.0)
    runs.add("fast", [901, 904])
    for seed, seconds in enumerate((40.0, second)):
        path = runs.run("fast", seed) / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"train_seconds": seconds}))
    said = conclusions(compare([tmp_path]))[1]
    assert said.endswith(
        "to train (40.5 s)." if is_faster else "Neither size nor time speaks for one of them."
    )
    runs.add("better", [960, 961], train_seconds=60.0)
    (payoff,) = [each for each in conclusions(compare([tmp_path])) if each.startswith("Per second")]
    assert (" That fast is faster than better may be noise." in payoff) == (not is_faster)


def test_p_values_are_corrected_for_the_pairs_of_the_recipe(tmp_path: Path) -> None:
    # McNemar with 12 images against 0: p = 2 / 2**12; with 6 against 0: 2 / 2**6
    RecipeRuns(tmp_path / "a").add("x", [900]).add("y", [906]).add("z", [912])
    RecipeRuns(tmp_path / "b").add("x", [900]).add("y", [906])
    comparison = compare([tmp_path])
    adjusted = {(pair.recipe, pair.a, pair.b): pair.p_adjusted for pair in comparison.pairs}
    assert adjusted[("a", "x", "z")] == pytest.approx(3 * 2 / 2**12)
    assert adjusted[("a", "x", "y")] == pytest.approx(2 * 2 / 2**6)
    assert adjusted[("b", "x", "y")] == pytest.approx(2 / 2**6)
    assert [comparison.standing(row) for row in comparison.rows] == ["worse", "tied", "best", "worse", "best"]


@pytest.mark.parametrize(
    ("fixed", "said"),
    [
        ((), "the tests assume the noise that the other variant of the pair has."),
        (("y",), "the tests count the noise of the images alone."),
        (
            ("z",),
            "the tests assume the noise that the other variant of the pair has, and where that has one seed "
            "too or none matters, the noise of the images alone.",
        ),
    ],
)
def test_one_seed_beside_others_says_what_is_assumed(
    tmp_path: Path, fixed: tuple[str, ...], said: str
) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900]).add("y", [940, 941])
    if "z" in fixed:
        runs.add("z", [800, 800])
    comparison = compare([tmp_path])
    rows = [replace(row, is_fixed=row.variant in fixed) for row in comparison.rows]
    text = " ".join(conclusions(replace(comparison, rows=rows)))
    assert f"One seed only: x. What another seed would change there is unknown; {said}" in text


def test_one_seed_is_warned_of(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900]).add("y", [940])
    text = " ".join(conclusions(compare([tmp_path])))
    assert "exact McNemar" not in text  # nothing is tied
    assert "With one seed only the noise of the test images is counted" in text


def test_seeds_that_tie_are_said_to_have_no_interval(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "r").add("a", [900, 900, 900]).add("b", [910, 905, 915])
    said = " ".join(conclusions(compare(runs_dir=tmp_path)))
    assert "a: all seeds gave the very same test accuracy; an interval of no width" in said
    assert "b: all seeds" not in said


def test_two_recipes_with_equal_variant_names(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "runs" / "10_last").add("x", [900]).add("y", [800])
    RecipeRuns(tmp_path / "runs" / "2_first", name="2_first").add("y", [700]).add("x", [950])
    comparison = compare(runs_dir=tmp_path / "runs")
    assert [(row.recipe, row.variant) for row in comparison.rows] == [
        ("2_first", "y"),
        ("2_first", "x"),
        ("10_last", "x"),
        ("10_last", "y"),
    ]
    assert [pair.test.difference for pair in comparison.pairs] == pytest.approx([-0.25, 0.1])
    assert comparison.points("macs")[0].label == "2_first: y"
    assert all(line.startswith(("2_first: ", "10_last: ")) for line in conclusions(comparison))


def test_recipes_of_one_name_are_called_by_their_places(tmp_path: Path) -> None:
    for place in ("here", "there"):
        RecipeRuns(tmp_path / place / "a").add("x", [900]).add("y", [800])
    comparison = compare([tmp_path / "here", tmp_path / "there"])
    assert list(comparison.recipes()) == [str(tmp_path / "here" / "a"), str(tmp_path / "there" / "a")]
    assert len(comparison.pairs) == 2


def test_a_diverged_seed_does_not_count(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900])
    runs.variants[0]["seeds"] = [0, 1]
    write_run(
        runs.run("x", 1),
        1,
        900,
        predictions=False,
        status="diverged",
        message="the loss is not finite at step 12",
        metrics=dict.fromkeys(("test_accuracy", "val_accuracy")),
    )
    runs.add("y", [910])
    row = compare([tmp_path]).rows[0]
    assert (row.num_seeds, row.complete) == (1, False)
    assert row.problems == ("seed 1 diverged and does not count: the loss is not finite at step 12",)


def test_a_variant_of_which_every_seed_diverged_keeps_its_size(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900], predictions=False, status="diverged", metrics={})
    comparison = compare([tmp_path])
    row = only_row(comparison)
    assert (row["num_seeds"], row["num_params"], row["device"]) == (0, 1000, None)
    assert row["test_accuracy"] == {"mean": None, "std": None, "low": None, "high": None}
    assert conclusions(comparison) == ["No test accuracy has been measured."]
    assert "| x | 0 | – |" in to_markdown(comparison)


def test_missing_and_unplanned_seeds_are_said(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900, 910])
    runs.variants[0]["seeds"] = [0, 2, 3]
    runs.add("y", [900])
    row = compare([tmp_path]).rows[0]
    assert (row.num_seeds, row.complete) == (1, False)
    assert row.problems == (
        "seeds 2, 3 are not finished; run the recipe again to complete it",
        "seed 1 is finished, but not in the plan of the last run: not counted",
    )


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def corrupt_inside(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        pytest.param("result.json", truncate, id="truncated result"),
        pytest.param("result.json", lambda path: path.write_text("[]"), id="result of another shape"),
        pytest.param("result.json", lambda path: path.write_text("{}"), id="empty result"),
        pytest.param("result.json", lambda path: path.write_bytes(b"\xff\xfe\x00"), id="binary result"),
        pytest.param(
            "result.json",
            lambda path: path.write_text(
                re.sub(r'"test_accuracy": [0-9.]+', '"test_accuracy": NaN', path.read_text())
            ),
            id="no number",
        ),
        pytest.param("history.jsonl", truncate, id="truncated history"),
        pytest.param("history.jsonl", lambda path: path.write_text('{"step": 0}\n'), id="no epoch"),
        pytest.param("history.jsonl", lambda path: path.write_text('{"epoch": 0}\n'), id="epochs that lack"),
        pytest.param(
            "history.jsonl",
            lambda path: path.write_text('{"epoch": 0}\n{"epoch": 1e12}\n'),
            id="an epoch that cannot be",
        ),
        pytest.param("predictions.npz", truncate, id="truncated predictions"),
        pytest.param("predictions.npz", corrupt_inside, id="corrupt predictions"),
        pytest.param("predictions.npz", lambda path: path.write_bytes(b""), id="empty predictions"),
        pytest.param("predictions.npz", Path.unlink, id="no predictions"),
        pytest.param("predictions.npz", lambda path: np.savez(path, a=np.ones(3)), id="other arrays"),
        pytest.param("config.json", truncate, id="truncated config"),
        pytest.param("config.json", Path.unlink, id="no config"),
    ],
)
def test_a_damaged_file_is_named_and_the_run_does_not_count(tmp_path: Path, file: str, damage: Any) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900, 910, 920])
    path = runs.run("x", 1) / file
    damage(path)
    (row,) = compare([tmp_path]).rows
    assert (row.num_seeds, row.complete) == (2, False)
    assert len(row.problems) == 1
    assert row.problems[0].startswith(f"seed 1 does not count: {path}")
    assert row.problems[0].endswith(f"; move {path.parent} away and run the recipe again")
    assert row.measured is not None
    assert row.measured.mean == pytest.approx(0.91)


def test_predictions_of_another_run_do_not_count(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900, 950])
    target = runs.run("x", 0) / "predictions.npz"
    target.write_bytes((runs.run("x", 1) / "predictions.npz").read_bytes())
    (row,) = compare([tmp_path]).rows
    assert row.num_seeds == 1
    assert "test accuracy is 0.9500, but 0.9000 in result.json" in row.problems[0]


def test_not_a_number_is_not_measured(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900], latency_ms=math.nan, train_seconds="fast")
    row = json.loads(to_json(compare([tmp_path])))[0]
    assert (row["latency_ms"], row["train_seconds"]["mean"]) == (None, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"recipe": "a", "variants": [{"name": "x"}]}',
        '{"recipe": "a", "variants": [{"name": "x", "seeds": [0], "config": []}]}',
        '{"recipe": "a", "variants": [{"name": "x", "seeds": [0], "config": {"data": 1}}]}',
    ],
)
def test_a_damaged_plan_leaves_the_other_recipes(tmp_path: Path, content: str) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900])
    RecipeRuns(tmp_path / "b").add("x", [900])
    (tmp_path / "a" / "plan.json").write_text(content)
    comparison = compare([tmp_path])
    assert [row.recipe for row in comparison.rows] == ["b"]
    assert str(tmp_path / "a" / "plan.json") in comparison.problems[0]


def test_the_seeds_of_all_variants_tell_of_noise(tmp_path: Path) -> None:
    """But not those of a fixed one, whose seeds are copies."""
    fixed = {
        **CONFIG,
        "model": {"name": "timm/resnet50", "pretrained": True, "head": "own"},
        "train": {"epochs": 0},
    }
    runs = RecipeRuns(tmp_path / "a").add("fixed", [500, 900], config=fixed)
    runs.variants[0]["config"] = fixed
    counts = {"x": [900, 901], "y": [930, 931], "z": [700, 760]}
    for name, right in counts.items():
        runs.add(name, right)
    scores = {
        name: np.stack([np.arange(NUM_TEST) >= NUM_TEST - count for count in right])
        for name, right in counts.items()
    }
    typical = typical_variance(list(scores.values()))
    alone = compare_predictions(scores["x"], scores["y"])
    expected = compare_predictions(scores["x"], scores["y"], typical=typical)
    assert expected.p_value > 2 * alone.p_value
    tests = {(pair.a, pair.b): pair.test for pair in compare([tmp_path]).pairs}
    assert tests["x", "y"].p_value == pytest.approx(expected.p_value)
    plan = json.loads((tmp_path / "a" / "plan.json").read_text())
    claim = {"text": "", "better": ["x"], "than": ["y"], "by_more_than": ["z", "x"]}
    (tmp_path / "a" / "plan.json").write_text(json.dumps({**plan, "claims": [claim]}))
    (gain,) = compare([tmp_path]).gains
    pairs = (Scored(scores[a], scores[b], typical=typical) for a, b in (("x", "y"), ("z", "x")))
    assert gain.test.p_value == pytest.approx(compare_gains(*pairs, same_images=True).p_value)


def test_other_settings_than_the_plan(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900])
    runs.variants[0]["seeds"] = [0, 1]
    changed = {**CONFIG, "train": {"epochs": 8, "lr": 0.001}}
    write_run(runs.run("x", 1), 1, 950, config=changed)
    runs.add("y", [910])
    row = compare([tmp_path]).rows[0]
    assert row.num_seeds == 1
    assert "seed 1 does not count: it was trained with other settings" in row.problems[0]
    assert "train.epochs 8 → 3" in row.problems[0]


def test_other_images_are_not_compared(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a")
    runs.add("x", [900, 905]).add("y", [910, 905]).add("z", [990, 992], targets_seed=7)
    comparison = compare([tmp_path])
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [("x", "y")]
    assert comparison.problems == [
        "a: not all variants had the same test images (x, y; z), so only those that did are tested"
        ": the files of a data set have changed; train anew with --fresh"
    ]
    assert [comparison.standing(row) for row in comparison.rows] == ["untested", "untested", "best"]
    assert "Whether z is really better than x and y was not tested" in " ".join(conclusions(comparison))


def test_variants_on_two_data_sets_have_a_best_each(tmp_path: Path) -> None:
    other = {**CONFIG, "data": {**CONFIG["data"], "name": "fashion_mnist"}}
    runs = RecipeRuns(tmp_path / "a").add("x", [900, 905]).add("y", [960, 965])
    runs.add("u", [700, 705], config=other, targets_seed=7).add("v", [800, 805], config=other, targets_seed=7)
    plan = json.loads((tmp_path / "a/plan.json").read_text())
    for entry in plan["variants"][2:]:
        entry["config"] = other
    (tmp_path / "a/plan.json").write_text(json.dumps(plan))
    comparison = compare([tmp_path])
    assert [comparison.standing(row) for row in comparison.rows] == ["worse", "best", "worse", "best"]
    first = CONFIG["data"]["name"]
    said = conclusions(comparison)
    assert said[0].startswith(f"{first}: Highest test accuracy: y, 96.2")
    assert any(sentence.startswith(f"{first}: Worse than y: x by 6.0 points") for sentence in said)
    assert any(sentence.startswith("fashion_mnist: Highest test accuracy: v, 80.2") for sentence in said)
    assert not any("was not tested" in sentence for sentence in said)
    assert legend(comparison) == "★ the best mean (each data set by itself)"
    # what a variant costs is the same question on any data
    seconds = compare([tmp_path], metric="train_seconds")
    assert [seconds.standing(row) for row in seconds.rows].count("best") == 1


@pytest.mark.parametrize("elsewhere", [0, 1], ids=["the same images", "images of another set"])
def test_gains_that_the_recipe_claims_something_of(tmp_path: Path, elsewhere: int) -> None:
    runs = RecipeRuns(tmp_path / "demo").add("a", [900, 904, 908]).add("b", [800, 806, 809])
    runs.add("c", [700, 703, 708], targets_seed=elsewhere).add("d", [690, 694, 700], targets_seed=elsewhere)
    plan = json.loads((tmp_path / "demo" / "plan.json").read_text())
    of_gain = {"text": "", "better": ["a"], "than": ["b"], "by_more_than": ["c", "d"]}
    others = [
        {"text": "", "better": ["a"], "than": ["b"], "by_more_than": None},
        {**of_gain, "by_more_than": ["c", "nowhere"]},
    ]
    (tmp_path / "demo" / "plan.json").write_text(json.dumps({**plan, "claims": [of_gain, *others]}))
    of_seconds = {**of_gain, "by_more_than": ["d", "c"], "metric": "train_seconds"}
    claims = [of_gain, *others, of_seconds]
    (tmp_path / "demo" / "plan.json").write_text(json.dumps({**plan, "claims": claims}))
    (gain,) = compare([tmp_path / "demo"]).gains  # what is claimed of seconds is no test of accuracy
    assert gain.variants == ("a", "b", "c", "d")
    # means of 904, 805, 703 2/3 and 694 2/3 of 1,000 images
    assert gain.test.difference == pytest.approx(0.099 - 0.009)
    assert gain.p_adjusted < 0.001
    (of_loss,) = compare([tmp_path / "demo"], metric="test_loss").gains
    assert of_loss.test.difference == pytest.approx(-0.09)
    assert of_loss.test.method == "Welch t test of two gains over seeds"


@pytest.mark.parametrize(
    "claims",
    [["x"], {"a": 1}, None, 3, [{"better": [], "than": ["b"], "by_more_than": ["a", "b"]}],
     [{"better": ["a"], "than": ["b"], "by_more_than": ["a", "b", "a"]}]],
    ids=str,
)  # fmt: skip
def test_damaged_claims_leave_the_runs_in_the_table(tmp_path: Path, claims: Any) -> None:
    RecipeRuns(tmp_path / "demo").add("a", [900]).add("b", [800])
    path = tmp_path / "demo" / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "claims": claims}))
    comparison = compare([tmp_path / "demo"])
    assert [row.variant for row in comparison.rows] == ["a", "b"]
    assert any("its claims cannot be read" in problem for problem in comparison.problems)
    assert comparison.gains == []


def test_other_images_are_not_weighed_against_costs(tmp_path: Path) -> None:
    """A variant on easier images is neither better nor a better bargain."""
    runs = RecipeRuns(tmp_path / "a")
    runs.add("x", [700, 705], num_params=500).add("y", [910, 905], num_params=2000)
    assert any(sentence.startswith("Per parameter: ") for sentence in conclusions(compare([tmp_path])))
    runs.add("z", [990, 992], targets_seed=7, num_params=100)
    assert not any(sentence.startswith("Per ") for sentence in conclusions(compare([tmp_path])))


def test_seeds_with_other_images_are_not_tested(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900])
    runs.variants[0]["seeds"] = [0, 1]
    write_run(runs.run("x", 1), 1, 900, targets_seed=7)
    runs.add("y", [900])
    comparison = compare([tmp_path])
    assert comparison.pairs == []
    assert comparison.problems == ["a: the seeds of x had different test images, so it is not tested"]


def test_mixed_conditions_are_said(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900])
    runs.variants[0]["seeds"] = [0, 1]
    gpu = {"type": "cuda", "name": "Test GPU", "threads": None}
    write_run(
        runs.run("x", 1), 1, 900, device=gpu, precision="fp32", versions={"torch": "2.12", "python": "3.11"}
    )
    runs.add("y", [910])
    comparison = compare([tmp_path])
    assert comparison.rows[0].problems == (
        "seeds were trained on different devices (cpu, Test CPU: 0; cuda, Test GPU: 1)",
        "seeds were trained in different precisions (bf16: 0; fp32: 1)",
        "seeds were trained with different versions of torch (2.11: 0; 2.12: 1)",
    )
    assert len(comparison.problems) == 2  # devices and precisions of x and y
    assert "times are not comparable" in comparison.problems[0]
    assert "Per second" not in " ".join(conclusions(comparison))


def test_times_of_recorded_steps_are_not_held_against_others(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a")
    for name, recorded in (("x", True), ("y", False)):
        runs.add(name, [900], device={"type": "cuda", "name": "Test GPU", "recorded": recorded})
    comparison = compare([tmp_path])
    assert [row.devices for row in comparison.rows] == [
        frozenset({"cuda, Test GPU, steps recorded"}),
        frozenset({"cuda, Test GPU"}),
    ]
    assert not times_compare(comparison.rows)
    assert "times are not comparable" in comparison.problems[0]


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        ("test_accuracy", "y"),
        ("val_accuracy", "x"),
        ("test_loss", "y"),
        ("train_seconds", "x"),
        ("throughput", "y"),
        ("num_params", "x"),
    ],
)
def test_metrics_know_which_direction_is_better(tmp_path: Path, metric: str, best: str) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900, 901])
    runs.add("y", [950, 951], num_params=2000, train_seconds=30.0, throughput=4000.0)
    comparison = compare([tmp_path], metric=metric)
    row = comparison.best("a")
    assert row is not None
    assert row.variant == best
    assert conclusions(comparison)
    assert to_markdown(comparison)
    assert metric in json.loads(to_json(comparison))[0]


def test_a_metric_of_a_task(tmp_path: Path) -> None:
    metrics = {"test_accuracy": 0.9, "test_score": 0.4}
    RecipeRuns(tmp_path / "a").add("x", [900], metrics=metrics).add(
        "y", [900], metrics={**metrics, "test_score": 0.5}
    )
    comparison = compare([tmp_path], metric="test_score")
    assert [row["test_score"]["mean"] for row in to_rows(comparison)] == [0.4, 0.5]
    assert "use --seeds 3 or more" in " ".join(conclusions(comparison))


def write_course(run: Path, accuracies: Sequence[float]) -> None:
    rows = [{"epoch": epoch, "val_accuracy": value} for epoch, value in enumerate(accuracies)]
    (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_learns_sooner_has_the_larger_area(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("late", [900, 901]).add("soon", [900, 901])
    for variant, first in (("late", 0.5), ("soon", 0.8)):
        for seed in range(2):
            write_course(runs.run(variant, seed), [0.1, first + 0.01 * seed, 0.85, 0.9])
    comparison = compare([tmp_path], metric="area_under_curve")
    late, soon = [2.25 / 3, 2.26 / 3], [2.55 / 3, 2.56 / 3]
    assert [row.known.mean for row in comparison.rows] == [
        pytest.approx(np.mean(each)) for each in (late, soon)
    ]
    said = "Highest area under the learning curve: soon, 85.2 ± 0.2 % (mean ± standard deviation over 2 seeds"
    assert conclusions(comparison)[0].startswith(said)
    (pair,) = comparison.pairs
    assert pair.test.p_value == pytest.approx(compare_means(late, soon).p_value)
    assert pair.differs


def test_areas_of_trainings_of_other_lengths_do_not_compare(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900, 901]).add("y", [900, 901]).add("z", [900, 901], epochs=2)
    for variant in "xyz":
        for seed in range(2):
            write_course(runs.run(variant, seed), [0.1, 0.7 + 0.01 * seed, 0.8, 0.8][: 3 + (variant != "z")])
    comparison = compare([tmp_path], metric="area_under_curve")
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [("x", "y")]
    why = "they were not trained for as many epochs"
    said = "area under the learning curve: not all variants are tested against each other"
    assert comparison.problems == [f"a: {said}: {why}"]
    assert f"Whether x is really better than z was not tested: {why}." in conclusions(comparison)
    x, y, z = comparison.rows
    assert why_apart(comparison.metric, [x, y]) is None
    assert why_apart(comparison.metric, [y, z]) == why
    assert compare([tmp_path], metric="val_accuracy").problems == []


def test_gaps_on_other_images_do_not_compare(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("x", [900, 901]).add("y", [950, 952])
    runs.variants[1]["config"] = {**CONFIG, "data": {"name": "cifar10"}}
    runs.variants.append({"name": "z", "seeds": [0, 1], "config": {**CONFIG, "data": {"name": "cifar10"}}})
    runs.add("unused", [900])
    for variant, right in (("y", (950, 952)), ("z", (960, 961))):
        for seed in range(2):
            shutil.rmtree(runs.run(variant, seed), ignore_errors=True)
            write_run(runs.run(variant, seed), seed, right[seed], config=runs.variants[1]["config"])
    for metric in ("test_gap", "test_loss"):
        comparison = compare([tmp_path], metric=metric)
        assert [(pair.a, pair.b) for pair in comparison.pairs] == [("x", "unused"), ("y", "z")]
        assert "they do not have the same images" in comparison.problems[0]
    assert ("x", "y") in [(pair.a, pair.b) for pair in compare([tmp_path], metric="train_seconds").pairs]


def test_of_what_says_nothing_of_the_network_nothing_is_advised(tmp_path: Path) -> None:
    """95 % of train are right, and about 90 and 80 % of test: the larger gap is called larger, not worse."""
    RecipeRuns(tmp_path / "a").add("x", [900, 901]).add("y", [800, 801], num_params=9000)
    _, differs, caution = conclusions(compare([tmp_path], metric="test_gap"))
    assert differs.startswith("Larger than that of x: y by 10.0 points")
    assert caution.startswith("Gap between train and test: it says how training went")


def test_a_gap_may_be_below_zero(tmp_path: Path) -> None:
    """Train accuracy is 95 % of these runs, and 96.0 and 97.0 % of the test images are right."""
    RecipeRuns(tmp_path / "a").add("x", [960, 970])
    (row,) = compare([tmp_path], metric="test_gap").rows
    assert row.known.mean == pytest.approx(-0.015)
    assert row.known.low is not None
    assert -0.1 < row.known.low < -0.07  # 1.5 ± 12.706 * 0.5 points
    assert only_row(compare([tmp_path], metric="test_gap"))["test_gap"]["mean"] == pytest.approx(-0.015)


def test_an_unknown_metric(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900], sittings=1)
    with pytest.raises(CnnbenchError, match='unknown metric "test_acuracy": did you mean "test_accuracy"'):
        compare([tmp_path], metric="test_acuracy")
    with pytest.raises(CnnbenchError, match='unknown metric "sittings"'):  # says nothing of a variant
        compare([tmp_path], metric="sittings")


def test_points(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900, 910]).add("y", [950], num_params=None)
    comparison = compare([tmp_path])
    assert [(point.label, point.x, point.mean) for point in comparison.points("num_params")] == [
        ("x", 1000, pytest.approx(0.905))
    ]
    assert [(point.label, point.x) for point in comparison.points("train_seconds")] == [
        ("x", 10.5),
        ("y", 10.0),
    ]


def test_paths(tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    RecipeRuns(runs_dir / "sub" / "a", name="sub/a").add("x", [900])
    RecipeRuns(runs_dir / "b").add("x", [900])
    (runs_dir / "b" / "recipe.toml").write_text("")

    def recipes(*paths: Path) -> list[str]:
        return list(compare(paths, runs_dir=runs_dir).recipes())

    assert recipes() == ["b", "sub/a"]
    assert recipes(runs_dir) == ["b", "sub/a"]
    assert recipes(runs_dir / "sub") == ["sub/a"]
    assert recipes(Path("sub/a")) == ["sub/a"]
    assert recipes(runs_dir / "b" / "plan.json", runs_dir / "b") == ["b"]
    assert recipes(runs_dir / "b" / "recipe.toml") == ["b"]


def test_a_recipe_file_stands_for_its_runs(tmp_path: Path) -> None:
    recipe = tmp_path / "recipes" / "mine.toml"
    recipe.parent.mkdir()
    recipe.write_text(
        'title = "T"\nquestion = "Q?"\n[data]\nname = "digits"\n'
        '[[variants]]\nname = "x"\nmodel = {name = "mlp", widths = [8]}\n'
    )
    runs_dir = tmp_path / "runs"
    with pytest.raises(CnnbenchError, match="train it first"):
        compare([recipe], runs_dir=runs_dir)
    RecipeRuns(runs_dir / "mine+quick").add("x", [900])
    with pytest.raises(CnnbenchError, match=r"there is .*mine\+quick, of other settings"):
        compare([Path("mine")], runs_dir=runs_dir)
    with pytest.raises(CnnbenchError, match=r"there is .*mine\+quick, of other settings"):
        compare([recipe], runs_dir=runs_dir)
    RecipeRuns(runs_dir / "mine").add("x", [900])
    assert list(compare([recipe], runs_dir=runs_dir).recipes()) == ["mine"]


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "absent"])
def test_no_runs_at_all(tmp_path: Path, exists: bool) -> None:
    runs_dir = tmp_path / "runs"
    if exists:
        runs_dir.mkdir()
    with pytest.raises(CnnbenchError, match=r"no runs in .*runs: train a recipe first"):
        compare(runs_dir=runs_dir)
    with pytest.raises(CnnbenchError, match=r"no runs found: there is no plan\.json in nothing and"):
        compare([Path("nothing")], runs_dir=runs_dir)


def test_csv_and_table(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("x|y", [900, 910, 920]).add("z", [850, 851, 852])
    comparison = compare([tmp_path])
    rows = list(csv.DictReader(to_csv(comparison).splitlines()))
    assert [float(row["test_accuracy_mean"]) for row in rows] == pytest.approx([0.91, 0.851])
    columns, body = to_table(comparison)
    assert columns[:5] == ["variant", "seeds", "test accuracy (%)", "", "95 % interval"]
    assert body[0][:5] == ["x|y", "3", "91.0 ± 1.0", "★", "88.5 to 93.5"]
    assert body[1][2:4] == ["85.10 ± 0.10", ""]
    markdown = to_markdown(comparison)
    assert "| x\\|y | 3 | 91.0 ± 1.0 | ★ |" in markdown
    assert "★ the best mean" in markdown
    assert "## What this allows to say" in markdown


@pytest.mark.parametrize("suffix", [".json", ".csv", ".md"])
def test_save(tmp_path: Path, suffix: str) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900])
    file = tmp_path / "out" / f"table{suffix}"
    save(compare([tmp_path / "a"]), file)
    assert "x" in file.read_text(encoding="utf-8")
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_save_under_a_name_of_no_format(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900])
    with pytest.raises(CnnbenchError, match=r"must end in \.json, \.csv, \.md"):
        save(compare([tmp_path / "a"]), tmp_path / "table.xlsx")


def test_comparing_imports_no_torch(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("x", [900, 905]).add("y", [950, 955])
    code = (
        "import sys; from pathlib import Path; from cnnbench.comparison import compare;"
        "assert not {'numpy', 'scipy'} & set(sys.modules);"
        "from cnnbench.comparison.formats import to_markdown;"
        f"to_markdown(compare([Path({str(tmp_path)!r})]));"
        "assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_what_does_not_compare_is_not_tested(tmp_path: Path) -> None:
    RecipeRuns(tmp_path / "a").add("one", [900, 905]).add("two", [901, 904])
    one, two = compare([tmp_path]).rows
    assert why_apart(KNOWN["val_loss"], [one, two]) is None
    bce, dice = replace(one, loss='{"bce": 1.0}'), replace(two, loss='{"dice": 1.0}')
    assert why_apart(KNOWN["val_loss"], [bce, dice]) == "their losses are not the same measure (train.loss)"
    assert why_apart(KNOWN["val_gap"], [bce, dice]) is None
    assert why_apart(KNOWN["train_seconds"], [one, two]) is None
    elsewhere = replace(two, devices=frozenset({"NVIDIA H100"}))
    assert "times of these runs do not compare" in str(why_apart(KNOWN["train_seconds"], [one, elsewhere]))
    assert "the same device" in str(why_apart(KNOWN["peak_memory_mib"], [one, elsewhere]))


def test_times_on_other_devices_have_no_test(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("cpu", [900, 905, 903])
    runs.add("gpu", [901, 904, 903], device={"type": "cuda", "name": "NVIDIA H100"})
    comparison = compare([tmp_path], metric="train_seconds")
    assert comparison.pairs == []
    assert any("times of these runs do not compare" in problem for problem in comparison.problems)
    assert not any("Worse than" in line for line in conclusions(comparison))


def test_of_equal_means_the_cheaper_one_is_what_nothing_is_cheaper_than(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("small", [950, 952, 954], num_params=900, train_seconds=20.0)
    runs.add("fast", [954, 952, 950], train_seconds=10.0).add("bad", [500, 502, 501], train_seconds=15.0)
    (said,) = [line for line in conclusions(compare([tmp_path])) if line.startswith("Per second")]
    assert "no other variant is faster or more accurate than fast (but small may be as good)" in said


def test_runs_on_images_that_have_changed_since_are_not_tested(tmp_path: Path) -> None:
    """The settings are the same, and so are the classes of the test images; only the digest tells."""
    runs = RecipeRuns(tmp_path / "a").add("before", [900, 905], images={"digest": "00"})
    runs.add("after", [950, 951], images={"digest": "11"}).add("too", [952, 953], images={"digest": "11"})
    comparison = compare([tmp_path])
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [("after", "too")]
    (problem,) = comparison.problems
    assert "not all variants had the same test images (before; after, too)" in problem
    assert problem.endswith("the files of a data set have changed; train anew with --fresh")
    before, after, too = comparison.rows
    assert why_apart(KNOWN["test_loss"], [before, after]) == "they do not have the same images"
    assert why_apart(KNOWN["test_loss"], [after, too]) is None


def test_images_that_show_something_else_are_not_the_same(tmp_path: Path) -> None:
    """The same splits and classes; a run of an older version does not know what its images show."""
    one, other = ({"digest": "00", "pixels": pixels} for pixels in ("aa", "bb"))
    runs = RecipeRuns(tmp_path / "a").add("x", [900, 905], images=one).add("y", [950, 951], images=other)
    runs.add("z", [952, 953], images=other)
    comparison = compare([tmp_path])
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [("y", "z")]
    x, y, z = comparison.rows
    assert why_apart(KNOWN["test_loss"], [x, y]) == "they do not have the same images"
    assert why_apart(KNOWN["test_loss"], [y, z]) is None

    old = RecipeRuns(tmp_path / "b").add("old", [900, 905], images={"digest": "00"})
    old.add("new", [950, 951], images=one)
    assert [(pair.a, pair.b) for pair in compare([tmp_path / "b"]).pairs] == [("old", "new")]


def test_images_of_several_sizes_are_the_same_images(tmp_path: Path) -> None:
    """What they show at one size says nothing of what they show at another."""
    runs = RecipeRuns(tmp_path / "a")
    for name, size, pixels in (("small", 8, "aa"), ("large", 16, "bb")):
        config = {**CONFIG, "data": {**CONFIG["data"], "image_size": size}}
        runs.add(name, [900, 905], images={"digest": "00", "pixels": pixels}, config=config)
        runs.variants[-1]["config"] = config
    plan = json.loads((tmp_path / "a" / "plan.json").read_text())
    (tmp_path / "a" / "plan.json").write_text(json.dumps({**plan, "variants": runs.variants}))
    comparison = compare([tmp_path])
    assert [{pair.a, pair.b} for pair in comparison.pairs] == [{"small", "large"}]
    assert comparison.problems == []
    assert why_apart(KNOWN["test_loss"], comparison.rows) is None


def test_a_run_of_an_older_version_is_held_against_those_on_its_images(tmp_path: Path) -> None:
    """Not against what images of another digest show."""
    runs = RecipeRuns(tmp_path / "a").add("old", [900, 905], images={"digest": "00"})
    runs.add("new", [950, 951], images={"digest": "00", "pixels": "aa"})
    runs.add("other", [952, 953], images={"digest": "11", "pixels": "bb"})
    assert [{pair.a, pair.b} for pair in compare([tmp_path]).pairs] == [{"old", "new"}]


def test_seeds_whose_images_show_something_else_are_told(tmp_path: Path) -> None:
    """As of a plugin that draws its images anew in every process."""
    runs = RecipeRuns(tmp_path / "a").add("x", [900], images={"digest": "00", "pixels": "aa"})
    runs.add("y", [950, 951], images={"digest": "00", "pixels": "aa"})
    comparison = compare([tmp_path])
    assert len(comparison.pairs) == 1
    path = tmp_path / "a" / "y" / "seed1" / "result.json"
    path.write_text(path.read_text().replace('"aa"', '"bb"'))
    comparison = compare([tmp_path])
    assert comparison.pairs == []
    assert "the seeds of y had different test images, so it is not tested" in comparison.problems[0]


def test_runs_too_old_to_know_their_images_are_taken_for_the_same(tmp_path: Path) -> None:
    runs = RecipeRuns(tmp_path / "a").add("old", [900, 905]).add("new", [950, 951], images={"digest": "11"})
    comparison = compare([tmp_path])
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [("old", "new")]
    assert comparison.problems == []
    runs.add("newer", [950, 951], images={"digest": "22"})
    assert compare([tmp_path]).pairs == []
