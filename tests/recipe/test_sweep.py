"""[sweep]: which variants its lists make, what they are called, and where its mistakes are shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnbench.recipe import Recipe, RecipeError, load_recipe, recipe_schema

DATA = '[data]\nname = "digits"\n'
BASE = f'model = "mlp"\n{DATA}[sweep]\n'  # a list added here stands in line 5
TWO_VARIANTS = """
[[variants]]
name = "small"
model = {name = "mlp", widths = [4]}
[[variants]]
name = "large"
model = {name = "mlp", widths = [8]}
"""

Load = Callable[..., Recipe]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str, *args: Any, **kwargs: Any) -> Recipe:
        path = tmp_path / "r.toml"
        path.write_text(text, encoding="utf-8")
        return load_recipe(path, *args, **kwargs)

    return load


def names(recipe: Recipe) -> list[str]:
    return [variant.name for variant in recipe.variants]


def mistakes(load: Load, text: str, *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(text, *args, **kwargs)
    return [str(mistake) for mistake in caught.value.mistakes]


# --- which variants there are


def test_a_list_makes_a_variant_of_each_value(load: Load) -> None:
    recipe = load(BASE + "train.lr = [1e-4, 1e-3, 0.01]\n")
    assert names(recipe) == ["lr-0.0001", "lr-0.001", "lr-0.01"]
    assert [variant.train.lr for variant in recipe.variants] == [1e-4, 1e-3, 1e-2]
    assert {variant.model.name for variant in recipe.variants} == {"mlp"}
    assert {variant.data.name for variant in recipe.variants} == {"digits"}


def test_several_lists_are_a_grid_with_the_last_key_fastest(load: Load) -> None:
    recipe = load(BASE + "train.lr = [0.1, 0.2]\ndata.batch_size = [32, 64, 128]\n")
    assert [(variant.train.lr, variant.data.batch_size) for variant in recipe.variants] == [
        (0.1, 32), (0.1, 64), (0.1, 128), (0.2, 32), (0.2, 64), (0.2, 128),
    ]  # fmt: skip
    assert names(recipe)[:2] == ["lr-0.1+batch_size-32", "lr-0.1+batch_size-64"]
    assert len(set(names(recipe))) == 6


def test_zip_takes_values_in_step(load: Load) -> None:
    recipe = load(BASE + 'mode = "zip"\ntrain.lr = [0.1, 0.2]\ndata.batch_size = [32, 64]\n')
    assert names(recipe) == ["lr-0.1+batch_size-32", "lr-0.2+batch_size-64"]
    assert [(variant.train.lr, variant.data.batch_size) for variant in recipe.variants] == [
        (0.1, 32),
        (0.2, 64),
    ]


def test_variants_are_crossed_with_the_sweep(load: Load) -> None:
    recipe = load(f"{DATA}[sweep]\ntrain.lr = [0.1, 0.2]\n{TWO_VARIANTS}")
    assert names(recipe) == ["small+lr-0.1", "small+lr-0.2", "large+lr-0.1", "large+lr-0.2"]
    assert [variant.model.options["widths"] for variant in recipe.variants] == [[4], [4], [8], [8]]
    assert [variant.train.lr for variant in recipe.variants] == [0.1, 0.2, 0.1, 0.2]


def test_a_swept_value_wins_over_the_recipe(load: Load) -> None:
    recipe = load(f'model = "mlp"\n{DATA}[train]\nlr = 9.0\nepochs = 3\n[sweep]\ntrain.lr = [0.1]\n')
    assert [(variant.train.lr, variant.train.epochs) for variant in recipe.variants] == [(0.1, 3)]


def test_another_unit_starts_afresh_and_options_reach_into_tables(load: Load) -> None:
    text = f'model = "mlp"\n{DATA}[train.optimizer]\nname = "sgd"\nmomentum = 0.5\n[sweep]\n'
    recipe = load(text + 'train.optimizer = ["adam", "sgd", {name = "rmsprop", alpha = 0.9}]\n')
    assert names(recipe) == ["adam", "sgd", "rmsprop"]
    adam, sgd, rmsprop = (variant.train.optimizer for variant in recipe.variants)
    assert "momentum" not in adam.options
    assert sgd.options["momentum"] == 0.5  # the recipe's own, kept
    assert rmsprop.options["alpha"] == 0.9
    recipe = load(text + "train.optimizer.momentum = [0.0, 0.9]\n")
    assert names(recipe) == ["momentum-0.0", "momentum-0.9"]
    assert [variant.train.optimizer.options["momentum"] for variant in recipe.variants] == [0.0, 0.9]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            'model.activation = ["relu", "tanh"]', ["activation-relu", "activation-tanh"], id="text"
        ),
        pytest.param("model.widths = [[32, 64], [8]]", ["widths-32-64", "widths-8"], id="lists"),
        pytest.param("model.widths = [[], [8]]", None, id="a list that may not be empty"),
        pytest.param("data.normalize = [true, false]", ["normalize-true", "normalize-false"], id="yes or no"),
        pytest.param(
            'train.schedule = ["cosine", {name = "step", gamma = 0.5}]', ["cosine", "step"], id="units"
        ),
        pytest.param('model.name = ["mlp", "cnn"]', ["mlp", "cnn"], id="by name"),
        pytest.param('model = ["mlp", {name = "cnn", widths = [4]}]', ["mlp", "cnn"], id="whole sections"),
        pytest.param(
            'train.optimizer = [{name = "sgd", momentum = 0.0}, {name = "sgd", momentum = 0.9}]',
            ["sgd-momentum-0.0", "sgd-momentum-0.9"],
            id="twice the same unit",
        ),
        pytest.param(
            'data.augment = [[], ["HorizontalFlip"], [{name = "HorizontalFlip", p = 0.1}, "VerticalFlip"]]',
            ["augment-none", "augment-HorizontalFlip", "augment-HorizontalFlip-VerticalFlip"],
            id="lists of units",
        ),
        pytest.param(
            "train.early_stopping = [{patience = 2}, {patience = 5}]",
            ["early_stopping-patience-2", "early_stopping-patience-5"],
            id="tables without a name",
        ),
        pytest.param(
            'data.classes = [["0", "1"], ["a/b", "c d"]]', ["classes-0-1", "classes-a_b-c_d"], id="unsafe"
        ),
    ],
)
def test_names_are_the_values_and_safe(load: Load, line: str, expected: list[str] | None) -> None:
    if expected is None:
        assert "the list" not in mistakes(load, f"{BASE}{line}\n")[0]
    else:
        assert names(load(f"{BASE}{line}\n")) == expected


def test_keys_that_end_alike_are_told_apart(load: Load) -> None:
    recipe = load(BASE + "train.schedule.warmup = [0.1]\ndata.limit = [50]\n")
    assert names(recipe) == ["warmup-0.1+limit-50"]
    text = f'{DATA}[sweep]\nmodel = [{{name = "mlp", dropout = 0.1}}, {{name = "mlp", dropout = 0.2}}]\n'
    assert names(load(text)) == ["mlp-dropout-0.1", "mlp-dropout-0.2"]


def test_names_can_be_given(load: Load) -> None:
    text = BASE + 'names = ["slow", "fast"]\ntrain.lr = [0.1, 0.2]\n'
    assert names(load(text)) == ["slow", "fast"]
    crossed = f'{DATA}[sweep]\nnames = ["slow", "fast"]\ntrain.lr = [0.1, 0.2]\n{TWO_VARIANTS}'
    assert names(load(crossed)) == ["small+slow", "small+fast", "large+slow", "large+fast"]


# --- together with the rest of the language


def test_claims_only_and_seeds_take_swept_names(load: Load) -> None:
    text = BASE + 'train.lr = [0.1, 0.01]\n[[claims]]\ntext = "x"\nbetter = ["lr-0.1"]\nthan = ["lr-0.01"]\n'
    recipe = load(text, only=["lr-0.01"], seeds=2)
    assert [(claim.better, claim.than) for claim in recipe.claims] == [(["lr-0.1"], ["lr-0.01"])]
    assert [(run.variant, run.seed) for run in recipe.run_configs()] == [("lr-0.01", 0), ("lr-0.01", 1)]
    (message,) = mistakes(load, text.replace('["lr-0.01"]', '["lr-0.02"]'))
    assert "did you mean 'lr-0.01'?" in message


def test_match_params_finds_the_counterpart(load: Load) -> None:
    text = (
        f'{DATA}[model]\nname = "cnn"\nwidths = [8]\n[sweep]\ntrain.lr = [0.1, 0.2]\n'
        '[[variants]]\nname = "3x3"\n[[variants]]\nname = "5x5"\nmodel = {kernel_size = 5}\n'
        'match_params = {like = "3x3"}\n'
    )
    recipe = load(text)
    assert [variant.match_params and variant.match_params.like for variant in recipe.variants] == [
        None, None, "3x3+lr-0.1", "3x3+lr-0.2",
    ]  # fmt: skip


def test_what_a_variant_sets_stands_for_every_swept_model(load: Load) -> None:
    text = (
        f'{DATA}[model]\nname = "mlp"\nwidths = [64]\n[sweep]\nmodel.name = ["mlp", "cnn"]\n'
        'train.optimizer = ["sgd", "adam"]\n[[variants]]\nname = "none"\n'
        '[[variants]]\nname = "half"\nmodel = {dropout = 0.5}\n'
    )
    recipe = load(text)
    found = {
        variant.name: (variant.model.name, variant.model.options["widths"], variant.model.options["dropout"])
        for variant in recipe.variants
        if variant.train.optimizer.name == "sgd"
    }
    cnn = found["none+cnn+sgd"][1]
    assert cnn != [64], "the recipe's own are for an mlp"
    assert found == {
        "none+mlp+sgd": ("mlp", [64], 0.0),
        "none+cnn+sgd": ("cnn", cnn, 0.0),
        "half+mlp+sgd": ("mlp", [64], 0.5),
        "half+cnn+sgd": ("cnn", cnn, 0.5),
    }


def test_what_no_swept_model_has_is_a_mistake_in_the_variant(load: Load) -> None:
    text = (
        f'{DATA}[sweep]\nmodel.name = ["mlp", "cnn"]\n[[variants]]\nname = "wide"\n'
        "model = {kernel_size = 5}\n"
    )
    assert any('unknown option "kernel_size" of mlp' in message for message in mistakes(load, text))


def test_quick_reduces_swept_settings_too(load: Load) -> None:
    recipe = load(BASE + "train.epochs = [1, 5]\ndata.limit = [100, 50_000]\n", quick=True)
    assert [(variant.train.epochs, variant.data.limit) for variant in recipe.variants] == [
        (1, 100), (1, 2000), (2, 100), (2, 2000),
    ]  # fmt: skip


def test_limits_hold_for_swept_variants(load: Load) -> None:
    recipe = load(f"limits = {{max_params = 5}}\n{BASE}train.lr = [0.1, 0.2]\n")
    assert [variant.limits.max_params for variant in recipe.variants] == [5, 5]


def test_set_reaches_swept_variants(load: Load) -> None:
    text = BASE + "train.lr = [0.1, 0.01]\n"
    recipe = load(text, ["train.epochs=7", "variants.lr-0.01.train.epochs=9"])
    assert [variant.train.epochs for variant in recipe.variants] == [7, 9]


def test_set_replaces_or_adds_a_list(load: Load) -> None:
    recipe = load(BASE + "train.lr = [0.1, 0.01]\n", ["sweep.train.lr=[3, 4]", "sweep.data.limit=[50]"])
    assert names(recipe) == ["lr-3+limit-50", "lr-4+limit-50"]
    assert [variant.train.lr for variant in recipe.variants] == [3, 4]
    recipe = load(f"{DATA}{TWO_VARIANTS}", ["sweep.train.lr=[1, 2]"])
    assert names(recipe) == ["small+lr-1", "small+lr-2", "large+lr-1", "large+lr-2"]


def test_a_list_on_the_command_line_takes_claims_about_other_values_away(load: Load) -> None:
    claims = "".join(
        f'[[claims]]\ntext = "{one}"\nbetter = ["lr-{one}"]\nthan = ["lr-{other}"]\n'
        for one, other in (("0.1", "0.2"), ("0.1", "0.3"))
    )
    recipe = load(f"{BASE}train.lr = [0.1, 0.2, 0.3]\n{claims}", ["sweep.train.lr=[0.1, 0.3, 0.4]"])
    assert [claim.than for claim in recipe.claims] == [["lr-0.3"]]


@pytest.mark.parametrize(
    ("line", "override", "key"),
    [
        ("train.lr = [0.1, 0.2]", "train.lr=5", "train.lr"),
        ("train.lr = [0.1, 0.2]", "variants.lr-0.1.train.lr=5", "train.lr"),
        ('train.optimizer = ["sgd", "adam"]', "train.optimizer=rmsprop", "train.optimizer.name"),
    ],
    ids=["the key", "of one variant", "a unit"],
)
def test_a_variant_stays_what_it_is_called_after(load: Load, line: str, override: str, key: str) -> None:
    (message,) = mistakes(load, f"{BASE}{line}\n", [override])
    assert message.startswith(f"--set {override}: {key} is what [sweep] varies")


def test_what_is_varied_goes_with_another_model(load: Load) -> None:
    recipe = load(f'{BASE}model.activation = ["relu", "tanh"]\n', ["model.name=cnn"])
    assert [(v.model.name, v.model.options["activation"]) for v in recipe.variants] == [
        ("cnn", "relu"),
        ("cnn", "tanh"),
    ]


# --- mistakes


@pytest.mark.parametrize(
    ("lines", "place", "said"),
    [
        pytest.param("train.lr = [0.1, -1]", "5:18", "greater than 0, found -1", id="value"),
        pytest.param('model.activation = ["relu", "tan"]', "5:29", "did you mean 'tanh'?", id="option"),
        pytest.param(
            'train.optimizer = ["adam", {name = "sgd", momentom = 0.5}]', "5:43", "'momentum'", id="in a unit"
        ),
        pytest.param("train.lrr = [0.1, 0.2]", "5:7", "did you mean 'lr'?", id="key"),
        pytest.param("model.actvation = [1, 2]", "5:7", "did you mean 'activation'?", id="key of the model"),
        pytest.param("trian.lr = [0.1]", "5:1", "did you mean 'train'?", id="section"),
        pytest.param("lr = [0.1]", "5:1", "did you mean 'train.lr'?", id="without section"),
        pytest.param('"train.lr" = [0.1]', "5:1", "write it without quotes", id="quoted"),
        pytest.param("limits.max_params = [1]", "5:1", "only data, model, train can be swept", id="limits"),
        pytest.param("train.lr = 0.1", "5:12", "expected a list of values for train.lr", id="no list"),
        pytest.param("train.lr = []", "5:12", "the list is empty", id="empty"),
        pytest.param("", "4:1", "nothing is swept", id="nothing"),
        pytest.param("train.lr = [1, 0.1, 1.0]", "5:21", "twice (first as value 1)", id="twice"),
        pytest.param("train.seeds = [0, 1]", "5:7", "list them in [train]", id="seeds"),
        pytest.param('mode = "zpi"\ntrain.lr = [0.1]', "5:8", "did you mean 'zip'?", id="mode"),
        pytest.param(
            'mode = "zip"\ntrain.lr = [1, 2]\ndata.limit = [9]', "7:14", "has 1 and train.lr has 2", id="zip"
        ),
        pytest.param(
            "train.lr = [1, 2, 3, 4, 5, 6]\ndata.limit = [10, 20, 30, 40, 50, 60]\n"
            "data.batch_size = [1, 2, 3]",
            "4:1", "6 × 6 × 3 = 108 variants", id="too many",
        ),
        pytest.param("names = []\ntrain.lr = [1]", "5:9", "a list of 1 names", id="number of names"),
        pytest.param('names = "a"\ntrain.lr = [1]', "5:9", 'found "a"', id="names no list"),
        pytest.param('names = ["a", "A"]\ntrain.lr = [1, 2]', "5:15", "two variants", id="names alike"),
        pytest.param('names = ["a/b"]\ntrain.lr = [1]', "5:10", "cannot be a directory's", id="unsafe name"),
        pytest.param(
            "data.classes = [['a/b', 'c'], ['a b', 'c']]", "5:31", "make the same name", id="values alike"),
        pytest.param(
            f"data.classes = [{['x' * 50, 'y' * 50]}]", "5:17", "no good name for a variant", id="too long"
        ),
        pytest.param("model = [3]", "5:10", "expected a name or a table, found 3", id="no model"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_where_it_is(load: Load, lines: str, place: str, said: str) -> None:
    (message,) = mistakes(load, f"{BASE}{lines}\n")
    head, source, caret, *_ = message.split("\n")
    line, column = map(int, place.split(":"))
    assert f"r.toml:{place}: " in head
    assert said in message
    assert source == "    " + f"{BASE}{lines}\n".split("\n")[line - 1]
    assert caret.index("^") == 4 + column - 1


def test_all_mistakes_at_once(load: Load) -> None:
    """Those of the lists, of the values in them, and of the rest of the file."""
    sweep = 'mode = "zpi"\ntrain.lr = [1, "fast", 1]\ndata.batch_size = [64, 0]\n'
    claim = '[[claims]]\ntext = 3\nbetter = ["a"]\nthan = []\n'
    said = mistakes(load, BASE + sweep + claim)
    assert [message.split(":")[1] for message in said] == ["5", "6", "6", "7", "9", "11"]


def test_a_broken_sweep_makes_no_further_mistakes(load: Load) -> None:
    """Neither claims and checks of its variants nor what it should have named are held against the recipe."""
    claim = '[[claims]]\ntext = "x"\nbetter = ["lr-1"]\nthan = ["lr-2"]\n'
    claim += '[[checks]]\ntext = "y"\nexpression = "test_accuracy > 0.1"\nvariants = ["lr-1"]\n'
    (message,) = mistakes(load, f"{BASE}train.lr = 1\n{claim}", ["variants.lr-1.train.epochs=2"])
    assert "expected a list" in message
    (message,) = mistakes(load, f'{DATA}[sweep]\nmodel = "mlp"\n[[variants]]\nname = "a"\n')
    assert "expected a list" in message


def test_checks_of_variants_that_set_took_away_are_left_out(load: Load) -> None:
    check = '[[checks]]\ntext = "y"\nexpression = "test_accuracy > 0.1"\nvariants = ["lr-{}"]\n'
    recipe = load(f"{BASE}train.lr = [1, 2]\n{check.format(1)}{check.format(2)}", ["sweep.train.lr=[2, 3]"])
    assert [declared.variants for declared in recipe.checks] == [["lr-2"]]


def test_double_brackets_are_told_apart(load: Load) -> None:
    (message,) = mistakes(load, f'model = "mlp"\n{DATA}[[sweep]]\ntrain.lr = [1]\n')
    assert "r.toml:4:1: expected a table [sweep]" in message


def test_what_is_swept_cannot_stand_in_a_variant(load: Load) -> None:
    variant = '[[variants]]\nname = "a"\ntrain.lr = 0.5\n'
    (message,) = mistakes(load, f"{BASE}train.lr = [1, 2]\n{variant}")
    assert "r.toml:8:7: train.lr is set here and by [sweep]" in message


def test_an_option_that_a_variant_lacks_is_shown_once(load: Load) -> None:
    other = '[[variants]]\nname = "a"\n[[variants]]\nname = "b"\nmodel = "cnn"\n'
    (message,) = mistakes(load, f"{BASE}model.kernel_size = [3, 5]\n{other}")
    assert "r.toml:5:7: unknown option " in message
    assert "of mlp" in message


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ('[[variants]]\nname = "a b"\n', "cannot be a directory's"),
        ('[[variants]]\nname = "a"\n[[variants]]\nname = "A"\n', "two variants are called"),
        ('[[variants]]\nmodel = "mlp"\n', "needs a name"),
        (f'[[variants]]\nname = "{"n" * 78}"\n', "too long for a directory"),
        ("".join(f'[[variants]]\nname = "v{n}"\n' for n in range(51)), "2 × 51 = 102 variants"),
    ],
    ids=["unsafe", "alike", "none", "too long", "too many"],
)
def test_names_of_crossed_variants(load: Load, variants: str, said: str) -> None:
    found = mistakes(load, f"{BASE}train.lr = [1, 2]\n{variants}")
    assert said in found[0]
    assert len(found) <= 2


def test_mistakes_in_a_list_on_the_command_line(load: Load) -> None:
    text = BASE + "train.lr = [0.1]\n"
    for override, said in (
        ("sweep.train.lr=0.1", "expected a list of values"),
        ("sweep.train.lr=[0.1, -1]", "found -1"),
        ("sweep.train.lrr=[0.1]", "did you mean 'lr'?"),
        ("sweep=[1]", "set a key of it"),
    ):
        (message,) = mistakes(load, text, [override])
        assert message.startswith(f"--set {override}: ")
        assert said in message


# --- for editors


def test_schema_knows_sweeps() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    import tomli

    validator = jsonschema.Draft202012Validator(recipe_schema())
    for good in (
        "train.lr = [1e-3, 1e-2]",
        'mode = "zip"\nnames = ["a"]\ntrain.optimizer = ["adam"]\ntrain.schedule.warmup = [0.1]',
        'model = ["mlp", {name = "cnn", widths = [4]}]',
        "model.widths = [[4], [8]]\ndata.batch_size = [32]",
        'data.augment = [[], ["HorizontalFlip"]]',
    ):
        assert validator.is_valid(tomli.loads(BASE + good)), good
    for bad in (
        "train.lr = 0.1",
        "train.lrr = [1]",
        'mode = "all"\ntrain.lr = [1]',
        "train.lr = []",
        "lr = [1]",
    ):
        assert not validator.is_valid(tomli.loads(BASE + bad)), bad


def test_seeds_are_not_swept_within_tables_either(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('data = "digits"\nmodel = "mlp"\n[sweep]\ntrain = [{seeds = [1]}, {seeds = [2]}]\n')
    with pytest.raises(RecipeError, match="seeds are runs of each variant"):
        load_recipe(path)
