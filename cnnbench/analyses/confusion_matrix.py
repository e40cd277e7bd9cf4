"""Which classes are taken for which others: test predictions of all seeds of a variant, in one matrix."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Figure, Subject, Table
from cnnbench.analyses.confusions import Counts, of_equal_classes, read_confusions
from cnnbench.options import Count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure as MplFigure

MOST_PER_PICTURE = 6
MOST_SMALL = 12  # classes whose cells can be annotated in a panel of half the width
MOST_ANNOTATED = 20
MOST_OF_A_NAME = 16  # characters of the name of a class
TICKS = (0, 2, 10, 25, 50, 75, 100)


def shares_of(counts: Counts) -> NDArray[np.float64]:
    """Each row in % of its class; NaN where a class has no image."""
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(
        100.0 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0
    )
    return shares


def most_confused(counts: Counts, num_pairs: int) -> list[tuple[int, int, int, float]]:
    """The commonest mistakes, largest share first: (true, predicted, images, share of the class in %)."""
    shares = shares_of(counts)
    mistakes = [
        (int(true), int(predicted), int(counts[true, predicted]), float(shares[true, predicted]))
        for true, predicted in np.argwhere(counts)
        if true != predicted
    ]
    return sorted(mistakes, key=lambda mistake: (-mistake[3], mistake[0], mistake[1]))[:num_pairs]


class ConfusionMatrix(Analysis):
    """What each variant mistakes for what on the test images."""

    def __init__(self, *, num_pairs: Count = 5) -> None:
        self.num_pairs = num_pairs

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields pictures of up to six variants each, the commonest mistakes, and each variant's counts."""
        confusions = read_confusions(subject)
        unit = confusions.unit
        of_test = "test images" if unit == "images" else "pixels of the test images"
        classes, note = confusions.classes, confusions.note
        matrices = {name: np.sum(found, axis=0) for name, found in confusions.counts.items()}
        used = {name: len(found) for name, found in confusions.counts.items()}
        if not matrices:
            return
        pictures = [
            shown for names in of_equal_classes(classes) for shown in _portions(names, len(classes[names[0]]))
        ]
        for number, shown in enumerate(pictures, start=1):
            shared = classes[shown[0]]
            which = f" ({number} of {len(pictures)})" if len(pictures) > 1 else ""
            yield Figure(
                name="confusion_matrix" if len(pictures) == 1 else f"confusion_matrix_{number}",
                title=f"Confusion matrices on the test images{which}",
                caption=_caption(shown, used, len(shared)) + note,
                figure=_draw({name: matrices[name] for name in shown}, shared),
            )
        yield Table(
            name="confused_pairs",
            title="Commonest mistakes",
            caption=f"The {self.num_pairs} largest shares of a true class that were predicted as another, by "
            f"variant; {unit} are summed over seeds." + note,
            columns=["variant", "true class", "predicted as", "share of the true class (%)", unit],
            rows=[
                [name, classes[name][true], classes[name][predicted], round(share, 2), images]
                for name, counts in matrices.items()
                for true, predicted, images, share in most_confused(counts, self.num_pairs)
            ],
        )
        for name, counts in matrices.items():
            yield Table(
                name="confusion_matrix" if len(matrices) == 1 else f"confusion_matrix_{name}",
                title=f"Confusion matrix in {unit}: {name}",
                caption=f"Each row is a true class, each column a predicted one: how many {of_test}, "
                f"{_summed([used[name]])}." + note,
                columns=["true class", *classes[name], "all"],
                rows=[
                    [true, *map(int, row), int(row.sum())]
                    for true, row in zip(classes[name], counts, strict=True)
                ],
                in_report=len(classes[name]) <= MOST_ANNOTATED and len(matrices) <= MOST_PER_PICTURE,
            )


def _portions(names: Sequence[str], num_classes: int) -> list[list[str]]:
    """The variants, as many together as fit one picture."""
    most = 1 if MOST_SMALL < num_classes <= MOST_ANNOTATED else MOST_PER_PICTURE
    return [list(names[start : start + most]) for start in range(0, len(names), most)]


def _caption(shown: Sequence[str], used: dict[str, int], num_classes: int) -> str:
    summed = _summed([used[name] for name in shown])
    text = f"Each row is a true class and adds up to 100 % ({summed}); the diagonal is what was recognized."
    if num_classes <= MOST_ANNOTATED:
        text += " Cells are in %; an empty one is at most 0.5 %."
    return (
        text
        + " The color scale is the same for all and stretched at its low end, so that rare mistakes show."
    )


def _summed(num_seeds: Sequence[int]) -> str:
    different = sorted(set(num_seeds))
    return "one seed" if different == [1] else f"{' or '.join(map(str, different))} seeds summed"


def _draw(matrices: dict[str, Counts], classes: Sequence[str]) -> "MplFigure":
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    columns = 1 if len(matrices) == 1 else 2
    rows = math.ceil(len(matrices) / columns)
    longest = max(map(len, plots.short_names([str(each) for each in classes], MOST_OF_A_NAME)))
    # a title and the class names, upright, stand above each row of panels
    height = 5.8 if columns == 1 else 0.35 + rows * (3.05 + max(0.0625 * longest, 0.25))
    figure, grid = plots.new_figure(rows, columns, height=height)
    norm = PowerNorm(0.5, vmin=0, vmax=100)
    scale = ScalarMappable(norm=norm, cmap="Blues")
    names = plots.short_names(list(matrices), 48 if columns == 1 else 26)
    for place, (axes, name, counts) in enumerate(zip(grid, names, matrices.values(), strict=False)):
        axes.set_title(name, fontsize=plots.TEXT_SIZE, color=plots.INK, loc="left", fontweight="bold")
        _draw_one(
            axes,
            shares_of(counts),
            norm,
            font_size=9.0 if columns == 1 and len(classes) <= MOST_SMALL else 6.8,
        )
        small = columns > 1 or len(classes) > MOST_SMALL
        _name_classes(
            axes,
            classes,
            leftmost=place % columns == 0,
            topmost=place < columns or len(classes) <= MOST_ANNOTATED,
            small=small,
        )
    for axes in grid[len(matrices) :]:
        axes.set_visible(False)
    bar = figure.colorbar(
        scale,
        ax=grid,
        ticks=list(TICKS),
        location="right",
        shrink=min(1.0, 4.0 / height),
        aspect=30,
        pad=0.02,
    )
    bar.set_label("share of the true class (%)", fontsize=plots.TEXT_SIZE, color=plots.INK)
    bar.ax.tick_params(labelsize=plots.SMALL_SIZE, colors=plots.INK, length=0)
    bar.outline.set_visible(False)
    figure.draw_without_rendering()  # square panels settle in a second layout, that of saving
    return figure


def _draw_one(axes: "Axes", shares: NDArray[np.float64], norm: "Normalize", font_size: float) -> None:
    axes.grid(False)
    axes.set_facecolor("#eeeeee")  # classes without an image
    axes.imshow(shares, norm=norm, cmap="Blues", aspect="equal", interpolation="nearest")
    axes.set_anchor("S")  # what room is left goes to the names above
    axes.spines[:].set_visible(False)
    if len(shares) > MOST_ANNOTATED:
        return
    for (row, column), share in np.ndenumerate(shares):
        if share > 0.5:
            axes.text(
                column, row, _written(share), ha="center", va="center", fontsize=font_size,
                color="white" if share > 30 else plots.INK,
            )  # fmt: skip


def _written(share: float) -> str:
    """In whole %, but never as all of them where one is missing."""
    return f"{min(share, 99.9):.1f}" if 99 < share < 100 else f"{share:.0f}"


def _name_classes(
    axes: "Axes", classes: Sequence[str], *, leftmost: bool, topmost: bool, small: bool
) -> None:
    """Names all classes, or as many as stand apart, where they are asked for."""
    step = 1 if len(classes) <= MOST_ANNOTATED else math.ceil(len(classes) / 10)
    places = range(0, len(classes), step)
    names = plots.short_names([str(classes[place]) for place in places], MOST_OF_A_NAME)
    size = 7.5 if small else plots.SMALL_SIZE
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    upright = max(map(len, names)) <= 2
    axes.set_xticks(places, names if topmost else [], fontsize=size, rotation=0 if upright else 90)
    axes.set_yticks(places, names if leftmost else [], fontsize=size)
    plots.label_axes(axes, "predicted class" if topmost else "", "true class" if leftmost else "")
