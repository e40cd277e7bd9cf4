"""A fully connected network over flattened images."""

from itertools import pairwise

from torch import Tensor, nn

from cnnbench.models import layers
from cnnbench.options import Activation, Counts, DropRate, Norm


class MLP(nn.Module):
    """Hidden layers of the given widths, each linear, norm, activation, dropout; then a linear head."""

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        widths: Counts = [256, 128],  # noqa: B006 (read as an option's default, never changed)
        activation: Activation = "relu",
        norm: Norm = "none",
        dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = in_shape
        features = [channels * height * width, *widths]
        hidden: list[nn.Module] = []
        for in_features, out_features in pairwise(features):
            hidden += [
                nn.Linear(in_features, out_features),
                layers.norm(norm, out_features, dimensions=0),
                layers.activation(activation),
                layers.dropout(dropout),
            ]
        self.hidden = nn.Sequential(*hidden)
        self.head = nn.Linear(features[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(inputs.flatten(1)))
        return logits
