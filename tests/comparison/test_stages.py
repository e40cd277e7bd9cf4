"""Recipes built on one another, with real runs: untrained models tie, and a trained one beats them."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnbench.cli import main
from cnnbench.comparison import compare
from cnnbench.comparison.built_on import stage_directories
from cnnbench.comparison.stages import NotRunError, find_winner, solve, stale_stages
from cnnbench.errors import CnnbenchError
from cnnbench.plan import describe_plan
from cnnbench.publish import publish
from cnnbench.recipe import Recipe, load_recipe
from cnnbench.running import (
    complete_runs,
    is_ready,
    iterate_recipe,
    look_ahead,
    report_recipe,
    run_recipe,
    stages_of,
)
from cnnbench.running.events import Notice

COMMON = """
analyses = []
[data]
name = "digits"
limit = 300
val_size = 100
batch_size = 50
[train]
epochs = 0
seeds = [0, 1]
lr = 1e-2
"""
# Nothing is trained: both guess, and the smaller one is to be taken whichever guesses better.
BASE = (
    COMMON
    + """
[[variants]]
name = "large"
model = {name = "cnn", widths = [8, 8, 8], head = [], pool = "none"}
[[variants]]
name = "small"
model = {name = "cnn", widths = [2, 2], head = [], pool = "none"}
"""
)
NEXT = (
    COMMON
    + """
[model]
best_of = "base"
[[variants]]
name = "ones"
model = {convs = [1, 1, 1]}
[[variants]]
name = "twos"
model = {convs = [2, 2, 2]}
"""
)
LAST = (
    COMMON
    + '[model]\nbest_of = "next"\n[[variants]]\nname = "a"\n[[variants]]\nname = "b"\ntrain = {epochs = 1}\n'
)
NAMES = ("base", "next", "last")


class Place:
    """A folder with the three recipes and a place for their runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"

    def file(self, name: str) -> Path:
        return self.folder / "recipes" / f"{name}.toml"

    def load(self, name: str, *, quick: bool = False, seeds: int | None = None) -> Recipe:
        return load_recipe(self.file(name), quick=quick, seeds=seeds)

    def run(self, name: str, **options: object) -> list[str]:
        """Runs a recipe, and returns what was told."""
        events = iterate_recipe(self.load(name, **options), runs_dir=self.runs, device="cpu")  # type: ignore[arg-type]
        return [event.text for event in events if isinstance(event, Notice)]

    def change(self, name: str, old: str, new: str) -> None:
        text = self.file(name).read_text()
        assert old in text
        self.file(name).write_text(text.replace(old, new, 1))

    def solved(self, name: str, **options: object) -> Recipe:
        return solve(self.load(name, **options), Path("data"), self.runs)  # type: ignore[arg-type]

    def why_not(self, name: str, **options: object) -> str:
        with pytest.raises(NotRunError) as error:
            self.solved(name, **options)
        return str(error.value)

    def actions(self, name: str) -> list[str]:
        return [decision.action for _, decision in look_ahead(self.load(name), self.runs).decisions]

    def problems(self, name: str) -> str:
        return "\n".join(compare([self.runs / name]).problems)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "recipes").mkdir()
    for name, text in zip(NAMES, (BASE, NEXT, LAST), strict=True):
        (tmp_path / f"recipes/{name}.toml").write_text(text, encoding="utf-8")
    return Place(tmp_path)


@pytest.fixture(scope="module")
def all_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    (folder / "recipes").mkdir()
    for name, text in zip(NAMES, (BASE, NEXT, LAST), strict=True):
        (folder / f"recipes/{name}.toml").write_text(text, encoding="utf-8")
    for name in NAMES:
        Place(folder).run(name)
    return folder


@pytest.fixture
def done(all_run: Path, tmp_path: Path) -> Place:
    """All three recipes, run; the plans name the files of this copy."""
    shutil.copytree(all_run, tmp_path, dirs_exist_ok=True)
    for plan in tmp_path.glob("runs/*/plan.json"):
        plan.write_text(plan.read_text().replace(str(all_run), str(tmp_path)))
    return Place(tmp_path)


def test_nothing_is_trained_before_what_it_is_built_on(place: Place) -> None:
    with pytest.raises(CnnbenchError) as error:
        run_recipe(place.load("next"), runs_dir=place.runs, device="cpu")
    assert str(error.value) == (
        f"{place.file('next')} is built on base, which has not been run; run it first "
        f"(cnnbench recipe {place.file('base')} --runs {place.runs}), or give --with-stages"
    )
    assert not place.runs.exists()
    assert "last.toml is built on next, which is built on base, which has not been run" in place.why_not(
        "last"
    )


def test_a_part_of_the_runs_is_not_enough(place: Place) -> None:
    place.run("base")
    (place.runs / "base/small/seed1/result.json").unlink()
    assert "base, which is not complete (3 of 4 runs)" in place.why_not("next")
    (place.runs / "base/small/seed1/predictions.npz").write_bytes(b"")
    place.run("base")
    assert place.solved("next").variants[0].winner is not None


def test_the_cheaper_one_is_taken_on_a_tie_and_lists_are_cut(done: Place) -> None:
    ones, twos = done.solved("next").variants
    assert ones.winner is not None
    assert ones.winner.variant == "small"
    assert {each.variant: each.standing for each in ones.winner.contenders}["large"] in ("best", "tied")
    assert (ones.model.options["widths"], ones.model.options["convs"]) == ([2, 2], [1, 1])
    assert (twos.model.options["widths"], twos.model.options["convs"]) == ([2, 2], [2, 2])
    assert twos.winner is not None
    (sentence,) = twos.winner.cut
    assert "2 stages, so of convs = [2, 2, 2] the first 2 entries are used: [2, 2]" in sentence


def test_a_copy_without_weights_can_be_built_on(done: Place, tmp_path: Path) -> None:
    report_recipe(done.load("base"), runs_dir=done.runs, device="cpu")
    base = done.runs / "base"
    publish(base, "base", tmp_path / "answers", complete_runs(base))
    assert not list((tmp_path / "answers").rglob("*.safetensors"))
    expected = find_winner(done.file("base"), Path("data"), done.runs)
    assert find_winner(done.file("base"), Path("data"), tmp_path / "answers") == expected


def test_the_better_one_is_taken_where_it_is_really_better(place: Place) -> None:
    place.change("base", 'name = "large"', 'name = "large"\ntrain = {epochs = 8}')
    place.run("base")
    winner = find_winner(place.file("base"), Path("data"), place.runs)
    assert winner.variant == "large"
    assert [each.standing for each in winner.contenders] == ["best", "worse"]
    (ones, _) = place.solved("next").variants
    assert ones.model.options["convs"] == [1, 1, 1]
    assert ones.winner is not None
    assert ones.winner.cut == []


def test_the_model_that_was_found_is_what_is_trained(done: Place) -> None:
    config = json.loads((done.runs / "next/twos/seed1/config.json").read_text())
    assert config["model"]["convs"] == [2, 2]
    assert done.actions("next") == ["reuse"] * 4
    assert done.problems("next") == ""
    plan = describe_plan(done.load("next"), Path("data"), done.runs)
    assert [each["winner"]["variant"] for each in plan["variants"]] == ["small", "small"]
    assert plan["variants"][1]["winner"]["cut"]


def test_the_report_says_on_what_it_is_built(done: Place) -> None:
    for suffix in ("md", "html"):
        text = (done.runs / f"next/report.{suffix}").read_text()
        assert "Built on small, the winner of base" in text
        assert "the first 2 entries are used" in text
        assert "has the best validation accuracy" in text
        assert "the one with the fewest multiply-adds is taken" in text
    rows = (done.runs / "next/report.md").read_text()
    assert "| small | 2 | " in rows


def test_it_is_told_when_it_is_run(place: Place) -> None:
    place.run("base")
    told = place.run("next")
    assert told[0].startswith("built on small, the winner of base: ")
    assert told[1].startswith("ones: the model has 2 stages, so of convs = [1, 1, 1]")
    assert len(told) == 3


def test_a_changed_recipe_makes_what_is_built_on_it_stale(done: Place) -> None:
    done.change("base", "lr = 1e-2", "lr = 2e-2")
    changed = (
        "base, which has changed since it was run (large seed 0: its settings changed: train.lr 0.01 → 0.02)"
    )
    assert f"stale: these runs were built on small, the winner at that time of {changed}" in done.problems(
        "next"
    )
    assert "built on ones, the winner at that time of next, which is built on base, which" in done.problems(
        "last"
    )
    said = done.why_not("next")
    assert f"is built on {changed}; run it first (cnnbench recipe " in said
    assert f"The runs in {done.runs / 'next'} are stale: they were built on small of base" in said
    outcome = report_recipe(done.load("next"), runs_dir=done.runs, device="cpu")
    assert outcome.comparison is not None
    assert [row.num_seeds for row in outcome.comparison.rows] == [2, 2]
    assert "stale: these runs were built on small" in (done.runs / "next/report.md").read_text()


def test_a_winner_is_found_without_its_weights(done: Place) -> None:
    for path in done.runs.glob("base/*/*/best.safetensors"):
        path.unlink()
    assert stale_stages(done.runs / "next", Path("data")) == []
    winner = find_winner(done.file("base"), Path("data"), done.runs)
    assert winner.variant == "small"


def test_what_changes_no_run_makes_nothing_stale(done: Place) -> None:
    done.change("base", "analyses = []", 'title = "Another"\nanalyses = ["learning_curves"]')
    assert stale_stages(done.runs / "next", Path("data")) == []


def test_another_winner_makes_what_was_built_on_the_old_one_stale(done: Place) -> None:
    done.change("base", 'name = "large"', 'name = "large"\ntrain = {epochs = 8}')
    done.run("base")
    assert done.problems("next") == (
        "next: stale: these runs were built on small, the winner at that time of base, which now is large; "
        "run the recipe again"
    )
    assert "next, which has changed since it was run (ones seed 0: its settings changed: model." in (
        done.problems("last")
    )
    assert done.actions("next") == ["replace"] * 4
    told = done.run("next")
    assert told[0] == (
        f"stale: the runs in {done.runs / 'next'} were built on small, which is no longer the winner of base"
    )
    assert done.problems("next") == ""
    assert len(list((done.runs / "next/.old").iterdir())) == 4


def test_a_winner_that_cannot_be_looked_up_is_said(done: Place) -> None:
    done.file("base").unlink()
    assert "whether small is still the winner of base, on which these runs were built, is not known" in (
        done.problems("next")
    )


def test_a_recipe_of_several_data_sets_is_refused_before_it_is_run(place: Place) -> None:
    place.change("base", 'name = "small"', 'name = "small"\ndata.name = "synthetic"')
    with pytest.raises(CnnbenchError, match=r"base has no winner: its variants have several data sets"):
        place.solved("next")


def test_a_recipe_that_is_broken_now_is_said(done: Place) -> None:
    done.file("base").write_text("[data")
    said = "whether small is still the winner of base, on which these runs were built, is not known: "
    assert said in done.problems("next")


def test_quick_is_built_on_quick(done: Place) -> None:
    assert "is built on base+quick, which has not been run" in done.why_not("next", quick=True)
    assert f"{done.file('base')} --quick --runs" in done.why_not("next", quick=True)
    done.run("base", quick=True)
    winner = done.solved("next", quick=True).variants[0].winner
    assert winner is not None
    assert winner.recipe == "base+quick"
    done.run("next", quick=True)
    assert stale_stages(done.runs / "next+quick", Path("data")) == []


def test_as_many_seeds_suffice_as_are_asked_for(place: Place) -> None:
    place.run("base", seeds=1)
    assert "base, which is not complete (2 of 4 runs)" in place.why_not("next")
    assert "--seeds 2" in place.why_not("next", seeds=2)
    winner = place.solved("next", seeds=1).variants[0].winner
    assert winner is not None
    assert {each.num_seeds for each in winner.contenders} == {1}
    place.run("next", seeds=1)
    assert place.solved("last", seeds=1).variants[0].winner is not None
    assert stale_stages(place.runs / "next", Path("data")) == []
    place.run("base")  # with all there are, they all count
    winner = place.solved("next", seeds=1).variants[0].winner
    assert winner is not None
    assert {each.num_seeds for each in winner.contenders} == {2}


def test_a_diverged_variant_is_no_winner(place: Place) -> None:
    place.change("base", 'name = "small"', 'name = "small"\ntrain = {epochs = 1, lr = 1e30}')
    place.run("base")
    winner = find_winner(place.file("base"), Path("data"), place.runs)
    assert winner.variant == "large"
    assert "Left out, since not every seed of it ended well: small." in winner.reasons


def test_limits_hold_for_the_model_that_was_found(done: Place) -> None:
    done.change("next", "[model]", "[limits]\nmax_channels = 1\n[model]")
    with pytest.raises(CnnbenchError, match=r"variant 'ones': layer stages.0.0 .* has 2 channels"):
        describe_plan(done.load("next"), Path("data"), done.runs)


def test_parameters_are_matched_to_a_winner(done: Place) -> None:
    more = '[[variants]]\nname = "mlp"\nmodel = {name = "mlp", widths = [3]}\n'
    more += 'match_params = {like = "ones", tolerance = 0.2}\n'
    done.file("next").write_text(NEXT + more)
    matched = done.solved("next").variants[2]
    assert matched.match is not None
    assert abs(matched.match.difference) <= 0.2


def test_stages_in_order(done: Place) -> None:
    assert [stage.directory for stage in stages_of(done.load("last", quick=True))] == [
        "base+quick",
        "next+quick",
    ]
    assert is_ready(done.load("next"), done.runs)
    assert not is_ready(done.load("next", quick=True), done.runs)
    found = stage_directories(done.runs / "last")
    assert [(path.name, taken) for path, taken in found.items()] == [("base", ["small"]), ("next", ["ones"])]


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cnnbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cnnbench", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        assert isinstance(code, int)
        return code, captured.out, captured.err

    return run


def test_with_stages(place: Place, cnnbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    code, out, err = cnnbench("recipe", "recipes/last.toml")
    assert (code, out) == (2, "")
    assert "run it first (cnnbench recipe recipes/base.toml), or give --with-stages" in " ".join(err.split())
    code, out, _ = cnnbench("recipe", "recipes/last.toml", "--with-stages", "--dry-run")
    assert code == 0
    assert out.count("would be run after the recipes above") == 2
    assert not place.runs.exists()
    code, out, err = cnnbench("recipe", "recipes/last.toml", "--with-stages", "--device", "cpu")
    assert code == 0
    assert err.index("report: runs/base/") < err.index("report: runs/next/") < err.index("report: runs/last/")
    assert "built on small, the winner of base" in err
    code, _, err = cnnbench("recipe", "recipes/last.toml", "--with-stages", "--device", "cpu")
    assert code == 0
    assert "base: complete" in err
    assert "report: runs/base/" not in err
    code, out, _ = cnnbench("recipe", "recipes/next.toml", "--dry-run")
    assert out.count("reuse") == 4
    assert "built on small, the winner of base" in out
    code, out, _ = cnnbench("show", "recipes/next.toml")
    assert code == 0
    assert "Built on small, the winner of base" in out
    assert "the first 2 entries are used: [2, 2]" in " ".join(out.split())


def test_runs_that_the_recipe_before_has_are_taken_over(place: Place) -> None:
    place.change("next", "model = {convs = [1, 1, 1]}", "")  # now it is what won
    place.change("last", "epochs = 1", "lr = 2e-2")
    place.run("base")
    source = place.runs / "base/small"
    ahead = look_ahead(place.load("next"), place.runs).decisions
    assert [(decision.action, decision.reason) for _, decision in ahead] == [
        ("take over", "base/small/seed0 has the same settings"),
        ("take over", "base/small/seed1 has the same settings"),
        *[("train", "not trained yet")] * 2,
    ]
    assert [each.action for _, each in look_ahead(place.load("next"), place.runs, fresh=True).decisions] == [
        "train"
    ] * 4
    told = place.run("next")
    said = [sentence for sentence in told if "taken over" in sentence]
    assert said == [
        f"ones seed {seed} has the settings of base/small/seed{seed}: that run is taken over, not trained "
        "again"
        for seed in (0, 1)
    ]
    for seed in (0, 1):
        ours, theirs = place.runs / f"next/ones/seed{seed}", source / f"seed{seed}"
        for name in ("history.jsonl", "probes.jsonl", "predictions.npz", "best.safetensors"):
            assert (ours / name).read_bytes() == (theirs / name).read_bytes()
        config = json.loads((ours / "config.json").read_text())
        assert (config["recipe"], config["variant"], config["seed"]) == ("next", "ones", seed)
        result = json.loads((ours / "result.json").read_text())
        assert result == json.loads((theirs / "result.json").read_text()) | {
            "taken_from": f"base/small/seed{seed}"
        }
    assert place.actions("next") == ["reuse"] * 4
    assert [row.num_seeds for row in compare([place.runs / "next"]).rows] == [2, 2]
    report = (place.runs / "next/report.md").read_text()
    assert "Taken over and not trained anew: ones seed 0 (from base/small/seed0)" in report
    # of a copy of a copy the first one is named, and a run with other settings is trained
    told = place.run("last")
    assert sum("has the settings of base/small/seed" in sentence for sentence in told) == 2
    assert all(sentence.startswith("a seed") for sentence in told if "taken over" in sentence)


def test_runs_of_recipes_named_to_be_reused_are_taken_over(place: Place) -> None:
    """Nothing is built on them: what they do not have is trained, and they need not have been run."""
    text = BASE.replace("analyses = []", 'analyses = []\nreuse = ["base"]').replace("large", "big")
    (place.folder / "recipes/again.toml").write_text(text.replace("[8, 8, 8]", "[8, 8]"), encoding="utf-8")
    assert place.actions("again") == ["train"] * 4
    place.run("base")
    decisions = [(run.label, decision.action) for run, decision in look_ahead(
        place.load("again"), place.runs).decisions]  # fmt: skip
    assert decisions[:2] == [("big seed 0", "train"), ("big seed 1", "train")]
    assert decisions[2:] == [("small seed 0", "take over"), ("small seed 1", "take over")]
    told = place.run("again")
    assert sum("has the settings of base/small/seed" in sentence for sentence in told) == 2
    assert stages_of(place.load("again")) == []
    report = (place.runs / "again/report.md").read_text()
    assert "Taken over and not trained anew: small seed 0 (from base/small/seed0)" in report
    # a quick run is no run in full
    place.run("base", quick=True)
    quick = look_ahead(place.load("again", quick=True), place.runs).decisions
    assert [(run.label, decision.action) for run, decision in quick] == [
        ("big seed 0", "train"),
        ("small seed 0", "take over"),
    ]


def test_without_weights_or_with_fresh_nothing_is_taken_over(place: Place) -> None:
    place.change("next", "model = {convs = [1, 1, 1]}", "")
    place.run("base")
    (place.runs / "base/small/seed0/best.safetensors").unlink()
    told = place.run("next")
    assert [sentence[:11] for sentence in told if "taken over" in sentence] == ["ones seed 1"]
    events = iterate_recipe(place.load("next"), runs_dir=place.runs, device="cpu", fresh=True)
    assert not any("taken over" in event.text for event in events if isinstance(event, Notice))
