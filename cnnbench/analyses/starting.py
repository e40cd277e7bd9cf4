"""The weights a run started with, and what its recipe declared of them."""

import torch

from cnnbench.analyses.base import Subject
from cnnbench.models import build_model
from cnnbench.models.initialization import declared_variances, layer_weights
from cnnbench.recipe.config import Init, Named
from cnnbench.runs import Run


def start_weights(subject: Subject, run: Run) -> dict[str, torch.Tensor]:
    """The first weights of each layer, by its name, drawn again from the run's seed."""
    weights = layer_weights(subject.model(run, trained=False))
    return {name: weight.detach() for name, weight in weights.items()}


def declared_of(subject: Subject, run: Run) -> dict[str, float]:
    """The variance that each layer was declared to have, by its name; layers without one are left out."""
    config = subject.config(run)
    options = config.model.options
    init = options.pop("init", None)
    if not isinstance(init, dict):
        return {}
    dataset = subject.datasets.load(config.data)
    bare = Named(name=config.model.name, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_model(bare, dataset.in_shape, dataset.num_classes, config.plugins)
    return declared_variances(model, Init.model_validate(init))
