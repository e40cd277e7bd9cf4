"""Types that options of models, data sets, optimizers and augmentations may have.

Constructors use these names in their signatures; `catalog` reads the signatures to validate recipes.
"""

from typing import Annotated, Any, Literal

from pydantic import Field


class Meaning(str):
    """Beside a type: what its values are, as the end of the sentence that says what is expected."""


Count = Annotated[int, Field(ge=1)]
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]
Epochs = Annotated[int, Field(ge=0, le=1_000_000)]
Counts = Annotated[list[Count], Field(min_length=1)]
Widths = list[Count]  # may be empty
PER_STAGE = "one for each stage"  # marks lists that must be of one length
StageCounts = Annotated[list[Count], Field(min_length=1), PER_STAGE]
ImageSize = Annotated[int, Field(ge=1, le=4096)]
CommonSize = Annotated[ImageSize, Meaning("the height and width in pixels to which every image is resized")]
ENCODER = "a network that puts out features of several sizes"  # marks options that are one
Encoder = Annotated[dict[str, Any] | str, ENCODER]  # as a recipe gives it: `build_model` makes a module of it
LARGEST_SEED = 2**32 - 1
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
DropRate = Annotated[float, Field(ge=0, lt=1)]
Shares = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Images = Annotated[list[str | NonNegativeInt], Field(min_length=1)]  # class names, or indices
LayerNames = Annotated[list[str], Field(min_length=1)]

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "mish", "swish_leaky"]
Attention = Literal["none", "se"]
Conv = Literal["standard", "scaled"]
Norm = Literal["batch", "group", "layer", "none"]
Down = Literal["max", "stride"]
Pool = Literal["max", "avg", "lp", "none"]
Block = Literal["basic", "bottleneck"]
Stem = Literal["3x3", "7x7", "deep"]
Anneal = Literal["cosine", "linear"]
Band = Literal["range", "std"]
Head = Literal["new", "imagenet", "cifar10"]
OnProblem = Literal["refuse", "skip"]
