"""The variants of a search in stages: what each measured, and whether two of them differ."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cnnbench.analyses import plots
from cnnbench.analyses.base import Subject
from cnnbench.analyses.rise import rise_of
from cnnbench.course import values_by_epoch
from cnnbench.paired_tests import PairedTest, compare_predictions
from cnnbench.reading import DamagedError
from cnnbench.recipe.config import JudgedOn
from cnnbench.runs import Run
from cnnbench.settings import choice_of_images, flatten
from cnnbench.statistics import PROPORTION, Estimate, binomial_interval, mean_interval, typical_variance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Images = tuple[str, bytes] | None  # what says that validation images are the same ones

LONGEST = 160  # characters of a configuration in the table
# what makes one network of a family another one
NETWORK = (
    "model.stem", "model.stem_pool", "model.widths", "model.blocks", "model.depth", "model.widen_factor",
    "model.activation",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One variant of one stage; accuracies are shares, `correct` (num_seeds, N) on the validation images."""

    stage: str
    variant: str
    number: int  # of the stage, counted from 0
    differs: str
    taken: bool
    is_last: bool
    num_params: int | None
    macs: int | None
    val: Estimate
    train: float | None
    test: float | None  # of the last stage only, and not where that too is judged on validation
    images: Images
    correct: "NDArray[np.bool_] | None"
    rises: Sequence[float]
    num_overfit: int
    sources: Sequence[str] = ()  # the runs that these are, or were taken over from

    @property
    def name(self) -> str:
        return f"{self.stage}: {self.variant}"

    @property
    def gap(self) -> float | None:
        """Train minus validation accuracy in points."""
        return None if self.train is None else 100 * (self.train - self.val.mean)


def entries_of(subject: Subject) -> Iterator[Entry]:
    """Every measured variant of the stages that led to the subject, and of itself at the end."""
    stages = [(stage.subject, stage.taken) for stage in subject.stages]
    for number, (each, taken) in enumerate([*stages, (subject, ())]):
        runs = {name: trained for name, trained in each.trained().items() if trained}
        configs = {name: trained[0].config() for name, trained in runs.items()}
        differing = _differing(configs)
        for name, trained in runs.items():
            entry = _entry(
                each.recipe, name, number, trained, differing[name], name in taken, each is subject,
                subject.judged_on,
            )  # fmt: skip
            if entry is not None:
                yield entry


def _entry(
    stage: str, variant: str, number: int, runs: Sequence[Run], differs: str, taken: bool, is_last: bool,
    judged_on: JudgedOn,
) -> Entry | None:  # fmt: skip
    """None where no run has a validation accuracy, or where that is of the pixels of masks."""
    results = [run.result() or {} for run in runs]
    val = _metric(results, "val_accuracy")
    if not val or _metric(results, "val_iou"):
        return None
    images, correct = _predictions(runs)
    rises = [
        rise
        for run in runs
        if (rise := rise_of(values_by_epoch(run, "train_loss"), values_by_epoch(run, "val_loss")))
    ]
    estimate = mean_interval(val, within=PROPORTION)
    if len(val) == 1 and correct is not None:
        estimate = binomial_interval(int(correct.sum()), correct.shape[1])
    train, test = _metric(results, "train_accuracy"), _metric(results, "test_accuracy")
    return Entry(
        stage=stage,
        variant=variant,
        number=number,
        differs=differs,
        taken=taken,
        is_last=is_last,
        num_params=results[0].get("num_params"),
        macs=results[0].get("macs"),
        val=estimate,
        train=fmean(train) if train else None,
        test=fmean(test) if test and is_last and judged_on != "val" else None,
        images=images,
        correct=correct,
        rises=[rise.share for rise in rises],
        num_overfit=sum(rise.overfits for rise in rises),
        sources=[
            str(result.get("taken_from") or f"{stage}/{variant}/seed{run.seed}")
            for run, result in zip(runs, results, strict=True)
        ],
    )


def _metric(results: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [value for result in results if (value := result["metrics"].get(name)) is not None]


def _predictions(runs: Sequence[Run]) -> "tuple[tuple[str, bytes] | None, NDArray[np.bool_] | None]":
    """What says that validation images are the same ones, and where each seed was right about them."""
    import numpy as np

    correct, images = [], set()
    for run in runs:
        try:
            arrays = run.predictions()
        except DamagedError:
            return None, None
        targets = arrays["val_targets"].astype(np.int64)
        images.add((choice_of_images(run.config()), targets.tobytes()))
        correct.append(arrays["val_predictions"] == targets)
    return (images.pop(), np.stack(correct)) if len(images) == 1 else (None, None)


def _differing(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """For each variant of a recipe, in words, its network, and the settings in which its variants differ."""
    flat = {
        name: flatten({key: config[key] for key in ("data", "model", "train")})
        for name, config in configs.items()
    }
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    different = [
        key for key in keys if len({json.dumps(settings.get(key)) for settings in flat.values()}) > 1
    ]
    network = [key for key in NETWORK if key in keys]  # within one stage alike, over all of them not
    different = [*network, *(key for key in different if key not in network)]
    return {
        name: plots.elide(
            ", ".join(
                f"{_short(key)} = {_written(settings[key])}"
                for key in different
                if settings.get(key) is not None
            ),
            LONGEST,
        )
        for name, settings in flat.items()
    }


def _short(key: str) -> str:
    """`model.widths` as `widths`, `train.optimizer.name` as `optimizer`."""
    return key.partition(".")[2].removesuffix(".name")


def _written(value: Any) -> str:
    """A setting in short: of units with options only their names."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return ", ".join(str(each.get("name")) for each in value)
    return value if isinstance(value, str) else json.dumps(value)


def typical_variances(entries: Sequence[Entry]) -> dict[Images, float | None]:
    """The `typical_variance` of the entries that had the same validation images; twins count once."""
    distinct: dict[Images, list[Entry]] = {}
    for entry in entries:
        alike = distinct.setdefault(entry.images, [])
        if not any(are_twins(entry, each) for each in alike):
            alike.append(entry)
    return {
        images: typical_variance([entry.correct for entry in alike if entry.correct is not None])
        for images, alike in distinct.items()
    }


def paired_test(one: Entry, other: Entry, typical: Mapping[Images, float | None]) -> PairedTest | None:
    """The paired test of one - other; None where they had other validation images, or are the same runs.

    `typical` are the `typical_variances` of all that are compared.
    """
    if one.correct is None or other.correct is None or one.images != other.images or are_twins(one, other):
        return None
    return compare_predictions(one.correct, other.correct, typical=typical[one.images])


def are_twins(one: Entry, other: Entry) -> bool:
    """Whether these are the very same runs, which stand in two stages."""
    import numpy as np

    if one.correct is None or other.correct is None:
        return False
    return one.sources == other.sources and np.array_equal(one.correct, other.correct)
