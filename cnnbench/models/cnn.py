"""A plain convolutional network: stages of convolutions, each stage ended by pooling."""

from itertools import pairwise

from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models import layers
from cnnbench.options import Activation, Count, Counts, DropRate, Norm, Pool, Widths


class CNN(nn.Module):
    """One stage for each width: `convs` times (convolution, norm, activation), then 2x2 pooling and dropout.

    The head flattens (or averages over the image with global_pool), then has hidden layers of the
    widths in `head`, each with activation and dropout, and a linear layer to the classes.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        widths: Counts = [32, 64],  # noqa: B006
        convs: Count = 1,
        kernel_size: Count = 3,
        norm: Norm = "none",
        activation: Activation = "relu",
        pool: Pool = "max",
        dropout: DropRate = 0.0,
        head: Widths = [128],  # noqa: B006
        global_pool: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width = in_shape
        stages: list[nn.Module] = []
        for out_channels in widths:
            stage: list[nn.Module] = []
            for _ in range(convs):
                stage += [
                    nn.Conv2d(channels, out_channels, kernel_size, padding="same", bias=norm != "batch"),
                    layers.norm(norm, out_channels),
                    layers.activation(activation),
                ]
                channels = out_channels
            if pool != "none":
                height, width = height // 2, width // 2
            stages.append(nn.Sequential(*stage, layers.pool(pool), layers.dropout(dropout)))
        if min(height, width) < 1:
            raise CnnbenchError(
                f"model 'cnn': {len(widths)} stages with pooling shrink an image of "
                f'{in_shape[1]}×{in_shape[2]} to nothing; use fewer widths or pool = "none"'
            )
        self.stages = nn.Sequential(*stages)
        self.global_pool = global_pool
        features = [channels if global_pool else channels * height * width, *head]
        hidden: list[nn.Module] = []
        for in_features, out_features in pairwise(features):
            hidden += [
                nn.Linear(in_features, out_features),
                layers.activation(activation),
                layers.dropout(dropout),
            ]
        self.head = nn.Sequential(*hidden, nn.Linear(features[-1], num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.stages(inputs)
        features = features.mean(dim=(2, 3)) if self.global_pool else features.flatten(1)
        logits: Tensor = self.head(features)
        return logits
