"""Residual networks: published sizes, and torchvision's results with the same weights."""

from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.errors import CnnbenchError
from cnnbench.models.resnet import ResNet

RESNET18: dict[str, Any] = {"widths": [64, 128, 256, 512], "blocks": [2, 2, 2, 2]}
RESNET50: dict[str, Any] = {"widths": [64, 128, 256, 512], "blocks": [3, 4, 6, 3], "block": "bottleneck"}
IMAGENET_STEM: dict[str, Any] = {"stem": "7x7", "stem_pool": True}


def randomize_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                assert tensor is not None
                tensor.uniform_(-0.5, 0.5)


@pytest.mark.parametrize(
    ("options", "num_classes", "expected"),
    [
        pytest.param({}, 10, 272_474, id="ResNet-20"),
        pytest.param(RESNET18, 10, 11_173_962, id="ResNet-18, 3x3 stem"),
        pytest.param(RESNET18 | {"stem": "7x7"}, 10, 11_181_642, id="ResNet-18, 7x7 stem"),
        pytest.param(RESNET18 | IMAGENET_STEM, 1000, 11_689_512, id="ResNet-18, ImageNet"),
        pytest.param(RESNET18 | {"blocks": [3, 4, 6, 3]} | IMAGENET_STEM, 1000, 21_797_672, id="ResNet-34"),
        pytest.param(RESNET50 | IMAGENET_STEM, 1000, 25_557_032, id="ResNet-50"),
        # as timm has it; Hu et al. say about 2.5 M more
        pytest.param(RESNET50 | IMAGENET_STEM | {"attention": "se"}, 1000, 28_088_024, id="SE-ResNet-50"),
        # a scale for each channel: of the stem and 6 convolutions, twice of 6 and a shortcut
        pytest.param({"conv": "scaled"}, 10, 272_474 + 7 * (16 + 32 + 64), id="scaled convolutions"),
        # a mix for each of 9 blocks and the stem
        pytest.param({"activation": "swish_leaky"}, 10, 272_474 + 10, id="swish_leaky"),
    ],
)
def test_num_params(options: dict[str, Any], num_classes: int, expected: int) -> None:
    with torch.device("meta"):
        model = ResNet((3, 32, 32), num_classes, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "options", "num_classes"),
    [
        pytest.param("resnet18", RESNET18, 10, id="resnet18"),
        pytest.param("resnet50", RESNET50, 1000, id="resnet50"),
    ],
)
def test_equals_torchvision_with_the_same_weights(
    name: str, options: dict[str, Any], num_classes: int
) -> None:
    from torchvision import models

    torch.manual_seed(0)
    theirs = getattr(models, name)(weights=None, num_classes=num_classes)
    randomize_statistics(theirs)
    ours = ResNet((3, 64, 64), num_classes, **options, **IMAGENET_STEM)
    names, values = list(ours.state_dict()), list(theirs.state_dict().values())
    ours.load_state_dict(dict(zip(names, values, strict=True)))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs.eval()(images)
        logits = ours.eval()(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize(
    ("name", "stem", "options"),
    [
        pytest.param("seresnet50", {}, RESNET50 | IMAGENET_STEM | {"attention": "se"}, id="attention"),
        pytest.param(
            "resnet18",
            {"stem_type": "deep", "stem_width": 32},
            RESNET18 | {"stem": "deep", "stem_pool": True},
            id="deep stem",
        ),
    ],
)
def test_equals_timm_with_the_same_weights(name: str, stem: dict[str, Any], options: dict[str, Any]) -> None:
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=1000, **stem)
    randomize_statistics(theirs)
    ours = ResNet((3, 64, 64), 1000, **options)
    values = zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict({name: value.view(own.shape) for (name, own), value in values})
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs.eval()(images)
        logits = ours.eval()(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        pytest.param({}, (16, 32, 32), id="3x3 keeps the size"),
        pytest.param({"stem": "7x7"}, (16, 16, 16), id="7x7 halves it"),
        pytest.param({"stem": "deep"}, (16, 16, 16), id="deep halves it"),
        pytest.param({"stem_pool": True}, (16, 16, 16), id="pool halves it"),
        pytest.param(IMAGENET_STEM, (16, 8, 8), id="both quarter it"),
    ],
)
def test_stem(options: dict[str, Any], shape: tuple[int, int, int]) -> None:
    model = ResNet((3, 32, 32), 10, **options)
    assert model.stem(torch.zeros(1, 3, 32, 32)).shape == (1, *shape)


@pytest.mark.parametrize(
    ("block", "shape"), [("basic", (64, 8, 8)), ("bottleneck", (256, 8, 8))], ids=["basic", "bottleneck"]
)
def test_all_stages_but_the_first_halve_the_image(block: Any, shape: tuple[int, int, int]) -> None:
    model = ResNet((3, 32, 32), 10, block=block, blocks=[1, 1, 1])
    assert model.stages(model.stem(torch.zeros(2, 3, 32, 32))).shape == (2, *shape)


def test_a_block_whose_last_norm_is_zero_is_its_shortcut() -> None:
    model = ResNet((3, 8, 8), 10, widths=[4], blocks=[2]).eval()
    for block in model.stages[0]:  # type: ignore[union-attr]
        nn.init.zeros_(block.norm2.weight)
    features = model.stem(torch.randn(2, 3, 8, 8))
    assert torch.equal(model.stages(features), features)  # not negative after the stem, so relu keeps it


@pytest.mark.parametrize("blocks", [[3, 3], [1, 1, 1, 1]], ids=["too few", "too many"])
def test_widths_and_blocks_of_unequal_length(blocks: list[int]) -> None:
    with pytest.raises(
        CnnbenchError, match=rf"'resnet': widths has 3 entries and blocks has {len(blocks)}; give each stage"
    ):
        ResNet((3, 32, 32), 10, blocks=blocks)
