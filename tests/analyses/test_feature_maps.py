"""Which layers stand for early, middle and late, and what the pictures show of them."""

from collections.abc import Callable

import numpy as np
import pytest

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.feature_maps import FeatureMaps, ends_of_thirds
from cnnbench.errors import CnnbenchError
from cnnbench.runs import Run

DEEP = {"name": "cnn", "widths": [8, 16], "convs": 3, "head": []}  # six convolutions
MLP = {"name": "mlp", "widths": [8]}
ModelRun = Callable[..., Run]
SubjectFrom = Callable[[list[Run]], Subject]


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.figure.axes[0].texts]


def headings_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.figure.axes[0].texts if text.get_weight() == "bold"]


@pytest.mark.parametrize(
    ("count", "places"),
    [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (6, [1, 3, 5]), (7, [2, 4, 6]), (8, [2, 5, 7])],
    ids=str,
)
def test_ends_of_thirds(count: int, places: list[int]) -> None:
    assert ends_of_thirds(count) == places


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    (table,) = FeatureMaps().analyse(any_subject)
    assert isinstance(table, Table)
    assert {str(row[0]) for row in table.rows} == set(any_subject.variants())


def test_a_picture_for_each_variant(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    subject = subject_from([model_run("deep", DEEP), model_run("mlp", MLP), model_run("again", DEEP, seed=3)])
    first, second = FeatureMaps().analyse(subject)
    assert isinstance(first, Figure)
    assert isinstance(second, Figure)
    assert [first.title, second.title] == ["Feature maps: deep", "Feature maps: again"]
    assert "Seed 0 of deep." in first.caption
    assert "Seed 3 of again." in second.caption
    assert "mlp (no convolution)" in first.caption
    layers = ("stages.0.3", "stages.1.0", "stages.1.6")
    assert headings_of(first) == [f"{layer}, after ReLU" for layer in layers]
    assert "8 of 16 channels of 4×4" in texts_of(first)
    # three layers, three images: the image, eight channels; and one scale for each layer
    assert len(first.figure.axes[0].images) == 3 * (3 * 9 + 1)
    assert first.figure.get_size_inches()[0] == 7


def test_an_image_has_the_same_scale_as_the_others_of_its_layer(
    model_run: ModelRun, subject_from: SubjectFrom
) -> None:
    (figure,) = FeatureMaps(channels=2, layers=["last"]).analyse(subject_from([model_run("deep", DEEP)]))
    assert isinstance(figure, Figure)
    maps = [image for image in figure.figure.axes[0].images if np.asarray(image.get_array()).shape == (4, 4)]
    assert len(maps) == 6
    assert len({image.norm for image in maps}) == 1
    highest = max(float(np.asarray(image.get_array()).max()) for image in maps)
    assert maps[0].norm.vmax == pytest.approx(highest)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["first"], ["stages.0.0, after ReLU"]),
        (["middle"], ["stages.0.6, after ReLU"]),
        (["last", "first"], ["stages.1.6, after ReLU", "stages.0.0, after ReLU"]),
        (["stages.0.0", "stages.0"], ["stages.0.0", "stages.0"]),  # as they are named
    ],
    ids=["first", "middle", "two", "names"],
)
def test_layers_by_place_or_name(
    model_run: ModelRun, subject_from: SubjectFrom, layers: list[str], expected: list[str]
) -> None:
    analysis = FeatureMaps(images=[0], channels=1, layers=layers)
    (figure,) = analysis.analyse(subject_from([model_run("deep", DEEP)]))
    assert isinstance(figure, Figure)
    assert headings_of(figure) == expected


def test_a_layer_that_only_one_variant_has(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    other = {"name": "resnet", "widths": [4], "blocks": [1]}
    subject = subject_from([model_run("deep", DEEP), model_run("residual", other)])
    (figure,) = FeatureMaps(images=[0], layers=["stem.0"]).analyse(subject)
    assert figure.title == "Feature maps: residual"
    assert "deep (there is no layer 'stem.0' in it" in figure.caption
    with pytest.raises(CnnbenchError, match="variant 'deep': there is no layer 'stem'"):
        list(FeatureMaps(layers=["stem"]).analyse(subject_from(list(subject.runs[:1]))))


def test_more_channels_than_a_line_holds(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    analysis = FeatureMaps(images=[0, 1, 2], channels=20, layers=["last", "first"])
    outputs = list(analysis.analyse(subject_from([model_run("deep", DEEP)])))
    assert len(outputs) == 1
    texts = outputs[0].figure.axes[0].texts  # type: ignore[union-attr]
    numbers = [text.get_text() for text in texts if text.get_ha() == "center" and text.get_text() != "input"]
    # 16 channels in two lines, numbered above each of them; 8 in one, numbered once
    assert len(numbers) == 3 * 16 + 8
    assert set(numbers[:16]) == {str(number) for number in range(16)}
