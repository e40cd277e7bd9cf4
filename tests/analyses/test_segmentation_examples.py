"""Pictures of masks: which images are shown, and that colors stand where masks disagree."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnbench.analyses.base import Figure, Table
from cnnbench.analyses.segmentation_examples import (
    FOUND,
    MISSED,
    WRONGLY_FOUND,
    SegmentationExamples,
    choose,
    disagreement,
)
from cnnbench.errors import CnnbenchError
from cnnbench.runs import Run

DATA = {"name": "lunar_synthetic", "num_images": 16, "size": 16}


@pytest.fixture
def mask_run(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """`mask_run("unet", seed)`: a run on generated scenes that finds every rock one pixel too far right."""
    from pathlib import Path

    from cnnbench.data import load_dataset
    from cnnbench.recipe.config import DataConfig

    def make(variant: str, seed: int = 0) -> Run:
        run = make_run(variant, seed, [0.1, 0.5])
        targets = load_dataset(DataConfig(**DATA), Path()).test.all_targets().numpy()  # type: ignore[arg-type]
        found = np.roll(targets, 1, axis=2)
        np.savez_compressed(
            run.path / "predictions.npz",
            test_predictions=found, test_targets=targets, val_predictions=found, val_targets=targets,
        )  # fmt: skip
        (run.path / "config.json").write_text(json.dumps(run.config() | {"data": DATA}))
        return run

    return make


def test_images_are_spread_from_small_masks_to_large() -> None:
    targets = np.zeros((9, 4, 4), dtype=np.uint8)
    for index, size in enumerate([0, 16, 8, 4, 2, 0, 1, 12, 6]):
        targets[index].flat[:size] = 1
    assert choose(targets, 3) == [4, 8, 7]  # of 1, 2, 4, 6, 8, 12, 16 pixels those of 2, 6 and 12
    assert choose(targets[:1], 3) == [0]  # nothing to find: shown all the same
    assert sorted(choose(targets, 20)) == [1, 2, 3, 4, 6, 7, 8]


def test_colors_say_what_is_found_missed_and_wrongly_found() -> None:
    pixels = np.full((3, 2, 2), 100, dtype=np.uint8)
    target, prediction = np.array([[1, 1], [0, 0]]), np.array([[1, 0], [1, 0]])
    picture = disagreement(pixels, target, prediction)
    assert picture[0, 0].tolist() == list(FOUND)
    assert picture[0, 1].tolist() == list(MISSED)
    assert picture[1, 0].tolist() == list(WRONGLY_FOUND)
    assert picture[1, 1].tolist() == [45, 45, 45]


def test_a_picture_for_each_variant(
    mask_run: Callable[..., Run], subject_from: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_from([mask_run("a"), mask_run("a", 1), mask_run("b")])
    figures = list(SegmentationExamples(num_images=3).analyse(subject))
    assert [figure.name for figure in figures] == ["segmentation_examples_a", "segmentation_examples_b"]
    for figure in figures:
        assert isinstance(figure, Figure)
        assert figure.caption.startswith("3 test images")
        texts = [text.get_text() for text in figure.figure.axes[0].texts]
        assert {"input", "prediction", "truth", "disagreement"} <= set(texts)
        assert sum(text.startswith("IoU ") for text in texts) == 3
        assert len(figure.figure.axes[0].images) == 3 * 4


def test_other_test_images_of_the_same_number_are_not_shown(
    mask_run: Callable[..., Run], subject_from: Callable[..., Any]
) -> None:
    """As where a mapping of sources has come since, which cuts off others for test."""
    run = mask_run("a")
    arrays = run.predictions()
    others = {**arrays, "test_targets": arrays["test_targets"][::-1]}
    np.savez_compressed(run.path / "predictions.npz", **others)
    (table,) = SegmentationExamples().analyse(subject_from([run]))
    assert isinstance(table, Table)
    assert table.rows == [("a", "its test images are no longer the same")]


def test_data_without_masks_is_said(make_run: Callable[..., Run], subject_from: Callable[..., Any]) -> None:
    (table,) = SegmentationExamples().analyse(subject_from([make_run("cnn", 0, [0.1, 0.5])]))
    assert isinstance(table, Table)
    assert table.rows == [("cnn", "its data has classes, no masks")]


def test_too_many_images() -> None:
    with pytest.raises(CnnbenchError, match="num_images = 9 is more than 8"):
        SegmentationExamples(num_images=9)
