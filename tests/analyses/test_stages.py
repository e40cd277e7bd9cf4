"""The table over all stages: what was tried and taken, and which differences are real."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnbench.analyses.base import Figure, Stage, Subject, Table
from cnnbench.analyses.stage_entries import Entry, paired_test, typical_variances
from cnnbench.analyses.stages import Stages
from cnnbench.paired_tests import compare_predictions
from cnnbench.runs import Run
from cnnbench.statistics import Estimate, holm, typical_variance

MakeRun = Callable[..., Run]
NUM = 200


@pytest.fixture
def seen(make_run: MakeRun) -> Callable[..., Run]:
    """`seen(stage, variant, seed, wrong)`: a run that is wrong about these of 200 validation images."""

    def make(
        stage: str, variant: str, seed: int, wrong: range, data: str = "cifar10", **settings: Any
    ) -> Run:
        run = make_run(f"{stage}-{variant}", seed, [0.1, 0.5, 0.6], settings=settings)
        place = run.path.parents[2] / stage / variant / run.path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        run.path.rename(place)
        run = Run(place)
        targets = np.arange(NUM) % 10
        predictions = targets.copy()
        predictions[list(wrong)] = (predictions[list(wrong)] + 1) % 10
        np.savez_compressed(
            place / "predictions.npz",
            test_predictions=targets, test_targets=targets, val_predictions=predictions, val_targets=targets,
        )  # fmt: skip
        config = json.loads((place / "config.json").read_text())
        config["data"]["name"] = data
        (place / "config.json").write_text(json.dumps(config))
        result = json.loads((place / "result.json").read_text())
        result["metrics"] |= {
            "val_accuracy": 1 - len(wrong) / NUM,
            "train_accuracy": 0.95,
            "test_accuracy": 0.77,
        }
        (place / "result.json").write_text(json.dumps(result))
        return run

    return make


@pytest.fixture
def two_stages(seen: Callable[..., Run], subject_from: Callable[..., Subject]) -> Subject:
    first = [
        *(seen("first", "wide", seed, range(0, 60 + seed), widths=[8, 8]) for seed in range(3)),
        *(seen("first", "narrow", seed, range(0, 62 + seed), widths=[4, 4]) for seed in range(3)),
    ]
    last = [
        *(seen("last", "plain", seed, range(0, 60 + seed), activation="relu") for seed in range(3)),
        *(seen("last", "better", seed, range(0, 10 + seed), activation="gelu") for seed in range(3)),
    ]
    before = replace(subject_from(first), recipe="first")
    return replace(subject_from(last), recipe="last", stages=[Stage(before, ["narrow"])])


def outputs(subject: Subject) -> tuple[Figure, Table, Table]:
    figure, table, differences = Stages().analyse(subject)
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    assert isinstance(differences, Table)
    return figure, table, differences


def by_name(table: Table) -> dict[str, dict[str, Any]]:
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {f"{row['stage']}: {row['variant']}": row for row in rows}


def test_every_variant_of_every_stage_has_a_row(two_stages: Subject) -> None:
    _, table, _ = outputs(two_stages)
    rows = by_name(table)
    assert list(rows) == ["first: wide", "first: narrow", "last: plain", "last: better"]
    wide = rows["first: wide"]
    of_all = "stem = 3x3, stem_pool = false, widths = [{}, {}], blocks = [3, 3, 3], activation = {}"
    assert wide["configuration"] == of_all.format(8, 8, "relu")
    last = rows["last: better"]["configuration"]
    assert last.endswith("activation = gelu")
    assert "widths" in last, "what the variants of a stage share tells it from the other stages"
    assert wide["seeds"] == 3
    # 60, 61 and 62 of 200 are wrong: mean 69.5 %, deviation 0.5, Student's t 4.303 × 0.5 / √3 = 1.2
    assert wide["validation (%)"] == "69.5 ± 0.5"
    assert wide["95 % interval (%)"] == "68.3 to 70.7"
    assert wide["train (%)"] == "95.0"
    assert wide["train − validation (points)"] == "25.5"
    assert [rows[name][""] for name in rows] == [None, "taken", None, "best of the last stage, best of all"]
    assert [rows[name]["test (%)"] for name in rows] == [None, None, "77.0", "77.0"], "test is for the end"
    _, table, _ = outputs(replace(two_stages, judged_on="val"))
    assert {row["test (%)"] for row in by_name(table).values()} == {None}, "and this is not the end"


def test_differences_are_those_of_the_paired_test(two_stages: Subject) -> None:
    _, table, differences = outputs(two_stages)
    rows = [dict(zip(differences.columns, row, strict=True)) for row in differences.rows]
    assert [(row["one"], row["other"]) for row in rows] == [
        ("first: wide", "first: narrow"),
        ("last: better", "last: plain"),
        ("last: better", "first: narrow"),
    ]
    assert [row["verdict"] for row in rows] == ["may be noise", "real", "real"]

    def correct(start: int) -> np.ndarray[Any, Any]:
        return np.stack([np.arange(NUM) >= start + seed for seed in range(3)])

    pairs = [(60, 62), (10, 60), (10, 62)]
    tests = [compare_predictions(correct(one), correct(other)) for one, other in pairs]
    adjusted = holm([test.p_value for test in tests])
    assert rows[0]["p"] == f"{adjusted[0]:.3f}"
    assert rows[1]["difference (points)"] == f"{100 * tests[1].difference:+.1f}" == "+25.0"
    assert differences.caption.startswith("2 of 3 differences in validation accuracy are beyond the noise")
    assert (
        "Best by validation: last: better, 94.5 ± 0.5 %. It is better than each of the other 3 "
        "(corrected for 6 pairs)." in table.caption
    )


def test_signs_of_overfitting_are_stated_from_the_numbers(two_stages: Subject) -> None:
    for run in two_stages.variants()["plain"]:
        rows = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
        rows[1] |= {"val_loss": 1.0, "train_loss": 1.0}
        rows[2] |= {"val_loss": 1.2, "train_loss": 0.5}
        (run.path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, table, _ = outputs(two_stages)
    row = by_name(table)["last: plain"]
    assert (row["rise of validation loss (%)"], row["seeds that overfit"]) == ("20", "3 of 3")
    assert "Signs of overfitting: 1 of 4 variants" in table.caption
    assert "in more than half of their seeds: last: plain." in table.caption
    assert (
        "largest in first: narrow (26.5 points) and smallest in last: better (0.5 points)." in table.caption
    )


def test_other_validation_images_are_not_compared(
    seen: Callable[..., Run], subject_from: Callable[..., Subject]
) -> None:
    first = [seen("first", "a", 0, range(10), data="mnist")]
    last = [seen("last", "b", 0, range(20))]
    subject = replace(
        subject_from(last), recipe="last", stages=[Stage(replace(subject_from(first), recipe="first"), ["a"])]
    )
    _, table, differences = outputs(subject)
    assert differences.rows == [
        [
            "from stage to stage",
            "last: b",
            "first: a",
            None,
            None,
            None,
            "not tested: other validation images",
        ]
    ]
    assert "Not tested against it, for want of the same validation images: last: b." in table.caption


def test_any_subject(any_subject: Subject, tmp_path: Path) -> None:
    for item in Stages().analyse(any_subject):
        if isinstance(item, Figure):
            item.figure.savefig(tmp_path / "stages.png")
        else:
            assert all(len(row) == len(item.columns) for row in item.rows)


def test_the_same_runs_in_two_stages_are_said_to_be(
    seen: Callable[..., Run], subject_from: Callable[..., Subject]
) -> None:
    """A copy is no second measurement: it is not tested, and does not count among the tests."""
    first = [
        *(seen("first", "wide", seed, range(0, 70 + seed), widths=[8, 8]) for seed in range(3)),
        *(seen("first", "narrow", seed, range(0, 62 + seed), widths=[4, 4]) for seed in range(3)),
    ]
    last = [
        *(seen("last", "as-before", seed, range(0, 62 + seed), widths=[4, 4]) for seed in range(3)),
        *(seen("last", "worse", seed, range(0, 90 + seed), widths=[2, 2]) for seed in range(3)),
    ]
    for run in last[:3]:
        result = json.loads((run.path / "result.json").read_text())
        result["taken_from"] = f"first/narrow/seed{run.seed}"
        (run.path / "result.json").write_text(json.dumps(result))
    before = replace(subject_from(first), recipe="first")
    _, table, differences = outputs(
        replace(subject_from(last), recipe="last", stages=[Stage(before, ["narrow"])])
    )
    verdicts = {(row[1], row[2]): row[-1] for row in differences.rows}
    assert verdicts["last: as-before", "first: narrow"] == "the same runs"
    assert differences.caption.startswith("2 of 2 differences")
    assert "The same runs: last: as-before." in table.caption
    assert "for want of the same validation images" not in table.caption


def test_all_entries_of_the_same_images_tell_of_the_noise_of_seeds() -> None:
    def entry(variant: str, starts: list[int], images: bytes = b"0", sources: tuple[str, ...] = ()) -> Entry:
        correct = np.stack([np.arange(NUM) >= start for start in starts])
        estimate = Estimate(0.5, None, None, None, len(starts))
        return Entry(
            "s", variant, 0, "", False, True, None, None, estimate, None, None, ("d", images), correct, [], 0,
            sources or (variant,),
        )  # fmt: skip

    a, b, wide = entry("a", [20, 21]), entry("b", [40, 41]), entry("wide", [20, 60])
    twin, elsewhere = entry("twin", [20, 60], sources=("wide",)), entry("else", [0, 200], images=b"1")
    one, other, noisy = (
        np.stack([np.arange(NUM) >= at for at in of]) for of in ([20, 21], [40, 41], [20, 60])
    )
    expected = compare_predictions(one, other, typical=typical_variance([one, other, noisy]))
    assert expected.p_value > 2 * compare_predictions(one, other).p_value
    typical = typical_variances([a, b, wide, twin, elsewhere])
    assert paired_test(a, b, typical) == expected
    assert paired_test(wide, twin, typical) is None
    assert paired_test(a, elsewhere, typical) is None
