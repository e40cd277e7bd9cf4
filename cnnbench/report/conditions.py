"""What the runs of a report had in common, where they differ, and what not to take from their numbers."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnbench.comparison.encoders import never_learned
from cnnbench.report.tables import DASH, TextTable
from cnnbench.settings import flatten, same_settings

if TYPE_CHECKING:
    from cnnbench.analyses.base import Subject
    from cnnbench.comparison import Comparison
    from cnnbench.recipe.config import JudgedOn

ON_TEST: "dict[JudgedOn, str]" = {
    "test": "Test was read once in each run, at its end, and chose nothing there; who picks a variant by it "
    "should expect a bit less on new images.",
    "val": "It also ranks the variants here, which makes the best of them look better still. Test is left "
    "for the recipe at the end of the search.",
    "val_then_test": "It also picks the variant, which makes that look better still; test had no part in it.",
}


SPLITS = {"train": "train", "val": "validation", "test": "test"}
UNSET = {"train.loss": "the task's own: cross entropy, or for masks 0.5 bce + 0.5 dice"}


def cautions(plan: Mapping[str, Any], comparison: "Comparison") -> list[str]:
    """What a reader must not take from the numbers, for this recipe's seeds, split and augmentation."""
    measured = [row for row in comparison.rows if row.measured is not None]
    single = [row.variant for row in measured if row.num_seeds == 1 and not row.is_fixed]
    several = [row.variant for row in measured if row.num_seeds > 1]
    split = "test" if comparison.judged_on == "test" else "validation"
    sentences = []
    if single:
        sentences.append(
            f"One seed only: {', '.join(single)}. There the interval counts which images happen to be in the "
            f"{split} set; how much another seed would change the figure is unknown."
        )
    if several:
        sentences.append(
            f"An interval over seeds counts the luck of training alone: the {split} images are the same for "
            "each seed, and other images would move all variants somewhat."
        )
    last = [each["name"] for each in plan["variants"] if each["config"]["train"].get("keep") == "last"]
    but = f" (but of {', '.join(last)}: there they are the last, and the table's best epoch is that)" * bool(
        last
    )
    epochs = {variant["config"]["train"].get("epochs") for variant in plan["variants"]}
    if 0 in epochs:
        who = "Nothing" if epochs == {0} else "Where epochs = 0, nothing"
        sentences.append(
            f"{who} was trained: the weights are those the model began with, validation chose nothing, "
            "and the train images were not looked at."
        )
    if epochs != {0}:
        sentences.append(
            "Validation is cut from train, by the same fixed rule for every seed, and picks the epoch whose "
            f"weights are kept{but}: its figures are therefore a bit too good. "
            f"{ON_TEST[comparison.judged_on]}"
        )
        sentences.append(
            "What the table says of train is measured with the kept weights on the train split without "
            "augmentation; in learning curves it is the average over an epoch of training, with augmentation."
        )
    limits = {variant["config"]["data"].get("limit") for variant in plan["variants"]} - {None}
    if limits:
        sentences.append(
            f"At most so many images were used for training and validation, and for test (limit = "
            f"{', '.join(map(str, sorted(limits)))}): where a data set has more, the figures do not stand "
            "for all of it."
        )
    sentences += never_learned(plan["variants"])
    sentences += same_settings(plan["variants"])
    if any(row.train_seconds is not None for row in measured):
        sentences.append(
            "Times hold for the hardware below and whatever else ran on it; they order variants, no more."
        )
    return sentences


def taken_over(subject: "Subject") -> list[str]:
    """A sentence on the runs that were trained for another recipe, or under another name."""
    sources = {run.label: (run.result() or {}).get("taken_from") for run in subject.runs}
    told = [f"{label} (from {source})" for label, source in sources.items() if source]
    if not told:
        return []
    return [
        f"Taken over and not trained anew: {', '.join(told)}. Their times are of that training, "
        "and so are its conditions."
    ]


def command_of(plan: Mapping[str, Any]) -> str:
    """The command these runs were trained with, or the plainest one where a program trained them."""
    recorded = str(plan.get("command") or "")
    return recorded or shlex.join(["cnnbench", "recipe", f"recipes/{plan['recipe']}.toml"])


def _setting(value: Any, key: str) -> str:
    if value is None:
        return UNSET.get(key, DASH)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _settings(plan: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Flat settings by variant, the keys on which all agree, and the others."""
    flat = [flatten(variant["config"]) for variant in plan["variants"]]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    # unset in one variant and a table in another: the table's own keys say so
    keys = [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]
    same = [key for key in keys if all(settings.get(key) == flat[0].get(key) for settings in flat)]
    return flat, same, [key for key in keys if key not in same]


def table_of_shared(plan: Mapping[str, Any]) -> TextTable:
    """The settings that all variants have in common."""
    flat, same, _ = _settings(plan)
    # unset in one variant and no option of the first one: nothing to tell
    rows = [[key, _setting(flat[0][key], key)] for key in same if key in flat[0]]
    seeds = list(dict.fromkeys(json.dumps(variant["seeds"]) for variant in plan["variants"]))
    if len(seeds) == 1:
        rows.append(["train.seeds", seeds[0]])
    return TextTable(["setting", "value"], rows, [False, False])


def table_of_differences(plan: Mapping[str, Any]) -> TextTable:
    """Variants by settings or the other way round, whichever is narrower."""
    flat, _, different = _settings(plan)
    names = [variant["name"] for variant in plan["variants"]]
    cells = [[_setting(settings.get(key), key) for key in different] for settings in flat]
    if not different:
        return TextTable([], [], [])
    if len(different) <= len(names):
        rows = [[name, *row] for name, row in zip(names, cells, strict=True)]
        return TextTable(["variant", *different], rows, [False] * (len(different) + 1))
    rows = [[key, *(row[index] for row in cells)] for index, key in enumerate(different)]
    return TextTable(["setting", *names], rows, [False] * (len(names) + 1))


def _at_a_time(device: "Mapping[str, Any]") -> str:
    seeds = device.get("seeds_in_one") or 1
    return f"{seeds}, as one model" if seeds > 1 else str(device.get("at_a_time") or 1)


def table_of_images(subject: "Subject") -> TextTable:
    """How many images each split had, and for masks how much of them there is to find; a line for each.

    Runs of before this was kept have none.
    """
    found: dict[str, list[list[str]]] = {}
    for run in subject.runs:
        splits = ((run.result() or {}).get("images") or {}).get("splits") or {}
        data = str((run.config().get("data") or {}).get("name"))
        rows = [[data, SPLITS.get(name, name), *_described(split)] for name, split in splits.items()]
        if rows and rows not in found.values():
            found[f"{data} {len(found)}"] = rows
    rows = [row for each in found.values() for row in each]
    columns = ["data", "split", "images", "scenes", "share of class 1 (%)"]
    used = [place for place in range(len(columns)) if place < 3 or any(row[place] != DASH for row in rows)]
    return TextTable(
        [columns[place] for place in used],
        [[row[place] for place in used] for row in rows],
        [place > 1 for place in used],
    )


def _described(split: "Mapping[str, Any]") -> list[str]:
    """Images, groups, and the share of class 1 in percent."""
    share = split.get("share")
    return [
        *(f"{split[key]:,}" if isinstance(split.get(key), int) else DASH for key in ("images", "groups")),
        f"{100 * share:.1f}" if isinstance(share, float) else DASH,
    ]


def table_of_hardware(subject: "Subject") -> TextTable:
    """Where, how and when the runs were trained: a line for each combination of the first two."""
    found: dict[tuple[str, ...], list[str]] = {}
    for result in _run_results(subject):
        device = result.get("device") or {}
        key = (
            str(device.get("name") or DASH), str(device.get("type") or DASH),
            str(device.get("threads") or DASH), _at_a_time(device),
            str(result.get("precision") or DASH),
        )  # fmt: skip
        found.setdefault(key, []).append(str(result.get("finished") or "")[:10])  # the day
    rows = [[*key, str(len(days)), _period(days)] for key, days in found.items()]
    return TextTable(
        ["hardware", "device", "threads", "runs at a time", "precision", "runs", "finished"],
        rows,
        [False, False, True, True, False, True, False],
    )


def _period(days: Sequence[str]) -> str:
    known = sorted({day for day in days if day})
    return " to ".join(dict.fromkeys((known[0], known[-1]))) if known else DASH


def table_of_versions(subject: "Subject") -> TextTable:
    """Of each package all versions that the runs were trained with."""
    found: dict[str, list[str]] = {}
    for result in _run_results(subject):
        for package, number in (result.get("versions") or {}).items():
            if number not in found.setdefault(package, []):
                found[package].append(number)
    return TextTable(
        ["package", "version"],
        [[package, ", ".join(numbers)] for package, numbers in found.items()],
        [False, False],
    )


def _run_results(subject: "Subject") -> list[dict[str, Any]]:
    return [result for run in subject.runs if (result := run.result()) is not None]
