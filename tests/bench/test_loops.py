"""How many steps and epochs the loops make; nothing is timed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnbench.bench import loops
from cnnbench.data import load_dataset
from cnnbench.data.loader import Loader
from cnnbench.precision import choose_precision
from cnnbench.recipe.config import DataConfig, Named, ProgressiveResizing, RunConfig, TrainConfig

CPU = torch.device("cpu")
FP32 = choose_precision("fp32", CPU)
DATA = DataConfig(name="digits", limit=320, batch_size=32)  # 288 to train with: nine steps


def run_config(data: DataConfig = DATA, **train: Any) -> RunConfig:
    model = Named.model_validate({"name": "mlp", "widths": [4]})
    return RunConfig(recipe="r", variant="x", seed=0, data=data, model=model, train=TrainConfig(**train))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """The epoch and the size of every batch of training that is made."""
    made: list[tuple[int, int | None]] = []
    original = Loader.train_batches

    def counted(self: Loader, seed: int, epoch: int, size: int | None = None) -> Iterator[Any]:
        for batch in original(self, seed, epoch, size):
            made.append((epoch, size))
            yield batch

    monkeypatch.setattr(Loader, "train_batches", counted)
    return made


@pytest.mark.parametrize("num_steps", [1, 8, 9, 10, 30])
def test_data_alone_makes_as_many_batches_as_asked(num_steps: int, batches: list[Any]) -> None:
    config = run_config()
    measure = loops.data_alone(config, load_dataset(DATA, Path()), CPU, FP32)
    assert measure(num_steps) > 0
    assert len(batches) == num_steps
    assert batches[-1][0] == (num_steps + 8) // 9  # the epoch


@pytest.mark.parametrize(
    ("num_steps", "made"), [(4, [4]), (9, [9]), (27, [9] * 3), (30, [9] * 3), (34, [9] * 4)]
)
def test_the_whole_loop_makes_epochs(num_steps: int, made: list[int], batches: list[Any]) -> None:
    measure = loops.whole_loop(run_config(), load_dataset(DATA, Path()), CPU, FP32)
    for turn in range(2):
        batches.clear()
        assert measure(num_steps) > 0
        epochs = [epoch for epoch, _ in batches]
        first = 1 + turn * len(made)
        assert [epochs.count(first + index) for index in range(len(made))] == made
        assert len(epochs) == sum(made)


def test_images_of_a_batch_larger_than_the_data(batches: list[Any]) -> None:
    data = DATA.model_copy(update={"batch_size": 1000})
    dataset = load_dataset(data, Path())
    assert loops.data_alone(run_config(data), dataset, CPU, FP32)(2) > 0
    assert loops.whole_loop(run_config(data), dataset, CPU, FP32)(2) > 0
    assert [epoch for epoch, _ in batches] == [1, 2, 1, 2]  # each has one batch, of all images


def test_images_keep_their_size(batches: list[Any]) -> None:
    """Smaller ones in the first epochs would make a turn unlike another."""
    config = run_config(progressive_resizing=ProgressiveResizing(size=4, until=0.5))
    loops.whole_loop(config, load_dataset(DATA, Path()), CPU, FP32)(36)
    assert {size for _, size in batches} == {None}
    assert len({epoch for epoch, _ in batches}) == 4
