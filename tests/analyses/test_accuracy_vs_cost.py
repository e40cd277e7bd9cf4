"""Accuracy against cost: which interval, which cost, which axis."""

import json
from collections.abc import Callable

import pytest
from scipy import stats

from cnnbench.analyses.accuracies import accuracy_of
from cnnbench.analyses.accuracy_vs_cost import AccuracyVsCost
from cnnbench.analyses.base import Subject
from cnnbench.runs import Run

MakeRun = Callable[..., Run]
SubjectFrom = Callable[[list[Run]], Subject]


def test_several_seeds_have_students_interval(subject: Callable[..., Subject]) -> None:
    runs = subject({"basic": [[0.1, 0.7], [0.1, 0.8], [0.1, 0.75]]}).runs
    values = [run.result()["metrics"]["test_accuracy"] for run in runs]  # type: ignore[index]
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    estimate = accuracy_of(runs)
    assert estimate is not None
    assert (estimate.low, estimate.high) == pytest.approx((low, min(high, 1)))


def test_one_seed_has_the_binomial_interval(subject: Callable[..., Subject]) -> None:
    runs = subject({"basic": [[0.1, 0.7]]}, num_test=100).runs
    arrays = runs[0].predictions()
    right = int((arrays["test_predictions"] == arrays["test_targets"]).sum())
    expected = stats.binomtest(right, 100).proportion_ci(method="wilson")
    estimate = accuracy_of(runs)
    assert estimate is not None
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


def test_without_predictions_there_is_no_interval(subject: Callable[..., Subject]) -> None:
    runs = subject({"basic": [[0.1, 0.7]]}).runs
    (runs[0].path / "predictions.npz").unlink()
    estimate = accuracy_of(runs)
    assert estimate is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_data_sets_have_pictures_of_their_own(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [make_run(name, 0, [0.1, accuracy]) for name, accuracy in (("a", 0.9), ("b", 0.8), ("c", 0.7))]
    config = runs[2].config()
    config["data"]["name"] = "fashion_mnist"
    (runs[2].path / "config.json").write_text(json.dumps(config))
    figures = {figure.name: figure for figure in AccuracyVsCost().analyse(subject_from(runs))}
    assert {"accuracy_vs_parameters_1", "accuracy_vs_parameters_2"} <= figures.keys()
    first, second = figures["accuracy_vs_parameters_1"], figures["accuracy_vs_parameters_2"]
    assert (first.title, second.title) == (
        "Test accuracy against parameters (cifar10)", "Test accuracy against parameters (fashion_mnist)",
    )  # fmt: skip
    assert "going by the means alone: a." in first.caption
    assert "c" not in first.caption.partition("Pareto")[2].partition(".")[0].split(": ")[-1]


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    for figure in AccuracyVsCost().analyse(any_subject):
        assert figure.figure.axes[0].get_ylabel() == "test accuracy (%)"


def test_axes_carry_units(subject: Callable[..., Subject]) -> None:
    figures = list(AccuracyVsCost().analyse(subject({"basic": [[0.1, 0.7]]})))
    assert {figure.name: figure.figure.axes[0].get_xlabel() for figure in figures} == {
        "accuracy_vs_parameters": "parameters",
        "accuracy_vs_macs": "multiply-adds per image",
        "accuracy_vs_time": "training time (s)",
    }


def test_a_cost_nobody_knows_has_no_picture(subject: Callable[..., Subject]) -> None:
    figures = AccuracyVsCost().analyse(subject({"basic": [[0.1, 0.7]]}, macs=None))
    assert [figure.name for figure in figures] == ["accuracy_vs_parameters", "accuracy_vs_time"]


def test_times_that_vary_between_seeds_have_no_picture(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    seconds = {0: 303.0, 1: 315.0, 2: 1509.0}
    runs = [make_run("a", seed, [0.1, 0.7], train_seconds=each) for seed, each in seconds.items()]
    names = [
        figure.name
        for figure in AccuracyVsCost().analyse(subject_from([*runs, make_run("b", 0, [0.1, 0.8])]))
    ]
    assert names == ["accuracy_vs_parameters", "accuracy_vs_macs"]
    names = [figure.name for figure in AccuracyVsCost().analyse(subject_from(runs[:2]))]
    assert "accuracy_vs_time" in names


def test_times_of_different_machines_have_no_picture(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [make_run("a", 0, [0.1, 0.7], device="Xeon"), make_run("b", 0, [0.1, 0.8], device="EPYC")]
    figures = AccuracyVsCost().analyse(subject_from(runs))
    assert [figure.name for figure in figures] == ["accuracy_vs_parameters", "accuracy_vs_macs"]
