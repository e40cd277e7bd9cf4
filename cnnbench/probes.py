"""What is measured of a model at every row of its history: how large the gradients of each layer are."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnbench.data.loader import Loader
from cnnbench.models.initialization import layer_weights
from cnnbench.models.model_heads import DROPOUTS
from cnnbench.precision import Precision

LossFunction = Callable[[Tensor, Tensor], Tensor]  # logits, targets -> mean over the batch


def probe_batch(loader: Loader) -> tuple[Tensor, Tensor]:
    """The images every epoch of every seed is probed on: one batch of the train split, not augmented."""
    train = loader.dataset.train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    images, targets = train.gather(order[: loader.batch_size].to(loader.device))
    return loader.normalize(images), targets


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """The model as it is in training, but for dropout, which is off; it is left as it was before."""
    before = [buffer.clone() for buffer in model.buffers()]  # running statistics
    was_training = model.training
    model.train()
    for module in model.modules():
        if isinstance(module, DROPOUTS):
            module.eval()
    try:
        yield
    finally:
        model.train(was_training)
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), before, strict=True):
                buffer.copy_(value)


def gradients_by_layer(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    precision: Precision,
    loss_of: LossFunction = F.cross_entropy,
) -> dict[str, dict[str, float | None]]:
    """L2 norm and mean absolute value of the gradient of each layer's weight, by the layer's name.

    The loss is the mean over the batch, without label smoothing; norms use the batch's own statistics, as in
    training, and dropout is off. Nothing of the model is changed. A value that is not finite is None.
    """
    weights = {name: weight for name, weight in layer_weights(model).items() if weight.requires_grad}
    with training_mode(model):
        with precision.autocast():
            logits = model(inputs)
        loss = loss_of(logits.float(), targets)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    used = {name: grad.float() for name, grad in zip(weights, gradients, strict=True) if grad is not None}
    if not used:
        return {}
    measured = torch.stack([torch.stack([grad.norm(), grad.abs().mean()]) for grad in used.values()])
    return {
        name: {"norm": _finite(norm), "mean_abs": _finite(mean_abs)}
        for name, (norm, mean_abs) in zip(used, measured.tolist(), strict=True)
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def probe(
    model: nn.Module,
    loader: Loader,
    precision: Precision,
    epoch: int,
    loss_of: LossFunction = F.cross_entropy,
) -> dict[str, Any]:
    """One line of probes.jsonl."""
    inputs, targets = probe_batch(loader)
    return {"epoch": epoch, "gradients": gradients_by_layer(model, inputs, targets, precision, loss_of)}
