"""Which images, layers and channels are shown, and that every kind of run is coped with."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cnnbench.analyses.activations import Activations
from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.capture import Call, capture
from cnnbench.analyses.looking import strongest_channels
from cnnbench.errors import CnnbenchError
from cnnbench.runs import Run

CNN = {"name": "cnn", "widths": [12], "head": []}
RESNET = {"name": "resnet", "widths": [4, 8], "blocks": [1, 1]}
MLP = {"name": "mlp", "widths": [8]}
COLOR = {"name": "synthetic", "height": 8, "width": 8, "num_images": 100}
ModelRun = Callable[..., Run]
SubjectFrom = Callable[[list[Run]], Subject]


def figures_of(analysis: Activations, subject: Subject) -> list[Figure]:
    return [output for output in analysis.analyse(subject) if isinstance(output, Figure)]


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.figure.axes[0].texts]


def images_of(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in figure.figure.axes[0].images]


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    (table,) = Activations().analyse(any_subject)  # there is neither data nor a weight: that is said
    assert isinstance(table, Table)
    assert {str(row[0]) for row in table.rows} == set(any_subject.variants())
    assert all(row[1] for row in table.rows)


def test_one_picture_for_each_image(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    subject = subject_from([model_run("plain", CNN), model_run("residual", RESNET)])
    figures = figures_of(Activations(), subject)
    assert [figure.title.partition(" (")[0] for figure in figures] == [
        f"First-layer activations: {label}" for label in "012"
    ]
    dataset = subject.loader(subject.runs[0]).dataset
    for label, figure in enumerate(figures):
        index = dataset.val.all_targets().tolist().index(label)
        assert f"validation image {index} (class {label})" in figure.caption
        stored = dataset.val.gather(torch.tensor([index]))[0][0, 0].numpy()
        for picture in (images_of(figure)[0], images_of(figure)[10]):  # input, 8 channels, scale; the next
            np.testing.assert_array_equal(picture[..., 0], stored)
        texts = texts_of(figure)
        assert {"plain", "residual"} <= set(texts)
        assert "seed 0, stages.0.0, after ReLU: 8 of 12 channels of 8×8" in texts
        assert "seed 0, stem.0, after BatchNorm2d and ReLU: 4 of 4 channels of 8×8" in texts


def test_the_strongest_channels_are_shown_as_they_are(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    subject = subject_from([model_run("plain", CNN)])
    (figure,) = figures_of(Activations(images=[5], channels=3), subject)
    loader, model = subject.loader(subject.runs[0]), subject.model(subject.runs[0])
    inputs = loader.normalize(loader.dataset.val.gather(torch.tensor([5]))[0])
    with torch.no_grad():
        outputs = model.stages[0][:3](inputs)[0]  # type: ignore[index]
    order = outputs.mean((1, 2)).argsort(descending=True)[:3]
    assert [text for text in texts_of(figure) if text.isdigit()][:3] == [str(int(i)) for i in order]
    for shown, channel in zip(images_of(figure)[1:4], order, strict=True):
        np.testing.assert_allclose(shown, outputs[channel].numpy(), rtol=1e-5, atol=1e-6)
    scales = {image.norm for image in figure.figure.axes[0].images[1:4]}
    assert len(scales) == 1
    assert scales.pop().vmax == pytest.approx(float(outputs[order].max()), rel=1e-5)


def test_strength_is_the_mean_absolute_value() -> None:
    outputs = torch.zeros(2, 4, 3, 3)
    outputs[:, 1], outputs[0, 2], outputs[:, 3] = -2.0, 3.0, 1.0
    assert strongest_channels(outputs, 3) == [1, 2, 3]
    assert strongest_channels(outputs, 9) == [1, 2, 3, 0]


def test_a_layer_by_name_is_taken_as_it_is(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    subject = subject_from([model_run("plain", CNN)])
    (figure,) = figures_of(Activations(images=["7"], layer="stages.0.0", channels=12), subject)
    assert "Activations of stages.0.0: 7" in figure.title
    call = Call("stages.0.0")
    loader = subject.loader(subject.runs[0])
    index = loader.dataset.val.all_targets().tolist().index(7)
    inputs = loader.normalize(loader.dataset.val.gather(torch.tensor([index]))[0])
    raw = capture(subject.model(subject.runs[0]), inputs, [call])[call]
    lowest = min(float(image.min()) for image in images_of(figure)[1:-1] if image.dtype != np.uint8)
    assert lowest == pytest.approx(float(raw.min()), rel=1e-4)
    assert lowest < 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"layer": "stage.0.0"},
            r"'plain': .*no layer 'stage\.0\.0'.* did you mean 'stages\.0\.0'\?",
        ),
        ({"layer": "head.0"}, "layer 'head.0' puts out 10 values, no maps; the convolutions are stages.0.0"),
        ({"images": ["zero"]}, "digits has no class 'zero'; give one of 0, 1, 2"),
        ({"images": [100_000]}, "digits has 144 validation images, so there is no image 100000"),
    ],
    ids=["no such layer", "no maps", "no such class", "no such image"],
)
def test_a_wrong_option_is_the_users_mistake(
    model_run: ModelRun, subject_from: SubjectFrom, options: dict[str, object], message: str
) -> None:
    subject = subject_from([model_run("plain", CNN)])
    with pytest.raises(CnnbenchError, match=message):
        list(Activations(**options).analyse(subject))  # type: ignore[arg-type]


def test_what_cannot_be_shown_is_said(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    runs = [model_run("plain", CNN), model_run("mlp", MLP), model_run("lost", CNN)]
    runs += [model_run("half", CNN, seed=0), model_run("half", CNN, seed=1)]
    for run in (runs[2], runs[3]):
        (run.path / "best.safetensors").write_bytes(b"nothing")
    (figure,) = figures_of(Activations(images=["0"]), subject_from(runs))
    assert "mlp (no convolution)" in figure.caption
    assert "lost seed 0 (its weights cannot be read)" in figure.caption
    assert "half seed 0 (its weights cannot be read)" in figure.caption
    texts = texts_of(figure)
    assert texts[texts.index("half") + 1].startswith("seed 1, stages.0.0")


def test_weights_of_another_model_are_damaged(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    run, other = model_run("plain", CNN), model_run("other", RESNET)
    (run.path / "best.safetensors").write_bytes((other.path / "best.safetensors").read_bytes())
    (table,) = Activations().analyse(subject_from([run]))
    assert isinstance(table, Table)
    assert table.rows == [("plain seed 0", "its weights cannot be read")]


def test_variants_of_other_data_have_images_of_their_own(
    model_run: ModelRun, subject_from: SubjectFrom
) -> None:
    subject = subject_from([model_run("grey", CNN), model_run("color", CNN, COLOR)])
    figures = figures_of(Activations(images=[0, 1]), subject)
    assert len({figure.name for figure in figures}) == 4
    assert ["grey" in texts_of(figure) for figure in figures] == [True, True, False, False]
    assert ["color" in texts_of(figure) for figure in figures] == [False, False, True, True]
    by_class = figures_of(Activations(images=["pattern 3"]), subject)
    assert len(by_class) == 1
    assert "grey (images: digits has no class 'pattern 3'" in by_class[0].caption


def test_many_variants_take_several_pictures(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    runs = [model_run(f"v{number}", CNN) for number in range(7)]
    figures = figures_of(Activations(images=["0"], channels=1), subject_from(runs))
    shown = [[text for text in texts_of(figure) if text.startswith("v")] for figure in figures]
    assert shown == [[f"v{number}" for number in range(6)], ["v6"]]


def test_a_silent_layer_has_a_scale_of_one_value(model_run: ModelRun, subject_from: SubjectFrom) -> None:
    from safetensors.torch import load_file, save_file

    run = model_run("plain", CNN)
    weights = {name: torch.zeros_like(w) for name, w in load_file(run.path / "best.safetensors").items()}
    save_file(weights, run.path / "best.safetensors")
    (figure,) = figures_of(Activations(images=["0"]), subject_from([run]))
    assert "all 0" in texts_of(figure)
