"""What the finished runs of one recipe measured, read from disk. What cannot be read is said and left out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnbench.course import numbers_of
from cnnbench.decisions import planned_settings
from cnnbench.devices import described
from cnnbench.measures import scores_of_masks
from cnnbench.reading import DamagedError, check_config, read_json
from cnnbench.recipe.defaults import with_defaults
from cnnbench.runs import Run
from cnnbench.settings import Digests, differences, digests_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cnnbench.comparison.comparison import Four

LARGEST = 1e300  # no measurement; a whole number beyond it would not fit a float
SPLITS = ("test", "val")


@dataclass(frozen=True)
class Measurement:
    """One run that counts, with what is known image by image, in the order of its images.

    `targets` has for each split what tells its images apart. `scores` has for each measure (`test_accuracy`)
    values (N,) whose mean is the measure: whether each image is right, or for masks see `scores_of_masks`.
    """

    seed: int
    values: dict[str, float]
    targets: "dict[str, NDArray[np.integer[Any]]]"
    scores: "dict[str, NDArray[Any]]"
    device: str
    precision: str
    versions: dict[str, str]
    digests: Digests = frozenset()  # what is known of its images; older runs know less

    def counts_by_scene(self, measure: str) -> bool:
        """Whether images that show one thing have one score of the measure together."""
        scores = self.scores.get(measure)
        return scores is not None and len(scores) < len(self.targets[measure.partition("_")[0]])


@dataclass
class VariantMeasurements:
    """What one variant was planned to be, the runs of it that count, and why others do not."""

    name: str
    seeds: list[int]
    config: dict[str, Any]
    skipped: str | None = None  # why it could not be run
    entry: Mapping[str, Any] = field(default_factory=dict)  # of the plan
    measurements: list[Measurement] = field(default_factory=list)
    size: dict[str, float] = field(default_factory=dict)  # num_params and macs, known of diverged runs too
    problems: list[str] = field(default_factory=list)
    diverged: list[int] = field(default_factory=list)  # seeds

    @property
    def is_fixed(self) -> bool:
        """Whether no seed can change it: pretrained weights, their own head, and nothing trained."""
        model, epochs = self.config.get("model", {}), self.config.get("train", {}).get("epochs")
        own = bool(model.get("pretrained") or model.get("weights")) and model.get("head") != "new"
        return own and epochs == 0

    @property
    def is_untrained(self) -> bool:
        """Whether its weights are those it began with, and no one else's."""
        return not self.is_fixed and self.config.get("train", {}).get("epochs") == 0

    @property
    def digests(self) -> Digests:
        """What is known of the images of its runs."""
        return frozenset[tuple[str, str]]().union(*(run.digests for run in self.measurements))

    def values(self, name: str) -> list[float]:
        """A quantity's values over the seeds that have it."""
        return [run.values[name] for run in self.measurements if name in run.values]


@dataclass
class RecipeMeasurements:
    """A recipe's variants in its order."""

    name: str
    variants: list[VariantMeasurements] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    judged_on: str = "test"
    # of what (None: what leads) it claims that one gain is larger than another
    gains: "list[tuple[str | None, Four]]" = field(default_factory=list)

    def forget_test(self) -> None:
        """Leaves what was measured on test to the recipe at the end of the search."""
        for variant in self.variants:
            for run in variant.measurements:
                for values in (run.values, run.targets, run.scores):
                    for name in [name for name in values if name.startswith("test")]:
                        del values[name]


def read_recipe(directory: Path) -> RecipeMeasurements:
    """Reads the runs that `plan.json` in this directory names; the damaged and missing are problems."""
    path = directory / "plan.json"
    recipe = RecipeMeasurements(directory.name)
    try:
        plan = read_json(path)
        recipe.name, recipe.judged_on = str(plan["recipe"]), str(plan.get("judged_on", "test"))
        planned = [_planned(path, entry) for entry in plan["variants"]]
    except DamagedError as error:
        recipe.problems.append(f"{error}: the recipe is left out; run it again")
        return recipe
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        recipe.problems.append(f"{path}: not a plan ({error!r}): the recipe is left out; run it again")
        return recipe
    try:
        recipe.gains = [
            (claim.get("metric"), gain)
            for claim in plan.get("claims", [])
            if (gain := gain_of(claim)) is not None
        ]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        recipe.problems.append(f"{path}: its claims cannot be read ({error!r}); run the recipe again")
    return _read_variants(directory, recipe, planned)


def gain_of(claim: Mapping[str, Any]) -> "Four | None":
    """The four variants of a claim with `by_more_than`."""
    if not claim.get("by_more_than"):
        return None
    third, fourth = claim["by_more_than"]
    return str(claim["better"][0]), str(claim["than"][0]), str(third), str(fourth)


def read_planned(directory: Path, name: str, plan: Sequence[Mapping[str, Any]]) -> RecipeMeasurements:
    """The same for a plan at hand, whatever the directory's own may say."""
    planned = [_planned(directory / "plan.json", entry) for entry in plan]
    return _read_variants(directory, RecipeMeasurements(name), planned)


def _planned(path: Path, entry: Mapping[str, Any]) -> VariantMeasurements:
    check_config(path, entry["config"])
    seeds = list(dict.fromkeys(int(seed) for seed in entry["seeds"]))
    config = with_defaults(entry["config"])
    return VariantMeasurements(str(entry["name"]), seeds, config, entry.get("skipped"), entry)


def _read_variants(
    directory: Path, recipe: RecipeMeasurements, planned: Sequence[VariantMeasurements]
) -> RecipeMeasurements:
    absent = [
        variant.name
        for variant in planned
        if not (directory / variant.name).is_dir() and variant.skipped is None
    ]
    if absent:
        recipe.problems.append(f"not trained yet, so not in the table: {', '.join(absent)}")
    for variant in planned:
        if variant.name not in absent:
            if variant.skipped is not None:
                variant.problems.append(f"skipped: {variant.skipped}")
            if (directory / variant.name).is_dir():
                _read_variant(directory / variant.name, variant)
            recipe.variants.append(variant)
    _name_mixtures(recipe)
    return recipe


def _read_variant(directory: Path, variant: VariantMeasurements) -> None:
    missing = []
    for seed in variant.seeds:
        try:
            result = Run(directory / f"seed{seed}").result()
            if result is None:
                missing.append(seed)
            else:
                _read_run(Run(directory / f"seed{seed}"), result, variant)
        except DamagedError as error:
            path = directory / f"seed{seed}"
            variant.problems.append(
                f"seed {seed} does not count: {error}; move {path} away and run the recipe again"
            )
    if missing:
        variant.problems.append(f"{_seeds(missing)} not finished; run the recipe again to complete it")
    extra = sorted(
        int(path.parent.name.removeprefix("seed"))
        for path in directory.glob("seed*/result.json")
        if path.parent.name.removeprefix("seed").isdecimal()
    )
    if extra := [seed for seed in extra if seed not in variant.seeds]:
        variant.problems.append(f"{_seeds(extra)} finished, but not in the plan of the last run: not counted")
    for what, values in (
        ("on different devices", [run.device for run in variant.measurements]),
        ("in different precisions", [run.precision for run in variant.measurements]),
        *_versions([run.versions for run in variant.measurements]),
    ):
        if mixture := _mixture([str(run.seed) for run in variant.measurements], values):
            variant.problems.append(f"seeds were trained {what} ({mixture})")


def _read_run(run: Run, result: dict[str, Any], variant: VariantMeasurements) -> None:
    """Adds what a run measured, or the reason it does not count; raises DamagedError."""
    run.check_records()  # a run that is not whole is trained anew, and no analysis sees it
    config = run.config()
    planned = with_defaults(planned_settings(variant.entry, run.seed))
    changed = differences({key: config.get(key) for key in planned}, planned)
    if changed:
        changes = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        variant.problems.append(
            f"seed {run.seed} does not count: it was trained with other settings than the plan's ({changes})"
        )
        return
    values = _finite({**result, **result["metrics"]})
    values.pop("sittings", None)  # says how a run went, and nothing of its variant
    variant.size |= {key: values[key] for key in ("num_params", "macs") if key in values}
    if result["status"] == "diverged":
        message = f": {result['message']}" if result.get("message") else ""
        variant.problems.append(f"seed {run.seed} diverged and does not count{message}")
        variant.diverged.append(run.seed)
        return
    values |= _finite(dict(numbers_of(run, result)))
    targets, scores = _read_predictions(run)
    for name, of_images in scores.items():
        if name in result["metrics"] and name not in values:
            raise DamagedError(f"{run.path / 'result.json'}: its {name} is no finite number")
        said, counted = values.get(name), float(of_images.mean())
        tolerance = 0.5 / len(of_images) if of_images.dtype == bool else 1e-6
        if said is not None and abs(said - counted) > tolerance:
            raise DamagedError(
                f"{run.path / 'predictions.npz'}: "
                f"{name.replace('_', ' ')} is {counted:.4f}, but {said:.4f} in result.json"
            )
    variant.measurements.append(
        Measurement(
            seed=run.seed,
            values=values,
            targets=targets,
            scores=scores,
            device=described(result.get("device")),
            precision=str(result.get("precision")),
            versions={str(key): str(value) for key, value in _mapping(result.get("versions")).items()},
            digests=digests_of(_mapping(result.get("images")), variant.config),
        )
    )


def _read_predictions(
    run: Run,
) -> "tuple[dict[str, NDArray[np.integer[Any]]], dict[str, NDArray[Any]]]":
    path = run.path / "predictions.npz"
    arrays = run.predictions()
    targets: dict[str, NDArray[np.integer[Any]]] = {}
    scores: dict[str, NDArray[Any]] = {}
    for split in SPLITS:
        predicted, target = arrays.get(f"{split}_predictions"), arrays.get(f"{split}_targets")
        if predicted is None or target is None or predicted.shape != target.shape or not target.size:
            raise DamagedError(f"{path}: expected {split}_predictions and {split}_targets of one length")
        targets[split] = target
        if target.ndim == 1:
            scores[f"{split}_accuracy"] = predicted == target
        else:
            found = scores_of_masks(predicted, target, arrays.get(f"{split}_groups"))
            scores |= {f"{split}_{measure}": values for measure, values in found.items()}
    return targets, scores


def _finite(content: dict[str, Any]) -> dict[str, float]:
    """The numbers among the entries; NaN and infinity are not measured."""
    return {
        key: value
        for key, value in content.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
    }


def _mapping(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _name_mixtures(recipe: RecipeMeasurements) -> None:
    """Says where variants were not trained under the same conditions."""
    variants = [variant for variant in recipe.variants if variant.measurements]
    names = [variant.name for variant in variants]
    for what, why, values in (
        ("on different devices", "times are not comparable", [_joined(v, "device") for v in variants]),
        (
            "in different precisions",
            "part of a difference may be theirs",
            [_joined(v, "precision") for v in variants],
        ),
    ):
        if mixture := _mixture(names, values):
            recipe.problems.append(f"variants were trained {what} ({mixture}): {why}")
    # A mixture inside one variant is said there; here its first run stands for it.
    for what, values in _versions([variant.measurements[0].versions for variant in variants]):
        if mixture := _mixture(names, values):
            recipe.problems.append(f"variants were trained {what} ({mixture})")


def _joined(variant: VariantMeasurements, name: str) -> str:
    return " and ".join(sorted({getattr(run, name) for run in variant.measurements}))


def _versions(versions: Sequence[dict[str, str]]) -> list[tuple[str, list[str]]]:
    """For each package, what to say if its versions differ, and the version of each member."""
    packages = dict.fromkeys(package for member in versions for package in member)
    return [
        (f"with different versions of {package}", [member.get(package, "none") for member in versions])
        for package in packages
    ]


def _mixture(names: Iterable[str], values: Iterable[str]) -> str | None:
    """`bf16: 0, 1; fp32: 2` where values differ, None where all are the same."""
    members: dict[str, list[str]] = {}
    for name, value in zip(names, values, strict=True):
        members.setdefault(value, []).append(name)
    if len(members) < 2:
        return None
    return "; ".join(f"{value}: {', '.join(names)}" for value, names in members.items())


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]} is"
    return f"seeds {', '.join(map(str, seeds))} are"
