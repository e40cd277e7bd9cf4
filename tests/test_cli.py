"""The commands as a user meets them: exit codes, what goes to stdout, messages, help."""

import codecs
import csv
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from cnnbench import catalog
from cnnbench.arguments import Kind
from cnnbench.cli import main

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).parent / "cnnbench"
TINY = """
title = "Tiny"
question = "Is wider better?"
analyses = ["learning_curves"]

[data]
name = "digits"
limit = 120

[train]
epochs = 1
seeds = [0, 1]

[[variants]]
name = "narrow"
model = {name = "mlp", widths = [8]}

[[variants]]
name = "wide"
model = {name = "mlp", widths = [16]}

[[claims]]
text = "Wider is better."
better = ["wide"]
than = ["narrow"]
"""
VARIANT = '[[variants]]\nname = "a"\nmodel = "mlp"\n'
DATA = '[data]\nname = "digits"\n'
ROW_KEYS = {
    "recipe", "variant", "num_seeds", "num_params", "macs", "test_accuracy", "val_accuracy", "train_accuracy",
    "train_seconds", "latency_ms", "throughput", "peak_memory_mib", "best_epoch", "device", "complete",
}  # fmt: skip


class Done(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Done]
Trained = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture
def cnnbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process, by the entry point that the installed script calls."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["cnnbench", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        assert isinstance(code, int)
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """A folder with tiny.toml and runs/, trained by the real command; and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    command = [PROGRAM, "recipe", "tiny.toml", "--device", "cpu"]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def assert_one_message(done: Done) -> None:
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err


PRETRAINED = """
analyses = []
[data]
name = "digits"
limit = 60
[train]
epochs = 0
[[variants]]
name = "absent"
model = {name = "torchvision/squeezenet1_1", weights = "absent.pth", image_size = 32}
[[variants]]
name = "mlp"
model = {name = "mlp", widths = [4]}
"""


def test_a_skipped_variant_stops_nothing(cnnbench: Command, tmp_path: Path) -> None:
    (tmp_path / "trial.toml").write_text(PRETRAINED, encoding="utf-8")
    command = ("recipe", tmp_path / "trial.toml", "--runs", tmp_path / "runs")
    done = cnnbench(*command)
    assert done.code == 0
    assert "skipped, their weights are missing: absent; the others were run" in " ".join(done.err.split())
    assert "| skipped |" in (tmp_path / "runs/trial/report.md").read_text(encoding="utf-8")
    done = cnnbench(*command, "--only", "absent")
    assert done.code == 2
    assert "their weights are missing: absent; nothing was done" in " ".join(done.err.split())


def test_where_every_variant_is_skipped_nothing_was_done(cnnbench: Command, tmp_path: Path) -> None:
    text = PRETRAINED.replace('{name = "mlp", widths = [4]}', '{name = "timm/resnet18", weights = "b.pth"}')
    (tmp_path / "trial.toml").write_text(text, encoding="utf-8")
    done = cnnbench("recipe", tmp_path / "trial.toml", "--runs", tmp_path / "runs")
    assert done.code == 2
    assert "their weights are missing: absent, mlp; nothing was done" in " ".join(done.err.split())
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[data\n", "not valid TOML", id="broken"),
        pytest.param(
            DATA + VARIANT + '[[variant]]\nname = "b"\n', "did you mean 'variants'", id="recipe-key"
        ),
        pytest.param(DATA + "batchsize = 3\n" + VARIANT, "did you mean 'batch_size'", id="section-key"),
        pytest.param(
            DATA + VARIANT.replace('"mlp"', '{name = "mlp", width = [3]}'),
            "did you mean 'widths'",
            id="option",
        ),
        pytest.param(DATA + '[train]\nlr = "fast"\n' + VARIANT, "expected a number", id="type"),
        pytest.param(DATA + "[train]\nlr = nan\n" + VARIANT, "not a number", id="nan"),
        pytest.param(DATA + "[train]\nepochs = -1\n" + VARIANT, "of at least 0", id="epochs"),
        pytest.param(DATA + "batch_size = 0\n" + VARIANT, "of at least 1", id="batch-size"),
        pytest.param(DATA + VARIANT.replace("mlp", "mpl"), "did you mean 'mlp'", id="model"),
        pytest.param(DATA.replace("digits", "digitz") + VARIANT, "did you mean 'digits'", id="dataset"),
        pytest.param(DATA + '[train]\noptimizer = "adan"\n' + VARIANT, "did you mean 'adam", id="optimizer"),
        pytest.param('analyses = ["stabilty"]\n' + DATA + VARIANT, "did you mean 'stability'", id="analysis"),
        pytest.param(
            DATA + 'augment = ["HorizontalFlop"]\n' + VARIANT,
            "did you mean 'HorizontalFlip'",
            id="augmentation",
        ),
        pytest.param(DATA, "no variants", id="no-variants"),
        pytest.param(DATA + VARIANT + VARIANT, "two variants", id="same-name"),
        pytest.param(DATA + VARIANT.replace('"a"', '"../a"'), "cannot be a directory's", id="unsafe-name"),
        pytest.param("", "is empty", id="empty"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_message(
    text: str, said: str, cnnbench: Command, tmp_path: Path
) -> None:
    file = tmp_path / "question.toml"
    file.write_text(text, encoding="utf-8")
    done = cnnbench("recipe", file, "--runs", tmp_path / "runs")
    assert_one_message(done)
    assert done.err.startswith(f"error: {file}")
    assert said in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["recipe", "tiny.toml", "--seeds", "0"], "--seeds", id="no-seeds"),
        pytest.param(["recipe", "tiny.toml", "--only", "wdie"], "did you mean 'wide'", id="only"),
        pytest.param(["recipe", "tiny.toml", "--set", "train.epoch=2"], "did you mean", id="set-key"),
        pytest.param(["recipe", "tiny.toml", "--set", "epochs"], "KEY=VALUE", id="set-form"),
        pytest.param(["recipe", "tin.toml"], "did you mean 'tiny.toml'", id="no-file"),
        pytest.param(["recipe", "."], "is a directory", id="directory"),
        pytest.param(["recipe", "latin.toml"], "not UTF-8", id="encoding"),
        pytest.param(["recipe", "tiny.toml", "--precision", "fp16", "--device", "cpu"], "fp16", id="fp16"),
        pytest.param(["recipe", "tiny.toml", "--device", "tpu"], "tpu", id="device"),
        pytest.param(["recipe"], "RECIPE", id="no-recipe"),
        pytest.param(["recipe", "tiny.toml", "--sedes", "1"], "--seeds", id="unknown-option"),
        pytest.param(["show"], "RECIPE", id="show-nothing"),
        pytest.param(["list", "modles"], "models", id="kind"),
        pytest.param(["data", "cifar"], "did you mean 'cifar10'", id="dataset"),
        pytest.param(["compare"], "no runs in runs", id="no-runs"),
        pytest.param(["compare", "absent"], "absent", id="no-path"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_message(
    arguments: list[str], said: str, cnnbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    (tmp_path / "latin.toml").write_bytes('title = "Größe"\n'.encode("latin-1"))
    done = cnnbench(*arguments)
    assert_one_message(done)
    assert said in done.err


def test_cuda_where_there_is_none(cnnbench: Command, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    done = cnnbench("recipe", tmp_path / "tiny.toml", "--device", "cuda", "--runs", tmp_path / "runs")
    assert_one_message(done)
    assert "no CUDA device" in done.err


def test_missing_data_names_three_ways_out(cnnbench: Command, tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY.replace("digits", "mnist"), encoding="utf-8")
    done = cnnbench("recipe", file, "--data", tmp_path / "data", "--runs", tmp_path / "runs")
    assert_one_message(done)
    for part in (str(tmp_path / "data"), "train-images", "cnnbench data mnist", "CNNBENCH_DATA", "digits"):
        assert part in done.err


def test_byte_order_mark_and_crlf_are_fine(cnnbench: Command, tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_bytes(b"\xef\xbb\xbf" + TINY.replace("\n", "\r\n").encode())
    assert cnnbench("recipe", file, "--dry-run", "--runs", tmp_path / "runs").code == 0


def test_recipe_trains_and_answers(trained: Trained) -> None:
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert "narrow" in done.stdout
    assert "Highest test accuracy" in done.stdout
    assert re.search(r"^- (Undecided|Supported|Contradicted): Wider is better\.$", done.stdout, re.MULTILINE)
    assert "    wide against narrow: " in done.stdout
    assert "epoch 1: val accuracy" in done.stderr
    assert "epoch 1:" not in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert (folder / "runs/tiny/report.md").is_file()
    assert len(list((folder / "runs/tiny").glob("*/seed*/result.json"))) == 4


def test_the_same_command_again_trains_nothing(trained: Trained, cnnbench: Command) -> None:
    folder, _ = trained
    done = cnnbench("recipe", folder / "tiny.toml", "--runs", folder / "runs", "--dry-run")
    assert done.code == 0
    assert done.out.count("reuse") == 4
    done = cnnbench("recipe", folder / "tiny.toml", "--runs", folder / "runs")
    assert done.code == 0
    assert done.err.count("complete already") == 4
    assert "epoch 1:" not in done.err


def test_report_writes_it_anew_and_copies_it(trained: Trained, cnnbench: Command, tmp_path: Path) -> None:
    folder, first = trained
    report = folder / "runs/tiny/report.md"
    before = report.read_text(encoding="utf-8")
    report.unlink()
    done = cnnbench("report", folder / "tiny.toml", "--runs", folder / "runs", "--save", tmp_path / "answers")
    assert done.code == 0, done.err
    assert "epoch 1:" not in done.err
    assert [line for line in done.out.splitlines() if line.startswith("- ")] == [
        line for line in first.stdout.splitlines() if line.startswith("- ")
    ]
    assert "## Claims" in report.read_text(encoding="utf-8")
    copied = (tmp_path / "answers/tiny.md").read_text(encoding="utf-8")
    assert "](tiny/figures/learning_curves_accuracy.png)" in copied
    assert (tmp_path / "answers/tiny/figures/learning_curves_accuracy.png").is_file()
    assert before.partition("## Results")[0] == report.read_text(encoding="utf-8").partition("## Results")[0]


def test_what_report_copied_is_compared_like_the_runs(
    trained: Trained, cnnbench: Command, tmp_path: Path
) -> None:
    folder, _ = trained
    saved = tmp_path / "answers"
    assert cnnbench("report", folder / "tiny.toml", "--runs", folder / "runs", "--save", saved).code == 0
    assert not list(saved.rglob("*.safetensors"))
    there = cnnbench("compare", folder / "tiny.toml", "--runs", folder / "runs", "--format", "json")
    here = cnnbench("compare", folder / "tiny.toml", "--runs", saved, "--format", "json")
    assert here.code == 0, here.err
    assert here.out == there.out


def test_a_report_needs_finished_runs(cnnbench: Command, tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY, encoding="utf-8")
    done = cnnbench("report", file, "--runs", tmp_path / "runs")
    assert_one_message(done)
    assert "no finished run of these settings in" in done.err
    assert "train it first (cnnbench recipe " in done.err
    assert list(tmp_path.iterdir()) == [file]


def test_dry_run_changes_nothing(cnnbench: Command, tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY, encoding="utf-8")
    done = cnnbench("recipe", file, "--dry-run", "--only", "wide", "--runs", tmp_path / "runs")
    assert done.code == 0
    assert done.out.count("not trained yet") == 2
    assert "narrow" not in done.out
    assert list(tmp_path.iterdir()) == [file]


def test_compare_as_json_has_the_agreed_keys(trained: Trained, cnnbench: Command) -> None:
    folder, _ = trained
    done = cnnbench("compare", "--runs", folder / "runs", "--format", "json")
    assert done.code == 0
    rows = json.loads(done.out)
    assert [row["variant"] for row in rows] == ["narrow", "wide"]
    for row in rows:
        assert row.keys() >= ROW_KEYS
        assert row["test_accuracy"].keys() == {"mean", "std", "low", "high"}
        assert row["num_seeds"] == 2
        assert row["complete"] is True
    # 8x8 pixels, one hidden layer of 8, ten classes: 64*8 + 8 + 8*10 + 10
    assert rows[0]["num_params"] == 610
    # runs of a tenth of a second may differ too much for a picture of their times, which is said then
    pictures = {path.name for path in (folder / "runs/comparison").iterdir()}
    of_time = {"test_accuracy_vs_train_seconds.png"} - pictures
    assert done.err.count("\npicture:") + done.err.startswith("picture:") == len(pictures)
    assert ("no picture of training time" in done.err) is bool(of_time)
    assert pictures | of_time == {"test_accuracy_vs_num_params.png", "test_accuracy_vs_train_seconds.png"}


def test_compare_as_csv_and_markdown(trained: Trained, cnnbench: Command) -> None:
    folder, _ = trained
    done = cnnbench("compare", folder / "runs/tiny", "--runs", folder / "runs", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["variant"] for row in rows] == ["narrow", "wide"]
    assert 0 <= float(rows[0]["test_accuracy_mean"]) <= 1
    done = cnnbench("compare", "tiny", "--runs", folder / "runs", "--format", "markdown")
    assert done.out.startswith("| variant | seeds |")


@pytest.mark.parametrize(("suffix", "start"), [(".json", "["), (".csv", "recipe,"), (".md", "| variant |")])
def test_compare_saves(
    suffix: str,
    start: str,
    trained: Trained,
    cnnbench: Command,
    tmp_path: Path,
) -> None:
    folder, _ = trained
    saved = tmp_path / f"table{suffix}"
    done = cnnbench("compare", folder / "tiny.toml", "--runs", folder / "runs", "--save", saved)
    assert done.code == 0
    assert saved.read_text(encoding="utf-8").startswith(start)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--metric", "test_acuracy"], 'did you mean "test_accuracy"', id="metric"),
        pytest.param(["--save", "table.xlsx"], ".json, .csv, .md", id="suffix"),
        pytest.param(["--format", "xml"], "markdown", id="format"),
    ],
)
def test_mistakes_of_compare(
    arguments: list[str],
    said: str,
    trained: Trained,
    cnnbench: Command,
) -> None:
    folder, _ = trained
    done = cnnbench("compare", "--runs", folder / "runs", *arguments)
    assert_one_message(done)
    assert said in done.err


def test_problems_are_told_beside_json(trained: Trained, cnnbench: Command, tmp_path: Path) -> None:
    folder, _ = trained
    shutil.copytree(folder / "runs", tmp_path / "runs")
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "plan.json").write_text("{")
    for form in ("json", "csv"):
        done = cnnbench("compare", "--runs", tmp_path / "runs", "--format", form)
        assert done.code == 0
        assert "plan.json" in done.err
        assert "plan.json" not in done.out


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
def test_nothing_but_problems_is_no_comparison(form: str, cnnbench: Command, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "plan.json").write_text('{"x"')
    done = cnnbench("compare", "broken", "--runs", tmp_path, "--format", form)
    assert_one_message(done)
    assert "there is nothing to compare: broken: " in done.err


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("recipe", "{RECIPE}..."),
        ("compare", "[PATH]..."),
        ("predict", "{RUN} {IMAGE}..."),
        ("data", "[NAME]..."),
    ],
)
def test_usage_repeats_what_can_be_repeated(command: str, usage: str, cnnbench: Command) -> None:
    first = cnnbench(command, "--help").out.strip().splitlines()[0]
    assert first.strip() == f"Usage: cnnbench {command} [OPTIONS] {usage}"


def test_what_an_encoding_lacks_is_written_with_other_signs() -> None:
    from cnnbench.console import in_ascii

    codecs.register_error("of_a_test", in_ascii)
    assert "★ 91.2 ± 0.3, ≈ 3×3 – 日".encode("ascii", "of_a_test") == b"* 91.2 +- 0.3, ~ 3x3 - ?"
    assert "91.2 ± 0.3 ★".encode("latin-1", "of_a_test") == b"91.2 \xb1 0.3 *"


def test_runs_that_would_be_in_a_file(cnnbench: Command, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "file").write_text("")
    done = cnnbench("recipe", tmp_path / "tiny.toml", "--runs", tmp_path / "file")
    assert done.code == 2
    assert "Not a directory; name another place" in done.err


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    path = tmp_path / "eight.png"
    Image.new("L", (8, 8), 200).save(path)
    return path


def test_predict_prints_classes_with_probabilities(trained: Trained, digit: Path, cnnbench: Command) -> None:
    runs = trained[0] / "runs"
    code, out, err = cnnbench("predict", runs / "tiny/wide/seed1", digit, "--top", 3, "--format", "json")
    assert code == 0, err
    (found,) = json.loads(out)
    assert found["image"] == str(digit)
    probabilities = [each["probability"] for each in found["classes"]]
    assert len(probabilities) == 3
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1
    code, out, err = cnnbench("predict", "tiny/wide", digit, "--runs", runs)  # its first seed, which is said
    assert code == 0
    assert "seed0" in err
    assert "eight.png" in out
    assert "%" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny/wode", "IMAGE"], "tiny/wide"),
        (["tiny/wide", "absent.png"], "absent.png"),
        (["tiny/wide", "IMAGE", "--save", "masks"], "masks"),
        (["tiny/wide", "BROKEN"], "broken.png"),
    ],
)
def test_mistakes_of_predict(
    arguments: list[str], message: str, trained: Trained, digit: Path, cnnbench: Command
) -> None:
    broken = digit.with_name("broken.png")
    broken.write_bytes(digit.read_bytes()[:40])
    paths = {"IMAGE": digit, "BROKEN": broken}
    done = cnnbench("predict", *(paths.get(each, each) for each in arguments), "--runs", trained[0] / "runs")
    assert_one_message(done)
    assert message in done.err


def test_bench_writes_json_to_stdout_and_progress_to_stderr(cnnbench: Command, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    done = cnnbench(
        "bench", tmp_path / "tiny.toml", "--variant", "wide", "--seconds", "0.1", "--repeats", "1",
        "--set", "data.batch_size=16",
        "--format", "json",
    )  # fmt: skip
    assert done.code == 0
    assert [each["variant"] for each in json.loads(done.out)["variants"]] == ["wide"]
    assert "wide, turn 1 of 1: data alone" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--save", "speeds.txt"], "ends in .md or .json", id="suffix"),
        pytest.param(["--variant", "wrn-16-5"], "did you mean 'wrn-16-4'?", id="variant"),
        pytest.param(["--seconds", "0"], "0.1", id="seconds"),
    ],
)
def test_bench_refuses(cnnbench: Command, arguments: list[str], message: str) -> None:
    done = cnnbench("bench", *arguments)
    assert done.code == 2
    assert message in done.err


def test_show_as_json(cnnbench: Command, tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY, encoding="utf-8")
    plan = json.loads(cnnbench("show", file, "--format", "json").out)
    assert plan["recipe"] == "tiny"
    assert [variant["num_params"] for variant in plan["variants"]] == [610, 1210]
    layers = plan["variants"][0]["layers"]
    assert sum(layer["num_params"] for layer in layers) == 610
    assert plan["variants"][0]["output_shape"] == [10]
    assert plan["variants"][0]["macs"] == 64 * 8 + 8 * 10


def test_show_as_table(cnnbench: Command) -> None:
    done = cnnbench("show", ROOT / "recipes/3_2_blocks.toml", "--only", "wide")
    assert done.code == 0
    assert "2,748,890" in done.out
    assert "basic-large" not in done.out


def test_show_schema(cnnbench: Command) -> None:
    schema = json.loads(cnnbench("show", "--schema").out)
    assert schema["title"] == "cnnbench recipe"
    assert schema["$defs"].keys() >= {"data", "model", "train", "variant", "limits"}


@pytest.mark.parametrize("kind", [kind.value for kind in Kind if kind is not Kind.recipes])
def test_list_names_everything(kind: str, cnnbench: Command) -> None:
    from cnnbench.listing import KINDS

    done = cnnbench("list", kind)
    assert done.code == 0
    words = set(re.findall(r"\w+", done.out))
    assert set(catalog.KINDS[KINDS[kind]]) <= words


def test_list_recipes(cnnbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = cnnbench("list", "recipes")
    for path in ROOT.glob("recipes/**/*.toml"):
        assert str(path.relative_to(ROOT)) in done.out


def test_data_says_what_is_there(cnnbench: Command, tmp_path: Path) -> None:
    done = cnnbench("data", "--data", tmp_path)
    assert done.code == 0
    assert re.search(r"digits +│ 1,438 training and 359 test images", done.out)
    assert "not complete" in done.out
    assert all(name in done.out for name in catalog.DATASETS)
    done = cnnbench("data", "digits", "--data", tmp_path)
    assert done.code == 0
    assert done.out.startswith("digits: ")
    assert done.out.endswith("verified\n")


def test_version(cnnbench: Command) -> None:
    assert re.fullmatch(r"cnnbench \d+\.\d+\.\d+\n", cnnbench("--version").out)


COMMANDS = ("recipe", "report", "compare", "predict", "show", "bench", "list", "data")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, cnnbench: Command) -> None:
    done = cnnbench(command, "--help")
    assert done.code == 0
    assert f"Example: cnnbench {command}" in done.out


def test_help_lists_the_commands(cnnbench: Command) -> None:
    done = cnnbench("--help")
    assert all(command in done.out for command in COMMANDS)


@pytest.mark.parametrize("arguments", ["list", "show --schema"])
def test_a_reader_that_goes_away(arguments: str) -> None:
    command = f"'{PROGRAM}' {arguments} | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_completion() -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [PROGRAM, "--show-completion", "bash"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert "complete" in done.stdout
    assert done.returncode == 0
    asked = {
        **os.environ,
        "_CNNBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "cnnbench com",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([PROGRAM], env=asked, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["compare"]


@pytest.mark.parametrize("jobs", ["0", "257", "many", "-1", "2.5"])
def test_jobs_that_cannot_be(jobs: str, cnnbench: Command) -> None:
    done = cnnbench("recipe", "recipes/quickstart.toml", "--dry-run", "--jobs", jobs)
    assert done.code == 2
    assert "expected auto or a number from 1 to 256" in " ".join(done.err.split())


@pytest.mark.parametrize(("jobs", "saved"), [("1", "narrow seed 0 is saved"), ("2", "saved up to")])
def test_an_interrupt_is_130_and_saves(tmp_path: Path, jobs: str, saved: str) -> None:
    file = tmp_path / "long.toml"
    file.write_text(TINY.replace("epochs = 1", "epochs = 100000"), encoding="utf-8")
    command = [PROGRAM, "recipe", file, "--runs", tmp_path / "runs", "--device", "cpu", "--jobs", jobs]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # tests may run in the background, where an interrupt is ignored; here it is not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if "epoch 2:" in line:
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                break
        seen += process.communicate(timeout=60)[1]
    assert process.returncode == 130, seen
    assert saved in seen
    assert "Traceback" not in seen


def in_a_terminal(command: list[str | Path], columns: int, **environment: str) -> str:
    """What a program writes to a terminal of this width, stdout and stderr alike."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    known = {
        key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR", "CI")
    }
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**known, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        written += block
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return written.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 120])
def test_a_comparison_fits_the_terminal(columns: int, trained: Trained) -> None:
    folder, _ = trained
    command = [PROGRAM, "compare", "--runs", folder / "runs"]
    text = in_a_terminal(command, columns, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text), "colors in spite of NO_COLOR"
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in text.split("\n")]
    table = [line for line in lines if line[:1] in "┏┃┡│└" and line]
    assert max(map(len, table)) <= columns
    assert len({len(line) for line in table}) == 1
    assert sum(line.startswith("│ narrow") for line in table) == 1
    assert sum(line.startswith("│") for line in table) == 2, "a row is broken"
    assert any("610" in line for line in table)


def test_an_encoding_without_stars_is_no_failure() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run([PROGRAM, "list", "models"], env=environment, capture_output=True, timeout=120)
    assert (shown.returncode, b"Traceback" in shown.stderr) == (0, False)
    assert shown.stdout.isascii()


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_output_is_no_failure(closed: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"'{PROGRAM}' list models {closed}"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_pictures_that_cannot_be_written_do_not_fail_a_comparison(
    trained: Trained, cnnbench: Command, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(trained[0] / "runs", runs)
    shutil.rmtree(runs / "comparison", ignore_errors=True)
    (runs / "comparison").write_text("no folder")
    done = cnnbench("compare", "--runs", runs)
    assert done.code == 0
    assert "no pictures: " in done.err
    assert "narrow" in done.out


def test_an_interrupt_meant_for_others_is_left_alone() -> None:
    """A job in the background of a script is told to ignore Ctrl-C."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from cnnbench.interrupts import Interrupts; Interrupts()\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
