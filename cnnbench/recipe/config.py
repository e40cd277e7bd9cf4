"""What a recipe asks for, validated: frozen objects that become `config.json` and come back equal."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cnnbench.options import (
    BatchSize,
    Count,
    DropRate,
    Epochs,
    ImageSize,
    NonNegative,
    NonNegativeInt,
    Positive,
    Seed,
)
from cnnbench.recipe.code import code_of

Precision = Literal["auto", "fp32", "bf16", "fp16"]
JudgedOn = Literal["test", "val", "val_then_test"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
VariantNames = Annotated[list[str], Field(min_length=1)]
TwoNames = Annotated[list[str], Field(min_length=2, max_length=2)]
ClassNames = Annotated[list[str], Field(min_length=2)]
Seeds = Annotated[list[Seed], Field(min_length=1)]


class _Config(BaseModel):
    # strict: 3 counts as 3.0, but true is not 1, 3.0 is not 3 and "3" is not 3
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Named(_Config):
    """A unit of the catalog with its options; `"adam"` is short for `{name = "adam"}`. Serializes flat."""

    model_config = ConfigDict(extra="allow")
    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for the unit's constructor."""
        return dict(self.model_extra or {})


class DataConfig(_Config):
    """The data set, its loader's own options (extra keys), and how it is split, cut and fed."""

    model_config = ConfigDict(extra="allow")
    name: str
    batch_size: BatchSize = 128
    val_fraction: Fraction | None = 0.1
    val_size: Count | None = None
    limit: Count | None = None
    classes: ClassNames | None = None
    image_size: ImageSize | None = None
    augment: list[Named] = []
    normalize: bool = True

    @model_validator(mode="before")
    @classmethod
    def _one_way_to_split(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("val_size") is not None:
            if value.get("val_fraction") is not None:
                raise ValueError("val_fraction and val_size exclude each other")
            return {**value, "val_fraction": None}
        return value

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for the data set's loader beyond `root`."""
        return dict(self.model_extra or {})


class EarlyStopping(_Config):
    """Stop after `patience` epochs without the validation metric getting better by more than `min_delta`."""

    patience: Count
    min_delta: NonNegative = 0.0


class ProgressiveResizing(_Config):
    """Training images of `size` by `size` pixels for the first epochs, a share `until` of all of them.

    Validation and test images keep their size (Howard et al. 2018, fast.ai's entry to DAWNBench).
    """

    size: ImageSize
    until: Fraction = 0.5

    def size_in(self, epoch: int, epochs: int) -> int | None:
        """The size of an epoch's images, counted from 1; None where it is their own."""
        return self.size if epoch <= self.until * epochs else None


class Loss(_Config):
    """A weighted sum of losses for masks; `"dice"` is short for `{dice = 1.0}`."""

    bce: NonNegative = 0.0
    dice: NonNegative = 0.0

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in cls.model_fields:
                raise ValueError(f'unknown loss "{value}"; expected "bce", "dice", or a table of weights')
            return {value: 1.0}
        return value

    @model_validator(mode="after")
    def _some_weight(self) -> "Loss":
        if not self.bce + self.dice:
            raise ValueError("a loss without weight: give bce or dice more than 0")
        return self


class TrainConfig(_Config):
    """How every epoch is trained."""

    epochs: Epochs = 10
    optimizer: Named = Named(name="adam")
    lr: Positive = 1e-3
    schedule: Named = Named(name="constant")
    weight_decay: NonNegative = 0.0
    label_smoothing: DropRate = 0.0
    loss: Loss | None = None
    grad_clip: Positive | None = None
    early_stopping: EarlyStopping | None = None
    progressive_resizing: ProgressiveResizing | None = None
    keep: Literal["best", "last"] = "best"
    precision: Precision = "auto"
    compile: bool = False


class Limits(_Config):
    """Caps checked before training: parameters, multiply-adds per image, channels of any layer."""

    max_params: Count | None = None
    max_macs: Count | None = None
    max_channels: Count | None = None


class MatchParams(_Config):
    """Scale the model's widths until it has as many parameters as the variant `like`."""

    like: str
    tolerance: Fraction = 0.02  # of the parameters of `like`


class Match(_Config):
    """What was found for MatchParams: the widths, their parameters, and those of the variant `like`."""

    like: str
    target_params: Count
    widths: list[Count]
    num_params: NonNegativeInt

    @property
    def difference(self) -> float:
        """What is missing or too much, as a share of the parameters of `like`."""
        return self.num_params / self.target_params - 1


class BestOf(_Config):
    """A model that is the winner of another recipe, with some of its options set anew.

    `models` are those that it may turn out to be.
    """

    recipe: str  # as it is written
    file: Path
    options: dict[str, Any] = {}
    models: list[Named]


class TunedEncoder(_Config):
    """What any encoder's table may hold: how it is trained (`cnnbench.recipe.tuning`)."""

    freeze: bool = False
    unfreeze_epoch: Count | None = None
    lr_factor: Positive = 1.0


class RunEncoder(TunedEncoder):
    """An encoder that another recipe has trained: of this variant of it, or of its winner."""

    run: str
    variant: str | None = None


class LibraryEncoder(TunedEncoder):
    """An encoder of timm's."""

    name: str
    pretrained: bool = False
    weights: str | None = None


class EncoderOf(_Config):
    """An encoder whose weights are those that another recipe trained; `models` are those that it may be."""

    recipe: str  # as it is written
    file: Path
    option: str  # of the model, that the encoder is
    variant: str | None  # None: whichever wins
    models: list[Named]


class EncoderWeights(_Config):
    """The run whose weights an encoder starts with, and which these are."""

    run: str  # its directory under the runs
    digest: str  # the first 16 digits of the SHA-256 of its file of weights


class Contender(_Config):
    """A variant of the recipe that is built on: its validation accuracy, its cost, how it did."""

    variant: str
    num_seeds: NonNegativeInt
    mean: float
    std: float | None
    low: float | None  # of the 95 % interval
    high: float | None
    num_params: NonNegativeInt | None
    macs: NonNegativeInt | None
    standing: str  # to the one with the best mean: best, tied, worse, untested
    p_value: float | None  # of no difference from that one, corrected


class Winner(_Config):
    """What was found for BestOf: the variant taken, its model, why, and which lists were cut to fit it.

    Or for EncoderOf: then `weights` says for each seed, as text, which run's they are, and where the recipe
    names the variant there are no contenders.
    """

    recipe: str  # its directory under the runs
    file: str
    num_seeds: int | None  # what `--seeds` asked for
    variant: str
    model: Named
    contenders: list[Contender]
    reasons: list[str]
    cut: list[str] = []
    weights: dict[str, EncoderWeights] = {}


class Claim(_Config):
    """A statement to be held against the runs: each of `better` is better than each of `than`.

    With `by_more_than` the one of `better` gains more over the one of `than` than its first over its second.
    """

    text: str
    better: VariantNames
    than: VariantNames
    by_more_than: TwoNames | None = None
    metric: str | None = None  # what is compared; None: what the recipe is judged by

    @property
    def variants(self) -> list[str]:
        """Every variant it is about."""
        return [*self.better, *self.than, *(self.by_more_than or ())]


class Check(_Config):
    """A statement about named quantities of a run, which must hold for every seed, or draw, of a variant.

    Random quantities are drawn `draws` times with fresh weights and inputs; it is enough there that the
    statement holds in this share of all draws there could be. `output` names the module whose output the
    loss of gradients is taken of.
    """

    text: str
    expression: str
    variants: VariantNames | None = None  # all of them
    draws: Annotated[int, Field(ge=1, le=10_000)] = 100
    share: Annotated[float, Field(gt=0, lt=1)] = 0.95
    output: str | None = None


class Init(_Config):
    """How the weights of a model start; `variance` gives layers one of their own, as a number or formula."""

    scheme: Literal["default", "he", "xavier"] = "default"
    scale: Annotated[float, Field(gt=0, le=1e9)] = 1.0  # of the standard deviations of the scheme
    variance: dict[str, Positive | str] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_scheme(cls, value: Any) -> Any:
        return {"scheme": value} if isinstance(value, str) else value


class RunConfig(_Config):
    """One run: one variant with one seed. `plugins` says where files lie, so it is no part of the JSON.

    `code` holds digests of those plugin files that the run is made of.
    """

    recipe: str
    variant: str
    seed: Seed
    data: DataConfig
    model: Named
    train: TrainConfig
    encoder_weights: EncoderWeights | None = None
    code: dict[str, str] = {}
    plugins: list[str] = Field(default=[], exclude=True)


class Variant(_Config):
    """One row of the comparison, every setting resolved; with `match`, the model has the widths found.

    With `best_of`, the model is a stand-in that cannot be built until there is a `winner`; with `encoder_of`,
    its encoder is.
    """

    name: str
    data: DataConfig
    model: Named
    train: TrainConfig
    seeds: Seeds
    limits: Limits = Limits()
    match_params: MatchParams | None = None
    match: Match | None = None
    best_of: BestOf | None = None
    encoder_of: EncoderOf | None = None
    winner: Winner | None = None


class Recipe(_Config):
    """A validated recipe; `directory` is its place under `runs/`: the name, and what was overridden.

    It is judged on test; or on val, where its winner is carried on to another recipe, and test is left for
    that one; or on val, and then the variant picked is measured on test.
    """

    path: Path
    name: str
    directory: str
    title: str
    question: str
    judged_on: JudgedOn = "test"
    analyses: list[Named]
    variants: list[Variant]
    claims: list[Claim] = []
    checks: list[Check] = []
    plugins: list[str] = []  # absolute paths
    reuse: list[str] = []  # names of recipes whose runs may be taken over
    only: list[str] = []  # the variants to train now; all of them where it is empty
    quick: bool = False
    num_seeds: int | None = None  # what `--seeds` asked for
    overrides: list[str] = []  # what `--set` asked for
    text: str

    def planned(self) -> list[dict[str, Any]]:
        """Each variant's name, seeds and settings, as they stand in `plan.json`."""
        return [
            {
                "name": variant.name,
                "seeds": variant.seeds,
                "config": variant.model_dump(mode="json", include={"data", "model", "train"}),
                **({"code": code} if (code := code_of(variant.data, variant.model, self.plugins)) else {}),
                **({"winner": variant.winner.model_dump(mode="json")} if variant.winner else {}),
            }
            for variant in self.variants
        ]

    def run_configs(self) -> list[RunConfig]:
        """Every run to train now: variant by variant, seeds in the listed order."""
        return [
            RunConfig(
                recipe=self.directory,
                variant=variant.name,
                seed=seed,
                data=variant.data,
                model=variant.model,
                train=variant.train,
                encoder_weights=variant.winner.weights.get(str(seed)) if variant.winner else None,
                code=code_of(variant.data, variant.model, self.plugins),
                plugins=self.plugins,
            )
            for variant in self.variants
            if not self.only or variant.name in self.only
            for seed in variant.seeds
        ]
