"""README and manual say what is so: their commands work, their paths exist, and nothing is left out."""

import csv
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import typer

from cnnbench import catalog, cli
from cnnbench.commands import outcomes
from cnnbench.plan import describe_plan
from cnnbench.recipe import DataConfig, Limits, TrainConfig, load_recipe
from cnnbench.recipe.checks import QUANTITIES
from cnnbench.recipe.reader import DEFAULT_ANALYSES, RECIPE_KEYS, VARIANT_KEYS
from cnnbench.recipe.sweep import SWEEP_KEYS
from cnnbench.running import run_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MANUAL = "\n".join(
    [
        README,
        *(
            (ROOT / f"docs/{name}.md").read_text("utf-8")
            for name in ("recipes", "data", "runs", "development")
        ),
    ]
)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```$", "", MANUAL, flags=re.MULTILINE | re.DOTALL)
CODE = re.findall(r"`([^`\n]+)`", PROSE)
TARGETS = re.findall(r"^([a-z][a-z_-]*):.*## ", MAKEFILE, re.MULTILINE)
COMMANDS = ("recipe", "report", "compare", "predict", "show", "bench", "list", "data")
# Three variants in name only: what the manual's commands name is there, and it takes a moment to train.
TINY = """
[data]
name = "digits"
limit = 60
[model]
name = "mlp"
widths = [4]
[train]
epochs = 1
[[variants]]
name = "mlp"
[[variants]]
name = "cnn"
"""


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def shell_lines() -> list[str]:
    return [line for text in blocks("sh") for line in text.splitlines() if line and line[0] != "#"]


CNNBENCH = [
    shlex.split(line.partition(" | ")[0])[1:] for line in shell_lines() if line.startswith("cnnbench ")
]


def is_cheap(arguments: list[str]) -> bool:
    """Whether it trains nothing, loads nothing from the network and changes nothing of the user's."""
    return (
        arguments[0] in ("list", "show", "compare", "--version")
        or arguments == ["data"]
        or "--dry-run" in arguments
    )


def test_there_are_examples_of_every_command() -> None:
    assert {arguments[0] for arguments in CNNBENCH} >= set(COMMANDS)


@pytest.mark.parametrize("arguments", CNNBENCH, ids=" ".join)
def test_a_command_is_one_that_exists(arguments: list[str]) -> None:
    group = typer.main.get_command(cli.app)
    if arguments[0].startswith("-"):
        known = {option for parameter in group.params for option in parameter.opts}
        assert set(arguments) <= known
        return
    command = group.commands[arguments[0]]  # type: ignore[attr-defined]
    context = command.make_context(arguments[0], list(arguments[1:]))  # a usage error is an exception
    for path in context.params.get("recipes") or []:
        assert (ROOT / path).is_file() or path == Path("my_question.toml")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a clone, in which the quickstart has been trained, in a smaller form."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "tiny/recipes").mkdir(parents=True)
    tiny = folder / "tiny/recipes/quickstart.toml"
    tiny.write_text(TINY, encoding="utf-8")
    recipe = load_recipe(tiny).model_copy(update={"analyses": []})
    run_recipe(recipe, runs_dir=folder / "runs", device="cpu")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    return folder


@pytest.mark.parametrize("arguments", [each for each in CNNBENCH if is_cheap(each)], ids=" ".join)
def test_a_cheap_command_works(
    arguments: list[str],
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.delenv("CNNBENCH_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["cnnbench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    assert not ended.value.code, captured.err
    assert captured.out


def test_make_targets() -> None:
    asked = {line.split()[1] for line in shell_lines() if line.startswith("make ")}
    asked |= {code.split()[1] for code in CODE if code.startswith("make ")}
    assert sorted(asked - set(TARGETS)) == []
    assert sorted(set(TARGETS) - asked) == [], "in neither README nor manual"


def test_recipes_in_the_manual_load(tmp_path: Path) -> None:
    assert blocks("toml")
    for text in blocks("toml"):
        file = tmp_path / "question.toml"
        file.write_text(text, encoding="utf-8")
        plan = describe_plan(load_recipe(file), tmp_path)
        assert len(plan["variants"]) > 1


def test_the_plugin_in_the_readme_works(tmp_path: Path) -> None:
    (text,) = [block for block in blocks("python") if block.startswith("# my_models.py\n")]
    (tmp_path / "my_models.py").write_text(text, encoding="utf-8")
    said = [code for code in CODE if code.startswith(("plugins = ", 'model = {name = "linear"'))]
    assert len(said) == 2
    file = tmp_path / "question.toml"
    file.write_text(
        f'{said[0]}\n[data]\nname = "digits"\n[[variants]]\nname = "linear"\n{said[1]}\n', encoding="utf-8"
    )
    (variant,) = describe_plan(load_recipe(file), tmp_path)["variants"]
    assert variant["num_params"] == 8 * 8 * 10  # no bias


def test_python_in_the_readme_names_what_there_is() -> None:
    import cnnbench

    (text,) = [block for block in blocks("python") if "from cnnbench import" in block]
    compile(text, "README.md", "exec")
    names = re.findall(r"\w+", re.findall(r"from cnnbench import (.*)", text)[0])
    assert sorted(names) == sorted(cnnbench.__all__)


def test_every_path_exists() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    start = re.compile(r"(recipes|cnnbench|docs|tests|\.ci)/|(CHANGELOG|LICENSE|README|Makefile)\b")
    named = links + [code for code in CODE if start.match(code) and " " not in code]
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.stem)
def test_every_file_that_a_page_refers_to_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.stem
)
def test_every_heading_that_a_page_refers_to_exists(page: Path) -> None:
    for file, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        target = page.parent / file if file else page
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_the_figures_of_speed_are_those_of_the_bench() -> None:
    """Each model's ratio, aim apart, stands in docs/speed.md as `make bench` wrote it."""
    bench = (ROOT / "docs/results/bench.md").read_text(encoding="utf-8")
    ratios = re.findall(r"\| (\d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)) \|", bench)
    assert len(ratios) == 4
    assert (
        re.findall(r"\| (\d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)) \|", (ROOT / "docs/speed.md").read_text())
        == ratios
    )


@pytest.mark.parametrize("kind", catalog.KINDS)
def test_every_unit_is_mentioned(kind: str) -> None:
    words = set(re.findall(r"\w+", " ".join(CODE)))
    assert sorted(set(catalog.KINDS[kind]) - words) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/**/*.toml")), ids=lambda path: path.stem)
def test_every_recipe_stands_in_the_table(path: Path) -> None:
    rows = [line for line in PROSE.splitlines() if line.startswith("| ")]
    assert any(f"`{path.relative_to(ROOT).as_posix()}` |" in row for row in rows)


def test_the_page_on_a_gpu_has_what_other_pages_report() -> None:
    results = ROOT / "docs/results"
    page = (results / "gpu.md").read_text(encoding="utf-8")
    row = r"^\| \[([\w/]+)\]\(\1\.md\) \| (\S+)( \(\w+\))? \| [\d.]+ \| ([\d.]+)(?: ± ([\d.]+))? \| (\d+) \|$"
    found = re.findall(row, page, re.MULTILINE)
    assert len(found) == page.count("\n| [") > 70
    stems = {"": "test_accuracy", " (IoU)": "test_iou", " (validation)": "val_accuracy"}
    for name, variant, measure, mean, std, num_seeds in found:
        file = results / name / "tables/results.csv"
        rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
        reported = next(each for each in rows if each["variant"] == variant)
        of_seeds = [float(reported[f"{stems[measure]}_{key}"] or 0) for key in ("mean", "std")]
        digits = len(mean.partition(".")[2])
        assert [f"{100 * value:.{digits}f}" for value in of_seeds] == [mean, std or f"{0:.{digits}f}"]
        assert reported["num_seeds"] == num_seeds


def test_every_page_is_linked_from_both_tables() -> None:
    """Of recipes: the one of the README by section, and the one of all answers."""
    results = ROOT / "docs/results"
    names = {page.relative_to(results).with_suffix("").as_posix() for page in results.rglob("*.md")}
    names -= {"README", "bench", "gpu"}
    of_recipes = re.findall(r"`recipes/([\w/]+)\.toml` \| \[page\]\(docs/results/([\w/]+)\.md\) \|", PROSE)
    assert {name for name, _ in of_recipes} == names
    assert all(name == page for name, page in of_recipes)
    answers = (results / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[([\w/]+)\]", answers, re.MULTILINE)) == names


def test_every_requirement_stands_in_the_table() -> None:
    column = " ".join(re.findall(r"^\| ([A-F]\d[^|]*) \|", PROSE, re.MULTILINE))
    for first, last in re.findall(r"([A-F]\d\.\d)–[A-F](\d\.\d)", column):
        column += " " + " ".join(f"{first[:3]}{n}" for n in range(int(first[3]), int(last[2]) + 1))
    asked = "A1.1 A1.2 A2.1 A2.2 A3.1 A3.2 B1 B2.1 B2.2 B2.3 B2.4 B2.5 B3.1 B3.2 B3.3 B4.1 B4.2 B4.3 B4.4"
    asked += " C1 C2 C3 C4 D1 D2 D3 E1 E2 F1 F2"
    assert sorted(set(asked.split()) - set(re.findall(r"[A-F]\d(?:\.\d)?", column))) == []


def test_every_key_of_the_language_stands_in_the_reference() -> None:
    table = " ".join(re.findall(r"^\| (?:top|`limits`|`\[).*", PROSE, re.MULTILINE))
    keys = {*RECIPE_KEYS, *VARIANT_KEYS, *SWEEP_KEYS, "seeds"}
    for model in (DataConfig, TrainConfig, Limits):
        keys |= model.model_fields.keys()
    assert sorted(keys - set(re.findall(r"\w+", table))) == []
    assert all(f"`{name}`" in table for name in DEFAULT_ANALYSES)


def test_defaults_in_the_reference() -> None:
    for key, default in (("batch_size", "128"), ("epochs", "10"), ("lr", "1e-3"), ("val_size", "0.1")):
        assert re.search(rf"^\| .*`{key}` \|.*\| {re.escape(default)} \|$", PROSE, re.MULTILINE), key
    assert DataConfig.model_fields["batch_size"].default == 128
    assert DataConfig.model_fields["val_fraction"].default == 0.1
    assert (TrainConfig.model_fields["epochs"].default, TrainConfig.model_fields["lr"].default) == (10, 1e-3)


def test_options_in_the_manual_are_ones_of_the_command() -> None:
    group = typer.main.get_command(cli.app)
    commands = [group, *group.commands.values()]  # type: ignore[attr-defined]
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = {word for code in CODE for word in re.findall(r"(?<!\S)--[a-z-]+", code)}
    assert sorted(named - known - {"--help"}) == []


def test_every_quantity_that_can_be_claimed_or_checked_is_in_the_manual() -> None:
    rows = re.search(r"^\| quantity \|.*?\n\n(.*?)$", PROSE, re.MULTILINE | re.DOTALL)
    assert rows is not None
    text = rows.group()
    for name, known in QUANTITIES.items():
        split, _, measure = name.partition("_")
        here = f"`{name}`" in text or (split in ("val", "train") and f"`test_{measure}`" in text)
        assert here or (known.of_layer and f"`{name}`" in PROSE), name


def test_exit_codes() -> None:
    assert re.findall(r"^\| (\d+) \| ", PROSE, re.MULTILINE) == ["0", "1", "2", "3", "130"]
    assert (outcomes.USER_MISTAKE, outcomes.CHECK_FAILED, outcomes.INTERRUPTED) == (2, 3, 130)


def test_the_place_of_the_comparison_is_marked() -> None:
    assert README.count("<!-- 3_2_blocks -->") == README.count("<!-- /3_2_blocks -->") == 1
    assert README.index("<!-- 3_2_blocks -->") < README.index("<!-- /3_2_blocks -->")
