"""Names, places and scales of the pictures: the arithmetic, and what every picture keeps to."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from cnnbench.analyses import plots
from cnnbench.analyses.placing import Box, place_labels, spread
from cnnbench.statistics import Point


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (182.0, "182"),
        (1000, "1,000"),
        (272_474, "272 k"),
        (999_999, "1 M"),
        (2_748_890, "2.75 M"),
        (4e9, "4 G"),
    ],
    ids=str,
)
def test_quantities_are_short(value: float, text: str) -> None:
    assert plots.quantity(value) == text


def test_no_style_comes_back_among_fifty_variants() -> None:
    assert len({plots.style_of(index) for index in range(50)}) == 50


def test_elided_names_keep_both_ends() -> None:
    assert plots.elide("short", 10) == "short"
    assert plots.elide("abcdefghijklmnop", 9) == "abcd…mnop"


def test_names_that_differ_in_the_middle_stay_different() -> None:
    names = [f"a-long-variant-name-number-{i}-with-many-options" for i in range(12)] + ["cnn"]
    short = plots.short_names(names, 24)
    assert len(set(short)) == 13
    assert short[-1] == "cnn"
    assert all(len(name) <= 24 for name in short)
    assert "7" in short[7]


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([0.0, 100.0], [0.0, 100.0]),  # far apart: left alone
        ([50.0, 50.0], [45.0, 55.0]),  # least squares: each moves as far
        ([50.0, 50.0, 50.0], [40.0, 50.0, 60.0]),
        ([100.0, 100.0], [90.0, 100.0]),  # the edge holds
        ([55.0, 50.0], [57.5, 47.5]),  # order is kept
        ([], []),
    ],
    ids=["apart", "pair", "three", "edge", "order", "none"],
)
def test_spread(positions: list[float], expected: list[float]) -> None:
    assert spread(positions, 10, 0, 100) == pytest.approx(expected)


def test_spread_shrinks_the_gap_where_there_is_no_room() -> None:
    assert spread([5.0] * 5, 10, 0, 20) == pytest.approx([0, 5, 10, 15, 20])


def test_labels_cover_neither_points_nor_each_other() -> None:
    anchors = [(80.0 + 55 * i, 200.0 + 5 * i) for i in range(8)]
    obstacles = [Box(x - 10, y - 10, x + 10, y + 10) for x, y in anchors]
    area = Box(0, 0, 600, 400)
    boxes = place_labels(anchors, [(70, 15)] * 8, obstacles, area)
    assert all(box.overlap(obstacle) == 0 for box in boxes for obstacle in obstacles)
    assert all(a.overlap(b) == 0 for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.overlap(area) == pytest.approx(70 * 15) for box in boxes)


def test_a_saved_picture_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        figure = plots.cost_plot([Point("cnn", 1e5, 0.8, 0.78, 0.82)], x_label="parameters")
        paths.append(plots.save_figure(figure, tmp_path / "new" / f"{name}.png"))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    pixels = imread(paths[0])
    assert pixels.shape[:2] == (plots.HEIGHT * plots.DPI, plots.WIDTH * plots.DPI)
    assert np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0).shape[0] > 10
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "b.png"]


def test_costs_on_a_log_axis_only_where_they_span_much() -> None:
    near = [Point("a", 100, 0.8, None, None), Point("b", 250, 0.9, None, None)]
    far = [Point("a", 100, 0.8, None, None), Point("b", 2500, 0.9, None, None)]
    free = [Point("a", 0, 0.8, None, None), Point("b", 2500, 0.9, None, None)]
    scales = [plots.cost_plot(points, x_label="x").axes[0].get_xscale() for points in (near, far, free)]
    assert scales == ["linear", "log", "linear"]


def test_costs_that_hardly_differ_do_not_look_far_apart() -> None:
    costs = (10_585_344, 10_588_032)  # multiply-adds with and without squeeze-and-excitation: 0.03 % apart
    points = [Point(str(cost), cost, 0.8, None, None) for cost in costs]
    figure = plots.cost_plot(points, x_label="multiply-adds")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert high - low == pytest.approx(0.1 * costs[1])
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert len(set(labels)) == len(labels) > 2


def test_points_of_equal_cost_stand_side_by_side() -> None:
    points = [
        Point(name, 2_750_000, mean, mean - 0.02, mean + 0.02) for name, mean in (("a", 0.9), ("b", 0.91))
    ]
    axes = plots.cost_plot([*points, Point("c", 270_000, 0.85, None, None)], x_label="parameters").axes[0]
    places = sorted(
        axes.transData.transform((float(line.get_xdata()[0]), 0))[0]
        for line in axes.lines
        if line.get_markersize() == 8.5
    )
    assert all(after - before > 15 for before, after in pairwise(places))
    said = "side by side: nearly equal costs"
    assert axes.get_title(loc="left").endswith(said)


def test_points_of_costs_that_differ_stand_where_they_belong() -> None:
    """Nothing is moved for the sake of their error bars."""
    points = [Point(name, cost, 0.9, 0.89, 0.91) for name, cost in (("a", 726.0), ("b", 900.0), ("c", 9.0))]
    axes = plots.cost_plot(points, x_label="training time (s)").axes[0]
    drawn = [float(line.get_xdata()[0]) for line in axes.lines if line.get_markersize() == 8.5]
    assert drawn == [726.0, 900.0, 9.0]
    assert "side by side" not in axes.get_title(loc="left")


def test_the_front_steps_at_true_costs() -> None:
    """Where a marker was moved beside another of as good as its cost, the line was not."""
    known = (("a", 100.0, 0.8), ("b", 101.0, 0.9), ("c", 500.0, 0.95))
    points = [Point(name, cost, mean, None, None) for name, cost, mean in known]
    axes = plots.cost_plot(points, x_label="parameters").axes[0]
    (front,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert [float(x) for x in front.get_xdata()][:3] == [100.0, 101.0, 500.0]


def test_names_that_find_no_place_go_into_a_key() -> None:
    few = [Point(f"variant {i}", 1e5 * 3**i, 0.7 + i / 20, 0.68 + i / 20, 0.72 + i / 20) for i in range(3)]
    many = [Point(f"a-rather-long-name-{i}", 1e5 + 1000 * i, 0.7 + i / 900, 0.6, 0.8) for i in range(14)]
    beside, keyed = (plots.cost_plot(points, x_label="parameters").axes[0] for points in (few, many))
    assert beside.get_legend() is None
    assert [text.get_text() for text in beside.texts] == ["variant 0", "variant 1", "variant 2"]
    legend = keyed.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 14
    assert legend.get_window_extent().x0 >= keyed.get_window_extent().x1  # beside the data, not over them


def test_the_picture_is_as_tall_as_the_key_of_fifty_names() -> None:
    points = [Point(f"a-rather-long-name-{i}", 1e5 + 1000 * i, 0.7 + i / 900, 0.6, 0.8) for i in range(50)]
    figure = plots.cost_plot(points, x_label="parameters")
    figure.draw_without_rendering()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    key, picture = legend.get_window_extent(), figure.bbox
    assert picture.y0 <= key.y0
    assert key.y1 <= picture.y1
