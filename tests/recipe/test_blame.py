"""Mistakes that show only after a recipe was read: where in the file, or in which `--set`, they stand."""

from pathlib import Path

import pytest

from cnnbench.errors import CnnbenchError
from cnnbench.recipe import RecipeError, load_recipe
from cnnbench.recipe.blame import of_analysis, of_check, of_variant, told_once

TEXT = """\
analyses = ["stability", "convergence"]
limits = {max_params = 100}
[data]
name = "synthetic"
classes = ["a", "b"]
[train]
epochs = 2
[[variants]]
name = "one"
model = {name = "mlp", widths = [4]}
[[variants]]
name = "two"
model = "mlp"
train.lr = 0.1
limits = {max_macs = 7}
[[checks]]
text = "so it is"
expression = "num_params > 0"
"""


def blamed(
    tmp_path: Path, variant: str, *setting: str | int, overrides: tuple[str, ...] = (), text: str = TEXT
) -> str:
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    recipe = load_recipe(path, overrides)
    with pytest.raises(RecipeError) as caught, of_variant(recipe, variant):
        raise CnnbenchError("cannot be").about(*setting)
    return str(caught.value).replace(str(path), "r.toml")


@pytest.mark.parametrize(
    ("variant", "setting", "line", "column", "marked"),
    [
        pytest.param("one", ("limits", "max_params"), 2, 24, "100", id="shared"),
        pytest.param("two", ("limits", "max_macs"), 15, 22, "7", id="its own"),
        pytest.param("two", ("limits", "max_params"), 2, 24, "100", id="shared beside its own"),
        pytest.param("one", ("data", "classes", 1), 5, 17, '"b"', id="element"),
        pytest.param("one", ("model", "widths"), 10, 33, "[4]", id="option"),
        pytest.param("two", ("model", "widths"), 13, 1, "model", id="option that is not written"),
        pytest.param("two", ("train", "lr"), 14, 12, "0.1", id="dotted key"),
        pytest.param("one", ("train", "lr"), 6, 1, "[train]", id="key of a section that is not written"),
        pytest.param("one", (), 9, 8, '"one"', id="not known what"),
        pytest.param("two", ("match_params",), 12, 8, '"two"', id="nothing of it written"),
    ],
)
def test_the_line_that_asks_for_it(
    tmp_path: Path, variant: str, setting: tuple[str | int, ...], line: int, column: int, marked: str
) -> None:
    first, source, caret = blamed(tmp_path, variant, *setting).split("\n")
    assert first == f"r.toml:{line}:{column}: variant {variant!r}: cannot be"
    assert source.removeprefix("    ") == TEXT.splitlines()[line - 1]
    assert source[caret.index("^") : caret.rindex("^") + 1] == marked


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("limits.max_params=5", True),
        ("variants.one.limits.max_params=5", True),
        ("limits={max_params=5}", True),
        ("train.epochs=5", False),
        ("variants.two.limits.max_params=5", False),
    ],
)
def test_what_was_set_on_the_command_line(tmp_path: Path, override: str, shown: bool) -> None:
    said = blamed(tmp_path, "one", "limits", "max_params", overrides=(override,))
    assert said.startswith(f"--set {override}: variant 'one'" if shown else "r.toml:2:24: variant 'one'")
    if shown:
        _, source, caret = said.split("\n")
        assert source[caret.index("^") : caret.rindex("^") + 1] == override.partition("=")[2]


def test_of_two_overrides_the_last_counts(tmp_path: Path) -> None:
    overrides = ("limits.max_params=5", "limits.max_params=6")
    said = blamed(tmp_path, "one", "limits", "max_params", overrides=overrides)
    assert said.startswith("--set limits.max_params=6: ")


SWEPT = 'data = {name = "synthetic"}\nmodel = "mlp"\n[sweep]\ntrain.lr = [0.1, 0.2]\n'


def test_a_sweep(tmp_path: Path) -> None:
    assert blamed(tmp_path, "lr=0.1", "train", "lr", text=SWEPT).startswith("r.toml:4:12: variant 'lr=0.1'")
    assert blamed(tmp_path, "lr=0.1", "model", "depth", text=SWEPT).startswith("r.toml:2:1: ")
    assert blamed(tmp_path, "lr=0.1", text=SWEPT).startswith("r.toml:3:1: ")
    crossed = SWEPT + '[[variants]]\nname = "a"\nmodel.widths = [5]\n'
    said = blamed(tmp_path, "a+lr=0.1", "model", "widths", text=crossed)
    assert said.startswith("r.toml:7:16: variant 'a+lr=0.1'")


def test_analyses_and_checks(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(TEXT, encoding="utf-8")
    recipe = load_recipe(path)
    said = r"r\.toml:1:26: analysis 'convergence': no"
    with pytest.raises(RecipeError, match=said) as caught, of_analysis(recipe, 1):
        raise CnnbenchError("no")
    assert str(caught.value).split("\n")[2].count("^") == len('"convergence"')
    said = r"r\.toml:18:14: check \"so it is\", variant 'two': no"
    with pytest.raises(RecipeError, match=said), of_check(recipe, recipe.checks[0], "two"):
        raise CnnbenchError("no")
    recipe = load_recipe(path, ['analyses=["stability"]'])
    said = r"--set analyses=.*: analysis 'stability': no"
    with pytest.raises(RecipeError, match=said), of_analysis(recipe, 0):
        raise CnnbenchError("no")


def test_what_variants_share_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(TEXT, encoding="utf-8")
    recipe = load_recipe(path)
    mistakes = []
    for variant, setting in (("one", "max_params"), ("two", "max_params"), ("two", "max_macs")):
        with pytest.raises(RecipeError) as caught, of_variant(recipe, variant):
            raise CnnbenchError("too many").about("limits", setting)
        mistakes += caught.value.mistakes
    told = told_once(mistakes).mistakes
    assert [(each.mark and each.mark.line, each.message) for each in told] == [
        (2, "variant 'one': too many"),
        (15, "variant 'two': too many"),
    ]


def test_the_variant_with_the_longest_name_is_blamed(tmp_path: Path) -> None:
    """ "a+x+lr-0.1" is made of "a+x", and not of "a"."""
    path = tmp_path / "r.toml"
    path.write_text(
        'data = "digits"\nmodel = {name = "cnn", widths = [8]}\n'
        '[[variants]]\nname = "a"\nmodel = {widths = [4]}\n'
        '[[variants]]\nname = "a+x"\nmodel = {widths = [8, 8, 8, 8, 8, 8]}\n[sweep]\ntrain.lr = [0.1]\n'
    )
    recipe = load_recipe(path)
    with pytest.raises(RecipeError) as caught, of_variant(recipe, "a+x+lr-0.1"):
        raise CnnbenchError("too small").about("model", "widths")
    mark = caught.value.mistakes[0].mark
    assert mark is not None
    assert mark.line == 8
