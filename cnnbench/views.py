"""Comparisons, predictions and plans as tables on stdout."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnbench import console
from cnnbench.checks.results import CheckResult
from cnnbench.comparison import Comparison
from cnnbench.comparison.built_on import built_on
from cnnbench.comparison.claims import Judgement, rule_of_seeds
from cnnbench.comparison.comparison import INCOMPARABLE, Cost, times_compare
from cnnbench.comparison.formats import legend, to_table
from cnnbench.comparison.quantities import KNOWN
from cnnbench.comparison.sentences import conclusions
from cnnbench.comparison.winners import COLUMNS
from cnnbench.prediction.predictions import ClassPrediction, Predictions

if TYPE_CHECKING:
    from cnnbench.analyses.base import Cell

if TYPE_CHECKING:
    from cnnbench.bench import Speeds

# Left out of the comparison in a narrow terminal, in this order.
DISPENSABLE = ("best_epoch", "latency_ms", "train_accuracy", "num_params", "train_seconds")


def show_comparison(comparison: Comparison) -> None:
    """The table and what it allows to conclude, on stdout."""
    columns, rows = to_table(comparison, brief=True)
    left = columns.index("seeds")
    optional = [KNOWN[name].axis for name in DISPENSABLE if name != comparison.metric.name]
    left_out = console.print_table(
        "", columns, rows, left=left, optional=[*optional[:3], "seeds", *optional[3:]]
    )
    notes = [legend(comparison)]
    if left_out:
        notes.append(f"No room here for {', '.join(left_out)}: see --format markdown, or widen the terminal.")
    console.print_lines([note for note in notes if note])
    sentences = [*conclusions(comparison), *comparison.all_problems()]
    console.print_lines([f"- {sentence}" for sentence in sentences])


def show_speeds(speeds: "Speeds", form: str) -> None:
    """What `bench` measured, on stdout."""
    from cnnbench.bench import formats

    if form == "json":
        console.write(formats.to_json(speeds))
    elif form == "markdown":
        console.write(formats.to_markdown(speeds))
    else:
        console.print_table("", formats.COLUMNS, formats.to_rows(speeds))
        console.print_lines(formats.explanation(speeds))


def show_claims(claims: Sequence[Judgement]) -> None:
    """Each claim with its verdict and the tests behind it, on stdout."""
    for claim in claims:
        console.print_lines([f"- {claim.words.capitalize()}: {claim.claim}"])
        console.print_lines([f"    {sentence}" for sentence in claim.evidence])
    console.print_lines(rule_of_seeds(claims))


def show_checks(checks: Sequence[CheckResult]) -> None:
    """Each check with its verdict and every value behind it, on stdout."""
    for check in checks:
        console.print_lines([f"- {check.verdict.capitalize()}: {check.text} ({check.expression})"])
        console.print_lines([f"    {sentence}" for sentence in check.evidence])


def save_pictures(comparison: Comparison, directory: Path) -> list[Path]:
    """Pictures of the compared share against parameters and training time; none for other quantities.

    None of training time where the runs are not of one machine, shared with as many others: an older one is
    removed, since it would pass for this comparison's.
    """
    if comparison.metric.unit != "%":
        return []
    from cnnbench.analyses import plots

    saved = []
    costs: dict[Cost, str] = {"num_params": "parameters", "train_seconds": "training time (s)"}
    for cost, axis in costs.items():
        file = directory / f"{comparison.metric.name}_vs_{cost}.png"
        points = comparison.points(cost)
        if cost == "train_seconds" and points and not times_compare(comparison.rows):
            console.say(f"no picture of training time: the times do not compare ({INCOMPARABLE})")
            points = []
        if points:
            figure = plots.cost_plot(points, x_label=axis, y_label=comparison.metric.axis)
            saved.append(plots.save_figure(figure, file))
        else:
            file.unlink(missing_ok=True)
    return saved


def show_predictions(predictions: Predictions) -> None:
    """The classes of each picture, or where its mask is and how much of it was found."""
    ranked: list[list[Cell]] = []
    masks: list[list[Cell]] = []
    for each in predictions.items:
        if isinstance(each, ClassPrediction):
            names = [str(each.image), *[""] * (len(each.classes) - 1)]  # once for each picture
            for name, found in zip(names, each.classes, strict=True):
                ranked.append([name, found.name, f"{100 * found.probability:.1f}"])
        else:
            masks.append([str(each.image), str(each.mask), each.found, f"{100 * each.share:.1f}"])
    if ranked:
        console.print_table("", ["picture", "class", "probability (%)"], ranked, left=2)
    if masks:
        console.print_table("", ["picture", "mask", "class", "share of pixels (%)"], masks, left=3)


def show_plan(plan: dict[str, Any]) -> None:
    """The plan as tables: all variants, then the layers of each."""
    rows = []
    for each in plan["variants"]:
        size = [f"{each['num_params']:,}", f"{each['macs']:,}"]
        shapes = [shape(each["in_shape"]), shape(each["output_shape"])]
        rows.append([each["name"], len(each["seeds"]), each["train"]["epochs"], *size, *shapes])
    columns = ["variant", "seeds", "epochs", "parameters", "multiply-adds", "input", "output"]
    title = ": ".join(filter(None, (plan["title"], plan["question"])))
    left_out = console.print_table(title, columns, rows, optional=["output", "input", "epochs", "seeds"])
    console.print_lines(
        [
            f"- {each['name']}: {each['num_trained']:,} of {each['num_params']:,} parameters are trained, "
            "the others are frozen"
            for each in plan["variants"]
            if each["num_trained"] < each["num_params"]
        ]
    )
    show_matches({each["name"]: each["match"] for each in plan["variants"] if each["match"] is not None})
    show_winners(plan)
    for each in plan["variants"]:
        left_out += console.print_table(
            each["name"],
            ["layer", "kind", "output", "parameters", "multiply-adds"],
            [
                [layer["name"], layer["kind"], shape(layer["output_shape"]), f"{layer['num_params']:,}",
                 f"{layer['macs']:,}"]
                for layer in each["layers"]
            ],
            left=2,
            optional=["kind", "output"],
        )  # fmt: skip
        parts: Counter[str] = Counter()
        for layer in each["layers"]:
            parts[layer["name"].partition(".")[0]] += layer["num_params"]
        if "encoder" in parts:
            counts = ", ".join(f"{part} {num_params:,}" for part, num_params in parts.items())
            console.print_lines([f"  parameters of the parts: {counts}"])
        settings = {**each["data"], **{f"train.{key}": value for key, value in each["train"].items()}}
        console.print_lines([f"  model    {compact(each['model'])}", f"  settings {compact(settings)}", ""])
    if left_out:
        names = ", ".join(dict.fromkeys(left_out))
        console.print_lines([f"No room here for {names}: see --format json, or widen the terminal."])


def show_matches(matches: dict[str, dict[str, Any]]) -> None:
    """Which widths were found for which variant; nothing where none was matched."""
    if not matches:
        return
    rows = [
        [variant, match["like"], json.dumps(match["widths"]), f"{match['num_params']:,}",
         f"{match['target_params']:,}", f"{match['difference_percent']:+.2f}"]
        for variant, match in matches.items()
    ]  # fmt: skip
    columns = ["variant", "like", "widths found", "parameters", "parameters of like", "difference (%)"]
    console.print_table("Widths that match parameters", columns, rows, left=3)


def show_winners(plan: dict[str, Any]) -> None:
    """On which winner of which recipe the variants are built, and why; nothing where none is."""
    for stage in built_on(plan):
        if stage.rows:
            console.print_table(stage.title, list(COLUMNS), stage.rows, left=1)
        else:
            console.print_lines([stage.title])
        console.print_lines([f"- {sentence}" for sentence in stage.sentences])


def shape(sizes: list[int]) -> str:
    return "×".join(str(size) for size in sizes)


def compact(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in settings.items() if value is not None)
