"""Architectures layer by layer, counted by hand."""

from collections.abc import Callable, Sequence

import pytest

from cnnbench.analyses.base import Subject, Table
from cnnbench.analyses.layer_summary import LayerSummary
from cnnbench.runs import Run

MakeRun = Callable[..., Run]
SubjectFrom = Callable[[Sequence[Run]], Subject]

SMALL = {"name": "cnn", "widths": [32, 64]}


def tables_of(subject: Subject) -> list[Table]:
    return list(LayerSummary().analyse(subject))


def test_a_cnn_by_hand(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    run = make_run("small", 0, [0.1, 0.5], settings=SMALL, num_params=545_098)
    totals, layers = tables_of(subject_from([run]))
    assert [tuple(row[1:]) for row in layers.rows] == [
        ("Conv2d", "32 × 32 × 32", 32 * 28, 32 * 32 * 32 * 27),
        ("ReLU", "32 × 32 × 32", 0, 0),
        ("MaxPool2d", "32 × 16 × 16", 0, 0),
        ("Conv2d", "64 × 16 × 16", 64 * 289, 16 * 16 * 64 * 288),
        ("ReLU", "64 × 16 × 16", 0, 0),
        ("MaxPool2d", "64 × 8 × 8", 0, 0),
        ("Linear", "128", 4097 * 128, 4096 * 128),
        ("ReLU", "128", 0, 0),
        ("Linear", "10", 1_290, 1_280),
        ("", "10", 545_098, 6_128_896),
    ]
    names = [str(row[0]) for row in layers.rows]
    assert names[-1] == "total"
    assert list(totals.rows[0]) == [
        "small", "3 × 32 × 32", 4, 545_098, 6_128_896, f"{names[6]} (96 %)", f"{names[3]} (77 %)",
    ]  # fmt: skip
    assert "another number of parameters" not in totals.caption


def test_a_resnet_is_as_published(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    totals, layers = tables_of(subject_from([make_run("basic", 0, [0.1, 0.5])]))
    # ResNet-20 with 1x1 shortcuts: 0.27 M parameters and 40.6 M multiply-adds in the paper, without those
    assert totals.rows[0][3:5] == [272_474, 40_813_184]
    assert list(layers.rows[-1]) == ["total", "", "10", 272_474, 40_813_184]
    for column in (3, 4):
        assert sum(int(row[column] or 0) for row in layers.rows[:-1]) == layers.rows[-1][column]


def test_variants_of_one_architecture_share_a_table(make_run: MakeRun, subject_from: SubjectFrom) -> None:
    runs = [
        make_run("lr-1", 0, [0.1, 0.5], settings=SMALL, num_params=545_098),
        make_run("other", 0, [0.1, 0.5], settings=SMALL | {"kernel_size": 5}, num_params=545_098),
        make_run("lr-2", 0, [0.1, 0.2], settings=SMALL, num_params=545_098, status="diverged"),
    ]
    totals, first, second = tables_of(subject_from(runs))
    assert [row[0] for row in totals.rows] == ["lr-1", "other", "lr-2"]
    assert (first.title, second.title) == ("Layers of lr-1, lr-2", "Layers of other")
    assert (first.name, second.name) == ("layers_lr-1", "layers_other")
    # 5x5 in place of 3x3 makes 16 more weights for each pair of channels
    assert totals.rows[1][3] == 545_098 + 16 * (3 * 32 + 32 * 64)
    assert "other (545,098 when it was trained)." in totals.caption


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    totals, layers = tables_of(any_subject)  # all have the same model
    assert [row[0] for row in totals.rows] == list(any_subject.variants())
    assert layers.rows[-1][3] == 272_474


@pytest.mark.parametrize("settings", [{"name": "mlp", "widths": []}, {"name": "mlp"}], ids=["linear", "mlp"])
def test_models_without_convolutions(
    make_run: MakeRun, subject_from: SubjectFrom, settings: dict[str, object]
) -> None:
    totals, layers = tables_of(subject_from([make_run("a", 0, [0.1], settings=settings)]))
    assert totals.rows[0][3] == layers.rows[-1][3]
    assert any(row[1] == "Linear" for row in layers.rows)
