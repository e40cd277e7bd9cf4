"""The names read from the sources of timm and torchvision are those the libraries list."""

import subprocess
import sys

import pytest

from cnnbench.libraries import architectures, is_model, model_names, split_name, transforms


def test_torchvisions_classifiers() -> None:
    import torchvision
    from torchvision.models import get_model_weights, list_models

    models = list_models(module=torchvision.models)
    named = {f"{model}.{weights.name}" for model in models for weights in get_model_weights(model)}
    assert model_names("torchvision") == {f"torchvision/{name}" for name in (*models, *named)}
    assert architectures("torchvision") == set(models)


def test_timms_models_and_weights() -> None:
    import timm

    known = model_names("timm")
    assert {name for name in known if "." not in name} == {f"timm/{name}" for name in timm.list_models()}
    assert architectures("timm") == set(timm.list_models())
    assert [name for name in timm.list_pretrained() if not is_model(f"timm/{name}")] == []


@pytest.mark.parametrize(
    "name",
    ["timm/vgg16.tv_in1l", "timm/vgg", "torchvision/resnet50.IMAGENET1K_V3", "torchvision/DEFAULT", "timm/",
     "torchvision/fasterrcnn_resnet50_fpn", "other/vgg16", "vgg16", "/vgg16", "torchvision/alexnet.DEFAULT"],
)  # fmt: skip
def test_what_is_no_model(name: str) -> None:
    assert not is_model(name)


def test_split_name() -> None:
    assert split_name("timm/vgg16.tv_in1k") == ("timm", "vgg16", "tv_in1k")
    assert split_name("torchvision/alexnet") == ("torchvision", "alexnet", None)
    assert split_name("resnet") is None


def test_neither_library_is_imported() -> None:
    code = (
        "import sys; from cnnbench.libraries import model_names\n"
        "assert model_names('timm') and model_names('torchvision')\n"
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_transform_made_of_functions_cannot_be_named() -> None:
    """albumentations' Lambda without a function leaves every image as it is."""
    assert "Lambda" not in transforms()
    assert {"Blur", "RandomRotate90"} <= set(transforms())
