"""What the picture says is what the stored predictions and the data say, whatever the variants are."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.predicted_examples import PredictedExamples, choose_indices
from cnnbench.data import load_dataset
from cnnbench.recipe.config import DataConfig
from cnnbench.runs import Run

SubjectFrom = Callable[[Sequence[Run]], Subject]
DigitsRun = Callable[..., Run]
DIGITS: dict[str, Any] = {"name": "digits"}


def targets_of(data: dict[str, Any]) -> NDArray[np.int64]:
    return load_dataset(DataConfig(**data), Path()).test.all_targets().numpy()


@pytest.fixture
def digits_run(make_run: Callable[..., Run]) -> DigitsRun:
    """`digits_run(variant, seed, data=..., every=3)`: each third test image is taken for the next class."""

    def make(variant: str, seed: int = 0, data: dict[str, Any] = DIGITS, every: int = 3) -> Run:
        run = make_run(variant, seed, [0.1, 0.5])
        targets = targets_of(data)
        num_classes = len(data.get("classes", range(10)))
        wrong = np.arange(len(targets)) % every == 0
        predictions = np.where(wrong, (targets + 1) % num_classes, targets)
        arrays = {f"{split}_{kind}": values for split in ("val", "test")
                  for kind, values in (("targets", targets), ("predictions", predictions))}  # fmt: skip
        np.savez_compressed(run.path / "predictions.npz", **arrays)
        config = run.config() | {"data": data}
        (run.path / "config.json").write_text(json.dumps(config))
        return run

    return make


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.figure.axes[0].texts]


@pytest.mark.parametrize(("num", "expected"), [(10, 10), (500, 50)])
def test_every_image_is_drawn_at_most_once(num: int, expected: int) -> None:
    first, again, other = choose_indices(50, num, 0), choose_indices(50, num, 0), choose_indices(50, num, 1)
    assert len(set(first.tolist())) == len(first) == expected
    assert set(first.tolist()) <= set(range(50))
    assert first.tolist() == again.tolist() != other.tolist()


def test_the_draw_is_uniform() -> None:
    drawn = np.concatenate([choose_indices(20, 5, seed) for seed in range(800)])
    counts = np.bincount(drawn, minlength=20)  # each is expected 200 times, with a deviation of about 12
    assert counts.min() > 150
    assert counts.max() < 250


def test_images_classes_and_predictions_are_the_stored_ones(
    digits_run: DigitsRun, subject_from: SubjectFrom
) -> None:
    run = digits_run("basic")
    (figure,) = PredictedExamples(num=6, seed=5).analyse(subject_from([run]))
    assert isinstance(figure, Figure)
    dataset = load_dataset(DataConfig(**DIGITS), Path())
    targets, predictions = (run.predictions()[f"test_{kind}"] for kind in ("targets", "predictions"))
    said = iter(texts(figure)[4:])
    assert texts(figure)[:4] == [
        "true class", "basic", "test image", f"seed 0 ({100 * (targets == predictions).mean():.1f} %)",
    ]  # fmt: skip
    indices = choose_indices(359, 6, 5)
    for index, image in zip(indices, figure.figure.axes[0].images, strict=True):
        mark = "✓" if targets[index] == predictions[index] else "✗"
        assert [next(said) for _ in range(4)] == [
            str(targets[index]), str(index), mark, str(predictions[index])
        ]  # fmt: skip
        pixels = np.asarray(image.get_array())
        expected = dataset.test.images[index, 0].numpy()
        assert all(np.array_equal(pixels[..., channel], expected) for channel in range(3))
    assert next(said, None) is None
    assert "6 of the 359 test images" in figure.caption


def test_wrong_ones_differ_by_more_than_color(digits_run: DigitsRun, subject_from: SubjectFrom) -> None:
    (figure,) = PredictedExamples(num=8).analyse(subject_from([digits_run("basic", every=2)]))
    assert isinstance(figure, Figure)
    marks = [text for text in figure.figure.axes[0].texts if text.get_text() in ("✓", "✗")]
    assert {text.get_text() for text in marks} == {"✓", "✗"}
    for text in marks:
        assert text.get_weight() == ("bold" if text.get_text() == "✗" else "normal")


@pytest.mark.parametrize(
    ("num_variants", "num", "pictures"), [(1, 10, 1), (3, 10, 1), (4, 10, 2), (5, 25, 6)], ids=str
)
def test_pictures(
    digits_run: DigitsRun, subject_from: SubjectFrom, num_variants: int, num: int, pictures: int
) -> None:
    made = subject_from([digits_run(f"v{i}") for i in range(num_variants)])
    figures = list(PredictedExamples(num=num).analyse(made))
    assert len(figures) == pictures
    assert len({figure.name for figure in figures}) == len({figure.title for figure in figures}) == pictures
    shown = [text for each in figures if isinstance(each, Figure) for text in texts(each)]
    assert {text for text in shown if text.startswith("v")} == {f"v{i}" for i in range(num_variants)}
    assert sum(text in ("✓", "✗") for text in shown) == num_variants * num


def test_variants_with_other_data_have_pictures_of_their_own(
    digits_run: DigitsRun, subject_from: SubjectFrom
) -> None:
    batches = digits_run("batches", data={**DIGITS, "batch_size": 16})
    few = digits_run("few", data={**DIGITS, "classes": ["8", "3"]})
    large = digits_run("large", data={**DIGITS, "image_size": 16})
    figures = list(PredictedExamples().analyse(subject_from([digits_run("all"), few, batches, large])))
    variants = [[text for text in texts(each) if len(text) > 2 and text.isalpha()] for each in figures]  # type: ignore[arg-type]
    assert variants == [["all", "batches"], ["few"], ["large"]]


def test_unreadable_predictions_are_named(digits_run: DigitsRun, subject_from: SubjectFrom) -> None:
    runs = [digits_run("a", seed) for seed in range(2)]
    (runs[0].path / "predictions.npz").write_bytes(b"no archive")
    (figure,) = PredictedExamples().analyse(subject_from(runs))
    assert isinstance(figure, Figure)
    assert any(text.startswith("seed 1 (") for text in texts(figure))
    assert figure.caption.endswith("Not shown: a seed 0 (its predictions cannot be read).")


def test_data_that_have_changed_are_not_shown(digits_run: DigitsRun, subject_from: SubjectFrom) -> None:
    run = digits_run("a")
    arrays = run.predictions()
    arrays["test_targets"] = arrays["test_targets"][::-1]
    np.savez_compressed(run.path / "predictions.npz", **arrays)
    (table,) = PredictedExamples().analyse(subject_from([run]))
    assert isinstance(table, Table)
    ((name, why),) = table.rows
    assert name == "a"
    assert "no longer those its predictions were made for" in str(why)


def test_every_subject_is_coped_with(any_subject: Subject) -> None:
    """Their data set is not there, so that there is nothing to show but the reason."""
    (table,) = PredictedExamples().analyse(any_subject)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == list(any_subject.variants())


def test_long_names_stay_in_their_columns(
    digits_run: DigitsRun, subject_from: SubjectFrom, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [digits_run(f"{name}-residual-network-of-some-depth", every=2) for name in ("one", "two", "three")]
    made = subject_from(runs)
    classes = ("African elephant", "trolleybus", "sea slug", "German shepherd", "Egyptian cat", "orangutan",
               "barbershop", "bullet train", "academic gown", "potter's wheel")  # fmt: skip
    load = made.datasets.load
    monkeypatch.setattr(made.datasets, "load", lambda config: replace(load(config), classes=classes))
    (figure,) = PredictedExamples().analyse(made)
    assert isinstance(figure, Figure)
    figure.figure.draw_without_rendering()
    (axes,) = figure.figure.axes
    starts = sorted({text.get_position()[0] for text in axes.texts} | {7.0})
    for text in axes.texts:
        left, right = axes.transData.inverted().transform(text.get_window_extent().get_points())[:, 0]
        assert right <= next(start for start in starts if start > left + 0.3), text.get_text()
