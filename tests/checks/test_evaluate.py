"""Checks held against runs and draws: verdicts, exact evidence, and what is said where nothing can be."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnbench import cli
from cnnbench.checks import evaluate
from cnnbench.checks.anatomy import check_names
from cnnbench.checks.results import CheckResult, worst
from cnnbench.errors import CnnbenchError
from cnnbench.plan import describe_plan
from cnnbench.recipe import load_recipe
from cnnbench.running import report_recipe, run_recipe
from cnnbench.runs import Run
from cnnbench.statistics import binomial_interval

RECIPE = """
analyses = []
[data]
name = "synthetic"
num_images = 60
height = 8
width = 8
num_classes = 3
[model]
name = "conv_stack"
widths = [16, 16, 16]
[train]
epochs = 0
seeds = [0, 1]
precision = "fp32"
[[variants]]
name = "equal"
model = {init = "he"}
[[variants]]
name = "raised"
model = {init = {scheme = "he", variance = {layer3 = "2 * layer2"}}}
"""


def write(folder: Path, checks: str) -> Path:
    path = folder / "question.toml"
    path.write_text(RECIPE + checks)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checks")
    run_recipe(load_recipe(write(folder, "")), runs_dir=folder / "runs", device="cpu")
    return folder


def results(folder: Path, expression: str, more: str = "") -> CheckResult:
    path = write(folder, f"[[checks]]\ntext = 'x'\nexpression = '{expression}'\n{more}\n")
    (found,) = report_recipe(load_recipe(path), runs_dir=folder / "runs", device="cpu").checks
    return found


def test_a_quantity_of_a_run_with_its_values(trained: Path) -> None:
    found = results(trained, "num_params < 7000 and test_accuracy >= 0")
    params = (3 * 9 + 1) * 16 + 2 * (16 * 9 + 1) * 16 + (1024 + 1) * 3
    assert found.verdict == "fails"
    assert params == 8163
    result = json.loads((trained / "runs/question/equal/seed1/result.json").read_text())
    accuracy = result["metrics"]["test_accuracy"]
    expected = f"num_params = 8,163, test_accuracy = {accuracy:.4g}: does not hold"
    assert any(line.startswith("equal, seed") and line.endswith(expected) for line in found.evidence)


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        (
            "channels(features) == 16 and height(layer2) == width(layer2) == 8 and channels(head) == 3",
            "holds",
        ),
        ("fan_in(first) == 27 and fan_in(last) == 1024 and fan_out(layer2) == 144", "holds"),
        ("channels(features) != 16", "fails"),
        ("1 / best_epoch > 0", "not evaluated"),  # divided by zero
    ],
)
def test_shapes_and_runs(trained: Path, expression: str, verdict: str) -> None:
    assert results(trained, expression).verdict == verdict


def test_a_quantity_of_the_course_of_training(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    run = Run(tmp_path / "runs/question/equal/seed1")
    rows = [{"epoch": epoch, "val_accuracy": value} for epoch, value in enumerate((0.1, 0.5, 0.8))]
    (run.path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run.path / "probes.jsonl").unlink()
    result = json.loads((run.path / "result.json").read_text())
    (run.path / "result.json").write_text(json.dumps(result | {"epochs": 2}))
    more = 'variants = ["equal"]'
    found = results(tmp_path, "area_under_curve == 0.65", more)
    assert found.verdict == "not evaluated"  # seed 0 was not trained at all
    assert "equal, seed 1: area_under_curve = 0.65: holds" in found.evidence
    assert "equal, seed 0: not evaluated: the run has no area_under_curve" in found.evidence
    gap = results(tmp_path, "test_gap <= 1", more).evidence  # untrained, train was never looked at
    assert gap == ["equal, seeds 0, 1: not evaluated: the run has no test_gap"]


def test_values_that_all_seeds_share_stand_once(trained: Path) -> None:
    found = results(trained, "fan_in(layer2) / fan_in(layer3) == 1")
    said = "fan_in(layer2) = 144, fan_in(layer3) = 144, fan_in(layer2) / fan_in(layer3) = 1: holds"
    assert found.evidence == [f"equal, seeds 0, 1: {said}", f"raised, seeds 0, 1: {said}"]


def test_weights_as_the_seed_makes_them(trained: Path) -> None:
    found = results(trained, "weight_variance(layer3) / weight_variance(layer2) > 1.5")
    assert [line.endswith(": holds") for line in found.evidence] == [False, False, True, True]
    assert found.verdict == "fails"
    only = results(trained, "weight_variance(layer3) > weight_variance(layer2)", 'variants = ["raised"]')
    assert only.verdict == "holds"
    assert len(only.evidence) == 2


def test_a_random_quantity_over_draws(trained: Path) -> None:
    found = results(trained, "gradient(layer1) > 0", 'draws = 80\nvariants = ["equal"]')
    (line,) = found.evidence
    estimate = binomial_interval(80, 80)
    assert estimate.low is not None
    assert f"holds in 80 of 80 draws (100.0 %, 95 % interval {100 * estimate.low:.1f} to 100.0 %" in line
    assert found.verdict == "holds"


@pytest.mark.parametrize(
    ("expression", "draws", "share", "verdict"),
    [
        ("gradient(first) > 0", 10, 0.95, "undecided"),  # 10 of 10: the interval begins at 72 %
        ("gradient(first) > 0", 10, 0.7, "holds"),
        ("gradient(first) < 0", 10, 0.7, "fails"),
        ("gradient(last) / (channels(features) - 16) > 0", 5, 0.9, "not evaluated"),
    ],
)
def test_verdicts_on_draws(trained: Path, expression: str, draws: int, share: float, verdict: str) -> None:
    options = f'draws = {draws}\nshare = {share}\noutput = "features"'
    assert results(trained, expression, options).verdict == verdict


def test_with_an_output_the_last_layer_is_the_last_before_it(trained: Path) -> None:
    found = results(trained, "fan_in(last) + 0 * gradient(last) == 144", 'output = "features"\nshare = 0.5')
    assert found.verdict == "holds"


def test_a_layer_that_is_never_trained_has_no_gradient(tmp_path: Path) -> None:
    checks = [
        "gradient(first) > 0 and gradient(last) > 0",
        "gradient(whitening) > 0",
        "weight_variance(whitening) < gradient(last)",
    ]
    path = write(tmp_path, "[[checks]]\ntext = 'x'\nexpression = 'EXPRESSION'\nvariants = ['w']\n")
    text = path.read_text() + "[[variants]]\nname = 'w'\nmodel = {name = 'whitened_cnn', widths = [4]}\n"
    path.write_text(text.replace("EXPRESSION", checks[1]))
    with pytest.raises(CnnbenchError, match="no layer with weights that are trained 'whitening'"):
        check_names(load_recipe(path), tmp_path)
    path.write_text(text.replace("EXPRESSION", checks[0]))
    run_recipe(load_recipe(path), runs_dir=tmp_path / "runs", device="cpu")
    for check in (checks[0], checks[2]):
        path.write_text(text.replace("EXPRESSION", check))
        (found,) = report_recipe(load_recipe(path), runs_dir=tmp_path / "runs", device="cpu").checks
        assert found.verdict == ("holds" if check == checks[0] else "not evaluated")
    assert "whitening is not trained" in found.evidence[0]


def test_a_seed_that_is_missing_leaves_it_open(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/question/equal/seed1")
    shutil.rmtree(tmp_path / "runs/question/raised")
    found = results(tmp_path, "num_params > 0")
    assert found.verdict == "not evaluated"
    assert found.evidence == [
        "equal, seed 0: num_params = 8,163: holds", "equal, seed 1: not evaluated: no finished run",
        "raised: not evaluated: no finished run",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "more", "said"),
    [
        ("weight_variance(layr2) > 0", "", "no layer with weights 'layr2'; did you mean 'layer2'?"),
        ("weight_variance(features) > 0", "", "no layer with weights 'features'"),
        ("height(head) > 0", "", "head puts out 3, which has no height"),
        ("channels(nothing) > 0", "", "no module 'nothing'"),
        ("gradient(first) > 0", 'output = "featurs"', "no module 'featurs'; did you mean 'features'?"),
        ("gradient(head) > 0", 'output = "features"', "no layer with weights that are trained 'head'"),
        ("gradient(first) > 0", "draws = 72", "72 draws are too few to tell that it holds in 95 % of all"),
        ("gradient(first) > 0", "share = 0.99", "below; set draws = 381 or more"),
    ],
)
def test_layers_are_checked_before_training(tmp_path: Path, expression: str, more: str, said: str) -> None:
    path = write(tmp_path, f"[[checks]]\ntext = 'the claim'\nexpression = '{expression}'\n{more}\n")
    with pytest.raises(CnnbenchError) as caught:
        run_recipe(load_recipe(path), runs_dir=tmp_path / "runs", device="cpu")
    assert said in str(caught.value)
    of_variant = "" if "draws" in said else ", variant 'equal'"
    assert f'check "the claim"{of_variant}: ' in str(caught.value)
    marked = "output" if "featurs" in more else "expression"
    assert str(caught.value).splitlines()[1].strip().startswith(f"{marked} = ")
    with pytest.raises(CnnbenchError, match=re.escape(said)):
        describe_plan(load_recipe(path), tmp_path, tmp_path / "runs")  # what `show` shows
    assert not (tmp_path / "runs").exists()


def test_only_what_is_asked_for_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path, "[[checks]]\ntext = 'x'\nexpression = 'weight_variance(layer3) > 0'\n")
    path.write_text(path.read_text() + "[[variants]]\nname = 'other'\nmodel = {name = 'mlp', widths = [4]}\n")
    describe_plan(load_recipe(path, only=["equal"]), tmp_path, tmp_path / "runs")
    with pytest.raises(CnnbenchError, match=r"variant 'other': .* no layer with weights 'layer3'"):
        describe_plan(load_recipe(path), tmp_path, tmp_path / "runs")


def test_checks_without_variants_are_about_all(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "[[checks]]\ntext = 'x'\nexpression = 'channels(layer3) == 16'\n"))
    check_names(recipe, tmp_path)


def test_the_plan_and_the_report_hold_them(trained: Path) -> None:
    results(trained, "num_params < 9000")
    directory = trained / "runs/question"
    (check,) = json.loads((directory / "plan.json").read_text())["checks"]
    assert (check["text"], check["expression"]) == ("x", "num_params < 9000")
    text = (directory / "report.md").read_text()
    section = text[text.index("## Checks") : text.index("## Results")]
    assert "- **x** Holds: `num_params < 9000`" in section
    assert "  - equal, seeds 0, 1: num\\_params = 8,163: holds" in section.replace(
        "num_params =", "num\\_params ="
    )
    assert "<code>num_params &lt; 9000</code>" in (directory / "report.html").read_text()


@pytest.mark.parametrize(
    ("expression", "strict", "code"),
    [
        ("num_params < 9000", True, 0),
        ("num_params > 9000", True, 3),
        ("num_params > 9000", False, 0),
        ("1 / best_epoch > 0", True, 3),
    ],
)
@pytest.mark.parametrize("command", ["recipe", "report"])
def test_the_exit_code(
    trained: Path, monkeypatch: Any, capsys: Any, command: str, expression: str, strict: bool, code: int
) -> None:
    path = write(trained, f"[[checks]]\ntext = 'the text'\nexpression = '{expression}'\n")
    arguments = ["cnnbench", command, str(path), "--runs", str(trained / "runs"), "--device", "cpu"]
    monkeypatch.setattr("sys.argv", arguments + ["--strict"] * strict)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == code
    captured = capsys.readouterr()
    assert f"the text ({expression})" in captured.out
    said = "1 could not be evaluated" if "best_epoch" in expression else "1 fails"
    assert (f"--strict: of 1 check {said}" in captured.err) is (code == 3)


def test_the_worst_counts() -> None:
    assert worst(["holds", "undecided", "not evaluated", "fails"]) == "fails"
    assert worst(["holds", "undecided"]) == "undecided"
    assert worst([]) == "not evaluated"


def test_numbers_are_written_for_reading() -> None:
    written = [evaluate._number(value) for value in (8163.0, 0.123456, 1e-7, float("inf"), 1e20)]
    assert written == ["8,163", "0.1235", "1e-07", "inf", "1e+20"]


def test_draws_leave_random_numbers_alone(trained: Path) -> None:
    state = torch.get_rng_state()
    results(trained, "gradient(layer1) > 0", "draws = 2")
    assert torch.equal(torch.get_rng_state(), state)
