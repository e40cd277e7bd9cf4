"""How a part that brings weights is trained beside the rest: held fast, let go late, or more gently."""

from dataclasses import dataclass

from cnnbench.errors import CnnbenchError


@dataclass(frozen=True)
class Tuning:
    """How a backbone is trained beside the rest of its model.

    `freeze`: never. `unfreeze_epoch`: from this epoch on (the first is 1), and frozen before it. `lr_factor`:
    its learning rate is so many times that of the rest. Raises CnnbenchError where these contradict each
    other.
    """

    freeze: bool = False
    unfreeze_epoch: int | None = None
    lr_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.freeze and self.unfreeze_epoch is not None:
            raise CnnbenchError("freeze = true holds for every epoch: leave it out, or unfreeze_epoch")
        if self.freeze and self.lr_factor != 1:
            raise CnnbenchError(
                "with freeze = true nothing is learned at any rate: leave it out, or lr_factor"
            )

    def check_epochs(self, epochs: int) -> None:
        """Raises CnnbenchError where so many epochs leave nothing of what is asked for."""
        if self.freeze and epochs == 0:
            raise CnnbenchError(
                "freeze = true is about training, and train.epochs = 0 trains nothing: leave one of them out"
            ).about("train", "epochs")
        if self.unfreeze_epoch is not None and self.unfreeze_epoch > epochs:
            raise CnnbenchError(
                f"unfreeze_epoch = {self.unfreeze_epoch} comes after the last epoch (train.epochs = "
                f"{epochs}): take an earlier one, or say freeze = true"
            ).about("train", "epochs")

    def frozen(self, epoch: int) -> bool:
        """Whether the backbone is held fast in this epoch."""
        return self.freeze or (self.unfreeze_epoch is not None and epoch < self.unfreeze_epoch)
