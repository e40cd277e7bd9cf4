"""Where a network's new head begins: the layers made for the number of classes, and the dropout before."""

from collections.abc import Sequence

from torch import Tensor, nn

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def class_tensors(network: nn.Module, other: nn.Module) -> set[str]:
    """The tensors whose shape depends on the number of classes; `other` is the same network for others."""
    shapes = {name: value.shape for name, value in other.state_dict().items()}
    return {name for name, value in network.state_dict().items() if value.shape != shapes[name]}


def split_head(network: nn.Module, tensors: set[str]) -> tuple[list[nn.Module], list[nn.Module]]:
    """The modules of the head, and what the network does from there on, in the order in which it is built.

    The head is whatever owns one of these tensors, and the dropout directly before the last of them: it
    belongs to a new layer, not to what was trained before, and is random while that one learns.
    """
    owners = {name.rpartition(".")[0] for name in tensors}
    steps = [
        (name, module)
        for name, module in network.named_modules()
        if name in owners or next(module.children(), None) is None
    ]
    last = max(place for place, (name, _) in enumerate(steps) if name in owners)
    first = last
    while first > 0 and isinstance(steps[first - 1][1], DROPOUTS):
        first -= 1
    behind = [module for _, module in steps[first:]]
    auxiliary = [module for name, module in steps[:first] if name in owners]
    return [*auxiliary, *behind[: last - first + 1]], behind


def apply_head(behind: Sequence[nn.Module], features: Tensor) -> Tensor:
    """Logits (N, num_classes) of what goes into the first of these modules."""
    for module in behind:
        if isinstance(module, nn.Linear) and features.shape[-1] != module.in_features:
            features = features.flatten(1)
        features = module(features)
    return features.flatten(1)
