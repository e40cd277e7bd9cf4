"""timm and torchvision behind one face: build a network, its preprocessing, its published weights."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.libraries import split_name
from cnnbench.models.preprocessing import Interpolation, Steps
from cnnbench.models.weights import Published, find_file, find_published, misfit, not_real, read

# Networks of torchvision whose weights want values from -1 to 1, which they make of others within.
OTHER_SCALE = ("googlenet", "inception_v3")
DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)")


class Library(Protocol):
    """One model of a library."""

    def build(self, num_classes: int) -> nn.Module:
        """The network with fresh weights."""
        ...

    def num_classes(self) -> int:
        """Of the published weights."""
        ...

    def steps(self) -> Steps:
        """What the published weights want done to an image."""
        ...

    def published(self) -> Published: ...

    def convert(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of another layout in the network's own; errors of many kinds where there is no way."""
        ...


def open_library(name: str) -> Library:
    """The model of this name. Raises CnnbenchError where the library does not have it."""
    parts = split_name(name)
    if parts is None:
        raise CnnbenchError(f"{name} is no model of timm or torchvision")
    library, model, weights = parts
    return Timm(name, model, weights) if library == "timm" else Torchvision(name, model, weights)


class Torchvision:
    """A classifier of torchvision; without a name of weights, those it takes by default."""

    def __init__(self, name: str, model: str, weights: str | None) -> None:
        from torchvision.models import get_model_weights

        self.name, self.model = name, model
        try:
            known = get_model_weights(model)
            self.weights: Any = known[weights] if weights else known.DEFAULT
        except (KeyError, ValueError) as error:
            raise CnnbenchError(f"torchvision has no model or weights {name}: {error}") from error

    def build(self, num_classes: int) -> nn.Module:
        from torchvision.models import get_model

        options: dict[str, Any] = {}
        if self.model in OTHER_SCALE:
            options["transform_input"] = True  # as torchvision sets it where it loads the weights itself
        elif self.model.startswith("vit_"):
            options["image_size"] = self.weights.meta["min_size"][0]  # positions are learned for one size
        return cast("nn.Module", get_model(self.model, weights=None, num_classes=num_classes, **options))

    def num_classes(self) -> int:
        return len(self.weights.meta["categories"])

    def steps(self) -> Steps:
        preset = self.weights.transforms()
        (resize,), (crop,) = preset.resize_size, preset.crop_size
        interpolation = _interpolation(self.name, preset.interpolation.value)
        return Steps(resize, (crop, crop), interpolation, preset.mean, preset.std)

    def published(self) -> Published:
        file = self.weights.url.rpartition("/")[2]
        return Published([file], self.weights.url, hashed=[file])

    def convert(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Files of an older torchvision as the networks are now.

        DenseNet's have `norm.1` where it has `norm1`; all lack the count of a batch norm's batches, which
        nothing is computed from, and PyTorch too starts it at 0.
        """
        named = {DENSE_LAYER.sub(r"\1\2", name): tensor for name, tensor in weights.items()}
        for name in [name for name in named if name.endswith(".running_var")]:
            count = f"{name.removesuffix('running_var')}num_batches_tracked"
            named.setdefault(count, torch.zeros((), dtype=torch.int64))
        return named


class Timm:
    """A model of timm; without a name of weights, those it takes by default."""

    def __init__(self, name: str, model: str, weights: str | None) -> None:
        self.name = name
        self.model = model if weights is None else f"{model}.{weights}"

    def _config(self) -> Any:
        """timm's settings of the published weights."""
        from timm.models import get_pretrained_cfg

        config = get_pretrained_cfg(self.model)
        if config is None:
            raise CnnbenchError(f"timm has no model or weights {self.name}")
        return config

    def build(self, num_classes: int) -> nn.Module:
        return self._create(num_classes)

    def _create(self, num_classes: int | None, **options: Any) -> nn.Module:
        import timm

        if num_classes is not None:
            options["num_classes"] = num_classes
        try:
            return timm.create_model(self.model, **options)
        except RuntimeError as error:
            if "pretrained tag" not in str(error).lower():
                raise
            raise CnnbenchError(f"timm has no model or weights {self.name}: {error}") from error

    def features(
        self, stages: Sequence[int] | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> nn.Module:
        """The network without its head, that puts out a list: what these stages make, by timm's numbers.

        Without numbers those that timm takes by itself, which `feature_info.out_indices` of it says.
        `weights` are those of the whole network. Errors of many kinds where timm cannot cut it up.
        """
        options: dict[str, Any] = {} if stages is None else {"out_indices": tuple(stages)}
        if weights is not None:
            overlay = {"state_dict": dict(weights), "num_classes": self.num_classes()}
            options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
        return self._create(None, features_only=True, **options)

    def num_classes(self) -> int:
        return int(self._config().num_classes)

    def steps(self) -> Steps:
        config = self._config()
        if config.crop_mode == "border" or config.input_size[0] != 3:
            raise CnnbenchError(f"{self.name} prepares its images in a way that is not supported here")
        height, width = config.input_size[1:]
        scaled = (math.floor(height / config.crop_pct), math.floor(width / config.crop_pct))
        exact = config.crop_mode == "squash" or scaled[0] != scaled[1]
        interpolation = _interpolation(self.name, config.interpolation)
        return Steps(scaled if exact else scaled[0], (height, width), interpolation, config.mean, config.std)

    def published(self) -> Published:
        config = self._config()
        files = [f"{self.name.removeprefix('timm/')}{suffix}" for suffix in (".safetensors", ".pth")]
        hashed = _files_of_torchvision(config)
        files = [*([config.url.rpartition("/")[2]] if config.url else []), *hashed, *files]
        files = list(dict.fromkeys(files))
        if not config.hf_hub_id:
            return Published(files, config.url or "", hashed=hashed)
        repository = config.hf_hub_id
        if repository.endswith("/"):  # a family's account: the model's own name follows
            repository += f"{config.architecture}.{config.tag}" if config.tag else config.architecture
        return Published(
            files, f"https://huggingface.co/{repository}/resolve/main/model.safetensors", repository, hashed
        )

    def convert(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """As timm itself does it with what it downloads."""
        overlay = {"state_dict": dict(weights), "num_classes": self.num_classes()}
        network = self._create(self.num_classes(), pretrained=True, pretrained_cfg_overlay=overlay)
        return network.state_dict()


def stored_weights(
    library: Library, name: str, *, pretrained: bool, weights: str | None
) -> Mapping[str, Tensor] | None:
    """The published weights or those of a file, as the library's network has them; None of neither.

    Raises WeightsAbsentError where they are not on this machine, and as `fitting` does.
    """
    if weights is not None:
        path = find_file(weights, name)
    elif pretrained:
        path = find_published(library.published(), name)
    else:
        return None
    return fitting(library, name, read(path), str(path))


def fitting(library: Library, name: str, found: Mapping[str, Tensor], path: str) -> Mapping[str, Tensor]:
    """The weights of a file as those of the library's network, head included.

    Raises CnnbenchError, naming what is missing or has another shape, where they are not its own.
    """
    if (said := not_real(found)) is not None:
        raise CnnbenchError(f"{path} holds no weights of {name}: {said}")
    with torch.device("meta"):
        wanted = library.build(library.num_classes()).state_dict()
    problem = misfit(found, wanted)
    if problem is not None:
        try:
            found = library.convert(found)
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError):
            pass  # there is no way; what is said of it is said below, of the file as it is
        else:
            problem = misfit(found, wanted)
    if problem is not None:
        raise CnnbenchError(f"{path} holds no weights of {name}: {problem}")
    if spoilt := [key for key, tensor in found.items() if not tensor.isfinite().all()]:
        raise CnnbenchError(f"{path} is damaged: {spoilt[0]} holds values that are no finite numbers")
    return found


def _files_of_torchvision(config: Any) -> list[str]:
    """The file that torchvision publishes of the weights that timm took over from it, by the tag tv_in1k."""
    from torchvision.models import get_model_weights

    version = {"tv_in1k": "IMAGENET1K_V1", "tv2_in1k": "IMAGENET1K_V2"}.get(config.tag)
    try:
        return [get_model_weights(config.architecture)[version].url.rpartition("/")[2]] if version else []
    except (KeyError, ValueError):  # its name is another one there
        return []


def _interpolation(name: str, mode: str) -> Interpolation:
    if mode not in ("bilinear", "bicubic"):
        raise CnnbenchError(f"{name} resizes its images by {mode!r}, which is not supported here")
    return cast("Interpolation", mode)
