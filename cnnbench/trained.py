"""The model of a finished run, with the weights that were kept."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from cnnbench.models import build_model
from cnnbench.models.weights import misfit, without_number
from cnnbench.reading import DamagedError
from cnnbench.recipe.config import RunConfig
from cnnbench.runs import Run

if TYPE_CHECKING:
    from torch import nn


def load_trained(
    run: Run, config: RunConfig, in_shape: Sequence[int], num_classes: int, device: torch.device
) -> "nn.Module":
    """The model on `device` in evaluation mode.

    Raises DamagedError where the weights cannot be read or are not its own.
    """
    torch.manual_seed(config.seed)
    channels, height, width = in_shape
    model = build_model(config.model, (channels, height, width), num_classes, config.plugins)
    weights = run.weights()
    problem = misfit(weights, model.state_dict())
    if problem is not None:
        raise DamagedError(f"{run.path} holds weights of another model: {problem}")
    if (spoilt := without_number(weights)) is not None:
        raise DamagedError(f"{run.path} holds damaged weights: {spoilt} holds NaN")
    model.load_state_dict(weights)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()
