"""Networks of timm and torchvision by name, with the preprocessing they were trained with."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.imagenet import CIFAR10, cifar10_indices, imagenet_classes
from cnnbench.models import weights as weight_files
from cnnbench.models.model_libraries import fitting, open_library
from cnnbench.models.preprocessing import Preprocessing
from cnnbench.options import Count, Head

NUM_IMAGENET = 1000


class Pretrained(nn.Module):
    """A network of timm or torchvision; its inputs are images as bytes, or as floats from 0 to 1.

    `head`: "new" is a fresh layer for the data's classes, "imagenet" the network's own 1,000 outputs,
    "cifar10" those 1,000 read as CIFAR-10's classes: each has the highest logit of the ImageNet classes that
    belong to it, and one that has none (deer) a logit below all others.
    """

    takes_bytes = True  # the loader hands batches over as they are

    def __init__(
        self,
        name: str,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        pretrained: bool = False,
        weights: str | None = None,
        head: Head = "new",
        image_size: Count | None = None,
    ) -> None:
        super().__init__()
        if pretrained and weights is not None:
            raise CnnbenchError(f"{name}: pretrained = true and weights exclude each other")
        self.name, self.head, self.pretrained, self.weights = name, head, pretrained, weights
        self.library = open_library(name)
        steps = self.library.steps()
        self.preprocessing = Preprocessing(steps if image_size is None else steps.at(image_size))
        self._check_head(in_shape[0], num_classes)
        self.network = self.library.build(num_classes if head == "new" else NUM_IMAGENET)
        self.indices = list(cifar10_indices().values()) if head == "cifar10" else []

    def _check_head(self, in_channels: int, num_classes: int) -> None:
        if in_channels not in (1, 3):
            raise CnnbenchError(f"{self.name} takes grey or color images, not ones of {in_channels} channels")
        if self.head == "new":
            return
        wanted = NUM_IMAGENET if self.head == "imagenet" else len(CIFAR10)
        if num_classes != wanted:
            raise CnnbenchError(
                f'head = "{self.head}" answers with {wanted:,} classes, but the data has {num_classes:,}; '
                'use head = "new" to train one for them'
            )
        if (known := self.library.num_classes()) != NUM_IMAGENET:
            raise CnnbenchError(
                f'head = "{self.head}" needs a network trained for ImageNet\'s 1,000 classes; {self.name} '
                f"has {known:,}"
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        logits = self.network_logits(inputs)
        return self.to_cifar10(logits) if self.indices else logits

    def network_logits(self, inputs: Tensor) -> Tensor:
        """What the network itself says: logits (N, 1000), or of the new head."""
        output = self.network(self.preprocessing(inputs))
        logits: Tensor = output[0] if isinstance(output, tuple) else output  # others are auxiliary heads
        return logits

    def to_cifar10(self, logits: Tensor) -> Tensor:
        """(N, 1000) -> (N, 10): the highest of each class's; without any, one below the lowest of all."""
        none = logits.amin(1) - 1
        return torch.stack([logits[:, each].amax(1) if each else none for each in self.indices], 1)

    def begin(self, classes: Sequence[str]) -> None:
        """Takes the pretrained weights; called once, where a run starts.

        Raises WeightsAbsentError where they are not on this machine, and another CnnbenchError where the file
        is not theirs or the head speaks of other classes than the data's.
        """
        self._check_classes(tuple(classes))
        if self.weights is not None:
            path = weight_files.find_file(self.weights, self.name)
        elif self.pretrained:
            path = weight_files.find_published(self.library.published(), self.name)
        else:
            return
        self._load(weight_files.read(path), str(path))

    def _check_classes(self, classes: tuple[str, ...]) -> None:
        if self.head == "new":
            return
        known = CIFAR10 if self.head == "cifar10" else tuple(each.name for each in imagenet_classes())
        if classes != known:
            whose = "CIFAR-10" if self.head == "cifar10" else "ImageNet"
            raise CnnbenchError(
                f'head = "{self.head}" speaks of {whose}\'s classes, and the data has others '
                f"({', '.join(classes[:3])} ...)"
            )

    def _load(self, found: Mapping[str, Tensor], path: str) -> None:
        """Everything but a new head."""
        device = next(self.network.parameters()).device
        num_published = self.library.num_classes()
        found = fitting(self.library, self.name, found, path)
        with torch.device("meta"):
            other = self.library.build(num_published + 1).state_dict()
        heads = {name for name in found if found[name].shape != other[name].shape}
        kept = {
            name: value.to(device) for name, value in found.items() if self.head != "new" or name not in heads
        }
        self.network.load_state_dict(kept, strict=self.head != "new")
