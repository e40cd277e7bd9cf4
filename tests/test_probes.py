"""The gradients of a probe: values by hand, and nothing of the model is changed."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cnnbench.data import load_dataset
from cnnbench.data.loader import Loader
from cnnbench.precision import choose_precision
from cnnbench.probes import gradients_by_layer, probe, probe_batch
from cnnbench.recipe.config import DataConfig

FP32 = choose_precision("fp32", torch.device("cpu"))


class Net(nn.Module):
    """A convolution with norm and dropout, and a head."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(rate)
        self.head = nn.Linear(4, 10)
        self.idle = nn.Linear(4, 4)  # never called

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.norm(self.conv(inputs)).mean((2, 3))))
        return logits


def test_the_gradient_of_a_linear_layer_is_the_one_by_hand() -> None:
    """With weight 0 the softmax is 1/2, so the gradient is (1/2 - y) x: here -x/2 and x/2 for x = (3, 4)."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    nn.init.zeros_(model[0].weight)
    found = gradients_by_layer(model, torch.tensor([[3.0, 4.0]]), torch.tensor([0]), FP32)
    assert found == {"0": {"norm": pytest.approx(math.sqrt(12.5)), "mean_abs": pytest.approx(1.75)}}


def test_nothing_of_the_model_changes() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, targets = torch.randn(8, 1, 6, 6), torch.arange(8)
    first = gradients_by_layer(model, inputs, targets, FP32)
    assert gradients_by_layer(model, inputs, targets, FP32) == first  # dropout draws nothing
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_layers_are_weights_of_convolutions_and_linear_layers_that_are_used() -> None:
    found = gradients_by_layer(Net(), torch.randn(8, 1, 6, 6), torch.arange(8), FP32)
    assert list(found) == ["conv", "head"]


def test_norms_use_the_statistics_of_the_batch() -> None:
    """As in training: with the running statistics of a fresh model a constant factor would be missing."""
    torch.manual_seed(0)
    model, inputs, targets = Net(rate=0.0), 100 * torch.randn(8, 1, 6, 6), torch.arange(8)
    found = gradients_by_layer(model.eval(), inputs, targets, FP32)
    loss = nn.functional.cross_entropy(model.train()(inputs), targets)
    (expected,) = torch.autograd.grad(loss, [model.conv.weight])
    assert found["conv"]["norm"] == pytest.approx(expected.norm().item(), rel=1e-5)


def test_a_gradient_that_is_not_finite_is_not_a_number() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    found = gradients_by_layer(model, torch.tensor([[math.inf, 0.0]]), torch.tensor([0]), FP32)
    assert found == {"0": {"norm": None, "mean_abs": None}}


def test_each_epoch_is_probed_on_the_same_images() -> None:
    config = DataConfig.model_validate({"name": "digits", "batch_size": 32})
    loader = Loader(load_dataset(config, Path("unused")), config, torch.device("cpu"))
    inputs, targets = probe_batch(loader)
    again, _ = probe_batch(loader)
    assert inputs.shape == (32, 1, 8, 8)
    assert len(targets.unique()) > 5  # not the first of a sorted split
    torch.testing.assert_close(inputs, again, rtol=0, atol=0)
    measured = probe(Net(), loader, FP32, epoch=4)
    assert measured["epoch"] == 4
    assert set(measured["gradients"]) == {"conv", "head"}
