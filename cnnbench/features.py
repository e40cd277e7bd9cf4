"""Features of a frozen backbone: computed once, and given to the head in every epoch in place of images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from cnnbench import memory
from cnnbench.data.base import Split
from cnnbench.data.loader import Loader
from cnnbench.models.tuning import Headed
from cnnbench.precision import Precision

MEMORY_SHARE = 0.25  # of what is available: so much may the features take


@dataclass(frozen=True, kw_only=True)
class FeatureSplit(Split):
    """A split whose images are features; they are computed when the first of them is asked for."""

    compute: Callable[[Tensor], Tensor]  # images (B, C, H, W) uint8 -> features (B, ...)
    batch_size: int
    full_batches: bool  # the last one too, as in training: results can depend on the size, in the last bit

    @cached_property
    def computed(self) -> Split:
        """Features in the order of the split, with their targets."""
        features: Tensor | None = None
        every = torch.arange(len(self), device=self.rows.device)
        for positions in torch.split(every, self.batch_size):
            if self.full_batches:
                positions = every[-self.batch_size :] if len(positions) < self.batch_size else positions
            images, _ = super().gather(positions)
            batch = self.compute(images)
            if features is None:
                features = _empty(len(self), batch)
            features[positions] = batch
        assert features is not None, "no split is empty"
        return Split(features, self.all_targets(), every)

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.computed.gather(positions)

    def to(self, device: torch.device) -> Split:
        """Itself: it lives where its loader does."""
        return self


def _empty(num_images: int, batch: Tensor) -> Tensor:
    """Room for features like these of so many images, maps in channels-last layout."""
    layout = torch.channels_last if batch.dim() == 4 else torch.contiguous_format
    shape = (num_images, *batch.shape[1:])
    return torch.empty(shape, dtype=batch.dtype, device=batch.device, memory_format=layout)


@contextmanager
def reused_features(
    model: nn.Module, loader: Loader, precision: Precision, at_a_time: int = 1
) -> Iterator[tuple[Loader, str | None]]:
    """Within the block a model whose backbone is frozen for good is trained on features, if it can be.

    Yields what to train on, the loader as it is or one of features, and a sentence on it for the user.
    Features are not reused where images are augmented, for then they are others in each epoch; where they
    would take more than MEMORY_SHARE of the available memory, of which `at_a_time` runs have a part each; and
    where the head cannot be run by itself.
    """
    if not isinstance(model, Headed) or not model.tuning.freeze or loader.augment.transforms:
        yield loader, None
        return
    needed = feature_bytes(model, loader, precision)
    if needed is None:
        said = "the head of this network cannot be run by itself, so its backbone runs in every epoch"
        yield loader, said
        return
    available = memory.available_bytes(loader.device) // at_a_time
    if needed > MEMORY_SHARE * available:
        said = (
            f"the features of the frozen backbone would take {_mib(needed)}, more than {MEMORY_SHARE:.0%} of "
            f"the {_mib(available)} that are available, so they are computed anew in every epoch"
        )
        yield loader, said
        return

    @torch.no_grad()
    def compute(images: Tensor) -> Tensor:
        with precision.autocast():
            return model.features(loader.normalize(images))

    def on_features(split: Split, full_batches: bool) -> FeatureSplit:
        return FeatureSplit(
            **vars(split), compute=compute, batch_size=loader.batch_size, full_batches=full_batches
        )

    dataset = loader.dataset
    train, val = on_features(dataset.train, full_batches=True), on_features(dataset.val, full_batches=False)
    model.on_features = True
    try:
        said = f"the features of the frozen backbone ({_mib(needed)}) are computed once, for every epoch"
        yield loader.over(replace(dataset, train=train, val=val)), said
    finally:
        model.on_features = False


@torch.no_grad()
def feature_bytes(model: Headed, loader: Loader, precision: Precision) -> int | None:
    """How much the features of train and val take; None where the head makes other logits of them.

    Tried on two images, with the weights as they are.
    """
    dataset = loader.dataset
    images, _ = dataset.train.gather(torch.arange(min(2, len(dataset.train)), device=loader.device))
    inputs = loader.normalize(images)
    was_training = model.training
    model.eval()
    try:
        with precision.autocast():
            features = model.features(inputs)
            if not torch.equal(model.logits_of(features), model(inputs)):
                return None
    except (RuntimeError, ValueError, TypeError):  # it is given what it does not take
        return None
    finally:
        model.train(was_training)
    num_images = len(dataset.train) + len(dataset.val)
    return features[0].numel() * features.element_size() * num_images


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / memory.MIB:,.0f} MiB"
