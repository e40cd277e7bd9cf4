"""Pictures of the test split, shown as files, are predicted as the run itself predicted them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cnnbench
from cnnbench.data import load_dataset
from cnnbench.data.base import Dataset
from cnnbench.errors import CnnbenchError
from cnnbench.prediction import as_dicts, predictions
from cnnbench.prediction.predictions import ClassPrediction, MaskPrediction, Predictions, predict
from cnnbench.recipe import load_recipe
from cnnbench.running import run_recipe
from cnnbench.runs import Run

VARIANTS = {
    "digits": '{name = "digits", limit = 200}',
    "resized": '{name = "synthetic", num_images = 60, height = 16, width = 16, image_size = 8}',
    "masks": '{name = "lunar_synthetic", num_images = 10, size = 32, batch_size = 4}',
    "folder": '{name = "folder", path = "PETS", image_size = 8, val_size = 2}',
    "bytes": '{name = "digits", limit = 100}',
}
MODELS = {"masks": '{name = "unet", widths = [4, 4, 4, 4, 4]}', "bytes": '"from_bytes"'}
PLUGIN = """
from torch import nn

class FromBytes(nn.Module):
    takes_bytes = True

    def __init__(self, in_shape, num_classes):
        super().__init__()
        self.head = nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], num_classes)

    def forward(self, inputs):
        return self.head(inputs.flatten(1).float() / 255)

MODELS = {"from_bytes": FromBytes}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run for each of VARIANTS under runs/demo, trained for an epoch in fp32."""
    place = tmp_path_factory.mktemp("predict")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 4)):
        for channel, name in enumerate(("ant", "bee")):
            (place / "pets" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (90, 70 + index, 3), dtype=np.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels).save(place / "pets" / split / name / f"{index}.jpg")
    lines = ['plugins = ["plugin.py"]', "analyses = []", "[train]", "epochs = 1", 'precision = "fp32"']
    for name, data in VARIANTS.items():
        model = MODELS.get(name, '{name = "cnn", widths = [4]}')
        data = data.replace("PETS", str(place / "pets"))
        lines += ["[[variants]]", f'name = "{name}"', f"data = {data}", f"model = {model}"]
    (place / "plugin.py").write_text(PLUGIN)
    (place / "demo.toml").write_text("\n".join(lines))
    run_recipe(load_recipe(place / "demo.toml"), runs_dir=place / "runs", data_dir=place, device="cpu")
    return place


@pytest.fixture
def run_of(place: Path, tmp_path: Path) -> Callable[[str], Run]:
    """A copy of a run, to be spoiled."""

    def copy(name: str) -> Run:
        target = tmp_path / "runs/demo" / name / "seed0"
        shutil.copytree(place / "runs/demo" / name / "seed0", target)
        return Run(target)

    return copy


def dataset_of(place: Path, name: str) -> Dataset:
    recipe = load_recipe(place / "demo.toml")
    (variant,) = (each for each in recipe.variants if each.name == name)
    return load_dataset(variant.data.model_copy(update={"image_size": None}), place)


def saved(images: torch.Tensor, folder: Path) -> list[Path]:
    """Images (N, C, H, W) as PNG files."""
    paths = []
    for index, image in enumerate(images):
        paths.append(folder / f"{index}.png")
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy() if len(image) == 1 else
                        image.permute(1, 2, 0).numpy()).save(paths[-1])  # fmt: skip
    return paths


def names(found: Predictions) -> list[str]:
    return [each.classes[0].name for each in found.items if isinstance(each, ClassPrediction)]


@pytest.mark.parametrize("name", ["digits", "resized", "bytes"])
def test_classes_are_those_that_the_run_found(name: str, place: Path, tmp_path: Path) -> None:
    run = Run(place / "runs/demo" / name / "seed0")
    dataset = dataset_of(place, name)  # at the published size, as a user has pictures
    paths = saved(dataset.test.images[dataset.test.rows], tmp_path)
    found = predict(run.path, paths, device="cpu", plugins=[place / "plugin.py"])
    expected = [dataset.classes[index] for index in run.predictions()["test_predictions"]]
    assert len(set(expected)) > 1
    assert names(found) == expected
    assert [each.image for each in found.items] == paths


def test_classes_of_a_folder_are_those_that_the_run_found(place: Path) -> None:
    run = Run(place / "runs/demo/folder/seed0")
    paths = sorted((place / "pets/test").glob("*/*.jpg"))
    classes = ("ant", "bee")
    expected = [classes[index] for index in run.predictions()["test_predictions"]]
    assert names(predict(run.path, paths, device="cpu")) == expected


def test_probabilities_are_the_softmax_by_hand(place: Path, tmp_path: Path) -> None:
    """A linear model on bytes: its logits can be written down."""
    run = Run(place / "runs/demo/bytes/seed0")
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "a.png")
    weights = {name: value.numpy().astype(np.float64) for name, value in run.weights().items()}
    logits = weights["head.weight"] @ (pixels.ravel() / 255) + weights["head.bias"]
    shares = np.exp(logits) / np.exp(logits).sum()
    (found,) = predict(run.path, [tmp_path / "a.png"], top=10, plugins=[place / "plugin.py"]).items
    assert isinstance(found, ClassPrediction)
    order = np.argsort(-shares)
    assert [each.name for each in found.classes] == [str(index) for index in order]
    assert [each.probability for each in found.classes] == pytest.approx(shares[order].tolist(), rel=1e-4)
    (few,) = predict(run.path, [tmp_path / "a.png"], top=2, plugins=[place / "plugin.py"]).items
    assert isinstance(few, ClassPrediction)
    assert list(few.classes) == list(found.classes)[:2]


def test_masks_are_those_that_the_run_found(place: Path, tmp_path: Path) -> None:
    run = Run(place / "runs/demo/masks/seed0")
    test = dataset_of(place, "masks").test
    paths = saved(test.images[test.rows], tmp_path)
    found = predict(run.path, paths, save=tmp_path / "masks", device="cpu")
    expected = run.predictions()["test_predictions"]
    for each, mask in zip(found.items, expected, strict=True):
        assert isinstance(each, MaskPrediction)
        assert each.mask == tmp_path / "masks" / f"{each.image.stem}_predicted_mask.png"
        assert np.array_equal(np.asarray(Image.open(each.mask)), 255 * mask)
        assert each.share == pytest.approx(mask.mean())
        assert (each.found, each.threshold) == ("rock", (run.result() or {})["threshold"])


def test_a_mask_is_as_large_as_its_picture_stands_upright(place: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 50), (120, 120, 120)).save(tmp_path / "a.jpg", exif=exif)
    (found,) = predict(place / "runs/demo/masks", [tmp_path / "a.jpg"]).items
    assert isinstance(found, MaskPrediction)
    assert found.mask == tmp_path / "a_predicted_mask.png"  # beside the picture
    with Image.open(found.mask) as mask:
        assert (mask.size, mask.mode) == ((50, 90), "L")


def test_masks_that_were_predicted_are_not_pictures_again(place: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (120, 120, 120)).save(tmp_path / "a.png")
    predict(place / "runs/demo/masks", [tmp_path / "a.png"])
    again = predict(place / "runs/demo/masks", sorted(tmp_path.glob("*.png")))
    assert [item.image.name for item in again.items] == ["a.png"]
    assert any("are no pictures" in note and "a_predicted_mask.png" in note for note in again.notes)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a.png", "a_predicted_mask.png"]
    with pytest.raises(CnnbenchError, match=r"at least one picture; left out.*a_predicted_mask\.png"):
        predict(place / "runs/demo/masks", [tmp_path / "a_predicted_mask.png"])


def test_a_color_photograph_for_a_run_of_grey_images(place: Path, tmp_path: Path) -> None:
    color = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(color).convert("L"))
    paths = [tmp_path / "color.png", tmp_path / "grey.png"]
    for path, pixels in zip(paths, (color, grey), strict=True):
        Image.fromarray(pixels).save(path)
    found = predict(place / "runs/demo/digits", paths)
    first, second = found.items
    assert isinstance(first, ClassPrediction)
    assert isinstance(second, ClassPrediction)
    assert first.classes == second.classes
    assert found.notes[-1] == "each picture is seen as 8×8 pixels in grey, as the images of the training were"


def test_a_run_that_does_not_say_what_its_images_were(
    place: Path, run_of: Callable[[str], Run], tmp_path: Path
) -> None:
    """As those of older versions: the data set says it, if it is there."""
    run = run_of("folder")
    (picture, *_) = sorted((place / "pets/test").glob("*/*.jpg"))
    expected = predict(run.path, [picture]).items
    result = json.loads((run.path / "result.json").read_text())
    del result["images"]
    (run.path / "result.json").write_text(json.dumps(result))
    assert predict(run.path, [picture]).items == expected
    config = json.loads((run.path / "config.json").read_text())
    config["data"]["path"] = str(tmp_path / "gone")
    (run.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CnnbenchError, match=r"does not say what its images were.*there is no folder .*gone"):
        predict(run.path, [picture])


def test_a_finished_run_needs_no_data_set(place: Path, run_of: Callable[[str], Run], tmp_path: Path) -> None:
    run = run_of("folder")
    config = json.loads((run.path / "config.json").read_text())
    config["data"]["path"] = str(tmp_path / "gone")
    (run.path / "config.json").write_text(json.dumps(config))
    (picture, *_) = sorted((place / "pets/test").glob("*/*.jpg"))
    assert names(predict(run.path, [picture])) in (["ant"], ["bee"])


def cut_weights(run: Run) -> None:
    path = run.path / "best.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def other_weights(run: Run) -> None:
    run.save_weights({"stages.0.0.weight": torch.zeros(1)})


def unknown_setting(run: Run) -> None:
    config = json.loads((run.path / "config.json").read_text())
    config["train"]["fancy"] = 1
    (run.path / "config.json").write_text(json.dumps(config))


def altered(file: str, *path: str, to: object) -> Callable[[Run], None]:
    """Sets one value of a JSON file of a run."""

    def alter(run: Run) -> None:
        content = json.loads((run.path / file).read_text())
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to
        (run.path / file).write_text(json.dumps(content))

    return alter


def not_a_number(run: Run) -> None:
    weights = run.weights()
    next(iter(weights.values())).view(-1)[0] = torch.nan
    run.save_weights(weights)


SAID = r"result\.json: expected shape, mean and std of its images, and its classes; train the run anew"


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        (
            "digits",
            altered("config.json", "model", "fancy", to=1),
            r"has settings, such as model\.fancy, with which this",
        ),
        ("digits", altered("config.json", "model", "widths", to=[-1]), r"such as model\.widths, with which"),
        (
            "digits",
            altered("config.json", "data", "fancy", to=1),
            r"such as data\.fancy, with which",
        ),
        ("digits", altered("result.json", "images", "mean", to=[0.1, 0.2]), SAID),
        ("digits", altered("result.json", "images", "std", to=[float("nan")]), SAID),
        ("digits", altered("result.json", "images", "in_shape", to=[1, -8, 8]), SAID),
        ("digits", altered("result.json", "images", to=[1]), r"expected a table for 'images', found \[1\]"),
        ("digits", altered("result.json", "classes", to="0123"), "expected a list of texts for 'classes'"),
        ("digits", not_a_number, "holds damaged weights: .* holds NaN; train the run anew"),
        ("masks", altered("result.json", "threshold", to=2.0), "a threshold between 0 and 1"),
        ("masks", altered("result.json", "threshold", to=0.001), "a threshold between 0 and 1"),
        ("masks", altered("result.json", "threshold", to=float("nan")), "a threshold between 0 and 1"),
        ("masks", altered("result.json", "threshold", to=True), "a threshold between 0 and 1"),
        ("masks", altered("result.json", "leading", to="accuracy"), "a threshold between 0 and 1"),
        ("masks", altered("result.json", "classes", to=["ground"]), "expected two classes"),
    ],
)
def test_a_run_that_was_altered(
    name: str, spoil: Callable[[Run], None], message: str, run_of: Callable[[str], Run], tmp_path: Path
) -> None:
    run = run_of(name)
    spoil(run)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(CnnbenchError, match=message):
        predict(run.path, [tmp_path / "a.png"])
    assert [path.name for path in tmp_path.glob("*.png")] == ["a.png"]


def just_below(place: int) -> torch.Tensor:
    return torch.tensor(place / 200).nextafter(torch.tensor(0.0))


def test_a_pixel_belongs_to_a_mask_where_the_run_would_have_counted_it(
    run_of: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just below some thresholds k/200 the product with 200 rounds to k."""
    place = next(place for place in range(1, 200) if just_below(place) * 200 == place)
    below = just_below(place)
    run = run_of("masks")
    altered("result.json", "threshold", to=place / 200)(run)
    monkeypatch.setattr(predictions, "_resized", lambda *_: torch.stack([below, below / 2]).view(1, 2))
    Image.new("RGB", (2, 1)).save(tmp_path / "a.png")
    predict(run.path, [tmp_path / "a.png"])
    assert np.asarray(Image.open(tmp_path / "a_predicted_mask.png")).tolist() == [[255, 0]]


def unknown_model(run: Run) -> None:
    config = json.loads((run.path / "config.json").read_text())
    config["model"] = {"name": "mine"}
    (run.path / "config.json").write_text(json.dumps(config))


def odd_images(run: Run) -> None:
    result = json.loads((run.path / "result.json").read_text())
    result["images"]["in_shape"] = [1]
    (run.path / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_weights, r"best\.safetensors: .*; train the run anew"),
        (other_weights, "holds weights of another model: missing .*; train the run anew"),
        (unknown_setting, r"config\.json has settings with which this version of cnnbench can do nothing"),
        (unknown_model, "its model 'mine' is none of cnnbench's own: .*--plugin"),
        (odd_images, r"result\.json: expected shape, mean and std of its images"),
    ],
)
def test_a_run_that_cannot_be_used(
    spoil: Callable[[Run], None], message: str, run_of: Callable[[str], Run], tmp_path: Path
) -> None:
    run = run_of("digits")
    spoil(run)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(CnnbenchError, match=message):
        predict(run.path, [tmp_path / "a.png"])


def test_pictures_that_cannot_be_read_are_named_and_nothing_is_written(place: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    paths = [tmp_path / name for name in ("good.png", "gone.png", "b.png", "c.png", "d.png")]
    for path in paths[2:]:
        path.write_text("no picture")
    with pytest.raises(CnnbenchError, match=r"gone\.png is not there; .*b\.png cannot be.*; and 1 more"):
        predict(place / "runs/demo/masks", paths, save=tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("masks", {"top": 3}, "--top is for classes"),
        ("digits", {"save": Path("x")}, "--save is for masks"),
        ("digits", {"top": 0}, "1 or more, found 0"),
        ("masks", {"save": Path(__file__)}, "it is a file, and masks are written to a folder"),
    ],
)
def test_options_that_do_not_fit(name: str, options: dict[str, object], message: str, place: Path) -> None:
    with pytest.raises(CnnbenchError, match=message):
        predict(place / "runs/demo" / name, ["a.png"], **options)  # type: ignore[arg-type]


def test_two_masks_are_never_one_file(place: Path, tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError, match=r"the masks of .*a\.png and .*a\.jpg would both be written"):
        predict(place / "runs/demo/masks", [tmp_path / "a.png", tmp_path / "a.jpg"])
    with pytest.raises(CnnbenchError, match="named twice"):
        predict(place / "runs/demo/masks", [tmp_path / "a.png", tmp_path / "a.png"])
    with pytest.raises(CnnbenchError, match="at least one picture"):
        predict(place / "runs/demo/masks", [])


def test_the_notebooks_way_and_plain_values(place: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    found = cnnbench.predict(str(place / "runs/demo/digits"), [str(tmp_path / "a.png")], top=2)
    (each,) = json.loads(json.dumps(as_dicts(found)))
    assert each["image"] == str(tmp_path / "a.png")
    assert [set(ranked) for ranked in each["classes"]] == [{"class", "probability"}] * 2
    masks = as_dicts(predict(place / "runs/demo/masks", [tmp_path / "a.png"], save=tmp_path / "m"))
    assert masks[0].keys() == {"image", "mask", "class", "share", "threshold"}
