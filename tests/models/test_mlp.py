"""The fully connected network's shape and size."""

import pytest
import torch
from torch import nn

from cnnbench.models.mlp import MLP


@pytest.mark.parametrize(
    ("in_shape", "widths", "norm", "expected"),
    [
        # 784 × 256 + 256, 256 × 128 + 128, 128 × 10 + 10
        pytest.param((1, 28, 28), [256, 128], "none", 235_146, id="MNIST"),
        # 3,072 × 4 + 4, 4 × 10 + 10
        pytest.param((3, 32, 32), [4], "none", 12_342, id="one layer"),
        # the same and a scale and a shift for each of 4
        pytest.param((3, 32, 32), [4], "batch", 12_350, id="batch norm"),
        pytest.param((3, 32, 32), [4], "layer", 12_350, id="layer norm"),
    ],
)
def test_num_params(in_shape: tuple[int, int, int], widths: list[int], norm: str, expected: int) -> None:
    model = MLP(in_shape, 10, widths=widths, norm=norm)  # type: ignore[arg-type]
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_order_of_layers() -> None:
    model = MLP((1, 2, 2), 3, widths=[5, 6], norm="batch", activation="tanh", dropout=0.1)
    kinds = [type(layer) for layer in model.hidden]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout] * 2
    assert (model.head.in_features, model.head.out_features) == (6, 3)


def test_forward_is_the_written_out_product() -> None:
    torch.manual_seed(0)
    model = MLP((2, 3, 3), 4, widths=[5])
    images = torch.randn(6, 2, 3, 3)
    (first, _, _, _), last = model.hidden, model.head
    hidden = (images.reshape(6, 18) @ first.weight.T + first.bias).clamp(min=0)  # type: ignore[operator]
    torch.testing.assert_close(model(images), hidden @ last.weight.T + last.bias)
