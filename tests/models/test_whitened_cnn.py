"""The whitened network: its filters, its published size, its mirror images, its mistakes."""

import pytest
import torch
from torch import Tensor

from cnnbench.errors import CnnbenchError
from cnnbench.models import build_model, fit_to
from cnnbench.models.summary import summarize
from cnnbench.models.whitened_cnn import WhitenedCNN, Whitening
from cnnbench.recipe.config import Named


def correlated_images(num_images: int = 64) -> Tensor:
    """Images (N, 3, 12, 12) whose channels and neighbours go together."""
    noise = torch.randn(num_images, 3, 14, 14)
    mixed = torch.einsum("dc,nchw->ndhw", torch.tensor([[2.0, 0.5, 0], [0.5, 1, 0.3], [0, 0.3, 3]]), noise)
    return torch.nn.functional.avg_pool2d(mixed, 3, stride=1) * 10 + 4


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
def test_whitened_outputs_are_uncorrelated_of_variance_1(kernel_size: int) -> None:
    torch.manual_seed(0)
    whitening = Whitening(3, kernel_size)
    images = correlated_images()
    whitening.fit(images)
    with torch.no_grad():
        outputs = whitening(images)
    half = 3 * kernel_size**2
    assert outputs.shape == (64, 2 * half, 13 - kernel_size, 13 - kernel_size)
    covariance = torch.cov(outputs[:, :half].transpose(0, 1).flatten(1)).reshape(half, half)
    torch.testing.assert_close(covariance, torch.eye(half), atol=5e-3, rtol=0)
    torch.testing.assert_close(outputs[:, half:], -outputs[:, :half], atol=1e-3, rtol=1e-4)


def test_a_channel_without_variance_is_not_blown_up() -> None:
    whitening = Whitening(2, 2)
    images = torch.randn(32, 2, 8, 8)
    images[:, 1] = 0.7
    whitening.fit(images)
    assert whitening.weight.isfinite().all()
    assert whitening.weight.abs().max() <= 5e-4**-0.5 + 1e-3


def test_size_of_the_published_network() -> None:
    """1.97 million parameters, 24 whitening filters (Jordan 2024, section 3); norms there have no weight."""
    model = WhitenedCNN((3, 32, 32), 10)
    without_norm = sum(
        parameter.numel() for name, parameter in model.named_parameters() if parameter.dim() > 1
    )
    assert round(without_norm / 1e6, 2) == 1.97
    assert model.whitening.out_channels == 24
    assert not model.whitening.weight.requires_grad
    rows = {layer.name: layer.output_shape for layer in summarize(model, (3, 32, 32)).layers}
    # 31 -> 15 -> 7 -> 3, as in the paper
    assert [rows[f"body.{stage}.1"] for stage in range(3)] == [(64, 15, 15), (256, 7, 7), (256, 3, 3)]


def test_convolutions_start_by_handing_on_their_inputs() -> None:
    model = WhitenedCNN((3, 32, 32), 10, widths=[32, 16])
    wider, narrower = model.body[0][0], model.body[1][0]
    inputs = torch.randn(2, 24, 7, 7)
    torch.testing.assert_close(wider(inputs)[:, :24], inputs)
    inputs = torch.randn(2, 32, 7, 7)
    torch.testing.assert_close(narrower(inputs), inputs[:, :16])


def test_mirrored_images_have_the_logits_of_their_originals_outside_of_training() -> None:
    torch.manual_seed(0)
    images = correlated_images(8)
    one, both = (WhitenedCNN((3, 12, 12), 5, widths=[8, 16], mirror=mirror) for mirror in (False, True))
    both.load_state_dict(one.state_dict())
    for model in (one, both):
        model.whitening.fit(images)
        model.eval()
    with torch.no_grad():
        assert not torch.allclose(one(images), one(images.flip(3)), atol=1e-4)
        torch.testing.assert_close(both(images), both(images.flip(3)))
        torch.testing.assert_close(both(images), (one(images) + one(images.flip(3))) / 2)
        one.train(), both.train()
        torch.testing.assert_close(both(images), one(images))
    assert summarize(both, (3, 12, 12)).macs == 2 * summarize(one, (3, 12, 12)).macs


def test_shifted_images_count_half_outside_of_training() -> None:
    torch.manual_seed(0)
    images = correlated_images(8)
    plain, shifted = (WhitenedCNN((3, 12, 12), 5, widths=[8, 16], shift=shift) for shift in (0, 2))
    shifted.load_state_dict(plain.state_dict())
    for model in (plain, shifted):
        model.whitening.fit(images)
        model.eval()
    # rows and columns of the image moved to the upper left and to the lower right, the rest reflected
    left = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 10, 9]
    right = [2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    with torch.no_grad():
        views = [images[:, :, rows][:, :, :, rows] for rows in (left, right)]
        upper_left, lower_right = (plain(view) for view in views)
        expected = plain(images) / 2 + upper_left / 4 + lower_right / 4
        torch.testing.assert_close(shifted(images), expected)
        assert not torch.allclose(shifted(images), plain(images), atol=1e-3)
        plain.train(), shifted.train()
        torch.testing.assert_close(shifted(images), plain(images))
    assert summarize(shifted, (3, 12, 12)).macs == 3 * summarize(plain, (3, 12, 12)).macs
    both = WhitenedCNN((3, 12, 12), 5, widths=[8, 16], mirror=True, shift=1)
    assert summarize(both, (3, 12, 12)).macs == 6 * summarize(plain, (3, 12, 12)).macs


def test_a_shift_out_of_sight_is_refused() -> None:
    with pytest.raises(CnnbenchError, match="a shift of 12 pixels moves an image of 12×12 out of sight"):
        build_model(Named(name="whitened_cnn", widths=[8], shift=12), (3, 12, 12), 5)


def test_the_whitening_is_fitted_to_what_is_shown() -> None:
    torch.manual_seed(0)
    model = build_model(Named(name="whitened_cnn", widths=[8]), (3, 12, 12), 5)
    before = model.get_parameter("whitening.weight").clone()
    images = correlated_images()
    fit_to(model, lambda: images)
    expected = Whitening(3, 2)
    expected.fit(images)
    assert torch.equal(model.get_parameter("whitening.weight"), expected.weight)
    assert not torch.equal(before, expected.weight)
    # and a model that takes nothing from images is not shown any
    fit_to(build_model(Named(name="mlp", widths=[4]), (3, 12, 12), 5), lambda: pytest.fail("shown images"))


@pytest.mark.parametrize(
    ("in_shape", "options"),
    [((3, 8, 8), {}), ((3, 2, 8), {"widths": [4]}), ((1, 32, 32), {"whitening": 33})],
    ids=["three stages of 8 pixels", "2 pixels high", "patch larger than the image"],
)
def test_images_too_small_are_said_to_be(in_shape: tuple[int, int, int], options: dict[str, object]) -> None:
    with pytest.raises(CnnbenchError, match="to nothing; use fewer widths"):
        build_model(Named(name="whitened_cnn", **options), in_shape, 10)
