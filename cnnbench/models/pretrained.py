"""Networks of timm and torchvision by name, with the preprocessing they were trained with."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.imagenet import CIFAR10, cifar10_indices, imagenet_classes
from cnnbench.models.model_heads import apply_head, class_tensors, split_head
from cnnbench.models.model_libraries import open_library, stored_weights
from cnnbench.models.preprocessing import Preprocessing
from cnnbench.models.tuning import Headed, Tuning
from cnnbench.options import Count, Head, Positive

NUM_IMAGENET = 1000


class _Reached(Exception):  # noqa: N818, no error
    """The head is reached, and the rest is not wanted: dropout there must draw nothing."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


def _stop(module: nn.Module, given: tuple[Tensor, ...]) -> None:
    raise _Reached(given[0])


class Pretrained(Headed):
    """A network of timm or torchvision; its inputs are images as bytes, or as floats from 0 to 1.

    `head`: "new" is a fresh layer for the data's classes, "imagenet" the network's own 1,000 outputs,
    "cifar10" those 1,000 read as CIFAR-10's classes: each has the highest logit of the ImageNet classes that
    belong to it, and one that has none (deer) a logit below all others.

    The backbone of a new head is all before it; `freeze`, `unfreeze_epoch` and `lr_factor` are about that.
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
        freeze: bool = False,
        unfreeze_epoch: Count | None = None,
        lr_factor: Positive = 1.0,
    ) -> None:
        super().__init__(Tuning(freeze, unfreeze_epoch, lr_factor))
        if pretrained and weights is not None:
            raise CnnbenchError(f"{name}: pretrained = true and weights exclude each other").about("weights")
        self.name, self.head, self.pretrained, self.weights = name, head, pretrained, weights
        self.library = open_library(name)
        steps = self.library.steps()
        self.preprocessing = Preprocessing(steps if image_size is None else steps.at(image_size))
        self._check_head(in_shape[0], num_classes)
        self._check_tuning()
        self.network = self.library.build(num_classes if head == "new" else NUM_IMAGENET)
        self.indices = list(cifar10_indices().values()) if head == "cifar10" else []
        self.new_tensors: set[str] = set()
        head_modules: list[nn.Module] = []
        behind: list[nn.Module] = []
        if head == "new":
            with torch.device("meta"):
                other = self.library.build(num_classes + 1)
            self.new_tensors = class_tensors(self.network, other)
            head_modules, behind = split_head(self.network, self.new_tensors)
        self.behind = tuple(behind)  # no ModuleList: they are the network's
        self.head_modules = frozenset(head_modules)

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
            ).about("head")
        if (known := self.library.num_classes()) != NUM_IMAGENET:
            raise CnnbenchError(
                f'head = "{self.head}" needs a network trained for ImageNet\'s 1,000 classes; {self.name} '
                f"has {known:,}"
            ).about("head")

    def _check_tuning(self) -> None:
        if self.tuning == Tuning():
            return
        if self.head != "new":
            raise CnnbenchError(
                "freeze, unfreeze_epoch and lr_factor are about what stands before a new head, and "
                f'head = "{self.head}" is the network\'s own: leave them out, or take head = "new"'
            ).about("head")
        if self.tuning.frozen(1) and self.weights is None and not self.pretrained:
            raise CnnbenchError(
                "a backbone that is frozen needs weights, and these would be random: set pretrained = true "
                'or weights = "file"'
            )

    def backbone(self) -> list[nn.Module]:
        return [module for module in self.network.modules() if module not in self.head_modules]

    def features(self, inputs: Tensor) -> Tensor:
        """What goes into the new head, or into the dropout before it: (N, ...) as the network has it."""
        handle = self.behind[0].register_forward_pre_hook(_stop)
        try:
            self.network(self.preprocessing(inputs))
        except _Reached as reached:
            return reached.features
        finally:
            handle.remove()
        raise RuntimeError(f"{self.name} does not call its head")

    def logits_of(self, features: Tensor) -> Tensor:
        return apply_head(self.behind, features)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        if self.on_features:
            return self.logits_of(inputs)
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
        found = stored_weights(self.library, self.name, pretrained=self.pretrained, weights=self.weights)
        if found is not None:
            self._load(found)

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

    def _load(self, found: Mapping[str, Tensor]) -> None:
        """Everything but a new head."""
        device = next(self.network.parameters()).device
        kept = {name: value.to(device) for name, value in found.items() if name not in self.new_tensors}
        self.network.load_state_dict(kept, strict=self.head != "new")
