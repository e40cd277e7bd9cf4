"""What networks of ImageNet know of other images as they are: top-1 and top-5, restricted and over all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.opening import LeftOut, Opened, open_models
from cnnbench.imagenet import CIFAR10, cifar10_indices
from cnnbench.precision import Precision, choose_precision
from cnnbench.statistics import Estimate, binomial_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

TOP = 5
NUM_CLASSES = 1000
RESTRICTED = ("top-1 restricted", "top-5 restricted")
OVER_ALL = ("top-1 of 1,000", "top-5 of 1,000")


@dataclass(frozen=True)
class Hits:
    """Which test images were right, by measure, (N,) each, and their classes."""

    measures: Mapping[str, NDArray[np.bool_]]
    targets: NDArray[np.int64]

    def estimate(self, measure: str, chosen: NDArray[np.bool_]) -> Estimate | None:
        """The share of the chosen images, with Wilson's 95 % interval."""
        right = self.measures[measure][chosen]
        return binomial_interval(int(right.sum()), len(right)) if len(right) else None


class ZeroShot(Analysis):
    """Top-1 and top-5 of pretrained networks as they are, among the mapped classes and over all 1,000."""

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields a picture and a table of all four, and the same by class where there is a class map."""
        left_out = LeftOut()
        hits: dict[str, Hits] = {}
        for opened in open_models(subject, left_out):
            if not hasattr(opened.model, "network_logits") or getattr(opened.model, "head", "new") == "new":
                left_out.add(opened.variant, "not a pretrained network with its own head")
                continue
            precision = choose_precision(subject.config(opened.run).train.precision, subject.device)
            hits[opened.variant] = measure(opened, precision)
        if not hits:
            if left_out.reasons:
                yield Table("zero_shot", "Zero-shot accuracy", left_out.note().strip(), ["variant"], [])
            return
        places = {name: plots.style_of(place) for place, name in enumerate(subject.variants())}
        note = left_out.note() + subject.diverged_note()
        yield _overall_figure(hits, places, note)
        yield _overall_table(hits, note)
        mapped = {name: each for name, each in hits.items() if RESTRICTED[0] in each.measures}
        if mapped:
            yield _class_figure(mapped, places, note)
            yield _class_table(mapped)


@torch.inference_mode()
def measure(opened: Opened, precision: Precision) -> Hits:
    """One pass over the whole test split, in the precision of the run."""
    model, loader = opened.model, opened.loader
    owner = torch.arange(NUM_CLASSES)
    mapped = model.head == "cifar10"
    if mapped:
        owner = torch.full((NUM_CLASSES,), -1)
        for place, indices in enumerate(cifar10_indices().values()):
            owner[indices] = place
    owner = owner.to(loader.device)
    found: dict[str, list[torch.Tensor]] = {}
    for inputs, targets in loader.eval_batches(loader.dataset.test):
        with precision.autocast():
            logits = model.network_logits(inputs).float()  # type: ignore[operator]
        views = [(OVER_ALL, logits)]
        if mapped:
            views.insert(0, (RESTRICTED, logits.masked_fill(owner < 0, -torch.inf)))
        for (first, any_of), view in views:
            right = owner[view.topk(TOP).indices] == targets[:, None]  # (B, 5)
            found.setdefault(first, []).append(right[:, 0].cpu())
            found.setdefault(any_of, []).append(right.any(1).cpu())
        if mapped:  # as the run counts it, where two logits tie in few bits
            found[RESTRICTED[0]][-1] = (model.to_cifar10(logits).argmax(1) == targets).cpu()  # type: ignore[operator]
    return Hits(
        {name: torch.cat(parts).numpy() for name, parts in found.items()},
        loader.dataset.test.all_targets().cpu().numpy(),
    )


def _known(each: Hits) -> NDArray[np.bool_]:
    """Images of a class that some class of ImageNet belongs to."""
    if RESTRICTED[0] not in each.measures:
        return np.ones(len(each.targets), dtype=bool)
    mappable = [place for place, indices in enumerate(cifar10_indices().values()) if indices]
    return np.isin(each.targets, mappable)


def _said_of_measures(hits: Mapping[str, Hits]) -> str:
    text = ""
    if _has_map(hits):
        counts = {name: len(indices) for name, indices in cifar10_indices().items()}
        text = (
            f"Restricted: only the {sum(counts.values())} classes of ImageNet that belong to a class of "
            "CIFAR-10 may be answered; of 1,000: any may, and one that belongs to none is wrong. An answer "
            "is right where its class of ImageNet belongs to the image's class (the class map is "
            "cnnbench/imagenet_classes.csv). Deer cannot be mapped, ImageNet has none. "
        )
    return (
        text
        + "Top-5: a right one is among the five highest classes of ImageNet that may be answered, and five "
        "breeds of dogs can take all five places. Intervals are 95 % (Wilson): the luck of the "
        "images. "
    )


def _has_map(hits: Mapping[str, Hits]) -> bool:
    return any(RESTRICTED[0] in each.measures for each in hits.values())


def _said_of_images(hits: Mapping[str, Hits]) -> str:
    return "Counted are the images of classes that can be mapped." if _has_map(hits) else ""


def _said_of_accuracy(hits: Mapping[str, Hits]) -> str:
    if not _has_map(hits):
        return "The run's test accuracy is the top-1."
    return (
        "Over all images every deer is wrong; the run's own accuracies (validation and test) are the "
        "restricted top-1 over all images of their split."
    )


def _overall_figure(hits: Mapping[str, Hits], styles: Mapping[str, plots.Style], note: str) -> Figure:
    measures = [
        name for name in (*RESTRICTED, *OVER_ALL) if any(name in each.measures for each in hits.values())
    ]
    values = {
        name: [each.estimate(m, _known(each)) if m in each.measures else None for m in measures]
        for name, each in hits.items()
    }
    return Figure(
        name="zero_shot",
        title="Zero-shot accuracy",
        caption=_said_of_measures(hits) + _said_of_images(hits) + note,
        figure=_dots(measures, values, styles),
    )


def _overall_table(hits: Mapping[str, Hits], note: str) -> Table:
    rows: list[list[Cell]] = []
    for name, each in hits.items():
        known = _known(each)
        kinds = [("of mapped classes", known)] if not known.all() else []
        for images, chosen in (*kinds, ("all", np.ones_like(known))):
            cells = [
                _cell(each.estimate(m, chosen)) if m in each.measures else None
                for m in (*RESTRICTED, *OVER_ALL)
            ]
            rows.append([name, images, int(chosen.sum()), *cells])
    return Table(
        name="zero_shot",
        title="Zero-shot accuracy (%)",
        caption=_said_of_measures(hits) + _said_of_accuracy(hits) + note,
        columns=["variant", "images", "number", *RESTRICTED, *OVER_ALL],
        rows=rows,
    )


def _class_figure(hits: Mapping[str, Hits], styles: Mapping[str, plots.Style], note: str) -> Figure:
    names = [name for name, indices in cifar10_indices().items() if indices]
    values = {
        variant: [each.estimate(RESTRICTED[0], each.targets == CIFAR10.index(name)) for name in names]
        for variant, each in hits.items()
    }
    return Figure(
        name="zero_shot_by_class",
        title="Zero-shot accuracy by class",
        caption="Restricted top-1 of each class; lines are 95 % intervals (Wilson). Deer is not shown: no "
        "class of ImageNet belongs to it." + note,
        figure=_dots(names, values, styles),
    )


def _class_table(hits: Mapping[str, Hits]) -> Table:
    rows: list[list[Cell]] = []
    for variant, each in hits.items():
        for place, (name, indices) in enumerate(cifar10_indices().items()):
            chosen = each.targets == place
            cells = [_cell(each.estimate(m, chosen)) if indices else None for m in (*RESTRICTED, *OVER_ALL)]
            rows.append([variant, name, len(indices) or "unmappable", int(chosen.sum()), *cells])
    return Table(
        name="zero_shot_by_class",
        title="Zero-shot accuracy by class (%)",
        caption="ImageNet classes: how many of ImageNet's belong to the class. In brackets: the "
        "95 % interval.",
        columns=["variant", "class", "ImageNet classes", "images", *RESTRICTED, *OVER_ALL],
        rows=rows,
    )


def _cell(estimate: Estimate | None) -> str | None:
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    return f"{100 * estimate.mean:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _dots(
    names: Sequence[str], values: Mapping[str, Sequence[Estimate | None]], styles: Mapping[str, plots.Style]
) -> "MplFigure":
    """A row for each name, in it a mark with its interval for each variant."""
    from matplotlib.lines import Line2D

    figure, (axes,) = plots.new_figure(height=0.9 + len(names) * (0.2 + 0.1 * len(values)))
    plots.label_axes(axes, "accuracy (%)", "")
    axes.grid(False, axis="y")
    for row in range(0, len(names), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
    for rank, (variant, estimates) in enumerate(values.items()):
        style = styles[variant]
        offset = 0.76 * ((rank + 0.5) / len(values) - 0.5)
        for row, estimate in enumerate(estimates):
            if estimate is None or estimate.low is None or estimate.high is None:
                continue
            axes.hlines(
                row + offset, 100 * estimate.low, 100 * estimate.high, color=style.color, linewidth=1.6
            )
            axes.plot(
                100 * estimate.mean, row + offset, color=style.color, marker=style.marker, markersize=6,
                markeredgecolor="white", markeredgewidth=0.6, zorder=3, clip_on=False,
            )  # fmt: skip
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    keys = [
        Line2D([], [], color=styles[variant].color, marker=styles[variant].marker, markersize=6,
               linestyle="none", label=short)
        for variant, short in zip(values, plots.short_names(list(values)), strict=True)
    ]  # fmt: skip
    axes.legend(
        handles=keys, loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False, fontsize=plots.SMALL_SIZE,
        labelcolor=plots.INK, handletextpad=0.3,
    )  # fmt: skip
    return figure
