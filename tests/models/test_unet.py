"""U-Net: its size counted by hand, its shapes, and that its skips carry detail."""

from itertools import pairwise

import pytest
import torch

from cnnbench.errors import CnnbenchError
from cnnbench.models import build_model
from cnnbench.models.summary import summarize
from cnnbench.models.unet import UNet
from cnnbench.recipe.config import Named


def params_by_hand(widths: list[int], in_channels: int = 3) -> int:
    """3x3 convolutions without bias, two numbers a channel for each norm, 2x2 transposed ones with bias."""

    def double(before: int, after: int) -> int:
        return 9 * before * after + 9 * after * after + 4 * after

    down = sum(double(before, after) for before, after in zip([in_channels, *widths], widths, strict=False))
    up = sum(4 * below * above + above + double(2 * above, above) for above, below in pairwise(widths))
    return down + up + widths[0] + 1


def test_the_size_that_the_limit_of_2_5_million_allows() -> None:
    """Level by level: two 3x3 convolutions with their norms down, a 2x2 transposed one before them up."""
    down = [3_474, 17_640, 70_272, 280_512, 1_120_896]
    up = [11_430, 45_540, 181_800, 726_480]
    model = UNet((3, 128, 128), 2)
    num_params = sum(parameter.numel() for parameter in model.parameters())
    assert num_params == params_by_hand([18, 36, 72, 144, 288]) == sum(down) + sum(up) + 18 + 1 == 2_458_063


def test_base_32_is_over_the_limit() -> None:
    model = UNet((3, 32, 32), 2, widths=[32, 64, 128, 256, 512])
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == 7.76


@pytest.mark.parametrize("down", ["max", "stride"])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_one_channel_of_the_size_of_the_image(down: str, norm: str) -> None:
    config = Named(name="unet", widths=[4, 6, 8], down=down, norm=norm)
    model = build_model(config, (3, 16, 24), 2)
    assert model(torch.zeros(2, 3, 16, 24)).shape == (2, 1, 16, 24)


def test_more_classes_have_a_channel_each() -> None:
    assert UNet((1, 8, 8), 3, widths=[2, 4])(torch.zeros(1, 1, 8, 8)).shape == (1, 3, 8, 8)


def test_both_ways_down_have_the_same_parameters_and_levels() -> None:
    for down in ("max", "stride"):
        model = UNet((3, 32, 32), 2, widths=[4, 6, 8, 10, 12], down=down)  # type: ignore[arg-type]
        features = model.encoder(torch.zeros(1, 3, 32, 32))
        assert [tuple(each.shape[1:]) for each in features] == [
            (4, 32, 32), (6, 16, 16), (8, 8, 8), (10, 4, 4), (12, 2, 2)
        ]  # fmt: skip
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count == params_by_hand([4, 6, 8, 10, 12])


def test_skips_carry_detail_past_the_lowest_level() -> None:
    torch.manual_seed(0)
    model = UNet((1, 16, 16), 2, widths=[4, 8]).eval()
    torch.nn.init.zeros_(model.decoder[0].up.weight)  # type: ignore[union-attr, arg-type]
    image = torch.randn(1, 1, 16, 16)
    moved = image.clone()
    moved[..., 8, 8] += 1
    changed = (model(moved) - model(image))[0, 0].abs() > 1e-9
    assert changed[8, 8]
    around = torch.zeros(16, 16, dtype=torch.bool)
    around[4:13, 4:13] = True  # four 3x3 convolutions reach four pixels
    assert not changed[~around].any()


def test_every_parameter_learns() -> None:
    model = UNet((3, 16, 16), 2, widths=[4, 6, 8])
    model(torch.randn(2, 3, 16, 16)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_multiply_adds_of_the_first_convolution() -> None:
    summary = summarize(UNet((3, 128, 128), 2), (3, 128, 128))
    first = next(layer for layer in summary.layers if layer.name == "encoder.levels.0.conv1")
    assert first.macs == 9 * 3 * 18 * 128 * 128
    assert summary.output_shape == (1, 128, 128)


def test_training_begins_near_one_half() -> None:
    torch.manual_seed(0)
    logits = UNet((3, 32, 32), 2)(torch.randn(4, 3, 32, 32))
    assert logits.std() < 1


def test_a_size_that_cannot_be_halved() -> None:
    with pytest.raises(CnnbenchError, match=r"5 levels halve an image 4 times, but 8×8 is no multiple of 16"):
        UNet((1, 8, 8), 2)
