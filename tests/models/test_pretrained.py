"""Networks of timm and torchvision: published sizes, weights taken or refused, heads, real accuracy."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cnnbench.data import load_dataset
from cnnbench.data.loader import Loader
from cnnbench.errors import CnnbenchError
from cnnbench.imagenet import CIFAR10, imagenet_classes
from cnnbench.models import begin, build_model, takes_bytes
from cnnbench.models.failures import naming_failures
from cnnbench.models.model_heads import DROPOUTS
from cnnbench.models.model_libraries import fitting, open_library
from cnnbench.models.pretrained import Pretrained
from cnnbench.models.summary import summarize_config
from cnnbench.models.tuning import begin_epoch, num_trained
from cnnbench.models.weights import WeightsAbsentError
from cnnbench.recipe.config import DataConfig, Named

SMALL = "torchvision/squeezenet1_1"


@pytest.mark.parametrize(
    ("name", "num_params", "macs"),
    [
        # torchvision's tables give these parameters and GFLOPS (0.71, 15.47, 4.09, 0.35, 0.82)
        ("torchvision/alexnet", 61_100_840, 0.71),
        ("timm/vgg16.tv_in1k", 138_357_544, 15.47),
        ("timm/resnet50.tv_in1k", 25_557_032, 4.09),
        ("torchvision/squeezenet1_1", 1_235_496, 0.35),
        ("torchvision/squeezenet1_0", 1_248_424, 0.82),
    ],
)
def test_published_sizes(name: str, num_params: int, macs: float) -> None:
    summary = summarize_config(Named(name=name, head="cifar10"), (3, 32, 32), 10)
    assert summary.num_params == num_params
    assert summary.macs / 1e9 == pytest.approx(macs, abs=0.005)
    assert summary.output_shape == (10,)
    assert summary.layers[0].output_shape == (3, 224, 224)


def test_they_take_bytes_and_others_do_not() -> None:
    assert takes_bytes(Named(name=SMALL))
    assert not takes_bytes(Named(name="cnn"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", [SMALL, "timm/resnet18.tv_in1k"])
def test_weights_are_taken(tmp_path: Path, name: str, suffix: str) -> None:
    torch.manual_seed(1)
    state = build_model(Named(name=name, head="imagenet"), (3, 32, 32), 1000).network.state_dict()  # type: ignore
    path = tmp_path / f"a{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    torch.manual_seed(2)
    model = Pretrained(name, (3, 32, 32), 10, head="cifar10", weights=str(path))
    model.begin(CIFAR10)
    assert all(torch.equal(value, state[key]) for key, value in model.network.state_dict().items())


def test_a_new_head_stays_new(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = Pretrained("timm/resnet18", (3, 32, 32), 1000, head="imagenet").network.state_dict()
    torch.save(state, tmp_path / "a.pth")
    torch.manual_seed(2)
    model = Pretrained("timm/resnet18", (3, 32, 32), 10, weights=str(tmp_path / "a.pth"))
    head = model.network.state_dict()["fc.weight"].clone()
    model.begin(["some"] * 10)
    after = model.network.state_dict()
    assert torch.equal(after["fc.weight"], head)
    assert head.shape == (10, 512)
    assert all(torch.equal(after[key], state[key]) for key in state if not key.startswith("fc."))


def test_timm_takes_torchvisions_layout(tmp_path: Path) -> None:
    """VGG's linear layers are convolutions there, and called otherwise; the answers are the same."""
    from torchvision.models import vgg11

    torch.manual_seed(0)
    with torch.no_grad():
        theirs = vgg11().eval()
        torch.save(theirs.state_dict(), tmp_path / "vgg11.pth")
        ours = Pretrained(
            "timm/vgg11", (3, 32, 32), 1000, head="imagenet", weights=str(tmp_path / "vgg11.pth")
        )
        ours.begin([each.name for each in imagenet_classes()])
        images = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
        expected = theirs(ours.preprocessing(images))
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", ["torchvision/squeezenet1_0", "timm/resnet18"])
def test_weights_of_another_network_are_refused(tmp_path: Path, wrong: str) -> None:
    torch.save(build_model(Named(name=SMALL), (3, 32, 32), 1000).network.state_dict(), tmp_path / "a.pth")  # type: ignore
    model = Pretrained(wrong, (3, 32, 32), 10, weights=str(tmp_path / "a.pth"))
    with pytest.raises(CnnbenchError, match=f"a.pth holds no weights of {wrong}: missing ") as caught:
        model.begin(CIFAR10)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change: str) -> None:
    state = Pretrained(SMALL, (3, 32, 32), 1000, head="imagenet").network.state_dict()
    name = "features.0.bias"
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        name = "features.0.extra"
        state[name] = torch.ones(1)
    else:
        state[name] = torch.ones(3)
    torch.save(state, tmp_path / "a.pth")
    model = Pretrained(SMALL, (3, 32, 32), 10, weights=str(tmp_path / "a.pth"))
    with pytest.raises(CnnbenchError, match=f"holds no weights of {SMALL}: .*{change}.*{name}"):
        model.begin(CIFAR10)


@pytest.mark.parametrize("name", ["torchvision/googlenet", "torchvision/inception_v3"])
def test_networks_that_scale_their_inputs_themselves(name: str) -> None:
    """As torchvision makes them where it loads the published weights."""
    with torch.device("meta"):
        assert open_library(name).build(1000).transform_input


def test_a_transformer_is_built_for_the_size_of_its_weights() -> None:
    """16x16 patches of 384x384 images and a class token: 577 positions."""
    with torch.device("meta"):
        network = open_library("torchvision/vit_b_16.IMAGENET1K_SWAG_E2E_V1").build(1000)
    assert network.encoder.pos_embedding.shape[1] == 577  # type: ignore[union-attr, index]


def test_densenet_takes_the_names_in_its_published_file() -> None:
    library = open_library("torchvision/densenet121")
    with torch.device("meta"):
        own = library.build(1000).state_dict()
    published = {re.sub(r"(norm|conv)(\d\.\w+)$", r"\1.\2", name) if "denselayer" in name else name: value
                 for name, value in own.items() if not name.endswith("num_batches_tracked")}  # fmt: skip
    assert "features.denseblock1.denselayer1.norm.1.weight" in published
    assert library.convert(published).keys() == own.keys()


def test_files_from_before_batch_norm_counted_its_batches() -> None:
    """Published files of that time lack the counts, and PyTorch itself begins them at 0."""
    library = open_library("torchvision/resnet18")
    own = library.build(1000).state_dict()
    old = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    found = fitting(library, "torchvision/resnet18", old, "old.pth")
    library.build(1000).load_state_dict(dict(found))
    assert found["bn1.num_batches_tracked"] == 0


def test_weights_that_are_no_finite_numbers() -> None:
    library = open_library("torchvision/squeezenet1_1")
    spoilt = library.build(1000).state_dict()
    spoilt["features.3.squeeze.weight"][0] = float("nan")
    with pytest.raises(CnnbenchError, match=r"a\.pth is damaged: features\.3\.squeeze\.weight"):
        fitting(library, "torchvision/squeezenet1_1", spoilt, "a.pth")


def test_a_size_that_a_network_cannot_take() -> None:
    config = Named(name="timm/vit_tiny_patch16_224", image_size=96)
    message = r"timm/vit_tiny_patch16_224 fails on an image of 3×32×32: .*96"
    with pytest.raises(CnnbenchError, match=message), naming_failures(config, (3, 32, 32)):
        summarize_config(config, (3, 32, 32), 10)


def test_absent_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNBENCH_OFFLINE", "1")
    monkeypatch.setenv("CNNBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsAbsentError, match=r"timm/resnet50\.tv_in1k .*resnet50-0676ba61\.pth"):
        Pretrained("timm/resnet50.tv_in1k", (3, 32, 32), 10, pretrained=True).begin(CIFAR10)


def test_what_timm_has_of_torchvision_is_looked_for_by_torchvisions_name_too() -> None:
    assert list(open_library("timm/vgg16.tv_in1k").published().files) == [
        "vgg16-397923af.pth", "vgg16.tv_in1k.safetensors", "vgg16.tv_in1k.pth"
    ]  # fmt: skip
    assert open_library("timm/vgg16.tv_in1k").published().repository == "timm/vgg16.tv_in1k"
    assert list(open_library("timm/vgg16.tv_in1k").published().hashed) == ["vgg16-397923af.pth"]
    assert open_library("timm/resnet18.a1_in1k").published().files[0].startswith("resnet18_a1_0")
    assert open_library("timm/resnet18.a1_in1k").published().hashed == []
    inception = open_library("timm/inception_v3.tv_in1k").published()
    assert [file for file in inception.files if file.endswith("-0cc3c7bd.pth")]
    assert list(open_library("torchvision/alexnet").published().hashed) == ["alexnet-owt-7be5be79.pth"]


@pytest.mark.parametrize("name", ["timm/resnet18.tv_in1k", "torchvision/squeezenet1_1"])
def test_whole_numbers_are_no_weights(name: str) -> None:
    library = open_library(name)
    whole = {key: tensor.int() for key, tensor in library.build(1000).state_dict().items()}
    with pytest.raises(
        CnnbenchError, match=rf"a\.pth holds no weights of {name}: .* int32, no floating point"
    ):
        fitting(library, name, whole, "a.pth")


@pytest.mark.parametrize(
    ("options", "in_shape", "num_classes", "said"),
    [
        ({"pretrained": True, "weights": "a.pth"}, (3, 32, 32), 10, "exclude each other"),
        ({"head": "cifar10"}, (3, 32, 32), 7, "answers with 10 classes, but the data has 7"),
        ({"head": "imagenet"}, (3, 32, 32), 10, "answers with 1,000 classes, but the data has 10"),
        ({}, (4, 32, 32), 10, "not ones of 4 channels"),
        (
            {"freeze": True, "head": "cifar10", "pretrained": True},
            (3, 32, 32),
            10,
            'before a new head, and head = "cifar10" is the network\'s own',
        ),
        ({"lr_factor": 0.1, "head": "cifar10"}, (3, 32, 32), 10, "about what stands before a new head"),
        ({"freeze": True}, (3, 32, 32), 10, "needs weights, and these would be random"),
        ({"unfreeze_epoch": 2}, (3, 32, 32), 10, "needs weights, and these would be random"),
        (
            {"freeze": True, "pretrained": True, "lr_factor": 0.1},
            (3, 32, 32),
            10,
            "nothing is learned at any rate",
        ),
        ({"freeze": True, "pretrained": True, "unfreeze_epoch": 2}, (3, 32, 32), 10, "holds for every epoch"),
    ],
)
def test_what_cannot_be_built(
    options: dict[str, object], in_shape: tuple[int, int, int], num_classes: int, said: str
) -> None:
    with pytest.raises(CnnbenchError, match=said):
        build_model(Named(name=SMALL, **options), in_shape, num_classes)


def test_ten_classes_that_are_not_cifar10s() -> None:
    model = Pretrained(SMALL, (1, 8, 8), 10, head="cifar10")
    with pytest.raises(CnnbenchError, match=r"CIFAR-10's classes, and the data has others \(0, 1, 2"):
        model.begin([str(digit) for digit in range(10)])


def test_logits_of_cifar10_by_hand() -> None:
    model = Pretrained(SMALL, (3, 32, 32), 10, head="cifar10")
    logits = torch.zeros(2, 1000)
    logits[0, [339, 404, 0]] = torch.tensor(
        [1.0, 2.0, 9.0]
    )  # sorrel, airliner, and a tench, which is no class
    logits[1, [151, 268, 5]] = torch.tensor([3.0, 4.0, -7.0])  # two dogs, and the lowest of all
    found = model.to_cifar10(logits)
    named = [dict(zip(CIFAR10, row, strict=True)) for row in found.tolist()]
    assert named[0] == dict.fromkeys(CIFAR10, 0.0) | {"horse": 1.0, "airplane": 2.0, "deer": -1.0}
    assert named[1] == dict.fromkeys(CIFAR10, 0.0) | {"dog": 4.0, "deer": -8.0}


@pytest.mark.parametrize(
    ("name", "learned", "head", "shape"),
    [
        # 512 × 10 + 10: a 1×1 convolution before the pooling; its input is a map
        (SMALL, 5_130, ["Dropout", "Conv2d"], (2, 512, 3, 3)),
        ("torchvision/resnet18", 5_130, ["Linear"], (2, 512)),
        ("torchvision/mobilenet_v3_small", 10_250, ["Dropout", "Linear"], (2, 1024)),
        ("torchvision/alexnet", 40_970, ["Linear"], (2, 4096)),  # its dropout is before the layer before
        ("torchvision/vgg11", 40_970, ["Dropout", "Linear"], (2, 4096)),
        ("timm/resnetv2_50", 20_490, ["Dropout", "Conv2d"], (2, 2048, 1, 1)),
        ("timm/convnext_atto", 3_210, ["Dropout", "Linear"], (2, 320)),
    ],
)
def test_the_backbone_is_all_before_the_new_layer(
    name: str, learned: int, head: list[str], shape: tuple[int, ...]
) -> None:
    with torch.device("meta"):  # no memory, no numbers
        model = Pretrained(name, (3, 32, 32), 10, freeze=True, weights="not read", image_size=64)
        assert sorted(type(module).__name__ for module in model.head_modules) == sorted(head)
        assert num_trained(model) == learned
        begin_epoch(model, 1)
        model.train()
        assert sum(each.numel() for each in model.parameters() if each.requires_grad) == learned
        random = [module for module in model.modules() if module.training and isinstance(module, DROPOUTS)]
        assert len(random) == head.count("Dropout")
        images = torch.zeros(2, 3, 32, 32)
        features = model.features(images)
        assert features.shape == shape
        assert model.logits_of(features).shape == model(images).shape == (2, 10)


@pytest.mark.parametrize("name", [SMALL, "timm/resnet18", "torchvision/inception_v3"])
def test_the_head_makes_of_features_what_the_network_makes_of_images(name: str) -> None:
    torch.manual_seed(0)
    size = 96 if "inception" in name else 64
    model = Pretrained(name, (3, 32, 32), 10, freeze=True, weights="not read", image_size=size).eval()
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        features = model.features(images)
        logits = model(images)
        assert torch.equal(model.logits_of(features), logits)
        model.on_features = True
        assert torch.equal(model(features), logits)


def test_dropout_behind_the_features_draws_nothing_for_them() -> None:
    model = Pretrained(SMALL, (3, 32, 32), 10, image_size=64).train()
    before = torch.get_rng_state()
    model.features(torch.zeros(2, 3, 32, 32))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_trains_with_a_new_head() -> None:
    model = Pretrained(SMALL, (3, 32, 32), 4, image_size=64)
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    assert model.preprocessing(images).shape == (2, 3, 64, 64)
    logits = model.train()(images)
    assert logits.shape == (2, 4)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "file", "top1", "top5"),
    [
        ("torchvision/squeezenet1_1", "squeezenet1_1_onnxzoo_tv.pth", 301, 407),  # 60.2 % and 81.4 % of 500
        ("torchvision/squeezenet1_0", "squeezenet1_0_deepcompression_tv.pth", 304, 406),  # 60.8 % and 81.2 %
    ],
)
def test_real_weights_on_real_photographs(
    data_root: Path, name: str, file: str, top1: int, top5: int
) -> None:
    if not (data_root / "weights" / file).is_file():
        pytest.skip(f"{file} is not under {data_root / 'weights'}")
    config = DataConfig(name="imagenet_samples", batch_size=50)
    dataset = load_dataset(config, data_root)
    model = build_model(
        Named(name=name, weights=file, head="imagenet"), dataset.in_shape, dataset.num_classes
    )
    begin(model, dataset.classes)
    loader = Loader(dataset, config, torch.device("cpu"), as_bytes=True)
    hits: list[Tensor] = []
    with torch.inference_mode():
        for images, targets in loader.eval_batches(dataset.test):
            hits.append(model.eval()(images).topk(5).indices == targets[:, None])
    found = torch.cat(hits)
    assert len(found) == 500
    # Another processor may round one borderline photograph the other way.
    assert abs(int(found[:, 0].sum()) - top1) <= 1
    assert abs(int(found.any(1).sum()) - top5) <= 1
