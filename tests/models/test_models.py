"""What all models share: the recipe's options build, train a step, and compute alike in bf16."""

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F

from cnnbench.models import build_model
from cnnbench.options import Activation, Attention, Conv, Norm, Pool
from cnnbench.recipe.config import Named

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"widths": [8, 6]},
    "cnn": {"widths": [4, 6], "head": [8]},
    "resnet": {"widths": [4, 8], "blocks": [1, 1]},
    "wide_resnet": {"depth": 10, "widen_factor": 1},
    "conv_stack": {"widths": [4, 6]},
    "whitened_cnn": {"widths": [4, 6]},
}
HAND_WRITTEN = {"conv": "scaled", "attention": "se", "activation": "swish_leaky"}
WITH_NORM = [name for name in SMALL if name != "conv_stack"]  # which has convolutions and activations alone
WITH_DROPOUT = [name for name in WITH_NORM if name != "whitened_cnn"]
OPTIONS = [
    *((name, "norm", value) for name in WITH_NORM for value in get_args(Norm)),
    *((name, "activation", value) for name in SMALL for value in get_args(Activation)),
    *((name, "conv", value) for name in ("cnn", "resnet") for value in get_args(Conv)),
    *((name, "attention", value) for name in ("cnn", "resnet") for value in get_args(Attention)),
    *(("cnn", "pool", value) for value in get_args(Pool)),
    *((name, "dropout", 0.5) for name in WITH_DROPOUT),
    ("mlp", "widths", [5]),
    ("cnn", "convs", 2),
    ("cnn", "convs", [1, 3]),
    ("cnn", "kernel_size", 1),
    ("cnn", "kernel_size", 5),
    ("cnn", "kernel_size", [5]),
    ("cnn", "head", []),
    ("cnn", "head", [7, 5]),
    ("cnn", "global_pool", True),
    ("conv_stack", "kernel_size", [5, 1]),
    ("conv_stack", "stride", [2, 1]),
    ("conv_stack", "padding", 0),
    ("conv_stack", "bias", False),
    ("conv_stack", "global_pool", True),
    ("conv_stack", "init", {"scheme": "he", "variance": {"layer2": "2 * layer1"}}),
    ("whitened_cnn", "convs", 1),
    ("whitened_cnn", "whitening", 1),
    ("whitened_cnn", "head_scale", 1.0),
    ("whitened_cnn", "mirror", True),
    ("resnet", "block", "bottleneck"),
    ("resnet", "stem", "7x7"),
    ("resnet", "stem", "deep"),
    ("resnet", "stem_pool", True),
]


@pytest.mark.parametrize(
    ("name", "option", "value"), OPTIONS, ids=[f"{name}-{option}={value}" for name, option, value in OPTIONS]
)
def test_each_option_builds_and_backpropagates(name: str, option: str, value: Any) -> None:
    torch.manual_seed(0)
    model = build_model(Named(name=name, **SMALL[name] | {option: value}), (2, 12, 11), 3)
    images = torch.randn(4, 2, 12, 11)
    untouched = images.clone()
    logits = model(images)
    assert logits.shape == (4, 3)
    assert torch.equal(images, untouched)  # activations in place must not reach the caller's images
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
    assert any(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_dropout_acts_in_training_only(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(Named(name=name, **SMALL[name], dropout=0.5), (2, 9, 8), 3)
    images = torch.randn(4, 2, 9, 8)
    model.eval()
    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_makes_the_weights(name: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model = build_model(Named(name=name, **SMALL[name]), (2, 9, 8), 3)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("mlp", {}, id="mlp"),
        pytest.param("mlp", {"norm": "layer"}, id="mlp layer norm"),
        pytest.param("cnn", {"norm": "batch"}, id="cnn"),
        pytest.param("cnn", {"norm": "layer", "global_pool": True}, id="cnn layer norm"),
        pytest.param("conv_stack", {}, id="conv_stack"),
        pytest.param("resnet", {}, id="resnet"),
        pytest.param("resnet", {"block": "bottleneck", "norm": "group"}, id="bottleneck group norm"),
        pytest.param("wide_resnet", {"depth": 10, "widen_factor": 2}, id="wide_resnet"),
        pytest.param("whitened_cnn", {"widths": [16, 32]}, id="whitened_cnn"),
        pytest.param("cnn", HAND_WRITTEN | {"pool": "lp", "norm": "batch"}, id="cnn of hand-written layers"),
        pytest.param("resnet", HAND_WRITTEN, id="resnet of hand-written layers"),
    ],
)
def test_bf16_and_channels_last_agree_with_fp32(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build_model(Named(name=name, **options), (3, 16, 16), 10)
    images = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        model(images)  # batch statistics away from their start values
        model.eval()
        expected = model(images)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        channels_last = images.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(model(channels_last), expected, atol=1e-4, rtol=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(channels_last.bfloat16())
    assert logits.dtype == torch.bfloat16
    # bf16 keeps 8 bits: 0.4 % a value, which a dozen layers in turn may multiply
    error = (logits.float() - expected).norm() / expected.norm()
    assert error < 0.04
    assert error > 0  # it did compute in bf16


@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_in_bf16_gives_finite_fp32_gradients(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(Named(name=name, **SMALL[name]), (2, 9, 8), 3)
    images = torch.randn(4, 2, 9, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images)
    F.cross_entropy(logits.float(), torch.tensor([0, 1, 2, 0])).backward()
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


def test_unknown_model_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="lenet"):
        build_model(Named(name="lenet"), (3, 8, 8), 10)


def test_a_plugin_file_adds_a_model(tmp_path: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "class Flat(nn.Sequential):\n"
        "    def __init__(self, in_shape, num_classes, *, bias: bool = True):\n"
        "        features = in_shape[0] * in_shape[1] * in_shape[2]\n"
        "        super().__init__(nn.Flatten(), nn.Linear(features, num_classes, bias))\n"
        'MODELS = {"flat": Flat}\n'
    )
    model = build_model(Named(name="flat", bias=False), (1, 2, 3), 4, [str(file)])
    assert sum(parameter.numel() for parameter in model.parameters()) == 24
