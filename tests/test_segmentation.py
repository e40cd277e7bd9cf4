"""A recipe of masks from TOML to report: the history, the result, the table and the test are of IoU."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score

from cnnbench.analyses.base import Subject
from cnnbench.analyses.curves import MASKS_NOTE
from cnnbench.analyses.learning_curves import LearningCurves
from cnnbench.analyses.overfitting import Overfitting
from cnnbench.comparison import compare
from cnnbench.comparison.formats import to_csv, to_rows
from cnnbench.comparison.sentences import conclusions
from cnnbench.course import values_by_epoch
from cnnbench.data.datasets import Datasets
from cnnbench.errors import CnnbenchError
from cnnbench.plan import describe_plan
from cnnbench.recipe import load_recipe
from cnnbench.running import run_recipe
from cnnbench.running.events import Reported
from cnnbench.runs import Run

RECIPE = """
question = "Which?"
analyses = ["learning_curves", "accuracy_vs_cost", "confusion_matrix", "stability", "convergence",
            "overfitting", "per_class", "segmentation_examples", "gradient_flow", "layer_summary",
            "activations", "predicted_examples", "stages", "zero_shot"]
[data]
name = "lunar_synthetic"
num_images = 40
size = 16
batch_size = 10
augment = ["HorizontalFlip", {name = "Affine", rotate = [-10, 10]}]
[model]
name = "unet"
widths = [4, 6, 8]
[train]
epochs = 3
lr = 3e-3
[[variants]]
name = "bce"
train = {loss = "bce"}
[[variants]]
name = "both"  # by default bce and dice, half each
"""


def write(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "recipes/masks.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = tmp_path_factory.mktemp("masks")
    return run_recipe(load_recipe(write(folder)), runs_dir=folder / "runs", device="cpu")


@pytest.fixture(scope="module")
def run(outcome: Reported) -> Run:
    return Run(outcome.directory / "both/seed0")


def test_rows_have_the_measures_of_the_task(run: Run) -> None:
    first, *others = run.history()
    assert {"val_iou", "val_dice", "val_precision", "val_recall", "val_accuracy"} <= first.keys()
    assert "measure" not in first
    assert "train_iou" not in first
    assert all({"train_iou", "train_accuracy", "val_iou"} <= row.keys() for row in others)


def test_the_best_epoch_is_that_of_the_highest_iou(run: Run) -> None:
    result, rows = run.result(), run.history()
    assert result is not None
    assert rows[result["best_epoch"]]["val_iou"] == max(row["val_iou"] for row in rows)
    assert result["leading"] == "iou"


def test_the_result_is_what_scikit_learn_finds_in_the_stored_masks(run: Run) -> None:
    result, arrays = run.result(), run.predictions()
    assert result is not None
    for split in ("val", "test"):
        truth, found = arrays[f"{split}_targets"], arrays[f"{split}_predictions"]
        assert truth.shape == found.shape == (len(truth), 16, 16)
        flat = truth.ravel(), found.ravel()
        assert result["metrics"][f"{split}_iou"] == pytest.approx(jaccard_score(*flat, zero_division=0))
        assert result["metrics"][f"{split}_dice"] == pytest.approx(f1_score(*flat, zero_division=0))
        assert result["metrics"][f"{split}_accuracy"] == pytest.approx((flat[0] == flat[1]).mean())


@pytest.mark.parametrize("variant", ["bce", "both"])
def test_every_epoch_is_judged_at_its_own_best_threshold(outcome: Reported, variant: str) -> None:
    """That of the kept one is the result's; at one half less would be found."""
    run = Run(outcome.directory / variant / "seed0")
    result, arrays = run.result(), run.predictions()
    assert result is not None
    assert 0 < result["threshold"] < 1
    assert result["threshold"] != 0.5
    of_epoch = run.history()[result["best_epoch"]]
    for name in ("iou", "dice", "precision", "recall", "accuracy"):
        assert result["metrics"][f"val_{name}"] == pytest.approx(of_epoch[f"val_{name}"], abs=0.002), name
    share = arrays["val_targets"].mean()
    assert of_epoch["threshold"] == result["threshold"]
    assert of_epoch["val_iou"] >= share - 1e-9, "what finding every pixel would give"


def test_the_report_says_at_which_thresholds_curves_are(outcome: Reported) -> None:
    assert outcome.report is not None
    report = outcome.report.read_text(encoding="utf-8")
    assert report.count(MASKS_NOTE) == 3, "at the curves, and at the gap's picture and table"


def test_train_of_earlier_runs_was_at_one_half_and_is_left_out(outcome: Reported, tmp_path: Path) -> None:
    shutil.copytree(outcome.directory, tmp_path / "masks")
    for history in tmp_path.glob("masks/*/seed*/history.jsonl"):
        rows = [json.loads(line) for line in history.read_text().splitlines()]
        history.write_text(
            "".join(json.dumps({k: v for k, v in row.items() if k != "threshold"}) + "\n" for row in rows)
        )
    run = Run(tmp_path / "masks/both/seed0")
    assert values_by_epoch(run, "train_iou") == {}
    assert len(values_by_epoch(run, "train_loss")) == len(values_by_epoch(run, "val_iou")) - 1 > 0
    subject = Subject("masks", "Masks", [run], Datasets(Path("data")), torch.device("cpu"))
    texts = [part.caption for part in (*LearningCurves().analyse(subject), *Overfitting().analyse(subject))]
    assert "Train IoU is left out: train was measured at another threshold" in texts[0]
    assert sum("Of IoU there is no gap by epoch: train was measured" in text for text in texts) == 2


def test_the_report_says_what_is_in_each_split(run: Run, outcome: Reported) -> None:
    result, arrays = run.result() or {}, run.predictions()
    splits = result["images"]["splits"]
    assert {name: split["images"] for name, split in splits.items()} == {"train": 36, "val": 4, "test": 10}
    for name in ("val", "test"):
        assert splits[name]["share"] == pytest.approx(arrays[f"{name}_targets"].mean())
    text = (outcome.directory / "report.md").read_text(encoding="utf-8")
    share = 100 * splits["test"]["share"]
    assert f"| lunar_synthetic | test | 10 | {share:.1f} |" in text
    assert "Images of each split" in (outcome.directory / "report.html").read_text(encoding="utf-8")


def test_iou_leads_the_comparison(outcome: Reported) -> None:
    comparison = outcome.comparison
    assert comparison is not None
    assert comparison.metric.name == "test_iou"
    (pair,) = comparison.pairs
    assert pair.test.method == "paired t test over images, image noise only"
    assert "Highest test IoU" in conclusions(comparison)[0]
    row, _ = to_rows(comparison)
    assert row["test_dice"]["mean"] == pytest.approx(
        2 * row["test_iou"]["mean"] / (1 + row["test_iou"]["mean"])
    )
    assert row["test_iou"]["low"] < row["test_iou"]["mean"] < row["test_iou"]["high"]
    assert "test_iou_mean" in to_csv(comparison).splitlines()[0]


def test_another_metric_can_be_asked_for(outcome: Reported) -> None:
    assert compare([outcome.directory], metric="test_dice").metric.label == "test Dice"
    with pytest.raises(CnnbenchError, match='did you mean "test_iou"'):
        compare([outcome.directory], metric="test_iuo")


def test_masks_that_do_not_agree_with_the_result_do_not_count(outcome: Reported, tmp_path: Path) -> None:
    shutil.copytree(outcome.directory, tmp_path / "masks")
    path = tmp_path / "masks/both/seed0/predictions.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["test_predictions"] = 1 - arrays["test_predictions"]
    np.savez_compressed(path, **arrays)
    comparison = compare([tmp_path / "masks"])
    assert [row.num_seeds for row in comparison.rows] == [1, 0]
    assert "in result.json" in comparison.rows[1].problems[0]


def test_the_report_is_about_iou(outcome: Reported) -> None:
    assert outcome.report is not None
    text = outcome.report.read_text(encoding="utf-8")
    assert "test IoU (%)" in text
    assert "| test Dice (%) | test precision (%) | test recall (%) | test accuracy (%) |" in text
    assert "Test IoU against parameters" in text
    assert "how many pixels of the test images" in text
    assert "The threshold of the probability was chosen on validation" in text
    assert "validation accuracy" not in text.replace("train minus validation accuracy", "")


def test_a_run_that_is_there_is_reused(outcome: Reported, run: Run) -> None:
    before = (run.path / "result.json").read_bytes()
    recipe = load_recipe(outcome.directory.parents[1] / "recipes/masks.toml")
    run_recipe(recipe, runs_dir=outcome.directory.parent, device="cpu")
    assert (run.path / "result.json").read_bytes() == before


def test_resumed_training_is_the_same_training(outcome: Reported, run: Run, tmp_path: Path) -> None:
    import torch

    from cnnbench.data import load_dataset
    from cnnbench.job import train_run
    from cnnbench.recipe.config import RunConfig
    from cnnbench.training import Epoch

    config = RunConfig(**run.config())
    dataset = load_dataset(config.data, tmp_path)
    other = Run(tmp_path / "both/seed0")
    other.path.mkdir(parents=True)
    for event in train_run(other, config, dataset, torch.device("cpu")):
        if isinstance(event, Epoch) and event.epoch == 2:
            break
    list(train_run(other, config, dataset, torch.device("cpu")))
    mine, theirs = other.weights(), run.weights()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    timed = {"train_seconds", "val_seconds", "wall_seconds", "images_per_second", "peak_memory_mib"}
    for row, expected in zip(other.history(), run.history(), strict=True):
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in expected.items() if k not in timed
        }


def test_masks_and_classes_are_not_compared_by_one_measure(outcome: Reported, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "runs"
    shutil.copytree(outcome.directory, folder / "masks")
    text = '[data]\nname = "digits"\nlimit = 60\n[model]\nname = "mlp"\nwidths = [4]\n[train]\nepochs = 1\n'
    recipe = tmp_path / "recipes/classes.toml"
    recipe.parent.mkdir()
    recipe.write_text(text + '[[variants]]\nname = "mlp"\n')
    run_recipe(load_recipe(recipe).model_copy(update={"analyses": []}), runs_dir=folder, device="cpu")
    comparison = compare([folder])
    assert comparison.metric.name == "test_accuracy"
    assert any("accuracy is of pixels in masks" in problem for problem in comparison.problems)
    assert len(to_csv(comparison).splitlines()) == 4


CHANGES: dict[str, tuple[str, str, str]] = {
    "a classifier for masks": ('name = "unet"\nwidths', 'name = "cnn"\nwidths', "take one for segmentation"),
    "masks for a classifier": (
        'name = "lunar_synthetic"\nnum_images = 40\nsize = 16', 'name = "digits"', "the model puts out",
    ),
    "smoothed labels": ("lr = 3e-3", "label_smoothing = 0.1", "label_smoothing is for classification"),
    "too many levels": ("[4, 6, 8]", "[4, 6, 8, 8, 8, 8]", "6 levels halve an image 5 times"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_does_not_fit_is_said_before_training(change: tuple[str, str, str], tmp_path: Path) -> None:
    old, new, message = change
    assert old in RECIPE
    recipe = load_recipe(write(tmp_path, RECIPE.replace(old, new)))
    with pytest.raises(CnnbenchError, match=message) as raised:
        describe_plan(recipe, tmp_path)
    assert "variant 'bce'" in str(raised.value)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ('"dise"', 'unknown loss "dise"; expected "bce", "dice"'),
        ("{dise = 1.0}", 'unknown key "dise" in loss'),
        ("{bce = -1}", "expected a number of at least 0, found -1"),
        ("{bce = 0}", "a loss without weight"),
        ("3", "expected"),
    ],
)
def test_a_loss_that_is_none_is_shown_where_it_stands(loss: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE.replace('{loss = "bce"}', f"{{loss = {loss}}}"))
    with pytest.raises(CnnbenchError) as raised:
        load_recipe(path)
    text = str(raised.value)
    assert message in text
    assert f"{path}:20:" in text
    assert "^" in text


def test_the_schema_knows_losses() -> None:
    from cnnbench.recipe.schema import recipe_schema

    schema: Any = recipe_schema()
    assert json.loads(json.dumps(schema)) == schema
    (names, table) = schema["$defs"]["loss"]["anyOf"]
    assert names == {"enum": ["bce", "dice"]}
    assert sorted(table["properties"]) == ["bce", "dice"]


def test_no_model_is_taken_from_masks_by_the_accuracy_of_pixels(outcome: Reported) -> None:
    write_to = outcome.directory.parents[1]
    path = write_to / "recipes/next.toml"
    path.write_text(
        'data = "digits"\n[[variants]]\nname = "v"\nmodel = {best_of = "masks"}\n', encoding="utf-8"
    )
    with pytest.raises(CnnbenchError, match="accuracy, which in masks is that of pixels"):
        run_recipe(load_recipe(path), runs_dir=outcome.directory.parent, device="cpu")
