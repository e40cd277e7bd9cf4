"""Finished runs as training would leave them, made from a few numbers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cnnbench.analyses.base import Subject
from cnnbench.data import load_dataset
from cnnbench.data.datasets import Datasets
from cnnbench.models import build_model
from cnnbench.recipe.config import DataConfig, Named
from cnnbench.runs import Run

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_run(
    path: Path,
    val_accuracies: Sequence[float | None],
    *,
    status: str = "complete",
    message: str | None = None,
    num_params: int = 272_474,
    macs: int | None = 40_800_000,
    train_seconds: float | None = 182.0,
    classes: Sequence[str] = CLASSES,
    num_test: int = 200,
    device: str = "Some CPU",
    settings: dict[str, Any] | None = None,
) -> Run:
    """Writes a run; `val_accuracies[0]` is the untrained model's, test accuracy is about the last."""
    path.mkdir(parents=True)
    seed = int(path.name.removeprefix("seed"))
    config = {
        "recipe": path.parent.parent.name,
        "variant": path.parent.name,
        "seed": seed,
        "data": {"name": "cifar10", "batch_size": 128},
        "model": {"name": "resnet", **(settings or {})},
        "train": {"epochs": len(val_accuracies) - 1, "lr": 0.1},
    }
    (path / "config.json").write_text(json.dumps(config))
    rows = []
    for epoch, accuracy in enumerate(val_accuracies):
        train = None if accuracy is None or epoch == 0 else min(0.999, accuracy + 0.01 * (epoch - 3))
        rows.append(
            {
                "epoch": epoch,
                "step": 352 * epoch,
                "lr": 0.1 if epoch else None,
                "train_loss": None if train is None else -2.3 * np.log(max(train, 0.1)) / 2,
                "train_accuracy": train,
                "val_loss": None if accuracy is None else -2.3 * np.log(max(accuracy, 0.1)) / 2,
                "val_accuracy": accuracy,
                "num_images": 45_000,
                "train_seconds": 20.0 if epoch else None,
                "val_seconds": 1.0,
                "images_per_second": 1300.0 if epoch else None,
                "peak_memory_mib": 900.0,
                "wall_seconds": 22.5 if epoch else 3.0,
            }
        )
    (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rng = np.random.default_rng([seed, *path.parent.name.encode()])
    known = [value for value in val_accuracies if value is not None]
    final = known[-1] if known else 0.1
    metrics: dict[str, float | None] = dict.fromkeys(
        ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy")
    )
    if status == "complete":
        targets = np.arange(num_test) % len(classes)
        near = (targets + rng.choice([1, 2, -1, 4], size=num_test)) % len(classes)
        predictions = np.where(rng.random(num_test) > final, near, targets)
        np.savez_compressed(
            path / "predictions.npz",
            test_predictions=predictions, test_targets=targets,
            val_predictions=predictions, val_targets=targets,
        )  # fmt: skip
        accuracy = float((predictions == targets).mean())
        metrics = {
            "train_loss": 0.2, "train_accuracy": min(1.0, accuracy + 0.03), "val_loss": 0.4,
            "val_accuracy": accuracy, "test_loss": 0.4, "test_accuracy": accuracy,
        }  # fmt: skip
    best = max(range(len(val_accuracies)), key=lambda epoch: val_accuracies[epoch] or 0.0)
    result = {
        "status": status,
        "message": message,
        "epochs": len(val_accuracies) - 1,
        "best_epoch": best if status == "complete" else None,
        "metrics": metrics,
        "classes": list(classes),
        "num_params": num_params,
        "macs": macs,
        "train_seconds": train_seconds,
        "val_seconds": 8.0,
        "latency_ms": 2.5,
        "throughput": 4000.0,
        "peak_memory_mib": 900.0,
        "precision": "bf16",
        "device": {"type": "cpu", "name": device, "threads": 2},
        "versions": {"cnnbench": "0.1.0", "torch": "2.15.0"},
    }
    (path / "result.json").write_text(json.dumps(result))
    return Run(path)


def rising(num_epochs: int, top: float, seed: int = 0, noise: float = 0.02) -> list[float]:
    """Validation accuracies from chance towards `top`, with jumps."""
    rng = np.random.default_rng([seed, round(1000 * top)])
    epochs = np.arange(num_epochs + 1)
    curve = 0.1 + (top - 0.1) * (1 - np.exp(-3.5 * epochs / max(num_epochs, 1)))
    curve[1:] += rng.normal(0, noise, num_epochs)
    return [float(value) for value in np.clip(curve, 0, 1)]


def subject_of(runs: Sequence[Run]) -> Subject:
    """The runs as an analysis receives them."""
    return Subject("demo", "Demo", list(runs), Datasets(Path("data")), torch.device("cpu"))


MakeRun = Callable[..., Run]


@pytest.fixture
def subject_from() -> Callable[[Sequence[Run]], Subject]:
    """`subject_from(runs)` for runs made one by one."""
    return subject_of


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(variant, seed, val_accuracies, **options)` writes a run under runs/demo."""

    def make(variant: str, seed: int, val_accuracies: Sequence[float | None], **options: Any) -> Run:
        return write_run(tmp_path / "runs" / "demo" / variant / f"seed{seed}", val_accuracies, **options)

    return make


@pytest.fixture
def model_run(make_run: MakeRun) -> MakeRun:
    """`model_run(variant, model, data, seed=0)` writes a run with such a model's weights, not trained."""

    def make(
        variant: str,
        model: dict[str, Any],
        data: dict[str, Any] | None = None,
        *,
        seed: int = 0,
        **options: Any,
    ) -> Run:
        run = make_run(variant, seed, rising(3, 0.8), **options)
        data = data or {"name": "digits"}
        config = run.config() | {"data": data, "model": model}
        (run.path / "config.json").write_text(json.dumps(config))
        dataset = load_dataset(DataConfig(**data), Path())
        torch.manual_seed(seed)
        built = build_model(Named(**model), dataset.in_shape, dataset.num_classes)
        save_file(built.state_dict(), run.path / "best.safetensors")
        return run

    return make


def _several(make: MakeRun) -> list[Run]:
    return [
        make(name, seed, rising(8, top, seed)) for name, top in (("a", 0.8), ("b", 0.9)) for seed in range(3)
    ]


def _twelve(make: MakeRun) -> list[Run]:
    names = [f"a-very-long-variant-name-number-{i}-with-many-options" for i in range(12)]
    return [make(name, 0, rising(5, 0.7), num_params=1000 * (i + 1)) for i, name in enumerate(names)]


def _one_diverged(make: MakeRun) -> list[Run]:
    lost = make("a", 1, [0.1, 0.2], status="diverged", message="loss is not finite at step 400")
    return [make("a", 0, rising(8, 0.8)), lost, make("b", 0, rising(8, 0.8))]


CASES: dict[str, Callable[[MakeRun], list[Run]]] = {
    "several seeds": _several,
    "one variant": lambda make: [make("a", 0, rising(8, 0.8))],
    "one epoch": lambda make: [make("a", seed, rising(1, 0.8, seed)) for seed in range(2)],
    "no epoch": lambda make: [make("a", 0, [0.1]), make("b", 0, [0.12])],
    "one diverged": _one_diverged,
    "all diverged": lambda make: [
        make("a", s, [0.1, 0.2], status="diverged", message="lost") for s in range(2)
    ],
    "missing values": lambda make: [
        make("a", 0, [0.1, None, 0.3, None, 0.5], macs=None, train_seconds=None),
        make("b", 0, [None, None]),
    ],
    "early stop": lambda make: [
        make("a", 0, rising(8, 0.8)),
        make("a", 1, rising(5, 0.8)),
        make("b", 0, rising(3, 0.7)),
    ],
    "twelve long names": _twelve,
}


@pytest.fixture(params=CASES, ids=str)
def any_subject(request: pytest.FixtureRequest, make_run: MakeRun) -> Subject:
    """Every kind of subject an analysis has to cope with."""
    return subject_of(CASES[request.param](make_run))


@pytest.fixture
def subject(make_run: MakeRun) -> Callable[..., Subject]:
    """`subject({"basic": [accuracies of seed 0, of seed 1]}, **options)`."""

    def make(
        variants: dict[str, list[Sequence[float | None]]], classes: Sequence[str] = CLASSES, **options: Any
    ) -> Subject:
        runs = [
            make_run(name, seed, accuracies, classes=classes, **options)
            for name, seeds in variants.items()
            for seed, accuracies in enumerate(seeds)
        ]
        return subject_of(runs)

    return make
