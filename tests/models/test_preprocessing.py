"""The batched preprocessing does what the libraries' own do to one image of Pillow's."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cnnbench.models.model_libraries import open_library
from cnnbench.models.preprocessing import Preprocessing, Steps

# Levels of 255: Pillow resizes by weights in fixed point. (The 0.01 is that of float32.)
MOST_LEVELS, MEAN_LEVELS = 1.01, 0.05


def photograph(height: int, width: int) -> Tensor:
    """Smooth shapes under noise: (3, height, width) uint8."""
    generator = torch.Generator().manual_seed(height)
    cells = torch.randn(1, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(cells, size=(height, width), mode="bicubic")[0]
    noise = torch.randn(3, height, width, generator=generator)
    return (128 + 60 * smooth + 25 * noise).round().clamp(0, 255).to(torch.uint8)


def transform_of(name: str) -> Any:
    """The library's own, of a Pillow image."""
    library, _, model = name.partition("/")
    if library == "torchvision":
        from torchvision.models import get_model_weights

        return get_model_weights(model.partition(".")[0])[model.partition(".")[2]].transforms()
    import timm
    from timm.data import create_transform, resolve_data_config

    return create_transform(
        **resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(model).to_dict())
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("torchvision/alexnet.IMAGENET1K_V1", id="alexnet"),
        pytest.param("torchvision/resnet50.IMAGENET1K_V2", id="resize to 232"),
        pytest.param("torchvision/efficientnet_b0.IMAGENET1K_V1", id="bicubic"),
        pytest.param("timm/vgg16.tv_in1k", id="vgg16"),
        pytest.param("timm/resnet50.tv_in1k", id="resnet50"),
        pytest.param("timm/resnet50.a1_in1k", id="timm bicubic"),
        pytest.param("timm/convnext_tiny.in12k_ft_in1k", id="crop 0.95"),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (256, 256), (300, 411), (97, 64)], ids=str)
def test_it_agrees_with_the_librarys_own(name: str, size: tuple[int, int]) -> None:
    image = photograph(*size)
    expected = transform_of(name)(Image.fromarray(image.permute(1, 2, 0).numpy()))
    preprocessing = Preprocessing(open_library(name).steps())
    found = preprocessing(image[None])[0]
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    levels = (found - expected).abs() * 255 * preprocessing.get_buffer("std")[0]
    assert levels.max() <= MOST_LEVELS
    assert levels.mean() <= MEAN_LEVELS


def test_without_a_resize_it_is_exact() -> None:
    steps = Steps(8, (4, 6), "bilinear", (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    image = photograph(8, 8)[None]
    cut = image[:, :, 2:6, 1:7].double() / 255
    mean, std = (torch.tensor(values).double().view(3, 1, 1) for values in (steps.mean, steps.std))
    torch.testing.assert_close(Preprocessing(steps)(image).double(), (cut - mean) / std)


def test_a_batch_is_its_images_one_by_one() -> None:
    preprocessing = Preprocessing(open_library("torchvision/alexnet").steps())
    images = torch.stack([photograph(32, 32), photograph(32, 32).flip(2)])
    together = preprocessing(images)
    assert together.shape == (2, 3, 224, 224)
    for image, found in zip(images, together, strict=True):
        torch.testing.assert_close(preprocessing(image[None])[0], found)


def test_grey_images_become_three_equal_channels() -> None:
    steps = Steps(8, (8, 8), "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    found = Preprocessing(steps)(photograph(8, 8)[None, :1])
    assert found.shape == (1, 3, 8, 8)
    assert torch.equal(found[:, 0], found[:, 2])


def test_floats_mean_the_same_as_bytes() -> None:
    preprocessing = Preprocessing(open_library("torchvision/alexnet").steps())
    image = photograph(40, 40)[None]
    levels = (preprocessing(image) - preprocessing(image.float() / 255)).abs() * 255 * 0.229
    assert levels.max() <= 1.1  # bytes are rounded after each direction


def test_gradients_reach_float_images() -> None:
    image = (photograph(40, 40)[None].float() / 255).requires_grad_()
    Preprocessing(open_library("torchvision/alexnet").steps())(image).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_another_size_keeps_the_share_of_the_crop() -> None:
    steps = open_library("torchvision/alexnet").steps()
    assert (steps.resize, steps.crop) == (256, (224, 224))
    assert (steps.at(64).resize, steps.at(64).crop) == (73, (64, 64))  # 64 * 256 / 224 = 73.1
    assert np.allclose(steps.mean, (0.485, 0.456, 0.406))
