"""Costs by layer: published multiply-adds, hand-counted layers, limits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnbench import memory
from cnnbench.errors import CnnbenchError
from cnnbench.models.summary import Layer, Summary, check_limits, count_params, summarize, summarize_config
from cnnbench.models.tuning import Tuning
from cnnbench.recipe.config import Limits, Named


class Twice(nn.Module):
    """One linear layer called twice in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.last = nn.Linear(6, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.last(self.shared(self.shared(inputs.flatten(1))))
        return logits


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # the figures the models' documentation gives
        pytest.param("resnet50", 4.09e9, id="ResNet-50"),
        pytest.param("resnet18", 1.814e9, id="ResNet-18"),
        pytest.param("vgg16", 15.47e9, id="VGG16"),
    ],
)
def test_multiply_adds_of_torchvision_models(name: str, expected: float) -> None:
    from torchvision import models

    with torch.device("meta"):
        summary = summarize(getattr(models, name)(weights=None), (3, 224, 224))
    assert summary.macs == pytest.approx(expected, rel=0.001)
    assert summary.output_shape == (1000,)
    assert sum(layer.macs for layer in summary.layers) == summary.macs
    assert sum(layer.num_params for layer in summary.layers) == summary.num_params


def test_layers_of_a_cnn_by_hand() -> None:
    summary = summarize_config(Named(name="cnn", widths=[32, 64]), (1, 28, 28), 10)
    rows = [(row.kind, row.output_shape, row.num_params, row.macs) for row in summary.layers]
    assert rows == [
        ("Conv2d", (32, 28, 28), 320, 28 * 28 * 32 * 9),
        ("ReLU", (32, 28, 28), 0, 0),
        ("MaxPool2d", (32, 14, 14), 0, 0),
        ("Conv2d", (64, 14, 14), 18_496, 14 * 14 * 64 * 32 * 9),
        ("ReLU", (64, 14, 14), 0, 0),
        ("MaxPool2d", (64, 7, 7), 0, 0),
        ("Linear", (128,), 401_536, 3136 * 128),
        ("ReLU", (128,), 0, 0),
        ("Linear", (10,), 1_290, 1280),
    ]
    assert (summary.num_params, summary.macs) == (421_642, 4_241_152)
    assert summary.output_shape == (10,)


@pytest.mark.parametrize(
    ("config", "in_shape", "num_params", "macs"),
    [
        # 784×256 + 256×128 + 128×10
        pytest.param(Named(name="mlp"), (1, 28, 28), 235_146, 234_752, id="mlp"),
        # the paper's 40.6 M without the two 1×1 shortcuts' 2 × 131,072
        pytest.param(Named(name="resnet"), (3, 32, 32), 272_474, 40_813_184, id="ResNet-20"),
        pytest.param(Named(name="wide_resnet"), (3, 32, 32), 2_748_890, None, id="WRN-16-4"),
        pytest.param(Named(name="resnet", block="bottleneck"), (3, 32, 32), None, None, id="bottleneck"),
    ],
)
def test_totals_are_the_sums_of_the_layers(
    config: Named, in_shape: tuple[int, int, int], num_params: int | None, macs: int | None
) -> None:
    summary = summarize_config(config, in_shape, 10)
    assert sum(layer.num_params for layer in summary.layers) == summary.num_params
    assert sum(layer.macs for layer in summary.layers) == summary.macs
    assert num_params is None or summary.num_params == num_params
    assert macs is None or summary.macs == macs
    assert len({layer.name for layer in summary.layers if layer.num_params}) == sum(
        1 for layer in summary.layers if layer.num_params
    )


def test_a_module_called_twice_owns_its_parameters_once() -> None:
    summary = summarize(Twice(), (1, 2, 3))
    assert [(row.name, row.num_params, row.macs) for row in summary.layers] == [
        ("shared", 42, 36),
        ("shared", 0, 36),
        ("last", 14, 12),
    ]
    assert (summary.num_params, summary.macs) == (56, 84)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_summarize_leaves_the_model_as_it_was(training: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(2, 3, 5, 5))
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = summarize(model, (3, 5, 5)), summarize(model, (3, 5, 5))
    assert first == second  # no hooks are left that would count a layer twice
    assert model.training is training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_model_that_fails_keeps_no_hooks() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(RuntimeError, match="shape"):
        summarize(model, (1, 1, 3))
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks


def test_a_model_larger_than_the_machine_takes_no_memory() -> None:
    memory.reset_peak(torch.device("cpu"))
    before = memory.peak_mib(torch.device("cpu"))
    summary = summarize_config(Named(name="mlp", widths=[1_000_000, 1_000_000]), (1, 10, 10), 10)
    # 101 × 10^6, (10^6 + 1) × 10^6 and 10 × (10^6 + 1) parameters: 4 TB
    assert summary.num_params == 101_000_000 + 1_000_001_000_000 + 10_000_010
    assert memory.peak_mib(torch.device("cpu")) - before < 32


SUMMARY = Summary(
    [
        Layer("stem", "Conv2d", (16, 8, 8), 400, 25_000),
        Layer("wide", "Conv2d", (2048, 8, 8), 300, 19_000),
        Layer("hidden", "Linear", (5000,), 1_200_000, 9_000),
    ],
    (10,),
    1_200_700,
    53_000,
    1_200_700,
    Tuning(),
)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        pytest.param(
            {"max_params": 1_200_699},
            r"1,200,700 parameters exceed max_params = 1,200,699; layer hidden \(Linear\) passes the limit, "
            r"at 1,200,700; the largest layers are hidden \(Linear\) with 1,200,000, ",
            id="max_params",
        ),
        pytest.param(
            {"max_macs": 52_999},
            r"53,000 multiply-adds exceed max_macs = 52,999; layer .* passes the limit, at 53,000; the "
            r"costliest layers are stem \(Conv2d\) with 25,000, ",
            id="max_macs",
        ),
        pytest.param(
            {"max_channels": 2047},
            r"layer wide \(Conv2d\) has 2,048 channels, more than max_channels = 2,047",
            id="max_channels",
        ),
        pytest.param(
            {"max_params": 1_200_700, "max_macs": 53_000, "max_channels": 2048}, None, id="just met"
        ),
        pytest.param({}, None, id="no limits"),
    ],
)
def test_check_limits(limits: dict[str, Any], said: str | None) -> None:
    if said is None:
        check_limits(SUMMARY, Limits(**limits))
    else:
        with pytest.raises(CnnbenchError, match=said):
            check_limits(SUMMARY, Limits(**limits))


class Attention(nn.Module):
    """A class token and an attention layer, whose own weights belong to no module without children."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(inputs), -1, -1), inputs.flatten(2).transpose(1, 2)], dim=1)
        logits: Tensor = self.head(self.attention(tokens, tokens, tokens)[0][:, 0])
        return logits


def test_rows_add_up_where_modules_with_children_compute_themselves() -> None:
    summary = summarize(Attention(), (8, 2, 2))
    assert summary.num_params == sum(layer.num_params for layer in summary.layers)
    assert summary.macs == sum(layer.macs for layer in summary.layers)
    own = next(layer for layer in summary.layers if layer.name == "attention")
    # projections in and out: (3 + 1) * 8 * 8 weights and (3 + 1) * 8 biases
    assert own.num_params == 288


@pytest.mark.parametrize(
    ("config", "num_params"),
    [
        pytest.param(Named(name="mlp", widths=[8]), 24_674, id="mlp"),  # type: ignore[call-arg]
        # the batch norms of ResNet-20, and its option B shortcuts, included
        pytest.param(Named(name="resnet"), 272_474, id="ResNet-20"),
        pytest.param(Named(name="wide_resnet"), 2_748_890, id="WRN-16-4"),
    ],
)
def test_parameters_alone(config: Named, num_params: int) -> None:
    before = torch.random.get_rng_state()
    assert count_params(config, (3, 32, 32), 10) == num_params
    assert torch.equal(before, torch.random.get_rng_state())


def test_parameters_alone_of_a_lazy_model_and_of_one_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from torch import nn\n"
        "class Lazy(nn.Sequential):\n"
        "    def __init__(self, in_shape, num_classes):\n"
        "        super().__init__(nn.Flatten(), nn.LazyLinear(7), nn.LazyLinear(num_classes))\n"
        "class Failing(nn.Module):\n"
        "    def __init__(self, in_shape, num_classes):\n"
        "        raise RuntimeError('not today\\nnor tomorrow')\n"
        'MODELS = {"lazy": Lazy, "failing": Failing}\n',
        encoding="utf-8",
    )
    # 12 × 7 + 7, 7 × 2 + 2
    assert count_params(Named(name="lazy"), (3, 2, 2), 2, [str(file)]) == 107
    with pytest.raises(
        CnnbenchError, match=r"own\.py:Failing fails on .* of 3×2×2: RuntimeError: not today \(line 7\)$"
    ):
        count_params(Named(name="failing"), (3, 2, 2), 2, [str(file)])


class Tokens(nn.Module):
    """A row of pixels as tokens, through a layer over sequences, and a head."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.layer(inputs.flatten(2).permute(2, 0, 1))
        tokens: Tensor = found[0] if isinstance(found, tuple) else found
        logits: Tensor = self.head(tokens.mean(0))
        return logits


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        # 6 tokens of 8: query, key, value and output of 8², twice 6 · 8 for the scores, two layers of 8 · 16
        pytest.param(nn.TransformerEncoderLayer(8, 2, 16), 6 * (4 * 64 + 2 * 48 + 2 * 128), id="attention"),
        # four gates, of the input and of the state
        pytest.param(nn.LSTM(8, 8), 6 * 4 * 8 * 16, id="LSTM"),
    ],
)
def test_fused_layers_are_counted(layer: nn.Module, macs: int) -> None:
    assert summarize(Tokens(layer), (8, 2, 3)).macs == macs + 16
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mkldnn.enabled
