"""Evaluation against a plain loop and scikit-learn; thresholds of masks, chosen on validation alone."""

import copy
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score
from torch import Tensor, nn

from cnnbench.data import load_dataset
from cnnbench.data.base import Dataset, Split
from cnnbench.data.loader import Loader
from cnnbench.evaluation import evaluate, evaluate_val
from cnnbench.precision import Precision
from cnnbench.recipe.config import DataConfig, Named, TrainConfig
from cnnbench.tasks import Segmentation, make_task

CPU = torch.device("cpu")
FP32 = Precision("fp32", "cpu")
ALWAYS_FLIPPED = [Named(name="HorizontalFlip", p=1.0)]  # so that augmenting could not be missed
DATA = DataConfig(name="synthetic", height=8, width=8, num_images=320, batch_size=32)
SEGMENTATION = make_task("segmentation", TrainConfig())


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DATA, Path())  # 288 train, 32 val, 80 test, 10 classes


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_evaluate_is_a_plain_loop(dataset: Dataset, split: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8 * 36, 10))
    loader = Loader(dataset, DATA.model_copy(update={"augment": ALWAYS_FLIPPED}), CPU)
    rows = getattr(dataset, split)
    measured = evaluate(model, loader, rows, FP32)
    losses, predictions = [], []
    model.eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (dataset.mean, dataset.std))
    with torch.no_grad():
        for number in rows.rows:
            logits = model(((rows.images[number] / 255 - mean) / std)[None])
            losses.append(-logits.log_softmax(1)[0, rows.targets[number]].item())
            predictions.append(int(logits.argmax()))
    targets = rows.targets[rows.rows]
    assert measured.loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert measured.predictions.tolist() == predictions
    assert measured.targets.tolist() == targets.tolist()
    assert measured.accuracy == pytest.approx(accuracy_score(targets, predictions))


def test_evaluation_leaves_the_model_as_it_was(dataset: Dataset) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(192, 10))
    loader = Loader(dataset, DATA, CPU)
    before = copy.deepcopy(model.state_dict())
    first, second = (evaluate(model, loader, dataset.val, FP32) for _ in range(2))
    assert first.loss == second.loss
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Brightness(nn.Module):
    """Says of every pixel that it is rock with the probability of its brightness."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, :1].clamp(1e-3, 1 - 1e-3).logit()


@pytest.fixture
def masks() -> Loader:
    """Rock is what is brighter than 0.3 on validation, than 0.8 on train, and the dark on test."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8, generator=generator)
    shares = images[:, 0].float() / 255
    masks = {"train": shares[:20] >= 0.8, "val": shares[20:40] >= 0.3, "test": shares[40:] < 0.5}
    splits = {
        name: Split(images[start : start + 20], masks[name].to(torch.uint8), torch.arange(20))
        for start, name in ((0, "train"), (20, "val"), (40, "test"))
    }
    dataset = Dataset(
        "masks", ("ground", "rock"), splits["train"], splits["val"], splits["test"], (0.5,), (0.25,)
    )
    return Loader(dataset, DataConfig(name="masks", batch_size=5, normalize=False), CPU)


def test_the_threshold_is_chosen_on_validation_and_nothing_else(masks: Loader) -> None:
    chosen, _ = evaluate_val(Brightness(), masks, FP32, SEGMENTATION)
    assert isinstance(chosen, Segmentation)
    assert chosen.threshold == pytest.approx(0.3, abs=0.01)


def test_an_epoch_is_judged_as_the_end_is(masks: Loader) -> None:
    """In one pass over validation: the same as choosing a threshold in one and measuring in another."""
    task, found = evaluate_val(Brightness(), masks, FP32, SEGMENTATION)
    expected = evaluate(Brightness(), masks, masks.dataset.val, FP32, task)
    assert (found.loss, found.measures) == (expected.loss, expected.measures)
    assert found.measures["iou"] > 0.98
    assert evaluate(Brightness(), masks, masks.dataset.val, FP32, SEGMENTATION).measures["iou"] < 0.75
