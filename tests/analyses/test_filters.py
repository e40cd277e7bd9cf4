"""Weights as pictures: which, how many, and on what scale."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.filters import Filters, as_pictures, weight_of
from cnnbench.models.custom import ScaledConv2d
from cnnbench.runs import Run

COLOR = {"name": "synthetic", "height": 8, "width": 8, "num_images": 100}
SPECTRAL = COLOR | {"channels": 5}
ModelRun = Callable[..., Run]
SubjectFrom = Callable[[list[Run]], Subject]


def cnn(width: int) -> dict[str, object]:
    return {"name": "cnn", "widths": [width], "head": []}


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.figure.axes[0].texts]


def test_three_inputs_are_colors_around_mid_grey() -> None:
    weights = np.zeros((2, 3, 1, 2), dtype=np.float32)
    weights[0, 0, 0, 0], weights[1, 2, 0, 1] = 2.0, -1.0
    pictures = as_pictures(weights)
    assert pictures.shape == (2, 1, 2, 3)
    assert pictures[0, 0, 0].tolist() == [1.0, 0.5, 0.5]  # the largest weight, on red
    assert pictures[1, 0, 1].tolist() == [0.5, 0.5, 0.25]  # half as large, the other way, on blue
    assert pictures[0, 0, 1].tolist() == [0.5, 0.5, 0.5]


def test_other_inputs_are_averaged_to_grey() -> None:
    weights = np.stack([np.full((1, 1), value, dtype=np.float32) for value in (4.0, 2.0)])[None]
    assert weights.shape == (1, 2, 1, 1)
    assert as_pictures(weights).tolist() == [[[[1.0, 1.0, 1.0]]]]  # the mean, 3, is the largest there is
    assert as_pictures(-weights).tolist() == [[[[0.0, 0.0, 0.0]]]]


def test_weights_of_zero_are_mid_grey() -> None:
    assert (as_pictures(np.zeros((1, 1, 3, 3), dtype=np.float32)) == 0.5).all()


def test_a_learned_scale_belongs_to_the_filter() -> None:
    layer = ScaledConv2d(3, 2, 3)
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([2.0, -1.0]))
    images = torch.randn(1, 3, 8, 8)
    plain = torch.nn.functional.conv2d(images, weight_of(layer), layer.scale * layer.bias)
    torch.testing.assert_close(plain, layer(images), rtol=1e-4, atol=1e-5)


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    (table,) = Filters().analyse(any_subject)
    assert isinstance(table, Table)
    assert {str(row[0]) for row in table.rows} == set(any_subject.variants())


@pytest.mark.parametrize(
    ("model", "data", "said", "shape"),
    [
        (cnn(8), None, "stages.0.0: 8 filters of 1×3×3;", (3, 3, 3)),
        (cnn(70), None, "stages.0.0: the first 64 of 70 filters of 1×3×3;", (3, 3, 3)),
        (cnn(8), COLOR, "stages.0.0: 8 filters of 3×3×3;", (3, 3, 3)),
        (cnn(8), SPECTRAL, "stages.0.0: 8 filters of 5×3×3, mean over inputs;", (3, 3, 3)),
        ({"name": "mlp", "widths": [40]}, None, "hidden.0: the first 32 of 40 units of 1×8×8;", (8, 8, 3)),
        ({"name": "mlp", "widths": [4]}, COLOR, "hidden.0: 4 units of 3×8×8;", (8, 8, 3)),
    ],
    ids=["grey", "many", "color", "five channels", "mlp", "mlp in color"],
)
def test_first_layers(
    model_run: ModelRun,
    subject_from: SubjectFrom,
    model: dict[str, object],
    data: dict[str, object] | None,
    said: str,
    shape: tuple[int, ...],
) -> None:
    (figure,) = Filters().analyse(subject_from([model_run("a", model, data)]))
    assert isinstance(figure, Figure)
    name, detail, *_ = texts_of(figure)
    assert name == "a"
    assert detail.startswith(f"seed 0, {said}")
    pictures = [np.asarray(image.get_array()) for image in figure.figure.axes[0].images]
    count = int(said.split(": ")[1].removeprefix("the first ").split()[0])
    assert [picture.shape for picture in pictures] == [shape] * count


def test_pixels_are_where_the_unit_weighs_them(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    run = model_run("a", {"name": "mlp", "widths": [4]}, COLOR)
    (figure,) = Filters().analyse(subject_from([run]))
    assert isinstance(figure, Figure)
    weight = load_file(run.path / "best.safetensors")["hidden.0.weight"].numpy()  # (4, 3 * 8 * 8)
    red_of_third_row = weight[1, 2 * 8 : 3 * 8]
    shown = np.asarray(figure.figure.axes[0].images[1].get_array())[2, :, 0]
    np.testing.assert_allclose(shown, 0.5 + red_of_third_row / (2 * np.abs(weight).max()), rtol=1e-5)


def test_variants_share_pictures_as_far_as_they_fit(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    runs = [model_run(f"v{number}", cnn(64)) for number in range(4)]  # four lines each
    figures = list(Filters().analyse(subject_from(runs)))
    assert [figure.name for figure in figures] == ["filters_1", "filters_2"]
    shown = [[text for text in texts_of(f) if text.startswith("v")] for f in figures]  # type: ignore[arg-type]
    assert shown == [["v0", "v1", "v2"], ["v3"]]


def test_fewer_are_shown_where_asked_for(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    (figure,) = Filters(most=2).analyse(subject_from([model_run("a", cnn(8))]))
    assert isinstance(figure, Figure)
    assert "the first 2 of 8 filters" in texts_of(figure)[1]


def test_damaged_weights_are_named(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    runs = [model_run("a", cnn(8)), model_run("b", cnn(8))]
    (runs[1].path / "best.safetensors").unlink()
    (figure,) = Filters().analyse(subject_from(runs))
    assert "b seed 0 (its weights cannot be read)" in figure.caption
