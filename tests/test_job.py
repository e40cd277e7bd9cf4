import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score

from cnnbench import training
from cnnbench.data import load_dataset
from cnnbench.data.base import Dataset
from cnnbench.data.loader import Loader
from cnnbench.errors import CnnbenchError
from cnnbench.evaluation import evaluate
from cnnbench.job import Damaged, JobEvent, OutOfMemoryError, Resumed, train_run
from cnnbench.models import build_model
from cnnbench.models.whitened_cnn import Whitening
from cnnbench.precision import Precision
from cnnbench.recipe.config import DataConfig, Named, RunConfig, TrainConfig
from cnnbench.runs import Run
from cnnbench.training import Epoch

CPU = torch.device("cpu")
DATA = DataConfig(name="synthetic", height=8, width=8, num_images=160, batch_size=32)
TIMED = {"train_seconds", "val_seconds", "wall_seconds", "images_per_second", "peak_memory_mib"}


def run_config(model: dict[str, Any] | None = None, **train: Any) -> RunConfig:
    return RunConfig(
        recipe="r",
        variant="v",
        seed=3,
        data=DATA,
        model=Named(**(model or {"name": "cnn", "widths": [8], "head": [], "dropout": 0.2})),
        train=TrainConfig(**({"epochs": 4, "lr": 1e-2, "precision": "fp32"} | train)),
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DATA, Path())  # 144 train, 16 val, 40 test


@pytest.fixture(scope="module")
def finished(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("uninterrupted") / "v" / "seed3")
    list(train_run(run, run_config(), dataset, CPU))
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "v" / "seed3")


def until_epoch(events: Iterator[JobEvent], epoch: int) -> list[JobEvent]:
    """The events up to an epoch's row; what comes after does not happen, as after an interrupt."""
    seen: list[JobEvent] = []
    for event in events:
        seen.append(event)
        if isinstance(event, Epoch) and event.epoch == epoch:
            break
    return seen


def learned(run: Run) -> list[dict[str, Any]]:
    """The history without times and memory."""
    return [{key: value for key, value in row.items() if key not in TIMED} for row in run.history()]


def assert_same(run: Run, other: Run) -> None:
    """Two runs are equal bit for bit in all but times and memory."""
    assert learned(run) == learned(other)
    assert run.probes() == other.probes()
    assert (run.path / "best.safetensors").read_bytes() == (other.path / "best.safetensors").read_bytes()
    for name, array in other.predictions().items():
        np.testing.assert_array_equal(run.predictions()[name], array, strict=True)
    results = [each.result() or {} for each in (run, other)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["best_epoch"] == results[1]["best_epoch"]


def test_every_row_is_on_disk_when_it_is_told(run: Run, dataset: Dataset) -> None:
    epochs = []
    for event in train_run(run, run_config(epochs=2), dataset, CPU):
        if isinstance(event, Epoch):
            epochs.append(event.epoch)
            assert [row["epoch"] for row in run.history()] == epochs
            assert [line["epoch"] for line in run.probes()] == epochs
            state, _ = run.load_state()
            assert state is not None
            assert [row["epoch"] for row in state["rows"]] == epochs
            assert run.result() is None
    assert epochs == [0, 1, 2]


def test_the_result_says_what_was_measured(finished: Run, dataset: Dataset) -> None:
    result = finished.result()
    assert result is not None
    fields = (
        "status message epochs sittings best_epoch metrics num_params macs train_seconds val_seconds "
        "latency_ms throughput peak_memory_mib precision device versions finished classes images leading"
    )
    assert sorted(result) == sorted(fields.split())
    assert (result["status"], result["message"], result["epochs"]) == ("complete", None, 4)
    assert result["num_params"] == 3 * 8 * 9 + 8 + 8 * 4 * 4 * 10 + 10
    assert result["macs"] == 3 * 8 * 9 * 64 + 8 * 4 * 4 * 10
    assert result["classes"] == list(dataset.classes)
    assert datetime.fromisoformat(result["finished"]).utcoffset() == timedelta(0)
    assert result["precision"] == "fp32"
    assert result["device"]["type"] == "cpu"
    assert result["device"]["threads"] >= 1
    assert {"python", "torch", "torchvision", "cnnbench", "numpy"} == result["versions"].keys()
    assert result["versions"]["torch"] == torch.__version__.partition("+")[0]
    history = finished.history()
    assert result["train_seconds"] == pytest.approx(sum(row["train_seconds"] for row in history))
    assert result["best_epoch"] == max(
        history, key=lambda row: (row["val_accuracy"], -row["val_loss"], -row["epoch"])
    )["epoch"]  # fmt: skip
    for name in ("latency_ms", "throughput", "peak_memory_mib", "val_seconds"):
        assert result[name] > 0


def test_a_model_is_fitted_to_a_batch_before_training_and_once(run: Run, dataset: Dataset) -> None:
    config = run_config({"name": "whitened_cnn", "widths": [4]}, epochs=2)
    until_epoch(train_run(run, config, dataset, CPU), 1)
    list(train_run(run, config, dataset, CPU))  # goes on
    expected = Whitening(3, 2)
    expected.fit(Loader(dataset, DATA, CPU).begin_inputs(3))
    kept = load_file(run.path / "best.safetensors")["whitening.weight"]
    torch.testing.assert_close(kept, expected.weight.detach(), rtol=0, atol=0)
    assert (run.result() or {})["sittings"] == 2
    row = run.history()[0]
    assert row["wall_seconds"] > row["val_seconds"] > 0


def test_loading_the_data_counts_as_time_of_the_run(run: Run, dataset: Dataset) -> None:
    list(train_run(run, run_config(epochs=1), dataset, CPU, load_seconds=1000.0))
    first, second = run.history()
    assert first["wall_seconds"] > 1000 > second["wall_seconds"] > second["train_seconds"]


def test_the_metrics_are_those_of_the_best_weights(finished: Run, dataset: Dataset) -> None:
    result = finished.result() or {}
    model = build_model(run_config().model, dataset.in_shape, dataset.num_classes)
    model.load_state_dict(load_file(finished.path / "best.safetensors"))
    loader = Loader(dataset, DATA, CPU)
    for split in ("train", "val", "test"):
        measured = evaluate(model, loader, getattr(dataset, split), Precision("fp32", "cpu"))
        assert result["metrics"][f"{split}_accuracy"] == measured.accuracy
        assert result["metrics"][f"{split}_loss"] == pytest.approx(measured.loss, rel=1e-5)
    best = finished.history()[result["best_epoch"]]
    assert result["metrics"]["val_accuracy"] == best["val_accuracy"]


def test_the_predictions_are_those_of_the_metrics(finished: Run, dataset: Dataset) -> None:
    arrays = finished.predictions()
    metrics = (finished.result() or {})["metrics"]
    for split in ("val", "test"):
        targets, predictions = arrays[f"{split}_targets"], arrays[f"{split}_predictions"]
        assert targets.tolist() == getattr(dataset, split).all_targets().tolist()
        assert metrics[f"{split}_accuracy"] == pytest.approx(accuracy_score(targets, predictions))


def test_no_epochs_is_a_result_too(run: Run, dataset: Dataset) -> None:
    list(train_run(run, run_config(epochs=0), dataset, CPU))
    result = run.result() or {}
    assert (result["status"], result["epochs"], result["best_epoch"]) == ("complete", 0, 0)
    assert len(run.history()) == 1


@pytest.mark.parametrize("epoch", [0, 1, 3, 4])
def test_an_interrupted_run_goes_on_and_ends_the_same(
    run: Run, finished: Run, dataset: Dataset, epoch: int
) -> None:
    until_epoch(train_run(run, run_config(), dataset, CPU), epoch)
    events = list(train_run(run, run_config(), dataset, CPU))
    assert events[0] == Resumed(epoch)
    assert [event.epoch for event in events if isinstance(event, Epoch)] == list(range(epoch + 1, 5))
    assert_same(run, finished)


def test_a_history_ahead_of_its_state_is_set_back(run: Run, finished: Run, dataset: Dataset) -> None:
    until_epoch(train_run(run, run_config(), dataset, CPU), 2)
    with (run.path / "history.jsonl").open("a") as file:  # killed after the row, before the state
        file.write(json.dumps({"epoch": 3}) + "\n" + '{"epo')
    list(train_run(run, run_config(), dataset, CPU))
    assert_same(run, finished)


def test_a_damaged_state_goes_back_one_epoch(run: Run, finished: Run, dataset: Dataset) -> None:
    until_epoch(train_run(run, run_config(), dataset, CPU), 3)
    state = run.path / "state.pt"
    state.write_bytes(state.read_bytes()[:-100])
    events = list(train_run(run, run_config(), dataset, CPU))
    assert events[:2] == [
        Damaged(f"{state} is damaged; going back to the state before it"),
        Resumed(2),
    ]
    assert_same(run, finished)


def test_two_damaged_states_start_anew(run: Run, finished: Run, dataset: Dataset) -> None:
    until_epoch(train_run(run, run_config(), dataset, CPU), 3)
    for path in run.path.glob("state*.pt"):
        path.write_bytes(b"")
    events = list(train_run(run, run_config(), dataset, CPU))
    assert [type(event) for event in events[:3]] == [Damaged, Damaged, Epoch]
    assert str(events[0]).count("is damaged; starting anew") == 1
    assert_same(run, finished)


@pytest.mark.parametrize(
    "other",
    [{"name": "mlp", "widths": [4]}, {"name": "cnn", "widths": [8, 8], "head": [], "dropout": 0.2}],
    ids=["another model", "other widths"],
)
def test_a_state_of_another_model_is_told_and_not_taken(
    run: Run, finished: Run, dataset: Dataset, other: dict[str, Any]
) -> None:
    until_epoch(train_run(run, run_config(other), dataset, CPU), 1)
    events = list(train_run(run, run_config(), dataset, CPU))
    assert isinstance(events[0], Damaged)
    assert "another model" in events[0].message
    assert "; starting anew, and what there was is kept in " in events[0].message
    assert (run.result() or {})["sittings"] == 1, "what was not gone on with is no interruption"
    assert_same(run, finished)


@pytest.mark.parametrize("missing", ["model", "optimizer", "rows", "best_weights"])
def test_a_state_with_parts_missing_is_told_and_not_taken(
    run: Run, finished: Run, dataset: Dataset, missing: str
) -> None:
    until_epoch(train_run(run, run_config(), dataset, CPU), 2)
    state, _ = run.load_state()
    assert state is not None
    run.save_state({name: value for name, value in state.items() if name != missing})
    events = list(train_run(run, run_config(), dataset, CPU))
    assert isinstance(events[0], Damaged)
    assert_same(run, finished)


def test_a_diverged_run_is_finished_with_its_step(run: Run, dataset: Dataset) -> None:
    list(train_run(run, run_config(optimizer="sgd", lr=1e30), dataset, CPU))
    result = run.result() or {}
    assert (result["status"], result["metrics"]) == ("diverged", {})
    assert "no longer finite at step " in result["message"]
    assert {path.name for path in run.path.iterdir()} == {
        "history.jsonl",
        "probes.jsonl",
        "result.json",
    }


def test_a_model_that_does_not_fit(run: Run, dataset: Dataset) -> None:
    wide = run_config({"name": "mlp", "widths": [10**13]})  # more than an address space holds
    message = r"^out of memory on cpu for the model alone; take a smaller one$"
    with pytest.raises(OutOfMemoryError, match=message) as caught:
        list(train_run(run, wide, dataset, CPU))
    assert isinstance(caught.value, CnnbenchError)
    assert run.result() is None


def test_out_of_memory_names_a_smaller_batch(
    run: Run, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate_val(*args: object) -> None:
        torch.empty(2**60)  # as too large a batch ends

    monkeypatch.setattr(training, "evaluate_val", evaluate_val)
    message = r"^out of memory on cpu at batch size 32; try --set data\.batch_size=16$"
    with pytest.raises(OutOfMemoryError, match=message):
        list(train_run(run, run_config(), dataset, CPU))
    assert run.result() is None


def test_a_run_begun_in_another_precision_starts_anew(run: Run, dataset: Dataset) -> None:
    until_epoch(train_run(run, run_config(), dataset, CPU), 2)
    events = list(train_run(run, run_config(precision="bf16"), dataset, CPU))
    said = next(event.message for event in events if isinstance(event, Damaged))
    assert 'precision "fp32" → "bf16"' in said
    (kept,) = (run.path.parent.parent / ".old").iterdir()  # two epochs that go on where they began
    assert f"starting anew, and what there was is kept in {kept}" in said
    assert {path.name for path in kept.iterdir()} >= {"history.jsonl", "state.pt"}
    assert len((kept / "history.jsonl").read_text().splitlines()) == 3
    assert not any(isinstance(event, Resumed) for event in events)
    assert [row["epoch"] for row in run.history()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("part", ["rows", "targets", "pixels"])
def test_a_run_begun_on_other_splits_starts_anew(run: Run, dataset: Dataset, part: str) -> None:
    """Else images it was trained on could stand in test now."""
    until_epoch(train_run(run, run_config(), dataset, CPU), 1)
    changed = dataset
    if part == "rows":
        train, val = dataset.train.rows.clone(), dataset.val.rows.clone()
        train[0], val[0] = dataset.val.rows[0], dataset.train.rows[0]
        changed = replace(
            dataset, train=replace(dataset.train, rows=train), val=replace(dataset.val, rows=val)
        )
    elif part == "targets":
        changed = replace(dataset, test=replace(dataset.test, targets=dataset.test.targets.flip(0)))
    else:
        images = dataset.test.images.clone()
        images[-1, 0, 0, 0] ^= 1
        changed = replace(dataset, test=replace(dataset.test, images=images))
    events = list(train_run(run, run_config(), changed, CPU))
    (damaged,) = [event for event in events if isinstance(event, Damaged)]
    assert f"other conditions ({'pixels' if part == 'pixels' else 'images'} " in damaged.message
    assert not any(isinstance(event, Resumed) for event in events)


def test_a_run_begun_before_pixels_were_known_goes_on(run: Run, dataset: Dataset) -> None:
    until_epoch(train_run(run, run_config(), dataset, CPU), 1)
    saved, _ = run.load_state()
    assert saved is not None
    assert saved["conditions"].pop("pixels") == dataset.pixels
    run.save_state(saved)
    events = list(train_run(run, run_config(), dataset, CPU))
    assert [event.epoch for event in events if isinstance(event, Resumed)] == [1]


def test_figures_are_of_the_weights_on_disk(
    run: Run, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file holds decides: with other weights in it, other figures come out."""
    original = Run.weights

    def biased_towards_class_2(self: Run) -> dict[str, torch.Tensor]:
        weights = original(self)
        weights["head.0.bias"][2] += 1000
        return weights

    monkeypatch.setattr(Run, "weights", biased_towards_class_2)
    list(train_run(run, run_config(epochs=1), dataset, CPU))
    assert set(run.predictions()["test_predictions"].tolist()) == {2}
    result = run.result()
    assert result is not None
    share = float((dataset.test.all_targets() == 2).float().mean())
    assert result["metrics"]["test_accuracy"] == pytest.approx(share)
