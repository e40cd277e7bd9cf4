"""Gradients by layer: the rule on gradients made by hand and on real ones, the tables, the pictures."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.gradient_flow import GradientFlow
from cnnbench.analyses.gradients import State, geometric_mean, gradients_of, state_of
from cnnbench.models.cnn import CNN
from cnnbench.models.resnet import ResNet
from cnnbench.precision import choose_precision
from cnnbench.probes import gradients_by_layer
from cnnbench.runs import Run

MakeRun = Callable[..., Run]
SubjectFrom = Callable[[Sequence[Run]], Subject]
Values = Mapping[str, float | None]


def write_probes(run: Run, epochs: Sequence[Values]) -> Run:
    """Mean absolute gradients by layer, one mapping for each epoch; norms are ten times as large."""
    rows: list[dict[str, Any]] = [
        {
            "epoch": epoch,
            "gradients": {
                layer: {"mean_abs": value, "norm": None if value is None else 10 * value}
                for layer, value in values.items()
            },
        }
        for epoch, values in enumerate(epochs)
    ]
    (run.path / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def layers(*values: float | None) -> dict[str, float | None]:
    return {f"layer{index}": value for index, value in enumerate(values)}


@pytest.mark.parametrize(
    ("value", "last", "state"),
    [
        (1e-3, 1.0, "ordinary"),
        (0.99e-3, 1.0, "vanishes"),
        (1e3, 1.0, "ordinary"),
        (1.01e3, 1.0, "explodes"),
        (1e-9, 1e-8, "ordinary"),  # small everywhere: the loss is, not the way back
        (0.0, 1.0, "vanishes"),
        (0.0, 0.0, "vanishes"),
        (None, 1.0, "explodes"),
        (1.0, 0.0, "ordinary"),  # no ratio
        (1.0, None, "ordinary"),
    ],
)
def test_the_rule(value: float | None, last: float | None, state: State) -> None:
    assert state_of(value, last) == state


@pytest.mark.parametrize(
    ("factor", "vanishing", "exploding"),
    [(0.1, 4, 0), (0.4, 0, 0), (1.0, 0, 0), (10.0, 0, 4)],
    ids=["shrinks", "shrinks slowly", "keeps", "grows"],
)
def test_gradients_that_change_by_a_factor_at_each_layer(
    make_run: MakeRun, subject_from: SubjectFrom, factor: float, vanishing: int, exploding: int
) -> None:
    """Eight layers, the first with factor^7 of the last: by a factor 10 four are beyond 1000."""
    values = layers(*(factor ** (7.001 - index) for index in range(8)))
    run = write_probes(make_run("a", 0, [0.1, 0.2]), [values, values])
    tables = [each for each in GradientFlow().analyse(subject_from([run])) if isinstance(each, Table)]
    assert list(tables[0].rows[0][7:]) == [vanishing, vanishing, exploding, exploding]
    assert tables[0].rows[0][5] == pytest.approx(factor**7, rel=0.01)


@pytest.mark.parametrize(
    ("model", "vanishes"),
    [
        pytest.param(
            lambda: CNN((3, 8, 8), 10, widths=[8], convs=6, activation="sigmoid", head=[]), True, id="sigmoid"
        ),
        pytest.param(lambda: ResNet((3, 8, 8), 10, widths=[8], blocks=[3]), False, id="residual"),
    ],
)
def test_real_networks(make_run: MakeRun, model: Callable[[], nn.Module], vanishes: bool) -> None:
    """A stack of sigmoids loses the gradient (Glorot and Bengio 2010), a residual network keeps it."""
    torch.manual_seed(0)
    precision = choose_precision("fp32", torch.device("cpu"))
    found = gradients_by_layer(model(), torch.randn(16, 3, 8, 8), torch.arange(16) % 10, precision)
    run = write_probes(make_run("a", 0, [0.1]), [{name: each["mean_abs"] for name, each in found.items()}])
    gradients = gradients_of(run)
    assert gradients is not None
    states = gradients.states(0)
    assert (states[gradients.layers[0]] == "vanishes") is vanishes
    assert "explodes" not in states.values()


def test_the_tables(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    seeds = [
        [layers(1e-2, 2.0, 1.0), layers(1e-4, None, 1.0), layers(1e-5, 2.0, 1.0), layers(0.2, 2.0, 0.1)],
        [layers(1e-4, 2.0, 1.0), layers(0.0, 2.0, 1.0), layers(0.1, 2e3, 1.0), layers(0.8, 2.0, 0.1)],
    ]
    runs = [write_probes(make_run("a", seed, [0.1] * 4), epochs) for seed, epochs in enumerate(seeds)]
    *figures, summary, by_layer = GradientFlow().analyse(subject_from(runs))
    assert isinstance(summary, Table)
    # untrained: sqrt(1e-2 * 1e-4); at last sqrt(2 * 8)
    assert list(summary.rows[0]) == ["a", 2, 3, "layer0", "layer2", 1e-3, 4.0, 1, 0, 0, 0]
    assert isinstance(by_layer, Table)
    assert [list(row) for row in by_layer.rows] == [
        ["a", "layer0", 1e-3, 0.4, "0–2", None],
        ["a", "layer1", 2.0, 2.0, None, "1–2"],
        ["a", "layer2", 1.0, 0.1, None, None],
    ]
    assert [figure.name for figure in figures] == [
        "gradient_flow_mean_abs", "gradient_flow_norm", "gradient_flow_trend",
    ]  # fmt: skip
    mean_abs, norm, trend = figures
    assert "the gradient was zero or not finite" in mean_abs.caption
    assert isinstance(mean_abs, Figure)
    axes = mean_abs.figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "mean absolute gradient"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["layer0", "layer1", "layer2"]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([1e-3, 2.0, 1.0])
    assert list(axes.lines[1].get_ydata()) == pytest.approx([1e-4, 2.0, 1.0])  # of the seed that has one
    assert isinstance(norm, Figure)
    assert list(norm.figure.axes[0].lines[0].get_ydata()) == pytest.approx([1e-2, 20.0, 10.0])
    assert isinstance(trend, Figure)
    drawn = trend.figure.axes[0].lines[0]
    assert list(drawn.get_xdata()) == [0, 1, 2, 3]
    assert list(drawn.get_ydata()) == pytest.approx([1e-3, 1e-4, 1e-3, 4.0])


def test_the_geometric_mean() -> None:
    assert geometric_mean([1e-4, 1e-2, 1.0]) == pytest.approx(1e-2)


def test_runs_without_gradients_are_named(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [make_run(name, 0, [0.1, 0.2]) for name in ("good", "old", "broken", "frozen")]
    write_probes(runs[0], [layers(1.0, 1.0)])
    (runs[2].path / "probes.jsonl").write_text('{"epoch": 0, "gra')
    write_probes(runs[3], [{}])
    *figures, summary, by_layer = GradientFlow().analyse(subject_from(runs))
    assert isinstance(summary, Table)
    assert [row[:3] for row in summary.rows] == [
        ["good", 1, 2], ["old", 0, None], ["broken", 0, None], ["frozen", 0, None],
    ]  # fmt: skip
    for output in (*figures, summary, by_layer):
        assert (
            "Without gradients (older runs, or nothing to train): old seed 0, frozen seed 0."
            in output.caption
        )
        assert "could not be read, so not counted: broken seed 0." in output.caption
    assert len(figures) == 2  # one epoch has no trend


def test_diverged_runs_count_up_to_their_end(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    run = make_run("a", 0, [0.1, 0.2], status="diverged", message="lost")
    write_probes(run, [layers(1.0, 1.0), layers(1e9, 1.0)])
    *_, summary, by_layer = GradientFlow().analyse(subject_from([run]))
    assert isinstance(summary, Table)
    assert summary.rows[0][-1] == 1
    assert "Diverged, and counted up to the epoch before: a seed 0." in by_layer.caption


def test_many_variants_layers_and_epochs(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    epochs = [layers(*[10.0**-epoch] * 60) for epoch in range(30)]
    runs = [write_probes(make_run(f"v{i}", 0, [0.1] * 30), epochs) for i in range(7)]
    outputs = list(GradientFlow().analyse(subject_from(runs)))
    assert [output.name for output in outputs] == [
        "gradient_flow_mean_abs_1", "gradient_flow_mean_abs_2", "gradient_flow_norm_1",
        "gradient_flow_norm_2", "gradient_flow_trend", "gradient_flow", "gradient_flow_by_layer",
    ]  # fmt: skip
    axes = outputs[1].figure.axes[0]  # type: ignore[union-attr]
    assert len(axes.lines) == 12
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert len(ticks) == 20
    assert ticks[-1] == "layer59"
    assert not outputs[-1].in_report  # type: ignore[union-attr]


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    (summary,) = GradientFlow().analyse(any_subject)  # of runs that recorded none
    assert isinstance(summary, Table)
    assert [row[0] for row in summary.rows] == list(any_subject.variants())
    for run in any_subject.runs:
        write_probes(run, [layers(0.5, None, 1.0) for _ in run.history()])
    outputs = list(GradientFlow().analyse(any_subject))
    assert {len(row) for row in outputs[-2].rows} == {len(outputs[-2].columns)}  # type: ignore[union-attr]


def test_layers_that_are_frozen_at_first_are_counted(make_run: MakeRun) -> None:
    """A decoder alone, and from the second epoch on the encoder before it."""
    run = write_probes(make_run("a", 0, [0.1, 0.2]), [{"decoder": 1.0}, {"encoder": 1e-4, "decoder": 1.0}])
    gradients = gradients_of(run)
    assert gradients is not None
    assert gradients.layers == ["encoder", "decoder"]
    assert (gradients.ratio(0), gradients.ratio(1)) == (None, 1e-4)
    assert gradients.states(1)["encoder"] == "vanishes"
