"""Effective receptive fields against their theory for linear networks, and what is said of every variant."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.receptive_field import ReceptiveField
from cnnbench.runs import Run

MakeRun = Callable[..., Run]
SubjectFrom = Callable[[Sequence[Run]], Subject]

DATA = {"name": "synthetic", "num_images": 48, "num_classes": 3, "height": 24, "width": 20}
CNN = {"name": "cnn", "widths": [4, 4]}
MLP = {"name": "mlp", "widths": [4]}


def looked_at(
    subject: Subject, **options: Any
) -> tuple[list[Figure], Table, list[Table], dict[Any, dict[str, Any]]]:
    """Pictures, the table of all variants, the tables of layers, and the first one's rows by variant."""
    outputs = list(ReceptiveField(**options).analyse(subject))
    figures = [output for output in outputs if isinstance(output, Figure)]
    table, *layers = (output for output in outputs if isinstance(output, Table))
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    return figures, table, layers, rows


def test_fields_of_trained_and_untrained_models(model_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [model_run("cnn", CNN, DATA, seed=seed) for seed in (0, 1)]
    figures, table, layers, rows = looked_at(subject_from(runs), num_images=5)
    row = rows["cnn"]
    assert str(row["last feature layer"]).endswith(" (MaxPool2d)")
    assert (row["image (pixels)"], row["stride (pixels)"]) == ("24 × 20", 4)
    assert row["theoretical field (pixels)"] == "10 × 10"
    assert row["seeds"] == 2
    # these runs were not trained, so both are the same, and neither is larger than the theoretical field
    side = row["effective, trained (pixels)"]
    assert side == row["effective, untrained (pixels)"]
    assert row["± trained"] == row["± untrained"]
    assert 1 < side <= 10
    assert row["trained / theoretical (%)"] == pytest.approx(10 * side, abs=0.11)
    assert "over 2 seeds" in table.caption
    (figure,) = figures
    assert "one seed, 0" in figure.caption
    assert "up to 5 validation images" in figure.caption
    assert [axes.get_title() for axes in figure.figure.axes[:2]] == ["untrained", "trained"]
    assert figure.figure.axes[-1].get_ylabel() == "contribution, relative to its peak"
    (fields,) = layers
    assert [row[3] for row in fields.rows] == [
        "3 × 3",
        "4 × 4",
        "8 × 8",
        "10 × 10",
        "whole image",
        "whole image",
    ]
    assert [row[4] for row in fields.rows] == [1, 2, 2, 4, None, None]


def test_weights_that_cannot_be_read_are_named(model_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [model_run("cnn", CNN, DATA, seed=seed) for seed in (0, 1)]
    (runs[0].path / "best.safetensors").write_bytes(b"damaged")
    figures, table, _, rows = looked_at(subject_from(runs), num_images=2)
    assert rows["cnn"]["seeds"] == 1
    assert rows["cnn"]["± trained"] is None
    assert rows["cnn"]["± untrained"] is not None
    for output in (*figures, table):
        assert "cnn seed 0 (its weights cannot be read)" in output.caption
    assert "one seed, 1" in figures[0].caption
    (runs[1].path / "best.safetensors").unlink()
    figures, _, _, rows = looked_at(subject_from(runs), num_images=2)
    assert rows["cnn"]["effective, trained (pixels)"] is None
    panels = figures[0].figure.axes
    assert (len(panels[0].images), len(panels[1].images)) == (1, 0)


def test_other_data_no_convolutions_gates_and_large_fields(
    model_run: MakeRun, subject_from: SubjectFrom
) -> None:
    runs = [
        model_run("mlp", MLP, DATA),
        model_run("gated", {**CNN, "attention": "se"}, DATA),
        model_run("large", {**CNN, "kernel_size": 15}, {**DATA, "height": 16}),
        model_run("smooth", {**CNN, "activation": "silu"}, DATA),
        model_run("plain", CNN, DATA),
    ]
    figures, table, layers, rows = looked_at(subject_from(runs), num_images=2)
    assert rows["mlp"]["theoretical field (pixels)"] == "no feature map"
    assert rows["gated"]["theoretical field (pixels)"] == "10 × 10 + whole image"
    assert rows["large"]["theoretical field (pixels)"] == "46 × 46"
    assert "so that every unit sees the whole image: mlp." in table.caption
    assert "larger than the image, at whose edge the effective one must end: large." in table.caption
    assert "statistics of a norm: gated." in table.caption
    titles = [axes.get_title() for axes in figures[0].figure.axes]
    assert titles[:4] == [
        "gated\nfield 10 × 10 +", "large\nfield 46 × 46", "smooth\nfield 10 × 10", "plain\nfield 10 × 10"
    ]  # fmt: skip
    assert "mlp" not in "".join(titles)
    # variants with the same fields share a table
    assert [layer.title.rpartition(": ")[2] for layer in layers] == ["mlp", "gated", "large", "smooth, plain"]


def test_many_variants_are_spread_over_pictures(model_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [model_run(f"variant-{number}", CNN, DATA) for number in range(5)]
    figures, _, layers, _ = looked_at(subject_from(runs), num_images=1)
    assert [len(figure.figure.axes) for figure in figures] == [2 * 2 + 1, 2 * 3 + 1]
    assert [figure.name for figure in figures] == ["receptive_field_1", "receptive_field_2"]
    assert [layer.name for layer in layers] == ["receptive_field_layers"]


PLUGIN = '''
import torch
from torch import nn


class Rolled(nn.Module):
    """Shifts its features around."""

    def __init__(self, in_shape, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(in_shape[0], 4, 3, padding=1)
        self.act = nn.ReLU()
        self.head = nn.Linear(4, num_classes)

    def forward(self, inputs):
        return self.head(self.act(self.conv(inputs).roll(1, 2)).mean((2, 3)))


MODELS = {"rolled": Rolled}
'''


def test_unknown_operations_are_named(make_run: MakeRun, subject_from: SubjectFrom, tmp_path: Any) -> None:
    import json
    from dataclasses import replace
    from pathlib import Path

    from cnnbench.data.datasets import Datasets

    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    run = make_run("rolled", 0, [0.1, 0.2])
    config = run.config() | {"model": {"name": "rolled"}, "data": DATA}
    (run.path / "config.json").write_text(json.dumps(config))
    subject = replace(subject_from([run]), datasets=Datasets(Path(), [str(plugin)]))
    _, table, layers, rows = looked_at(subject, num_images=2)
    assert "Unknown: rolled from act on, because of roll." in table.caption
    assert rows["rolled"]["last feature layer"] == "conv (Conv2d)"
    assert [row[3] for row in layers[0].rows] == ["3 × 3", "unknown", "unknown"]


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    _, table, layers, rows = looked_at(any_subject)
    assert list(rows) == list(any_subject.variants())
    assert layers
    # neither the data nor the weights of these runs are there
    assert ("Not shown: " in table.caption) == any(any_subject.trained().values())
