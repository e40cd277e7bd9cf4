"""Encoders from other recipes' runs, with real runs: a classifier is trained, and then the masks on it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnbench.comparison import compare
from cnnbench.comparison.built_on import stage_directories
from cnnbench.comparison.encoders import on_seeds
from cnnbench.comparison.stages import NotRunError, solve, stale_stages
from cnnbench.data.datasets import Datasets
from cnnbench.errors import CnnbenchError
from cnnbench.job import train_run
from cnnbench.plan import describe_plan
from cnnbench.recipe import Recipe, load_recipe
from cnnbench.running import is_ready, iterate_recipe, look_ahead, report_recipe, run_recipe, stages_of
from cnnbench.running.events import Notice
from cnnbench.runs import Run, encoder_weights
from cnnbench.training import Epoch

CLASSIFIER = """
analyses = []
[data]
name = "synthetic"
num_images = 60
num_classes = 3
channels = 3
height = 16
width = 16
batch_size = 20
[train]
epochs = 1
seeds = [0, 1]
[model]
name = "resnet"
widths = [4, 6]
blocks = [1, 1]
[[variants]]
name = "plain"
[[variants]]
name = "gelu"
model.activation = "gelu"
"""
MASKS = """
analyses = ["layer_summary"]
[data]
name = "lunar_synthetic"
num_images = 20
size = 16
batch_size = 5
[train]
epochs = 2
seeds = [0, 1, 2]
[model]
name = "unet"
widths = [4, 6]
[[variants]]
name = "scratch"
model.encoder = {name = "resnet", widths = [4, 6], blocks = [1, 1]}
[[variants]]
name = "frozen"
model.encoder = {run = "classifier", variant = "plain", freeze = true}
[[variants]]
name = "tuned"
model.encoder = {run = "classifier", variant = "plain", unfreeze_epoch = 2, lr_factor = 0.1}
"""


class Place:
    """A folder with both recipes and a place for their runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"

    def file(self, name: str) -> Path:
        return self.folder / "recipes" / f"{name}.toml"

    def load(self, name: str, **options: Any) -> Recipe:
        return load_recipe(self.file(name), **options)

    def run(self, name: str, **options: Any) -> list[str]:
        """Runs a recipe, and returns what was told."""
        events = iterate_recipe(self.load(name, **options), runs_dir=self.runs, device="cpu")
        return [event.text for event in events if isinstance(event, Notice)]

    def change(self, name: str, old: str, new: str) -> None:
        text = self.file(name).read_text()
        assert old in text
        self.file(name).write_text(text.replace(old, new, 1))

    def solved(self, **options: Any) -> Recipe:
        return solve(self.load("masks", **options), Path("data"), self.runs)

    def why_not(self, **options: Any) -> str:
        with pytest.raises(NotRunError) as error:
            self.solved(**options)
        return str(error.value)

    def decisions(self) -> dict[str, str]:
        return {run.label: found.action for run, found in look_ahead(self.load("masks"), self.runs).decisions}

    def retrain_classifier(self) -> None:
        """Trains the same settings to other weights, as another machine or library would."""
        run = Run(self.runs / "classifier/plain/seed0")
        weights = run.weights()
        weights["stem.0.weight"] += 0.5
        run.save_weights(weights)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "recipes").mkdir()
    for name, text in (("classifier", CLASSIFIER), ("masks", MASKS)):
        (tmp_path / f"recipes/{name}.toml").write_text(text, encoding="utf-8")
    return Place(tmp_path)


@pytest.fixture(scope="module")
def all_run(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("encoders"))
    (place.folder / "recipes").mkdir()
    for name, text in (("classifier", CLASSIFIER), ("masks", MASKS)):
        place.file(name).write_text(text, encoding="utf-8")
    place.run("classifier", only=["plain"])
    place.run("masks")
    return place


@pytest.fixture
def done(all_run: Place, tmp_path: Path) -> Place:
    """Both recipes, run; the plans name the files of this copy."""
    shutil.copytree(all_run.folder, tmp_path, dirs_exist_ok=True)
    for plan in tmp_path.glob("runs/*/plan.json"):
        plan.write_text(plan.read_text().replace(str(all_run.folder), str(tmp_path)))
    return Place(tmp_path)


def weights_of(place: Place, name: str) -> dict[str, torch.Tensor]:
    return Run(place.runs / name).weights()


def encoder_part(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")
    }


def test_nothing_is_trained_before_the_classifier(place: Place) -> None:
    with pytest.raises(CnnbenchError) as error:
        run_recipe(place.load("masks"), runs_dir=place.runs, device="cpu")
    assert str(error.value) == (
        f"{place.file('masks')} is built on classifier, which has not been run; run it first "
        f"(cnnbench recipe {place.file('classifier')} --only plain --runs {place.runs}), or give "
        "--with-stages"
    )
    assert not place.runs.exists()
    assert [stage.directory for stage in stages_of(place.load("masks", quick=True))] == ["classifier+quick"]
    assert not is_ready(place.load("classifier"), place.runs)


def weights_by_epoch(place: Place, variant: str) -> list[dict[str, torch.Tensor]]:
    """All weights of a variant, trained once more, before training and after each epoch."""
    config = next(each for each in place.solved().run_configs() if each.variant == variant)
    run = Run(place.runs / "masks/again/seed0")
    run.path.mkdir(parents=True)
    dataset = Datasets(Path("data"), []).load(config.data)
    states = []
    for event in train_run(run, config, dataset, torch.device("cpu")):
        if isinstance(event, Epoch):
            state, _ = run.load_state()
            assert state is not None
            states.append(state["model"])
    return states


def test_a_frozen_encoder_keeps_the_classifiers_weights_bit_for_bit(done: Place) -> None:
    """Weights, and the means, variances and counts of every BatchNorm, while the decoder learns."""
    classifier = weights_of(done, "classifier/plain/seed0")
    before, _, after = weights_by_epoch(done, "frozen")
    kept = encoder_part(after)
    assert {name.rpartition(".")[2] for name in kept} == {
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked"
    }  # fmt: skip
    assert kept.keys() == {name for name in classifier if not name.startswith("head.")}
    for name, value in kept.items():
        assert value.dtype == classifier[name].dtype
        assert torch.equal(value, classifier[name]), name
    decoder = [name for name in after if name.startswith("decoder.")]
    assert not any(torch.equal(after[name], before[name]) for name in decoder)
    stored = encoder_part(weights_of(done, "masks/frozen/seed2"))
    assert all(torch.equal(value, classifier[name]) for name, value in stored.items())


def test_an_encoder_that_is_let_go_in_epoch_2_has_learned_then(done: Place) -> None:
    classifier = weights_of(done, "classifier/plain/seed0")
    _, first, second = weights_by_epoch(done, "tuned")
    assert all(torch.equal(value, classifier[name]) for name, value in encoder_part(first).items())
    assert not any(torch.equal(value, classifier[name]) for name, value in encoder_part(second).items())


def test_a_seed_has_the_weights_of_the_same_seed_and_another_those_of_the_first(all_run: Place) -> None:
    """The classifier has seeds 0 and 1, the masks 0, 1 and 2."""
    configs = {
        seed: json.loads((all_run.runs / f"masks/frozen/seed{seed}/config.json").read_text())
        for seed in (0, 1, 2)
    }
    first, second = (
        {"run": place, "digest": Run(all_run.runs / place).digest()}
        for place in ("classifier/plain/seed0", "classifier/plain/seed1")
    )
    assert configs[0]["encoder_weights"] == configs[2]["encoder_weights"] == first
    assert configs[1]["encoder_weights"] == second != first
    assert len(first["digest"]) == 16
    assert configs[0]["model"]["encoder"]["run"] == "classifier"
    assert configs[0]["model"]["encoder"]["widths"] == [4, 6]
    scratch = json.loads((all_run.runs / "masks/scratch/seed0/config.json").read_text())
    assert scratch["encoder_weights"] is None
    (winner,) = {variant.winner.variant for variant in all_run.solved().variants if variant.winner}
    assert winner == "plain"


def test_what_is_frozen_has_no_gradients_among_the_probes(all_run: Place) -> None:
    run = Run(all_run.runs / "masks/frozen/seed0")
    for measured in run.probes():
        assert "decoder.0.up" in measured["gradients"]
        assert not any(name.startswith("encoder.") for name in measured["gradients"])
    assert any(
        name.startswith("encoder.")
        for name in Run(run.path.parents[1] / "tuned/seed0").probes()[2]["gradients"]
    )


def test_all_is_reused_and_the_plan_says_what_is_built_on(all_run: Place) -> None:
    assert set(all_run.decisions().values()) == {"reuse"}
    assert stale_stages(all_run.runs / "masks", Path("data")) == []
    comparison = compare([all_run.runs / "masks"])
    assert comparison.problems == []
    assert [row.num_seeds for row in comparison.rows] == [3, 3, 3]
    assert len({row.num_params for row in comparison.rows}) == 1
    plan = describe_plan(all_run.load("masks"), Path("data"), all_run.runs)
    assert [each["winner"] is not None for each in plan["variants"]] == [False, True, True]
    found = stage_directories(all_run.runs / "masks")
    assert [(path.name, taken) for path, taken in found.items()] == [("classifier", ["plain"])]


def test_seeds_that_share_one_training_say_so() -> None:
    assert on_seeds({0: 0, 2: 0}) == [
        "Seed 0 has its weights from the run with the same seed.",
        "Seed 2 has weights from the run with seed 0, for want of one with theirs.",
        "All start from one training: how much another one would change this is unknown.",
    ]


def test_the_report_says_where_the_encoder_is_from(all_run: Place) -> None:
    for suffix in ("md", "html"):
        text = (all_run.runs / f"masks/report.{suffix}").read_text()
        assert "Encoder from plain of classifier (frozen, tuned)" in text
        assert "Seeds 0, 1 have their weights from the run with the same seed." in text
        assert "Seed 2 has weights from the run with seed 0, for want of one with theirs." in text
        assert "fewest multiply-adds" not in text


def test_it_is_told_when_it_is_run(done: Place) -> None:
    told = done.run("masks")
    assert told[0].startswith("encoder from plain of classifier: Seeds 0, 1 have their weights from")
    assert len(told) == 1


def test_a_classifier_that_is_trained_again_makes_its_encoders_stale(done: Place) -> None:
    done.retrain_classifier()
    assert stale_stages(done.runs / "masks", Path("data")) == [
        "stale: an encoder of these runs has the weights that plain had in classifier, where it has "
        "others now; run the recipe again"
    ]
    seed_0_was = "replace"  # as in those that have its weights, for want of their own
    assert done.decisions() == {
        **{f"scratch seed {seed}": "reuse" for seed in range(3)},
        **{f"{name} seed 1": "reuse" for name in ("frozen", "tuned")},
        **{f"{name} seed {seed}": seed_0_was for name in ("frozen", "tuned") for seed in (0, 2)},
    }
    told = done.run("masks")
    assert told[0] == (
        f"stale: the runs in {done.runs / 'masks'} have an encoder with other weights than classifier has now"
    )
    assert any("its settings changed: encoder_weights.digest" in each for each in told)
    assert stale_stages(done.runs / "masks", Path("data")) == []
    assert set(done.decisions().values()) == {"reuse"}


def test_a_report_of_old_runs_counts_them_and_says_that_they_are_stale(done: Place) -> None:
    done.retrain_classifier()
    outcome = report_recipe(done.load("masks"), runs_dir=done.runs, device="cpu")
    assert outcome.comparison is not None
    assert [row.num_seeds for row in outcome.comparison.rows] == [3, 3, 3]
    assert "stale: an encoder of these runs" in (done.runs / "masks/report.md").read_text()


def test_runs_with_other_weights_than_the_plans_do_not_count(done: Place) -> None:
    path = done.runs / "masks/plan.json"
    plan = json.loads(path.read_text())
    plan["variants"][1]["winner"]["weights"]["2"]["digest"] = "0" * 16
    path.write_text(json.dumps(plan))
    rows = {row.variant: row for row in compare([done.runs / "masks"]).rows}
    assert [rows[name].num_seeds for name in ("scratch", "frozen", "tuned")] == [3, 2, 3]
    assert "other settings than the plan's (encoder_weights.digest" in rows["frozen"].problems[0]


def test_a_changed_classifier_has_to_be_run_again_first(done: Place) -> None:
    done.change("classifier", "epochs = 1", "epochs = 2")
    changed = "classifier, which has changed since it was run (plain seed 0: its settings changed: "
    changed += "train.epochs 1 → 2)"
    assert changed in done.why_not()
    assert stale_stages(done.runs / "masks", Path("data")) == [
        f"stale: an encoder of these runs has the weights that plain had in {changed}; run it first "
        f"(cnnbench recipe {done.file('classifier')} --only plain --runs {done.runs}), or give --with-stages"
    ]


def test_what_is_no_longer_there_is_said(done: Place) -> None:
    done.file("classifier").unlink()
    (sentence,) = stale_stages(done.runs / "masks", Path("data"))
    assert sentence.startswith(
        "whether plain is still the same in classifier, on which these runs were built"
    )


def test_weights_that_vanish_between_plan_and_training(done: Place) -> None:
    config = next(each for each in done.solved().run_configs() if each.variant == "frozen")
    run = Run(done.runs / "masks" / config.variant / f"seed{config.seed}")
    assert torch.equal(
        (encoder_weights(run, config) or {})["stem.0.weight"],
        weights_of(done, "classifier/plain/seed0")["stem.0.weight"],
    )
    done.retrain_classifier()
    with pytest.raises(CnnbenchError, match=r"no longer holds the weights that the encoder of frozen seed 0"):
        encoder_weights(run, config)
    (done.runs / "classifier/plain/seed0/best.safetensors").unlink()
    with pytest.raises(CnnbenchError, match="the weights of the encoder cannot be read"):
        encoder_weights(run, config)


def test_damaged_weights_are_not_taken(done: Place) -> None:
    path = done.runs / "classifier/plain/seed1/best.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert "classifier, which has changed since it was run (plain seed 1: a file is damaged" in done.why_not()


def test_a_diverged_classifier_has_no_weights(place: Place) -> None:
    place.change("classifier", "epochs = 1", "epochs = 1\nlr = 1e30")
    place.run("classifier", only=["plain"])
    with pytest.raises(CnnbenchError, match="classifier/plain/seed0 diverged, so it has no weights"):
        place.solved()


def test_as_many_seeds_suffice_as_are_asked_for(place: Place) -> None:
    place.run("classifier", seeds=1, only=["plain"])
    assert "classifier, which is not complete (1 of 2 runs)" in place.why_not()
    winner = place.solved(seeds=1).variants[1].winner
    assert winner is not None
    assert list(winner.weights) == ["0"]
    assert winner.reasons == ["Seed 0 has its weights from the run with the same seed."]


def test_without_a_variant_it_is_the_winner_by_validation(place: Place) -> None:
    for _ in range(2):
        place.change("masks", ', variant = "plain"', "")
    place.run("classifier")
    _, frozen, tuned = place.solved().variants
    assert frozen.winner is not None
    assert frozen.winner.contenders
    assert frozen.winner.variant in ("plain", "gelu")
    encoder = frozen.model.options["encoder"]
    assert encoder["activation"] == {"plain": "relu", "gelu": "gelu"}[encoder["variant"]]
    assert tuned.winner == frozen.winner


def test_a_run_that_was_cut_off_is_the_same_run_in_the_end(done: Place) -> None:
    """Epoch 1 is frozen and epoch 2 is not: what goes on in between is in the state."""
    config = next(each for each in done.solved().run_configs() if each.variant == "tuned")
    dataset = Datasets(Path("data"), []).load(config.data)
    whole = Run(done.runs / "masks/tuned/seed0")
    cut = Run(done.runs / "masks/elsewhere/seed0")
    cut.path.mkdir(parents=True)
    cut.write_config(config.model_dump(mode="json"))
    for event in train_run(cut, config, dataset, torch.device("cpu")):
        if isinstance(event, Epoch) and event.epoch == 1:
            break
    for _ in train_run(cut, config, dataset, torch.device("cpu")):
        pass
    assert [row["val_loss"] for row in cut.history()] == [row["val_loss"] for row in whole.history()]
    assert all(torch.equal(value, whole.weights()[name]) for name, value in cut.weights().items())


def test_limits_count_the_encoder(done: Place) -> None:
    done.change("masks", "[model]", "[limits]\nmax_params = 500\n[model]")
    with pytest.raises(CnnbenchError, match=r"variant 'scratch': .* parameters exceed max_params = 500"):
        describe_plan(done.load("masks"), Path("data"), done.runs)


def test_a_frozen_encoder_that_never_learned_is_called_a_control(place: Place) -> None:
    told = "frozen with random weights, for good or at first"
    place.run("classifier")
    assert not any(told in note for note in look_ahead(place.load("masks"), place.runs).notes)
    place.change("masks", "blocks = [1, 1]}", "blocks = [1, 1], unfreeze_epoch = 1}")  # never frozen
    assert not any(told in note for note in look_ahead(place.load("masks"), place.runs).notes)
    place.change("masks", "unfreeze_epoch = 1}", "freeze = true}")
    assert sum(f"The encoder of scratch is {told}" in note for note in place.run("masks", seeds=1)) == 1
    report = (place.runs / "masks/report.md").read_text()
    assert f"The encoder of scratch is {told}" in " ".join(report.split())
