"""Models with a backbone, a part that brings weights: held fast, let go late, or trained more gently."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn import Parameter

from cnnbench.recipe.tuning import Tuning

__all__ = ["Backboned", "Headed", "Tuning", "begin_epoch", "num_trained", "parameters_by_lr", "tuning_of"]


class Backboned(nn.Module):
    """A model with a backbone. What is frozen has no gradients, and stays in evaluation mode.

    So batch norms keep and use the statistics that they brought, and dropout within is off.
    """

    def __init__(self, tuning: Tuning) -> None:
        super().__init__()
        self.tuning = tuning
        self.frozen = False

    def backbone(self) -> Sequence[nn.Module]:
        """Every module of the backbone, each for itself: not as standing for those within it."""
        raise NotImplementedError

    def backbone_parameters(self) -> Iterator[Parameter]:
        for module in self.backbone():
            yield from module.parameters(recurse=False)

    def begin_epoch(self, epoch: int) -> None:
        """Freezes or unfreezes as that epoch asks."""
        self.frozen = self.tuning.frozen(epoch)
        for parameter in self.backbone_parameters():
            parameter.requires_grad_(not self.frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backboned":
        super().train(mode)
        if self.frozen:
            for module in self.backbone():
                module.training = False
        return self


class Headed(Backboned):
    """One whose backbone hands its features to a head, and can be given those features in place of images."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__(tuning)
        self.on_features = False  # whether `forward` is given features

    def features(self, inputs: Tensor) -> Tensor:
        """What the head is given for these inputs (N, ...)."""
        raise NotImplementedError

    def logits_of(self, features: Tensor) -> Tensor:
        """What the head makes of features: logits (N, num_classes)."""
        raise NotImplementedError


def tuning_of(model: nn.Module) -> Tuning:
    """How the backbone of a model is trained; a model that has none is trained as a whole."""
    return model.tuning if isinstance(model, Backboned) else Tuning()


def num_trained(model: nn.Module) -> int:
    """How many parameters are trained in one epoch at least."""
    if isinstance(model, Backboned):  # whose backbone is frozen and unfrozen by epochs
        total = sum(parameter.numel() for parameter in model.parameters())
        frozen = model.backbone_parameters() if model.tuning.freeze else ()
        return total - sum(parameter.numel() for parameter in frozen)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def begin_epoch(model: nn.Module, epoch: int) -> None:
    """Freezes or unfreezes the backbone of a model that has one."""
    if isinstance(model, Backboned):
        model.begin_epoch(epoch)


def parameters_by_lr(model: nn.Module) -> list[tuple[float, list[Parameter]]]:
    """The parameters in groups, each with the factor by which its learning rate differs from the recipe's."""
    if not isinstance(model, Backboned) or model.tuning.lr_factor == 1:
        return [(1.0, list(model.parameters()))]
    backbone = list(model.backbone_parameters())
    held = {id(parameter) for parameter in backbone}
    others = [parameter for parameter in model.parameters() if id(parameter) not in held]
    return [(1.0, others), (model.tuning.lr_factor, backbone)]
