"""Networks without their head, as encoders: what each of their stages makes of images, for a decoder."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import weights as weight_files
from cnnbench.models.model_libraries import Timm, stored_weights
from cnnbench.models.preprocessing import Steps
from cnnbench.recipe.tuning import Tuning

Shape = tuple[int, int, int]
# What timm raises where a network cannot be cut up, or not be given images of this size.
FAILURES = (RuntimeError, AssertionError, ValueError, TypeError, AttributeError, LookupError)


class Encoder(nn.Module):
    """A network without its head: images (N, C, H, W) to a list of what each stage makes of them.

    `shapes` are those of one image in that list, (channels, height, width), for images of the shape that it
    was built for. `tuning` says how it is trained in a model that it is the backbone of.
    """

    shapes: list[Shape]

    def __init__(self, name: str, in_shape: Shape, tuning: Tuning) -> None:
        super().__init__()
        self.name, self.in_shape, self.tuning = name, in_shape, tuning

    def keep(self, num: int) -> None:
        """Takes away what comes after the first `num` stages."""
        raise NotImplementedError

    def begin(self, weights: Mapping[str, Tensor] | None) -> None:
        """Takes the weights that it is to start with; `weights` are those of the run that it comes from."""
        raise NotImplementedError

    def _measure(self) -> list[Shape]:
        was_training = self.training
        with torch.no_grad():
            outputs: list[Tensor] = self.eval()(torch.zeros(1, *self.in_shape, device="cpu"))
        self.train(was_training)
        if any(each.dim() != 4 for each in outputs):
            raise CnnbenchError(f"{self.name} cannot be an encoder: a stage of it does not put out images")
        return [(each.shape[1], each.shape[2], each.shape[3]) for each in outputs]


class StagedEncoder(Encoder):
    """A network that has `stages`, and perhaps a `stem` before them; what else it has is its head."""

    def __init__(
        self, name: str, network: nn.Module, in_shape: Shape, tuning: Tuning, *, from_run: bool = False
    ) -> None:
        super().__init__(name, in_shape, tuning)
        stages = getattr(network, "stages", None)
        if not isinstance(stages, nn.Sequential | nn.ModuleList) or not len(stages):
            raise CnnbenchError(f"{name} cannot be an encoder: its stages are no nn.Sequential of modules")
        self.stem: nn.Module = getattr(network, "stem", nn.Identity())
        self.stages: nn.Sequential | nn.ModuleList = stages
        self.num_stages, self.from_run = len(stages), from_run
        self.shapes = self._measure()

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = []
        outputs = self.stem(inputs)
        for stage in self.stages:
            outputs = stage(outputs)
            features.append(outputs)
        return features

    def keep(self, num: int) -> None:
        self.stages, self.shapes = self.stages[:num], self.shapes[:num]

    def begin(self, weights: Mapping[str, Tensor] | None) -> None:
        """Takes those of stem and stages; raises CnnbenchError where they are of another network."""
        if not self.from_run:
            return
        if weights is None:
            raise CnnbenchError(f"the encoder {self.name} starts with a run's weights, and was given none")
        gone = tuple(f"stages.{index}." for index in range(len(self.stages), self.num_stages))
        mine = {
            name: value
            for name, value in weights.items()
            if name.startswith(("stem.", "stages.")) and not name.startswith(gone)
        }
        if (problem := weight_files.misfit(mine, self.state_dict())) is not None:
            raise CnnbenchError(f"the run's weights are not those of the encoder {self.name}: {problem}")
        if (spoilt := weight_files.without_number(mine)) is not None:
            raise CnnbenchError(
                f"the run's weights for the encoder {self.name} are damaged: {spoilt} holds NaN"
            )
        self.load_state_dict(mine)


class TimmEncoder(Encoder):
    """A network of timm's, cut up by timm (`features_only`).

    Its inputs are images as bytes, or as floats from 0 to 1, of any size that it can take; they are
    normalized as its published weights want it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        in_shape: Shape,
        tuning: Tuning,
        *,
        pretrained: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__(name, in_shape, tuning)
        if in_shape[0] not in (1, 3):
            raise CnnbenchError(f"{name} takes grey or color images, not ones of {in_shape[0]} channels")
        self.pretrained, self.weights = pretrained, weights
        _, _, model = name.partition("/")
        architecture, _, tag = model.partition(".")
        self.library = Timm(name, architecture, tag or None)
        steps: Steps = self.library.steps()
        for key, values in (("mean", steps.mean), ("std", steps.std)):
            value = torch.tensor(values, dtype=torch.float32, device="cpu").view(1, 3, 1, 1)
            self.register_buffer(key, value, persistent=False)
        self.network = self._cut(None)
        self.indices: list[int] = list(self.network.feature_info.out_indices)  # type: ignore[union-attr, arg-type]
        try:
            self.shapes = self._measure()
        except FAILURES as error:
            raise self._cannot(error) from error
        if [shape[0] for shape in self.shapes] != self.network.feature_info.channels():  # type: ignore[operator, union-attr]
            raise CnnbenchError(f"{name} cannot be an encoder: it does not put out channels first")
        self.to(torch.get_default_device())

    def _cut(self, stages: Sequence[int] | None) -> nn.Module:
        """The network with these stages, on the CPU: there an image tells the sizes of its features."""
        try:
            with torch.device("cpu"):
                return self.library.features(stages)
        except FAILURES as error:
            raise self._cannot(error) from error

    def _cannot(self, error: Exception) -> CnnbenchError:
        size = "×".join(map(str, self.in_shape[1:]))
        reason = str(error).partition("\n")[0] or type(error).__name__
        return CnnbenchError(f"{self.name} cannot be an encoder of {size} images: {reason}")

    def forward(self, inputs: Tensor) -> list[Tensor]:
        pixels = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()
        normalized = (pixels - self.mean) / self.std  # grey images take on three channels here
        outputs: list[Tensor] = self.network(normalized.contiguous(memory_format=torch.channels_last))
        return outputs

    def keep(self, num: int) -> None:
        if num < len(self.shapes):
            self.indices, self.shapes = self.indices[:num], self.shapes[:num]
            self.network = self._cut(self.indices).to(self.mean.device)

    def begin(self, weights: Mapping[str, Tensor] | None) -> None:
        """Takes the published weights or those of a file, if it is to; raises as `Pretrained.begin` does."""
        found = stored_weights(self.library, self.name, pretrained=self.pretrained, weights=self.weights)
        if found is None:
            return
        self.network.load_state_dict(self.library.features(self.indices, found).state_dict())


class Adapter(nn.Module):
    """Features in the channels (by a 1x1 convolution) and the size (bilinear) of a level of a decoder."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        same = in_channels == out_channels
        self.conv = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        outputs: Tensor = self.conv(features)
        if tuple(outputs.shape[2:]) != size:
            outputs = F.interpolate(outputs, size=size, mode="bilinear", align_corners=False)
        return outputs


def stages_for(encoder: Encoder, sizes: Sequence[tuple[int, int]]) -> list[int]:
    """For each size of a decoder's levels the stage whose features are nearest to it; of equals the deepest.

    Raises CnnbenchError where a level is smaller than what any stage puts out.
    """
    return [_stage_for(encoder, height, width) for height, width in sizes]


def _stage_for(encoder: Encoder, height: int, width: int) -> int:
    def distance(index: int) -> tuple[float, int]:
        _, *size = encoder.shapes[index]
        return abs(math.log(size[0] / height)) + abs(math.log(size[1] / width)), -index

    nearest = min(range(len(encoder.shapes)), key=distance)
    _, found_height, found_width = encoder.shapes[nearest]
    if found_height > math.sqrt(2) * height or found_width > math.sqrt(2) * width:
        raise CnnbenchError(
            f"the encoder {encoder.name} puts out nothing smaller than {found_height}×{found_width}, and the "
            f"decoder has a level of {height}×{width}: give the model fewer widths, or the encoder more "
            "stages"
        )
    return nearest
