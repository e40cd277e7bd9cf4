"""When a run overfits: validation loss rises while train loss still falls.

By the rule used here, where validation loss ends more than 5 % above its lowest epoch while train loss ends
lower than it was there: the one error still falls and the other has begun to rise (Goodfellow, Bengio and
Courville 2016, "Deep Learning", section 7.8). A variant does where more than half of its seeds do.
"""

from dataclasses import dataclass

MIN_RISE = 0.05  # of the lowest validation loss; less is the jumping of ordinary training


@dataclass(frozen=True)
class Rise:
    """What one run's losses did after the epoch with the lowest validation loss (the first such epoch)."""

    lowest_epoch: int
    lowest: float
    last: float
    train_fell: bool

    @property
    def share(self) -> float:
        """By which share of its lowest value validation loss ended higher."""
        return self.last / self.lowest - 1 if self.lowest > 0 else 0.0

    @property
    def overfits(self) -> bool:
        """The rule of this module."""
        return self.share > MIN_RISE and self.train_fell


def rise_of(train_loss: dict[int, float], val_loss: dict[int, float]) -> Rise | None:
    """The rise in one run from its losses by epoch, over the epochs that have both; None where none has."""
    epochs = sorted(train_loss.keys() & val_loss.keys())
    if not epochs:
        return None
    lowest, last = min(epochs, key=lambda epoch: val_loss[epoch]), epochs[-1]
    return Rise(lowest, val_loss[lowest], val_loss[last], train_loss[last] < train_loss[lowest])
