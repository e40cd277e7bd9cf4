"""Encoders: sizes by hand, which stage goes to which level, frozen ones, and weights that are refused."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import begin, brings_weights, build_model, takes_bytes
from cnnbench.models.encoders import Adapter, Encoder, StagedEncoder, TimmEncoder, stages_for
from cnnbench.models.pretrained import Pretrained
from cnnbench.models.resnet import ResNet
from cnnbench.models.summary import count_params, summarize_config
from cnnbench.models.tuning import begin_epoch, parameters_by_lr
from cnnbench.models.unet import UNet
from cnnbench.models.weights import WeightsAbsentError
from cnnbench.recipe.config import Named
from cnnbench.recipe.tuning import Tuning

WIDTHS = [18, 36, 72, 144, 288]
RESNET = {"name": "resnet", "widths": WIDTHS, "blocks": [1, 1, 1, 1, 1]}
SMALL = {"name": "resnet", "widths": [4, 6], "blocks": [1, 1]}


def unet(encoder: dict[str, Any], size: int = 16, **options: Any) -> UNet:
    config = Named(**{"name": "unet", "widths": [4, 6], "encoder": encoder, **options})
    model = build_model(config, (3, size, size), 2)
    assert isinstance(model, UNet)
    return model


def staged(shapes: list[tuple[int, int, int]]) -> Encoder:
    """An encoder that is nothing but the shapes of its features."""
    encoder = Encoder("net", (3, 0, 0), Tuning())
    encoder.shapes = shapes
    return encoder


def num_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_by_hand() -> None:
    """A 3x3 stem; of each stage two 3x3 convolutions, two norms, and where it widens a 1x1 with its norm."""
    stem = 27 * 18 + 2 * 18
    first = 2 * 9 * 18 * 18 + 4 * 18
    others = sum(9 * a * b + 9 * b * b + 4 * b + a * b + 2 * b for a, b in pairwise(WIDTHS))
    model = build_model(Named(name="unet", widths=WIDTHS, encoder=RESNET), (3, 128, 128), 2)
    assert isinstance(model, UNet)
    assert num_params(model.encoder) == stem + first + others == 1_551_906
    plain = UNet((3, 128, 128), 2, widths=WIDTHS)
    assert num_params(model.adapters) == 0, "stages of the decoder's own widths need none"
    assert num_params(model.decoder) == num_params(plain.decoder) == 11_430 + 45_540 + 181_800 + 726_480
    assert num_params(model) == 1_551_906 + 965_250 + 19 == 2_517_175
    classifier = ResNet((3, 128, 128), 10, widths=WIDTHS, blocks=[1] * 5)
    assert num_params(classifier) == 1_551_906 + 288 * 10 + 10, "what is left out is the head"


def test_the_summary_counts_the_same_and_keeps_the_size_of_the_image() -> None:
    config = Named(name="unet", widths=WIDTHS, encoder=RESNET)
    summary = summarize_config(config, (3, 32, 32), 2)
    assert summary.num_params == count_params(config, (3, 32, 32), 2) == 2_517_175
    assert summary.output_shape == (1, 32, 32)
    names = {layer.name.partition(".")[0] for layer in summary.layers}
    assert names == {"encoder", "decoder", "head"}


@pytest.mark.parametrize(
    ("shapes", "sizes", "expected"),
    [
        pytest.param([(4, 16, 16), (6, 8, 8)], [16, 8], [0, 1], id="as they come"),
        pytest.param([(4, 8, 8), (6, 4, 4), (8, 2, 2)], [16, 8, 4], [0, 0, 1], id="none of the first size"),
        pytest.param([(4, 16, 16), (6, 16, 16), (8, 8, 8)], [16, 8], [1, 2], id="the deepest of one size"),
        pytest.param([(4, 15, 15), (6, 7, 7)], [16, 8], [0, 1], id="not quite"),
        pytest.param([(4, 4, 4)], [16, 8, 4], [0, 0, 0], id="one for all"),
    ],
)
def test_which_stage_a_level_has(shapes: list[Any], sizes: list[int], expected: list[int]) -> None:
    assert stages_for(staged(shapes), [(size, size) for size in sizes]) == expected


def test_a_level_below_the_last_stage() -> None:
    with pytest.raises(CnnbenchError, match=r"net puts out nothing smaller than 8×8, and .* level of 4×4"):
        stages_for(staged([(4, 16, 16), (6, 8, 8)]), [(16, 16), (8, 8), (4, 4)])
    with pytest.raises(CnnbenchError, match="give the model fewer widths, or the encoder more stages"):
        unet(SMALL, widths=[4, 6, 8])


def test_an_adapter_projects_and_then_interpolates() -> None:
    adapter = Adapter(3, 2)
    features = torch.randn(2, 3, 4, 4)
    weight, bias = adapter.conv.weight, adapter.conv.bias
    projected = torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], features) + bias[None, :, None, None]  # type: ignore[index, union-attr, call-overload]
    expected = F.interpolate(projected, size=(8, 8), mode="bilinear")
    torch.testing.assert_close(adapter(features, (8, 8)), expected)
    # halfway between two pixels of a ramp lies their mean, a quarter beyond the edge the edge itself
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    assert Adapter(1, 1)(ramp, (8, 8))[0, 0, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert num_params(Adapter(3, 3)) == 0
    assert Adapter(3, 3)(features, (4, 4)) is features


def test_a_stem_that_halves_needs_interpolation_and_other_widths_a_projection() -> None:
    encoder = {"name": "resnet", "stem": "7x7", "widths": [4, 8, 16], "blocks": [1, 1, 1]}
    model = unet(encoder, widths=[4, 6, 8])
    assert model.sources == [0, 0, 1]
    assert isinstance(model.encoder, StagedEncoder)
    assert model.encoder.shapes == [(4, 8, 8), (8, 4, 4)]
    assert len(model.encoder.stages) == 2, "the third stage is used by no level"
    assert [num_params(each) for each in model.adapters] == [0, 4 * 6 + 6, 0]
    levels = model.levels(torch.randn(2, 3, 16, 16))
    assert [tuple(each.shape[1:]) for each in levels] == [(4, 16, 16), (6, 8, 8), (8, 4, 4)]
    assert model(torch.randn(2, 3, 32, 16)).shape == (2, 1, 32, 16), (
        "other sizes than the one it was built for"
    )


@pytest.mark.parametrize(
    "encoder",
    [
        pytest.param({"name": "cnn", "widths": [4, 6, 8]}, id="cnn"),
        pytest.param({"name": "wide_resnet", "depth": 10, "widen_factor": 1}, id="wide_resnet"),
        pytest.param({"name": "resnet", "block": "bottleneck", "widths": [4, 6]}, id="bottleneck"),
    ],
)
def test_every_parameter_of_any_encoder_learns(encoder: dict[str, Any]) -> None:
    model = unet({"blocks": [1, 1], **encoder} if encoder["name"] == "resnet" else encoder)
    logits = model(torch.randn(2, 3, 16, 16))
    assert logits.shape == (2, 1, 16, 16)
    logits.square().mean().backward()
    assert [name for name, each in model.named_parameters() if each.grad is None] == []


def test_the_option_of_the_way_down_that_is_replaced() -> None:
    with pytest.raises(CnnbenchError, match="down = 'stride' is of its own way down"):
        unet(SMALL, down="stride")


def test_the_same_seed_draws_the_same_net_as_before_there_were_encoders() -> None:
    torch.manual_seed(0)
    weights = UNet((3, 8, 8), 2, widths=[2, 3]).state_dict()
    names = (
        "encoder.levels.1.conv2.weight",
        "decoder.0.up.weight",
        "decoder.0.convs.conv2.weight",
        "head.weight",
    )
    sums = [weights[name].double().sum().item() for name in names]
    assert sums == pytest.approx([5.712454543, 0.240765596, 2.092883711, 0.161805544])


@pytest.mark.parametrize(
    ("tuning", "epoch", "is_frozen"),
    [
        ({"freeze": True}, 5, True),
        ({"unfreeze_epoch": 3}, 2, True),
        ({"unfreeze_epoch": 3}, 3, False),
        ({}, 1, False),
    ],
)
def test_a_frozen_encoder_and_a_decoder_that_learns(tuning: Any, epoch: int, is_frozen: bool) -> None:
    model = unet({**SMALL, "widths": [5, 6], **tuning})
    begin_epoch(model, epoch)
    model.train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(4, 3, 16, 16) + 3).square().mean().backward()
    held = {name for name, each in model.named_parameters() if each.grad is None}
    encoders = {name for name, _ in model.named_parameters() if name.startswith("encoder.")}
    assert held == (encoders if is_frozen else set())
    changed = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    assert any(name.startswith("decoder.") for name in changed)
    assert any(name.startswith("encoder.") for name in changed) != is_frozen
    assert "adapters.0.conv.weight" not in held


def test_the_encoder_has_a_learning_rate_of_its_own() -> None:
    model = unet({**SMALL, "lr_factor": 0.1})
    (one, others), (factor, encoder) = parameters_by_lr(model)
    assert (one, factor) == (1.0, 0.1)
    assert {id(each) for each in encoder} == {id(each) for each in model.encoder.parameters()}
    assert len(others) + len(encoder) == len(list(model.parameters()))
    assert unet(SMALL).backbone()
    assert UNet((3, 16, 16), 2, widths=[4, 6]).backbone() == []


def classifier(**options: Any) -> nn.Module:
    return ResNet((3, 16, 16), 10, **{"widths": [4, 6], "blocks": [1, 1], **options})


RUN = {"run": "a/b", "variant": "c"}


def test_the_weights_of_a_run_are_taken_and_the_rest_stays() -> None:
    weights = classifier().state_dict()
    model = unet({**RUN, **SMALL})
    decoder = {name: value.clone() for name, value in model.decoder.state_dict().items()}
    begin(model, ["ground", "rock"], weights)
    assert all(torch.equal(value, weights[name]) for name, value in model.encoder.state_dict().items())
    assert all(torch.equal(value, decoder[name]) for name, value in model.decoder.state_dict().items())


def test_stages_that_no_level_uses_are_left_out_of_the_weights_too() -> None:
    deeper = {"widths": [4, 6, 8], "blocks": [1, 1, 1]}
    model = unet({**RUN, "name": "resnet", **deeper})
    begin(model, [], classifier(**deeper).state_dict())
    assert num_params(model.encoder) < num_params(classifier(**deeper).stages)  # type: ignore[arg-type]


def test_weights_with_nan_are_refused_by_name() -> None:
    weights = classifier().state_dict()
    weights["stages.1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(
        CnnbenchError, match=r"encoder resnet are damaged: stages\.1\.0\.conv1\.weight holds NaN"
    ):
        begin(unet({**RUN, **SMALL}), [], weights)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"widths": [4, 8]}, "of another shape: stages.1.0.conv1.weight is 8×4×3×3 instead of 6×4×3×3"),
        ({"blocks": [1, 2]}, "unexpected stages.1.1.conv1.weight"),
        ({"widths": [4], "blocks": [1]}, "missing stages.1.0.conv1.weight"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(CnnbenchError, match="the run's weights are not those of the encoder resnet") as error:
        begin(unet({**RUN, **SMALL}), [], classifier(**options).state_dict())
    assert expected in str(error.value)


def test_a_runs_weights_are_not_done_without() -> None:
    with pytest.raises(CnnbenchError, match="starts with a run's weights, and was given none"):
        begin(unet({**RUN, **SMALL}), [])
    begin(unet(SMALL), [])


TIMM = {"name": "timm/resnet18"}


def test_a_network_of_timm_cut_after_the_last_stage_that_is_used() -> None:
    """ResNet-18 has a stem of 9,536 parameters, and stages of 147,968, 525,568, 2,099,712 and 8,393,728."""
    model = unet(TIMM, size=64, widths=[4, 6, 8, 10, 12])
    assert isinstance(model.encoder, TimmEncoder)
    assert model.encoder.shapes == [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4)]
    assert model.sources == [0, 0, 1, 2, 3]
    assert num_params(model.encoder) == 9_536 + 147_968 + 525_568 + 2_099_712
    assert [num_params(each) for each in model.adapters] == [
        channels * width + width
        for channels, width in zip([64, 64, 64, 128, 256], [4, 6, 8, 10, 12], strict=True)
    ]
    logits = model(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    assert logits.shape == (2, 1, 64, 64)
    logits.square().mean().backward()
    assert [name for name, each in model.named_parameters() if each.grad is None] == []


def test_it_normalizes_its_inputs_itself() -> None:
    model = unet(TIMM, size=32).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = (images / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    encoder = model.encoder
    assert isinstance(encoder, TimmEncoder)
    for found, expected in zip(encoder(images), encoder.network(inputs), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(encoder(images)[0], encoder(images / 255)[0])
    assert takes_bytes(Named(name="unet", encoder=TIMM))
    assert not takes_bytes(Named(name="unet", encoder=SMALL))
    assert not takes_bytes(Named(name="unet", encoder=None))
    assert brings_weights(Named(name="unet", encoder=TIMM))
    assert not brings_weights(Named(name="unet", encoder=None))


def test_grey_images_are_what_color_ones_of_equal_channels_are() -> None:
    torch.manual_seed(0)
    grey = unet(TIMM, size=32).eval()
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert isinstance(grey, UNet)
    with torch.inference_mode():
        torch.testing.assert_close(grey(images), grey(images.expand(2, 3, 32, 32)))
    model = build_model(Named(name="unet", widths=[4, 6], encoder=TIMM), (1, 32, 32), 2)
    logits = model(images)
    assert logits.shape == (2, 1, 32, 32)
    logits.square().mean().backward()
    assert [name for name, each in model.named_parameters() if each.grad is None] == []


def test_weights_of_a_whole_network_go_into_the_part(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = Pretrained("timm/resnet18", (3, 32, 32), 1000, head="imagenet").network.state_dict()
    path = tmp_path / "resnet18.pth"
    torch.save(state, path)
    torch.manual_seed(2)
    model = unet({**TIMM, "weights": str(path)}, size=32)
    assert isinstance(model.encoder, TimmEncoder)
    assert not torch.equal(model.encoder.network.state_dict()["conv1.weight"], state["conv1.weight"])
    begin(model, [])
    taken = model.encoder.network.state_dict()
    assert taken
    assert all(torch.equal(value, state[name]) for name, value in taken.items())


def test_weights_that_are_not_its_own_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(classifier().state_dict(), path)
    with pytest.raises(
        CnnbenchError, match=r"other.pth holds no weights of timm/resnet18: missing conv1.weight"
    ):
        begin(unet({**TIMM, "weights": str(path)}, size=32), [])
    with pytest.raises(WeightsAbsentError, match="the weights of timm/resnet18 are missing"):
        begin(unet({**TIMM, "weights": str(tmp_path / "none.pth")}, size=32), [])


def test_a_network_of_timm_whose_first_stage_is_not_number_0() -> None:
    """DLA-34 hands out its levels 1 to 5, of 32, 64, 128, 256 and 512 channels."""
    encoder = unet({"name": "timm/dla34"}, size=32, widths=[4, 6, 8]).encoder
    assert isinstance(encoder, TimmEncoder)
    assert [channels for channels, _, _ in encoder.shapes] == [32, 64]
    outputs = encoder(torch.zeros(1, 3, 32, 32))
    assert [tuple(output.shape[1:]) for output in outputs] == encoder.shapes


def test_a_network_of_timm_that_cannot_be_cut_up_or_takes_no_such_images() -> None:
    with pytest.raises(CnnbenchError, match="timm/vit_tiny_patch16_224 cannot be an encoder of 16×16 images"):
        unet({"name": "timm/vit_tiny_patch16_224"})
    config = Named(name="unet", widths=[4, 6], encoder=TIMM)
    with pytest.raises(CnnbenchError, match="takes grey or color images, not ones of 2 channels"):
        build_model(config, (2, 16, 16), 2)


def test_a_large_encoder_is_counted() -> None:
    config = Named(
        name="unet", widths=[4, 6], encoder={"name": "resnet", "widths": [1024, 2048], "blocks": [1, 1]}
    )
    summary = summarize_config(config, (3, 8, 8), 2)
    assert summary.num_params > 50_000_000
    assert summary.output_shape == (1, 8, 8)


def test_a_model_of_the_users_own_whose_stages_are_none(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "class Mine(nn.Module):\n"
        "    def __init__(self, in_shape, num_classes, *, broken: bool = False):\n"
        "        super().__init__()\n"
        "        self.stages = nn.Conv2d(3, 4, 3, padding=1)\n"
        "        if broken:\n"
        "            self.stages = nn.Sequential(nn.Linear(7, 7))\n"
        "MODELS = {'mine': Mine}\n"
    )
    config = Named(name="unet", widths=[4], encoder={"name": "mine"})
    with pytest.raises(CnnbenchError, match=r"its stages are no nn\.Sequential of modules"):
        build_model(config, (3, 8, 8), 2, [str(file)])
    config = Named(name="unet", widths=[4], encoder={"name": "mine", "broken": True})
    with pytest.raises(CnnbenchError, match=r"mine.py:Mine fails on an image of 3×8×8: RuntimeError"):
        build_model(config, (3, 8, 8), 2, [str(file)])
