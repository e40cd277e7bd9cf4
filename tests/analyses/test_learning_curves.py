"""Learning curves: means and bands by hand, and what the pictures and captions say."""

import json
import math
from collections.abc import Callable

import pytest

from cnnbench.analyses.base import Figure, Subject
from cnnbench.analyses.learning_curves import LearningCurves, curve_of
from cnnbench.runs import Run


def test_the_range_is_lowest_to_highest_seed() -> None:
    curve = curve_of([{0: 0.1, 1: 0.5}, {0: 0.1, 1: 0.7}, {0: 0.1, 1: 0.9}], "range")
    assert curve.epochs == [0, 1]
    assert curve.mean == pytest.approx([0.1, 0.7])
    assert curve.low == pytest.approx([0.1, 0.5])
    assert curve.high == pytest.approx([0.1, 0.9])
    assert curve.num_seeds == 3


def test_the_std_is_that_of_a_sample() -> None:
    curve = curve_of([{1: 0.5}, {1: 0.7}, {1: 0.9}], "std")
    assert curve.high[0] - curve.mean[0] == pytest.approx(0.2)  # sqrt((0.04 + 0 + 0.04) / 2)


def test_one_seed_has_no_band() -> None:
    curve = curve_of([{0: 0.1, 1: 0.5}], "std")
    assert curve.low == curve.mean == curve.high


def test_a_line_ends_with_the_first_seed_that_stopped_early() -> None:
    seeds: list[dict[int, float]] = [{1: 0.4, 2: 0.6}, {1: 0.6}, {}]
    curve = curve_of(seeds)
    assert (curve.mean, curve.num_seeds, curve.is_cut) == (pytest.approx([0.5]), 2, True)
    curve = curve_of(seeds, to_last=True)
    assert (curve.mean, curve.is_cut) == (pytest.approx([0.5, 0.6]), False)
    assert not curve_of([{1: 0.4, 2: 0.6}, {1: 0.6, 2: 0.5}]).is_cut


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    for figure in LearningCurves(band="std").analyse(any_subject):
        assert math.isclose(figure.figure.get_size_inches()[0], 7)
        assert "validation" in figure.caption.lower()


def test_axes_carry_units_and_epoch_zero(subject: Callable[..., Subject]) -> None:
    accuracy, loss = LearningCurves().analyse(subject({"basic": [[0.1, 0.5, 0.6]]}))
    assert [figure.name for figure in (accuracy, loss)] == [
        "learning_curves_accuracy",
        "learning_curves_loss",
    ]
    axes = accuracy.figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "accuracy (%)")
    assert loss.figure.axes[0].get_ylabel() == "loss (cross entropy)"
    val = next(line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 3)
    assert list(val.get_xdata()) == [0, 1, 2]
    assert list(val.get_ydata()) == pytest.approx([10, 50, 60])


def test_a_long_training_has_its_second_half_enlarged(subject: Callable[..., Subject]) -> None:
    figure = next(iter(LearningCurves().analyse(subject({"basic": [[0.1, 0.5, 0.6, 0.7, 0.8, 0.82, 0.84]]}))))
    whole, half = figure.figure.axes
    assert whole.get_xlim()[0] < 0 < 3 > half.get_xlim()[0] > 2.5
    assert half.get_ylim()[0] > 60


@pytest.mark.parametrize(
    ("num_seeds", "words"), [(1, "no band"), (2, "lowest to highest seed")], ids=["one", "two"]
)
def test_the_caption_says_what_the_band_is(
    subject: Callable[..., Subject], num_seeds: int, words: str
) -> None:
    figures = LearningCurves().analyse(subject({"basic": [[0.1, 0.5]] * num_seeds}))
    assert all(words in figure.caption for figure in figures)


@pytest.mark.parametrize(
    ("smoothed", "said"),
    [
        (["basic"], "contains label smoothing (basic), validation loss does not."),
        (["basic", "wide"], "contains label smoothing, validation loss does not."),
    ],
)
def test_label_smoothing_is_said(
    make_run: Callable[..., Run], subject_from: Callable[..., Subject], smoothed: list[str], said: str
) -> None:
    runs = [make_run(name, 0, [0.1, 0.5]) for name in ("basic", "wide")]
    for run in runs:
        config = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
        config["train"]["label_smoothing"] = 0.1 if run.path.parent.name in smoothed else 0.0
        (run.path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    accuracy, loss = LearningCurves().analyse(subject_from(runs))
    assert "smoothing" not in accuracy.caption
    assert f"Train loss {said}" in loss.caption


def test_diverged_runs_are_named_and_left_out(
    make_run: Callable[..., object], subject_from: Callable[..., Subject]
) -> None:
    runs = [
        make_run("a", 0, [0.1, 0.5, 0.7]),
        make_run("a", 1, [0.1, 0.9], status="diverged", message="lost"),
    ]
    subject = subject_from(runs)
    figure = next(iter(LearningCurves().analyse(subject)))
    assert isinstance(figure, Figure)
    assert "Diverged, so not counted: a seed 1." in figure.caption
    val = next(
        line
        for line in figure.figure.axes[0].lines
        if line.get_marker() == "o" and len(line.get_xdata()) == 3
    )
    assert list(val.get_ydata()) == pytest.approx([10, 50, 70])


def test_more_than_six_variants_get_a_panel_each(subject: Callable[..., Subject]) -> None:
    figure = next(
        iter(LearningCurves().analyse(subject({f"v{i}": [[0.1, 0.5 + i / 100]] for i in range(8)})))
    )
    shown = [axes for axes in figure.figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [f"v{i}" for i in range(8)]


@pytest.mark.parametrize(("start", "outside"), [(0.1, True), (0.75, False)])
def test_untrained_models_leave_panels_room_for_what_was_learned(
    subject: Callable[..., Subject], start: float, outside: bool
) -> None:
    seven = {f"v{index}": [[start, 0.8, 0.84, 0.86 + index / 1000]] for index in range(7)}
    accuracy, *_ = LearningCurves().analyse(subject(seven))
    low, _ = accuracy.figure.axes[0].get_ylim()
    assert (low > 100 * start) == outside
    assert ("it lies outside the panels" in accuracy.caption) == outside
    assert ("untrained (epoch 0) may lie outside" in accuracy.figure.get_suptitle()) == outside


@pytest.mark.parametrize("odd", [[0.1], [0.9, 0.8]], ids=["nothing but epoch 0", "epoch 0 is the best"])
def test_an_epoch_0_that_counts_is_never_outside(subject: Callable[..., Subject], odd: list[float]) -> None:
    six = {f"v{index}": [[0.1, 0.8, 0.84, 0.86]] for index in range(6)}
    accuracy, *_ = LearningCurves().analyse(subject({**six, "odd": [odd]}))
    low, high = accuracy.figure.axes[0].get_ylim()
    assert low < 10 < 86 < high
    assert "outside" not in accuracy.caption


@pytest.mark.parametrize("smallest", [0.03, 0.005, 2e-4, 1e-7])
@pytest.mark.parametrize("num", [1, 7])
def test_a_logarithmic_axis_has_its_ticks(
    make_run: Callable[..., Run], subject_from: Callable[..., Subject], smallest: float, num: int
) -> None:
    runs = [make_run(f"v{index}", 0, [0.1, 0.5, 0.6]) for index in range(num)]
    for run in runs:
        rows = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
        for row, loss in zip(rows, (2.3, 0.4, smallest), strict=True):
            row["val_loss"] = loss
        (run.path / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    *_, loss = LearningCurves().analyse(subject_from(runs))
    axes = loss.figure.axes[0]
    loss.figure.canvas.draw()
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    labels = [text.get_text() for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert len([label for label in labels if label]) >= 2
