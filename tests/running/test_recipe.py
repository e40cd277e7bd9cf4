import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from cnnbench.errors import CnnbenchError
from cnnbench.recipe import load_recipe
from cnnbench.running import iterate_recipe, look_ahead, report_recipe, run_recipe
from cnnbench.running.events import Event, Failed, Finished, Notice, Reported, Started
from cnnbench.runs import Run

DIGITS = """
title = "Trial"
question = "Which is better?"
analyses = ["learning_curves"]

[data]
name = "digits"
limit = 200
batch_size = 32

[train]
epochs = 1
seeds = [0, 1]

[[variants]]
name = "mlp"
model = {name = "mlp", widths = [8]}

[[variants]]
name = "cnn"
model = {name = "cnn", widths = [4], head = []}
"""
# quick enough to be trained again in every test: no pictures, generated images
SMALL = (
    DIGITS.replace('["learning_curves"]', "[]")
    .replace('"digits"', '"synthetic"\nheight = 8\nwidth = 8\nnum_images = 100')
    .replace("limit = 200\n", "")
    .replace("seeds = [0, 1]", "seeds = [0]")
)
RUN_FILES = [
    "best.safetensors",
    "config.json",
    "history.jsonl",
    "predictions.npz",
    "probes.jsonl",
    "result.json",
]
HOLD = """
import sys, time
from pathlib import Path
from cnnbench.runs import Run
with Run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


class Bench:
    """A recipe's file and a place for its runs."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file, self.runs = folder / "recipes" / "trial.toml", folder / "runs"
        self.file.parent.mkdir()
        self.file.write_text(text)

    def go(self, *overrides: str, only: tuple[str, ...] = (), fresh: bool = False) -> list[Event]:
        recipe = load_recipe(self.file, overrides, only=only)
        return list(iterate_recipe(recipe, runs_dir=self.runs, device="cpu", fresh=fresh))

    def change(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def run(self, variant: str, seed: int = 0) -> Run:
        return Run(self.runs / "trial" / variant / f"seed{seed}")

    def files(self) -> dict[str, int]:
        """Every file of every run with the time it was written."""
        found = self.runs.rglob("seed*/*")
        return {str(path): path.stat().st_mtime_ns for path in found if path.name != ".lock"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, SMALL)


@pytest.fixture
def trained(bench: Bench) -> Bench:
    bench.go()
    return bench


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def started(events: list[Event]) -> list[str]:
    return [event.run.label for event in events if isinstance(event, Started)]


def reused(events: list[Event]) -> list[str]:
    return [event.run.label for event in events if isinstance(event, Finished) and event.reused]


def end(events: list[Event]) -> Reported:
    assert isinstance(events[-1], Reported)
    return events[-1]


# What is refused before training


@pytest.mark.parametrize(
    ("analysis", "message"),
    [
        ('{name = "feature_maps", layers = ["conv9"]}', "there is no layer 'conv9' in it"),
        ('{name = "activations", layer = "conv9"}', "there is no layer 'conv9' in it"),
        ('{name = "activations", images = ["frog"]}', "synthetic has no class 'frog'"),
        ('{name = "activation_distribution", layer = "conv9"}', "there is no layer 'conv9' in it"),
    ],
)
def test_an_analysis_that_names_what_no_variant_has(bench: Bench, analysis: str, message: str) -> None:
    with pytest.raises(CnnbenchError, match=rf"--set analyses=.*: analysis .*{message}"):
        bench.go(f"analyses=[{analysis}]")
    assert not bench.runs.exists()


def test_another_recipe_of_the_same_name_is_told(trained: Bench) -> None:
    trained.change("Which is better?", "Which is wider?")
    assert "was the place of 'Trial' (Which is better?)" in notices(trained.go())[0]
    assert notices(trained.go()) == []


def test_a_dry_run_refuses_a_model_that_cannot_be_built(bench: Bench) -> None:
    recipe = load_recipe(bench.file, ['model={name = "resnet", widths = [8], blocks = [1, 1]}'])
    with pytest.raises(CnnbenchError, match="widths has 1 entries and blocks has 2"):
        look_ahead(recipe, bench.runs)


# From a recipe to its report, on real images


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("digits"), DIGITS)


@pytest.fixture(scope="module")
def first(digits: Bench) -> list[Event]:
    return digits.go()


def test_every_run_is_trained_in_order(first: list[Event]) -> None:
    labels = ["mlp seed 0", "mlp seed 1", "cnn seed 0", "cnn seed 1"]
    assert started(first) == labels
    assert [(event.index, event.total) for event in first if isinstance(event, Started)] == [
        (1, 4),
        (2, 4),
        (3, 4),
        (4, 4),
    ]
    assert [event.run.label for event in first if isinstance(event, Finished)] == labels
    assert notices(first) == []
    assert end(first).failures == []


def test_the_directory_is_laid_out_as_documented(digits: Bench, first: list[Event]) -> None:
    root = digits.runs / "trial"
    folders = {path.name for path in root.iterdir()}
    assert folders == {
        "recipe.toml", "plan.json", "report.md", "report.html", "complete", "figures", "tables", "mlp", "cnn"
    }  # fmt: skip
    assert [path.name for path in digits.runs.iterdir()] == ["trial"]
    for variant in ("mlp", "cnn"):
        assert sorted(path.name for path in (root / variant).iterdir()) == ["seed0", "seed1"]
        for seed in (0, 1):
            written = sorted(path.name for path in digits.run(variant, seed).path.iterdir())
            assert [name for name in written if name != ".lock"] == RUN_FILES
    assert list((root / "figures").glob("*.png"))
    assert (root / "recipe.toml").read_text() == DIGITS
    assert end(first).report == root / "report.md"


def test_the_plan_says_what_the_directory_holds(digits: Bench, first: list[Event]) -> None:
    plan = json.loads((digits.runs / "trial" / "plan.json").read_text())
    assert (plan["recipe"], plan["title"], plan["question"]) == ("trial", "Trial", "Which is better?")
    assert [each["name"] for each in plan["analyses"]] == ["learning_curves"]
    assert [(each["name"], each["seeds"]) for each in plan["variants"]] == [("mlp", [0, 1]), ("cnn", [0, 1])]
    for variant in plan["variants"]:
        config = digits.run(variant["name"]).config()
        assert {key: config[key] for key in ("data", "model", "train")} == variant["config"]
        assert (config["recipe"], config["variant"], config["seed"]) == ("trial", variant["name"], 0)


def test_all_runs_see_the_same_images(digits: Bench, first: list[Event]) -> None:
    arrays = [digits.run(variant, seed).predictions() for variant in ("mlp", "cnn") for seed in (0, 1)]
    assert len({each["test_targets"].tobytes() for each in arrays}) == 1
    assert len({each["val_targets"].tobytes() for each in arrays}) == 1
    assert len({each["test_predictions"].tobytes() for each in arrays}) > 1


def test_the_comparison_counts_every_run(first: list[Event]) -> None:
    comparison = end(first).comparison
    assert comparison is not None
    assert [(each.variant, each.num_seeds, each.complete) for each in comparison.rows] == [
        ("mlp", 2, True),
        ("cnn", 2, True),
    ]


def test_a_second_time_everything_is_reused(digits: Bench, first: list[Event]) -> None:
    before = digits.files()
    events = digits.go()
    assert (started(events), len(reused(events))) == ([], 4)
    assert digits.files() == before
    assert end(events).comparison == end(first).comparison
    assert {
        decision.action for _, decision in look_ahead(load_recipe(digits.file), digits.runs).decisions
    } == {"reuse"}


# Changed recipes


def test_a_changed_setting_is_named_and_the_old_run_is_kept(trained: Bench) -> None:
    old = (trained.run("mlp").path / "result.json").read_bytes()
    trained.change("epochs = 1", "epochs = 2")
    events = trained.go()
    aside = trained.runs / "trial" / ".old" / "mlp-seed0-1"
    assert notices(events)[0] == (
        "mlp seed 0 is trained anew (its settings changed: train.epochs 1 → 2); "
        f"the old run is kept in {aside}"
    )
    assert started(events) == ["mlp seed 0", "cnn seed 0"]
    assert (aside / "result.json").read_bytes() == old
    assert sorted(path.name for path in aside.iterdir()) == RUN_FILES
    assert (trained.run("mlp").result() or {})["epochs"] == 2


def test_what_did_not_change_is_reused(trained: Bench) -> None:
    trained.change("widths = [8]", "widths = [9]")
    events = trained.go()
    assert started(events) == ["mlp seed 0"]
    assert reused(events) == ["cnn seed 0"]
    assert "model.widths [8] → [9]" in notices(events)[0]


def test_old_runs_do_not_mix_with_those_of_a_changed_recipe(trained: Bench) -> None:
    trained.change("epochs = 1", "epochs = 2")
    outcome = end(trained.go(only=("mlp",)))
    assert outcome.comparison is not None
    counted = {each.variant: each.num_seeds for each in outcome.comparison.rows}
    assert counted == {"mlp": 1, "cnn": 0}
    assert outcome.report is not None
    assert "train.epochs" in outcome.report.read_text()


def test_a_variant_with_another_name_takes_over_its_runs(trained: Bench) -> None:
    before = trained.run("mlp").predictions()
    trained.change('name = "mlp"\nmodel', 'name = "b"\nmodel')
    (ahead, *_) = look_ahead(load_recipe(trained.file), trained.runs).decisions
    assert (ahead[1].action, ahead[1].reason) == ("take over", "trial/mlp/seed0 has the same settings")
    events = trained.go()
    assert started(events) == []
    assert any(text.startswith("b seed 0 has the settings of trial/mlp/seed0") for text in notices(events))
    assert (trained.run("b").predictions()["test_predictions"] == before["test_predictions"]).all()
    report = end(events).report
    assert report is not None
    assert "Taken over and not trained anew: b seed 0 (from trial/mlp/seed0)" in report.read_text()


def test_fresh_trains_anew_and_keeps_the_old(trained: Bench) -> None:
    events = trained.go(fresh=True)
    assert started(events) == ["mlp seed 0", "cnn seed 0"]
    assert "--fresh was given" in notices(events)[0]
    assert (trained.runs / "trial" / ".old" / "mlp-seed0-1" / "result.json").exists()


def test_overridden_runs_have_a_place_of_their_own(trained: Bench) -> None:
    before = trained.files()
    outcome = end(trained.go("train.epochs=2"))
    assert outcome.directory == trained.runs / "trial+train.epochs=2"
    assert {path: time for path, time in trained.files().items() if "/trial/" in path} == before
    config = Run(outcome.directory / "mlp" / "seed0").config()
    assert (config["recipe"], config["train"]["epochs"]) == ("trial+train.epochs=2", 2)


def test_only_trains_one_variant_and_plans_all(bench: Bench) -> None:
    events = bench.go(only=("cnn",))
    assert started(events) == ["cnn seed 0"]
    plan = json.loads((bench.runs / "trial" / "plan.json").read_text())
    assert [variant["name"] for variant in plan["variants"]] == ["mlp", "cnn"]
    assert not bench.run("mlp").path.exists()
    assert reused(bench.go()) == ["cnn seed 0"]


def test_a_whole_answer_is_marked_for_make(bench: Bench) -> None:
    mark = bench.runs / "trial" / "complete"
    bench.go(only=("cnn",))
    assert not mark.exists()
    bench.go()
    assert mark.exists()
    bench.change('name = "mlp"\nmodel', 'name = "perceptron"\nmodel')
    bench.go(only=("cnn",))
    assert not mark.exists()


def test_fewer_seeds_are_no_whole_answer(bench: Bench) -> None:
    recipe = load_recipe(bench.file, seeds=1)
    run_recipe(recipe, runs_dir=bench.runs, device="cpu")
    assert not (bench.runs / "trial" / "complete").exists()


# Damage


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": shorten,
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(200)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", RUN_FILES)
def test_a_damaged_file_is_told_and_the_run_trained_anew(
    trained: Bench, name: str, damage: Callable[[Path], object]
) -> None:
    result = trained.run("cnn").result() or {}
    damage(trained.run("cnn").path / name)
    [(_, decision)] = [
        each
        for each in look_ahead(load_recipe(trained.file), trained.runs).decisions
        if each[0].variant == "cnn"
    ]
    assert decision.action == "replace"
    events = trained.go()
    assert started(events) == ["cnn seed 0"]
    assert name in notices(events)[0]
    assert "damaged" in notices(events)[0]
    assert (trained.run("cnn").result() or {})["metrics"] == result["metrics"]
    assert (trained.runs / "trial" / ".old" / "cnn-seed0-1" / name).exists()


@pytest.mark.parametrize("name", ["predictions.npz", "best.safetensors", "history.jsonl", "config.json"])
def test_a_missing_file_is_no_complete_run(trained: Bench, name: str) -> None:
    (trained.run("cnn").path / name).unlink()
    events = trained.go()
    assert started(events) == ["cnn seed 0"]
    assert name in notices(events)[0]


def test_a_run_without_its_weights_can_still_be_reported(trained: Bench) -> None:
    (trained.run("cnn").path / "best.safetensors").unlink()
    trained.change("analyses = []", 'analyses = ["learning_curves", "filters"]')
    outcome = report_recipe(load_recipe(trained.file), runs_dir=trained.runs, device="cpu")
    assert outcome.comparison is not None
    assert [row.variant for row in outcome.comparison.rows if row.complete] == ["mlp", "cnn"]
    assert outcome.report is not None
    text = outcome.report.read_text()
    assert "![Learning curves" in text
    assert "its weights cannot be read" in text  # said by the analysis that needs them


def test_a_report_keeps_the_command_that_has_trained_its_runs(trained: Bench) -> None:
    path = trained.runs / "trial" / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"command": "cnnbench recipe it --device cpu"}))
    for changed in (False, True):
        if changed:
            trained.change("head = []}", 'head = []}\n[[variants]]\nname = "more"\nmodel = "mlp"')
        recipe = load_recipe(trained.file)
        report_recipe(recipe, runs_dir=trained.runs, device="cpu", command="cnnbench recipe it")
        kept = "" if changed else " --device cpu"
        assert json.loads(path.read_text())["command"] == f"cnnbench recipe it{kept}"


@pytest.mark.parametrize("content", ["{}", '{"status": "complete"}', "null"])
def test_json_that_is_no_result_is_no_complete_run(trained: Bench, content: str) -> None:
    (trained.run("cnn").path / "result.json").write_text(content)
    assert started(trained.go()) == ["cnn seed 0"]


def test_a_state_without_its_settings_is_not_gone_on_from(bench: Bench) -> None:
    recipe = load_recipe(bench.file, only=["mlp"])
    for event in iterate_recipe(recipe, runs_dir=bench.runs, device="cpu"):
        if isinstance(event, Started):
            break
    path = bench.run("mlp").path
    (path / "state.pt").write_bytes(b"of who knows what")
    (path / "config.json").unlink()
    events = bench.go()
    assert "no config.json" in notices(events)[0]
    assert not (path / "state.pt").exists()


@pytest.mark.parametrize("name", ["result.json", "predictions.npz", "config.json", "history.jsonl"])
def test_damage_in_a_variant_that_is_not_asked_for_does_not_stop_the_report(
    trained: Bench, name: str
) -> None:
    shorten(trained.run("cnn").path / name)
    trained.change("analyses = []", 'analyses = ["stability"]')
    outcome = end(trained.go(only=("mlp",)))
    assert outcome.report is not None
    assert outcome.failures == []


def test_a_damaged_plan_is_written_anew(trained: Bench) -> None:
    shorten(trained.runs / "trial" / "plan.json")
    assert len(reused(trained.go())) == 2


# Runs that fail


def test_a_diverged_variant_is_recorded_and_the_others_go_on(bench: Bench) -> None:
    bench.change("widths = [8]}", 'widths = [8]}\ntrain = {optimizer = "sgd", lr = 1e30}')
    events = bench.go()
    assert started(events) == ["mlp seed 0", "cnn seed 0"]
    result = bench.run("mlp").result() or {}
    assert result["status"] == "diverged"
    assert "no longer finite at step " in result["message"]
    outcome = end(events)
    assert outcome.failures == []
    assert outcome.comparison is not None
    assert {each.variant: each.num_seeds for each in outcome.comparison.rows} == {"mlp": 0, "cnn": 1}
    assert outcome.report is not None
    assert "no longer finite at step " in outcome.report.read_text()
    assert reused(bench.go()) == ["mlp seed 0", "cnn seed 0"]  # it would diverge again


def test_when_all_diverge_there_is_a_report_too(bench: Bench) -> None:
    bench.change("epochs = 1", 'epochs = 1\noptimizer = "sgd"\nlr = 1e30')
    outcome = end(bench.go())
    assert outcome.report is not None
    assert outcome.report.read_text().count("no longer finite") >= 2


@pytest.mark.parametrize(
    ("limit", "count", "layer"),
    [
        ("max_params = 100", "762 parameters", "head.0 (Linear) with 650"),
        ("max_macs = 1000", "7,552 multiply-adds", "stages.0.0 (Conv2d) with 6,912"),
        ("max_channels = 3", "4 channels", "stages.0.0"),
    ],
    ids=["params", "macs", "channels"],
)
def test_limits_are_checked_before_anything_is_trained(
    bench: Bench, limit: str, count: str, layer: str
) -> None:
    bench.change("head = []}", f"head = []}}\nlimits = {{{limit}}}")
    with pytest.raises(CnnbenchError) as caught:
        bench.go()
    message = str(caught.value)
    assert "variant 'cnn'" in message
    assert count in message
    assert layer in message
    assert not bench.runs.exists()


def test_a_run_in_work_elsewhere_is_left_alone(bench: Bench) -> None:
    path = bench.run("mlp").path
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            events = bench.go()
            assert {each.name for each in path.iterdir()} == {".lock"}
        finally:
            holder.kill()
    failures = [event for event in events if isinstance(event, Failed)]
    assert [(each.run.label, each.message) for each in failures] == [
        ("mlp seed 0", f"{path} is being trained by another process; it is left alone")
    ]
    assert started(events) == ["cnn seed 0"]  # the others go on
    assert end(events).failures == failures
    assert started(bench.go()) == ["mlp seed 0"]


def test_run_recipe_returns_the_report(bench: Bench) -> None:
    outcome = run_recipe(load_recipe(bench.file), runs_dir=bench.runs, device="cpu")
    assert outcome.report == bench.runs / "trial" / "report.md"
    assert outcome.comparison is not None


def test_what_a_later_variant_cannot_have_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "late.toml"
    path.write_text(
        """
[data]
name = "digits"
[train]
epochs = 1
[[variants]]
name = "good"
model = {name = "mlp", widths = [4]}
[[variants]]
name = "bad"
model = {name = "mlp", widths = [4]}
data = {classes = ["0", "eleven"]}
""",
        encoding="utf-8",
    )
    with pytest.raises(CnnbenchError, match=r"variant 'bad': .*eleven"):
        run_recipe(load_recipe(path), runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


PRETRAINED = """
title = "Trial"
analyses = []
[data]
name = "synthetic"
num_images = 60
height = 8
width = 8
batch_size = 16
[train]
epochs = 0
[[variants]]
name = "absent"
model = {name = "torchvision/squeezenet1_1", weights = "absent.pth", image_size = 64}
[[variants]]
name = "mlp"
model = {name = "mlp", widths = [4]}
"""


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for weights, with none in it, and no way to any others."""
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("CNNBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("CNNBENCH_OFFLINE", "1")
    return tmp_path / "weights"


def recipe_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trial.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_variant_without_its_weights_is_skipped(tmp_path: Path, offline: Path) -> None:
    from cnnbench.comparison.formats import to_markdown

    recipe = load_recipe(recipe_of(tmp_path, PRETRAINED))
    outcome = run_recipe(recipe, runs_dir=tmp_path / "runs", device="cpu")
    assert [each.variant for each in outcome.skipped] == ["absent"]
    assert "absent.pth" in outcome.skipped[0].reason
    assert outcome.comparison is not None
    assert [(row.variant, row.skipped, row.complete) for row in outcome.comparison.rows] == [
        ("absent", True, False),
        ("mlp", False, True),
    ]
    for text in (
        (tmp_path / "runs/trial/report.md").read_text(encoding="utf-8"),
        to_markdown(outcome.comparison),
    ):
        assert "| skipped |" in text
        assert "the weights of torchvision/squeezenet1_1 are missing" in text
    # The report keeps the reason; with the file there, the next call trains what is missing.
    report_recipe(recipe, runs_dir=tmp_path / "runs", device="cpu")
    assert "| skipped |" in (tmp_path / "runs/trial/report.md").read_text(encoding="utf-8")
    save_weights(offline / "absent.pth")
    outcome = run_recipe(recipe, runs_dir=tmp_path / "runs", device="cpu")
    assert outcome.skipped == []
    assert outcome.comparison is not None
    assert all(row.complete for row in outcome.comparison.rows)
    # A run that is complete needs the file no more.
    (offline / "absent.pth").unlink()
    assert run_recipe(recipe, runs_dir=tmp_path / "runs", device="cpu").skipped == []


def save_weights(path: Path) -> None:
    import torch
    from torchvision.models import squeezenet1_1

    torch.save(squeezenet1_1().state_dict(), path)


def test_a_damaged_file_of_weights_ends_the_recipe_before_training(tmp_path: Path, offline: Path) -> None:
    (offline / "absent.pth").write_bytes(b"PK\x03\x04 and nothing more")
    recipe = load_recipe(recipe_of(tmp_path, PRETRAINED))
    with pytest.raises(CnnbenchError, match=r"variant 'absent': .*absent\.pth"):
        run_recipe(recipe, runs_dir=tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists()


def test_test_photographs_are_not_trained_on(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "data/imagenet-samples"
    folder.mkdir(parents=True)
    for name in ("000_n01440764_tench.JPEG", "001_n01443537_goldfish.JPEG"):
        Image.new("RGB", (40, 40)).save(folder / name)
    text = PRETRAINED.replace(
        '"synthetic"\nnum_images = 60\nheight = 8\nwidth = 8', '"imagenet_samples"\nsize = 32'
    )
    recipe = load_recipe(recipe_of(tmp_path, text.replace("epochs = 0", "epochs = 1")))
    with pytest.raises(CnnbenchError, match=r"has test images only.*set train.epochs = 0"):
        run_recipe(recipe, runs_dir=tmp_path / "runs", data_dir=tmp_path / "data", device="cpu")


def test_files_that_are_left_out_are_told(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(12):
        for part in ("render", "ground"):
            path = tmp_path / f"moon/images/{part}/{part}{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (8, 8), (0, 20 * number, 255) if part == "ground" else (number, 9, 9))
            if part == "ground":  # of which a part shows no rock
                image.paste((0, 0, 0), (0, 0, 4, 4))
            image.save(path)
    (tmp_path / "moon/images/ground/ground0003.png").unlink()
    path = tmp_path / "recipes/moon.toml"
    path.parent.mkdir()
    path.write_text(
        'analyses = []\n[data]\nname = "lunar"\nsize = 8\nproblems = "skip"\n[model]\nname = "unet"\n'
        'widths = [2, 3]\n[train]\nepochs = 1\n[[variants]]\nname = "a"\n[[variants]]\nname = "b"\n'
        "train.lr = 1e-2\n"
    )
    events = list(
        iterate_recipe(load_recipe(path), runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu")
    )
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert notices == ["lunar: left out because images/render/render0003.png has no mask"]


def save_pictures(root: Path) -> Path:
    """A data set `folder` of two classes with eight pictures for training and two for test each."""
    from PIL import Image

    for part, count in (("train", 8), ("test", 2)):
        for number in range(count):
            for shade, name in enumerate(("dark", "light")):
                path = root / f"pictures/{part}/{name}/{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (200 * shade + number,) * 3).save(path)
    return root / "pictures"


PICTURES = (
    'analyses = []\n[data]\nname = "folder"\npath = "pictures"\nimage_size = 8\nval_fraction = 0.25\n'
    '[model]\nname = "mlp"\nwidths = [2]\n[train]\nepochs = 1\nseeds = [0]\n[[variants]]\nname = "a"\n'
)


@pytest.mark.parametrize("change", ["train", "test", "label"])
def test_images_that_have_changed_end_a_recipe_before_training(tmp_path: Path, change: str) -> None:
    from PIL import Image

    pictures = save_pictures(tmp_path)
    path = recipe_of(tmp_path, PICTURES)

    def go(seeds: int, fresh: bool = False) -> list[Event]:
        path.write_text(PICTURES.replace("[0]", str(list(range(seeds)))))
        recipe = load_recipe(path)
        return list(
            iterate_recipe(recipe, runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu", fresh=fresh)
        )

    assert started(go(seeds=1)) == ["a seed 0"]
    before = (tmp_path / "runs/trial/a/seed0/result.json").read_bytes()
    plan = (tmp_path / "runs/trial/plan.json").read_bytes()
    if change == "label":
        (pictures / "test/dark/0.png").rename(pictures / "test/light/8.png")
    else:
        Image.new("RGB", (8, 8), (7, 8, 9)).save(pictures / change / "dark/0.png")
    assert reused(go(seeds=1)) == ["a seed 0"], "nothing is trained, so nothing is mixed"
    with pytest.raises(CnnbenchError, match=r"a/seed0: the images of its data set are not those that it"):
        go(seeds=2)
    assert (tmp_path / "runs/trial/plan.json").read_bytes() == plan
    assert not (tmp_path / "runs/trial/a/seed1").exists()
    assert (tmp_path / "runs/trial/a/seed0/result.json").read_bytes() == before
    assert started(go(seeds=2, fresh=True)) == ["a seed 0", "a seed 1"]


def test_runs_of_other_images_beside_those_asked_for(tmp_path: Path) -> None:
    """With `only`, and where --fresh was interrupted between two runs, old and new would be in one report."""
    from PIL import Image

    pictures = save_pictures(tmp_path)
    recipe = recipe_of(tmp_path, PICTURES + '[[variants]]\nname = "b"\ntrain.lr = 0.1\n')

    def go(*only: str, fresh: bool = False) -> list[Event]:
        loaded = load_recipe(recipe, only=only)
        return list(
            iterate_recipe(loaded, runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu", fresh=fresh)
        )

    assert started(go()) == ["a seed 0", "b seed 0"]
    Image.new("RGB", (8, 8), (7, 8, 9)).save(pictures / "test/dark/0.png")
    with pytest.raises(CnnbenchError, match=r"a/seed0: the images of its data set are not those that it has"):
        go("b", fresh=True)
    for event in iterate_recipe(
        load_recipe(recipe), runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu", fresh=True
    ):
        if isinstance(event, Finished):
            break  # the first is of the new images, the second of the old ones
    with pytest.raises(
        CnnbenchError, match=r"b/seed0: the images of its data set are not those of .*a/seed0"
    ):
        go()
    assert started(go(fresh=True)) == ["a seed 0", "b seed 0"]


def test_variants_of_other_sizes_have_other_images_of_their_own(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    sizes = '[[variants]]\nname = "b"\ndata.image_size = 4\n'
    recipe = recipe_of(tmp_path, PICTURES + sizes)
    for only in (("a",), ()):
        loaded = load_recipe(recipe, only=only)
        outcome = run_recipe(loaded, runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu")
        assert outcome.failures == []


def test_a_run_of_old_that_knows_no_pixels_is_no_obstacle(tmp_path: Path) -> None:
    import json

    save_pictures(tmp_path)
    recipe = recipe_of(tmp_path, PICTURES)
    run_recipe(load_recipe(recipe), runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu")
    path = tmp_path / "runs/trial/a/seed0/result.json"
    result = json.loads(path.read_text())
    assert {"digest", "pixels"} <= result["images"].keys()
    del result["images"]["pixels"]
    path.write_text(json.dumps(result))
    recipe.write_text(PICTURES.replace("[0]", "[0, 1]"))
    outcome = run_recipe(load_recipe(recipe), runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu")
    assert outcome.failures == []


FAILING = '''
from torch import nn
class Failing(nn.Module):
    """Works until it is trained."""
    def __init__(self, in_shape, num_classes):
        super().__init__()
        self.head = nn.Linear(in_shape[1] * in_shape[2], num_classes)
    def forward(self, inputs):
        if len(inputs) > 4 and self.training:
            raise RuntimeError("a slip in [forward]\\nof mine")
        return self.head(inputs.flatten(1))
MODELS = {"failing": Failing}
'''


@pytest.mark.parametrize("parallel_seeds", ["off", "on"])
@pytest.mark.parametrize(
    ("when", "kind"),
    [
        ("self.training", "RuntimeError"),
        ("self.training", "ZeroDivisionError"),
        ("not self.training", "OSError"),
    ],
)
def test_a_plugin_that_fails_in_training_fails_its_runs_alone(
    tmp_path: Path, parallel_seeds: Literal["off", "on"], when: str, kind: str
) -> None:
    code = FAILING.replace("self.training", when).replace("RuntimeError", kind)
    (tmp_path / "mine.py").write_text(code)
    recipe = recipe_of(
        tmp_path,
        'plugins = ["mine.py"]\nanalyses = []\ndata = "digits"\ntrain = {epochs = 1, seeds = [0, 1]}\n'
        '[[variants]]\nname = "bad"\nmodel = "failing"\n'
        '[[variants]]\nname = "good"\nmodel = {name = "mlp", widths = [4]}\n',
    )
    outcome = run_recipe(
        load_recipe(recipe), runs_dir=tmp_path / "runs", device="cpu", parallel_seeds=parallel_seeds
    )
    said = f"{tmp_path / 'mine.py'}:10 fails in its run: {kind}: a slip in [forward]"
    assert [(each.run.label, each.message) for each in outcome.failures] == [
        ("bad seed 0", said),
        ("bad seed 1", said),
    ]
    assert outcome.comparison is not None
    assert [row.num_seeds for row in outcome.comparison.rows if row.variant == "good"] == [2]
