"""Zero-shot figures held against counting by hand, on a network whose answers are known."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.opening import Opened
from cnnbench.analyses.zero_shot import ZeroShot, measure
from cnnbench.data.base import Dataset, Split
from cnnbench.data.loader import Loader
from cnnbench.imagenet import CIFAR10, cifar10_indices
from cnnbench.models.pretrained import Pretrained
from cnnbench.precision import Precision
from cnnbench.recipe import load_recipe
from cnnbench.recipe.config import DataConfig
from cnnbench.running import run_recipe
from cnnbench.runs import Run

FP32 = Precision("fp32", "cpu")
CPU = torch.device("cpu")
# (class of the image, ImageNet classes by falling logit, restricted top-1 and top-5, both over all)
CASES = [
    ("horse", [339], (1, 1, 1, 1)),  # a sorrel first
    ("horse", [0, 339], (1, 1, 0, 1)),  # a tench first: none of CIFAR-10's, so passed over where restricted
    ("horse", [0, 1, 2, 3, 4, 339], (1, 1, 0, 0)),  # five fishes first
    ("cat", [151, 152, 281], (0, 1, 0, 1)),  # two dogs before a tabby
    ("cat", [151, 152, 153, 154, 155, 281], (0, 0, 0, 0)),  # five dogs
    ("deer", [339, 151], (0, 0, 0, 0)),  # cannot be right
    ("ship", [0, 1, 2, 3, 833, 628], (1, 1, 0, 1)),
]


class Scripted(nn.Module):
    """Answers image i as CASES[i] says; the number i is the image's first byte."""

    head = "cifar10"
    indices = list(cifar10_indices().values())  # noqa: RUF012
    to_cifar10 = Pretrained.to_cifar10

    def network_logits(self, images: Tensor) -> Tensor:
        logits = torch.linspace(-1, -2, 1000).repeat(len(images), 1)
        for row, image in enumerate(images):
            order = CASES[int(image[0, 0, 0])][1]
            logits[row, order] = torch.linspace(10, 5, len(order)) if len(order) > 1 else torch.tensor([10.0])
        return logits


def scripted_loader(classes: tuple[str, ...] = CIFAR10) -> Loader:
    images = torch.zeros(len(CASES), 3, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(len(CASES))
    targets = torch.tensor([CIFAR10.index(name) for name, _, _ in CASES])
    split = Split(images, targets, torch.arange(len(CASES)))
    dataset = Dataset("scripted", classes, split, split, split, (0.5,) * 3, (0.5,) * 3)
    return Loader(dataset, DataConfig(name="scripted", batch_size=3), CPU, as_bytes=True)


def test_the_four_figures_by_hand(tmp_path: Path) -> None:
    hits = measure(Opened(Run(tmp_path / "a" / "seed0"), Scripted(), scripted_loader()), FP32)
    found = np.stack(list(hits.measures.values()), 1).astype(int).tolist()
    assert list(hits.measures) == ["top-1 restricted", "top-5 restricted", "top-1 of 1,000", "top-5 of 1,000"]
    assert [tuple(row) for row in found] == [case[2] for case in CASES]


def test_restricted_top1_is_what_the_model_predicts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Pretrained("torchvision/squeezenet1_1", (3, 8, 8), 10, head="cifar10", image_size=64).eval()
    images = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8)
    targets = torch.arange(40) % 10
    split = Split(images, targets, torch.arange(40))
    dataset = Dataset("some", CIFAR10, split, split, split, (0.5,) * 3, (0.5,) * 3)
    loader = Loader(dataset, DataConfig(name="some", batch_size=16), CPU, as_bytes=True)
    hits = measure(Opened(Run(tmp_path / "a" / "seed0"), model, loader), FP32)
    with torch.inference_mode():
        predicted = torch.cat([model(inputs).argmax(1) for inputs, _ in loader.eval_batches(split)])
    assert hits.measures["top-1 restricted"].tolist() == (predicted == targets).tolist()
    assert (hits.measures["top-5 restricted"] >= hits.measures["top-1 restricted"]).all()
    assert (hits.measures["top-1 restricted"] >= hits.measures["top-1 of 1,000"]).all()


@pytest.fixture
def pictured(make_run: Any, subject_from: Any, monkeypatch: pytest.MonkeyPatch) -> list[Figure | Table]:
    run = make_run("net", 0, [0.5])
    (run.path / "config.json").write_text(
        json.dumps({
            "recipe": "demo", "variant": "net", "seed": 0, "data": {"name": "cifar10"},
            "model": {"name": "torchvision/squeezenet1_1", "head": "cifar10"}, "train": {"epochs": 0},
        })
    )  # fmt: skip
    monkeypatch.setattr(Subject, "model", lambda *_, **__: Scripted())
    monkeypatch.setattr(Subject, "loader", lambda *_: scripted_loader())
    return list(ZeroShot().analyse(subject_from([run])))


def test_tables(pictured: list[Figure | Table]) -> None:
    _, overall, _, by_class = pictured
    assert isinstance(overall, Table)
    assert isinstance(by_class, Table)
    assert [list(row[:3]) for row in overall.rows] == [["net", "of mapped classes", 6], ["net", "all", 7]]
    # Restricted top-1: 4 of 6, Wilson's interval by its formula; 4 of 7 with the deer
    assert overall.rows[0][3] == "66.7 (30.0 to 90.3)"
    assert str(overall.rows[1][3]).startswith("57.1 ")
    assert str(overall.rows[0][5]).startswith("16.7 ")  # over all: 1 of 6
    rows = {str(row[1]): list(row) for row in by_class.rows}
    assert rows["deer"][2:] == ["unmappable", 1, None, None, None, None]
    assert rows["horse"][2:4] == [1, 3]
    assert str(rows["horse"][4]).startswith("100.0 ")
    assert rows["frog"][2:] == [3, 0, None, None, None, None]  # no such image here
    assert "Deer cannot be mapped" in overall.caption


def test_pictures(pictured: list[Figure | Table]) -> None:
    overall, _, by_class, _ = pictured
    assert isinstance(overall, Figure)
    assert isinstance(by_class, Figure)
    axes = overall.figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "top-1 restricted", "top-5 restricted", "top-1 of 1,000", "top-5 of 1,000",
    ]  # fmt: skip
    marks = [float(line.get_xdata()[0]) for line in axes.lines]
    assert marks == pytest.approx([400 / 6, 500 / 6, 100 / 6, 400 / 6])
    assert "deer" not in [text.get_text() for text in by_class.figure.axes[0].get_yticklabels()]


def test_other_models_are_left_out(any_subject: Subject) -> None:
    for item in ZeroShot().analyse(any_subject):
        assert isinstance(item, Table)
        assert "Not shown: " in item.caption


REAL = """
analyses = ["zero_shot"]
[data]
name = "imagenet_samples"
batch_size = 12
limit = 12
[train]
epochs = 0
precision = "fp32"
[[variants]]
name = "small"
model = {name = "torchvision/squeezenet1_1", head = "imagenet", weights = "squeezenet1_1_onnxzoo_tv.pth"}
"""


def test_a_real_network_through_a_whole_recipe(data_root: Path, tmp_path: Path) -> None:
    """Against torchvision's own preprocessing and network, from the files of the photographs on."""
    from PIL import Image
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    weights = data_root / "weights/squeezenet1_1_onnxzoo_tv.pth"
    if not weights.is_file():
        pytest.skip(f"there is no {weights}")
    file = tmp_path / "real.toml"
    file.write_text(REAL, encoding="utf-8")
    outcome = run_recipe(load_recipe(file), runs_dir=tmp_path / "runs", data_dir=data_root, device="cpu")
    with (outcome.directory / "tables/zero_shot.csv").open(encoding="utf-8") as table:
        (row,) = csv.DictReader(table)
    found = Run(outcome.directory / "small/seed0").predictions()
    assert (row["images"], row["number"], len(found["test_targets"])) == ("all", "12", 12)
    hits = (found["test_predictions"] == found["test_targets"]).mean()
    assert row["top-1 of 1,000"].startswith(f"{100 * hits:.1f} (")

    network = squeezenet1_1().eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    prepare = SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    by_class = {int(path.name[:3]): path for path in (data_root / "imagenet-samples").rglob("*.JPEG")}
    images = [prepare(Image.open(by_class[int(target)]).convert("RGB")) for target in found["test_targets"]]
    with torch.inference_mode():
        expected = network(torch.stack(images)).argmax(1)
    assert (expected.numpy() == found["test_predictions"]).sum() >= 11  # one borderline photograph may turn
