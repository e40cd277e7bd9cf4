"""Widths for a parameter count: counts solved by hand, published ones, and what cannot be matched."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnbench.errors import CnnbenchError
from cnnbench.matching import MAX_WIDTH, STEPS, Widths, find_widths, solve
from cnnbench.models.summary import count_params
from cnnbench.plan import describe_plan
from cnnbench.recipe import Match, Recipe, Variant, load_recipe
from cnnbench.running import look_ahead, run_recipe

DATA = '[data]\nname = "synthetic"\n'  # 3×32×32, 10 classes
PLUGIN = '''
import torch
from torch import nn

class Grouped(nn.Module):
    """Its channels must be divisible by 8."""
    def __init__(self, in_shape, num_classes, *, widths: list[int]):
        super().__init__()
        layers, channels = [], in_shape[0]
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(8, width)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)
    def forward(self, inputs):
        return self.head(self.features(inputs).mean((2, 3)))

class Lazy(nn.Module):
    def __init__(self, in_shape, num_classes, *, widths: list[int]):
        super().__init__()
        self.hidden = nn.LazyLinear(widths[0])
        self.head = nn.LazyLinear(num_classes)
    def forward(self, inputs):
        return self.head(self.hidden(inputs.flatten(1)))

class Fixed(nn.Module):
    """Asks for widths and has none."""
    def __init__(self, in_shape, num_classes, *, widths: list[int], size: int = 5):
        super().__init__()
        self.head = nn.Linear(in_shape[1] * in_shape[2] * in_shape[0], num_classes)
    def forward(self, inputs):
        return self.head(inputs.flatten(1))

class Picky(Fixed):
    """Has one width that it takes."""
    def __init__(self, in_shape, num_classes, *, widths: list[int]):
        if widths != [17]:
            raise ValueError("no such width")
        super().__init__(in_shape, num_classes, widths=widths)

class Empty(nn.Module):
    def __init__(self, in_shape, num_classes): super().__init__()
    def forward(self, inputs): return inputs.mean((2, 3))

MODELS = {"grouped": Grouped, "lazy": Lazy, "fixed": Fixed, "picky": Picky, "empty": Empty}
'''

Load = Callable[..., Recipe]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(*variants: str, overrides: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Recipe:
        """Each variant is "name: model", with what follows a "|" matched."""
        text = 'plugins = ["own.py"]\n' + DATA
        for variant in variants:
            name, model = variant.split(": ", 1)
            model, _, rest = model.partition(" | ")
            text += f'[[variants]]\nname = "{name}"\nmodel = {{{model}}}\n{rest}\n'
        (tmp_path / "own.py").write_text(PLUGIN, encoding="utf-8")
        path = tmp_path / "r.toml"
        path.write_text(text, encoding="utf-8")
        return load_recipe(path, overrides, only=only)

    return load


def solved(recipe: Recipe) -> dict[str, Variant]:
    return {variant.name: variant for variant in solve(recipe, Path("nowhere")).variants}


def match_of(recipe: Recipe, name: str = "b") -> Match:
    variant = solved(recipe)[name]
    assert variant.match is not None
    assert variant.model.options["widths"] == variant.match.widths
    return variant.match


def message(recipe: Recipe) -> str:
    with pytest.raises(CnnbenchError) as caught:
        solve(recipe, Path("nowhere"))
    return str(caught.value)


# --- the search, on counts known in closed form


def one_hidden_layer(widths: Widths) -> int:
    """64 inputs, 10 classes: 64 w + w, 10 w + 10."""
    (width,) = widths
    return 75 * width + 10


def two_convolutions(widths: Widths) -> int:
    """3×3 on RGB without bias, global pooling, 10 classes."""
    a, b = widths
    return 27 * a + 9 * a * b + 10 * b + 10


@pytest.mark.parametrize(
    ("base", "target", "widths"),
    [
        pytest.param(100, 985, 13, id="exact, smaller"),
        pytest.param(2, 985, 13, id="exact, larger"),
        pytest.param(13, 985, 13, id="as it is"),
        pytest.param(100, 985 + 37, 13, id="below the middle"),
        pytest.param(100, 985 + 38, 14, id="above the middle"),
        pytest.param(40, 86, 1, id="a width of 1"),
        pytest.param(40, 3, 1, id="less than there can be"),
        pytest.param(7, 10**9, MAX_WIDTH, id="more than is tried"),
    ],
)
def test_one_width(base: int, target: int, widths: int) -> None:
    assert find_widths((base,), target, one_hidden_layer, 0.02) == (widths,)


@pytest.mark.parametrize("target", [150, 1_000, 9_999, 123_456, 5_000_000])
@pytest.mark.parametrize("base", [(16, 32), (32, 16), (3, 50), (8, 8)], ids=str)
def test_it_is_at_least_as_close_as_any_common_scale(base: Widths, target: int) -> None:
    found = find_widths(base, target, two_convolutions, 0.02)
    scales = (max(found) / max(base) * 1.001**power for power in range(-600, 600))
    common = {tuple(max(1, round(width * scale)) for width in base) for scale in scales}
    closest = min(abs(two_convolutions(widths) - target) for widths in common)
    assert abs(two_convolutions(found) - target) <= closest
    # and no width is further than REACH from one of those scales
    assert any(all(abs(a - b) <= 2 for a, b in zip(found, widths, strict=True)) for widths in common)


def test_it_counts_few_models() -> None:
    counted = []

    def count(widths: Widths) -> int:
        counted.append(widths)
        return two_convolutions(widths)

    find_widths((64, 128), 12_345, count, 0.02)
    assert len(set(counted)) < 30


def test_equal_widths_stay_equal_while_that_is_close_enough() -> None:
    def count(widths: Widths) -> int:
        return 10 * sum(widths)

    # 3 w = 50 has no whole solution: 17 gives 51, and 2 % allow it
    assert find_widths((8, 8, 8), 500, count, 0.02) == (17, 17, 17)
    assert sorted(find_widths((8, 8, 8), 500, count, 0.01)) == [16, 17, 17]
    assert find_widths((8, 16, 8), 640, count, 0.02) == (16, 32, 16)


def test_of_equally_close_widths_the_less_changed_ones() -> None:
    def count(widths: Widths) -> int:
        return sum(widths)

    # the common scale itself gives 30; 10 + 21 - 1 would too
    assert find_widths((8, 16), 30, count, 0.02) == (10, 20)


@pytest.mark.parametrize("divisor", STEPS)
def test_a_model_may_refuse_widths(divisor: int) -> None:
    def count(widths: Widths) -> int:
        if any(width % divisor for width in widths):
            raise CnnbenchError("no")
        return two_convolutions(widths)

    found = find_widths((64, 128), two_convolutions((96, 192)), count, 0.02)
    assert found == (96, 192)


# --- models


def test_mlp_solved_by_hand(load: Load) -> None:
    # one hidden layer: 3,072 w + w + 10 w + 10; of 8: 24,674
    match = match_of(
        load('a: name = "mlp", widths = [8]', 'b: name = "mlp", widths = [256] | match_params = {like = "a"}')
    )
    assert match == Match(like="a", target_params=24_674, widths=[8], num_params=24_674)
    assert match.difference == 0


def test_kernel_size_solved_by_hand(load: Load) -> None:
    # (3 k² + 1) w, then 16 × 16 pixels of w channels to 10 classes: (3 k² + 2,561) w + 10.
    # k = 3, w = 32: 82,826. k = 5: 2,636 w + 10 is 81,726 for 31 and 84,362 for 32.
    # k = 1: 2,564 w + 10 is 82,058 for 32 already, 84,622 for 33.
    cnn = 'name = "cnn", head = [], widths = [32]'
    variants = solved(
        load(
            f"3x3: {cnn}",
            f'5x5: {cnn}, kernel_size = 5 | match_params = {{like = "3x3"}}',
            f'1x1: {cnn}, kernel_size = 1 | match_params = {{like = "3x3"}}',
        )
    )
    assert variants["3x3"].match is None
    assert variants["3x3"].model.options["widths"] == [32]
    assert variants["5x5"].match == Match(like="3x3", target_params=82_826, widths=[31], num_params=81_726)
    assert variants["1x1"].match == Match(like="3x3", target_params=82_826, widths=[32], num_params=82_058)
    five = variants["5x5"].match
    assert five is not None
    assert five.difference == pytest.approx(-0.01328, abs=1e-5)


def test_resnet_20_is_found_again(load: Load) -> None:
    # 272,474 parameters with option B shortcuts; the same network from half the widths
    resnet = 'name = "resnet", widths'
    match = match_of(
        load(f"a: {resnet} = [16, 32, 64]", f'b: {resnet} = [8, 16, 32] | match_params = {{like = "a"}}')
    )
    assert (match.widths, match.num_params) == ([16, 32, 64], 272_474)


def test_a_variant_without_widths_can_be_the_one_to_be_like(load: Load) -> None:
    # WRN-16-4 of Zagoruyko & Komodakis (2016)
    variants = load('a: name = "wide_resnet"', 'b: name = "mlp" | match_params = {like = "a"}')
    match = match_of(variants)
    assert match.target_params == 2_748_890
    first, second = match.widths
    assert match.num_params == 3073 * first + second * (first + 1) + 10 * second + 10
    assert abs(match.difference) < 0.001


def test_plugin_whose_widths_are_multiples_of_8(load: Load) -> None:
    like = 'match_params = {like = "a", tolerance = 0.1}'
    match = match_of(
        load('a: name = "mlp", widths = [8]', f'b: name = "grouped", widths = [16, 32] | {like}')
    )
    assert all(width % 8 == 0 for width in match.widths)
    first, second = match.widths
    # convolutions with bias, group norms, linear
    assert match.num_params == 27 * first + 3 * first + 9 * first * second + 3 * second + 10 * second + 10


def test_plugin_with_lazy_layers(load: Load) -> None:
    match = match_of(
        load('a: name = "mlp", widths = [8]', 'b: name = "lazy", widths = [99] | match_params = {like = "a"}')
    )
    assert (match.widths, match.num_params) == ([8], 24_674)


# --- recipes


TINY = 'a: name = "mlp", widths = [8]'
MATCHED = 'b: name = "mlp", widths = [9] | match_params = {like = "a"}'


def test_solved_is_solved(load: Load) -> None:
    recipe = load(TINY, MATCHED)
    once = solve(recipe, Path("nowhere"))
    assert solve(once, Path("nowhere")) is once
    plain = load(TINY)
    assert solve(plain, Path("nowhere")) is plain


@pytest.mark.parametrize(
    ("override", "widths"),
    [
        pytest.param("variants.b.model.widths=[2, 4]", [8, 16], id="other proportions"),
        pytest.param("variants.a.model.widths=[3]", [3], id="another target"),
        pytest.param("model.widths=[5]", [5], id="both"),
    ],
)
def test_widths_that_are_set_are_scaled(load: Load, override: str, widths: list[int]) -> None:
    match = match_of(load(TINY, MATCHED, overrides=(override,)))
    if len(widths) == 1:
        assert match.widths == widths
    else:
        first, second = match.widths
        assert second == pytest.approx(2 * first, abs=3)


def test_variants_that_are_not_trained_are_solved_too(load: Load) -> None:
    # the plan names their settings, and their earlier runs count only with those
    assert match_of(load(TINY, MATCHED, only=("a",))).widths == [8]
    wrong = 'c: name = "cnn", head = [] | match_params = {like = "a", tolerance = 0.0001}'
    found = solved(load(TINY, MATCHED, wrong, only=("b",)))
    assert found["b"].match is not None
    assert found["c"].match is None
    assert "variant 'c': no widths give it" in message(load(TINY, MATCHED, wrong))


def test_data_of_their_own(load: Load) -> None:
    # 8 × 8 pixels of one channel in b: 64 w + w + 10 w + 10 = 24,674 has the solution 328.9
    match = match_of(load(TINY, MATCHED + '\ndata.name = "digits"'))
    assert (match.widths, match.num_params) == ([329], 24_685)


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        pytest.param(
            ('a: name = "mlp", widths = [8]', 'b: name = "cnn" | match_params = {like = "a"}'),
            "variant 'b': no widths give it the 24,674 parameters of 'a' within 2 %: ",
            id="what was asked",
        ),
        pytest.param(
            ('a: name = "cnn", widths = [1], head = []', 'b: name = "cnn" | match_params = {like = "a"}'),
            # 27 + 1 + 2,560 + 10 parameters; of b (27 + 1) + (9 + 1) + (64 × 128 + 128) + (1,280 + 10)
            "variant 'b': no widths give it the 2,598 parameters of 'a' within 2 %: even widths of 1 give "
            "more. The closest are widths = [1, 1] with 9,648 parameters (+271.4 %); change other options",
            id="too small a target",
        ),
        pytest.param(
            # 3,072 × 10 + 10, whatever the widths
            ('a: name = "mlp", widths = [11]', 'b: name = "fixed", widths = [4] | match_params.like = "a"'),
            f"widths beyond {MAX_WIDTH:,} are not tried. The closest are widths = [65536] with 30,730 "
            "parameters (-9.4 %); set match_params.tolerance = 0.095, or",
            id="cap",
        ),
        pytest.param(
            (
                'a: name = "cnn", widths = [32], head = []',
                'b: name = "cnn", widths = [9], head = [], kernel_size = 5 '
                '| match_params = {like = "a", tolerance = 0.01}',
            ),
            "variant 'b': no widths give it the 82,826 parameters of 'a' within 1 %: widths are whole "
            "numbers, and none that were tried come closer. The closest are widths = [31] with 81,726 "
            "parameters (-1.3 %); set match_params.tolerance = 0.014, or change other options of the model",
            id="whole numbers",
        ),
        pytest.param(
            ('a: name = "empty"', MATCHED), "variant 'a': a model without parameters", id="no parameters"
        ),
        pytest.param(
            ('a: name = "wide_resnet", depth = 17', MATCHED),
            "variant 'a': model 'wide_resnet': depth = 17",
            id="impossible original",
        ),
        pytest.param(
            (TINY, 'b: name = "resnet", widths = [4] | match_params = {like = "a"}'),
            "variant 'b': model 'resnet': widths has 1 entries",
            id="impossible model",
        ),
        pytest.param(
            (TINY, 'b: name = "grouped", widths = [12] | match_params = {like = "a"}'),
            "own.py:Grouped fails on an image of 3×32×32: ValueError: num_channels",
            id="plugin that cannot be built",
        ),
        pytest.param(
            (TINY, 'b: name = "picky", widths = [17] | match_params = {like = "a"}'),
            "variant 'b': match_params scales the widths, but with others than [17], ",
            id="plugin that takes one width only",
        ),
    ],
)
def test_no_match(load: Load, variants: tuple[str, ...], said: str) -> None:
    text = message(load(*variants))
    assert said in text
    assert re.search(r"r\.toml:\d+:\d+: variant '", text)


def test_a_recipe_without_the_one_to_be_like(load: Load) -> None:
    recipe = load(TINY, MATCHED)
    rest = recipe.model_copy(update={"variants": recipe.variants[1:]})
    assert "variant 'b': there is no variant 'a' to be like" in message(rest)


@pytest.mark.parametrize(
    "model",
    [
        'name = "conv_stack", widths = [9, 18]',
        'name = "unet", widths = [9, 12, 15]',
        'name = "resnet", widths = [9, 18, 27]',
        'name = "cnn", widths = [9, 18]',
        'name = "mlp", widths = [9]',
    ],
    ids=lambda model: model.split('"')[1],
)
def test_every_family_with_widths(load: Load, model: str) -> None:
    """To within 2 % of a network of another family: WRN-16-4 with its 2,748,890 parameters."""
    original = 'a: name = "wide_resnet", depth = 16, widen_factor = 4'
    found = solved(load(original, f'b: {model} | match_params = {{like = "a"}}'))["b"]
    assert found.match is not None
    assert found.match.target_params == 2_748_890
    assert abs(found.match.num_params / 2_748_890 - 1) <= 0.02
    assert count_params(found.model, (3, 32, 32), 10) == found.match.num_params


# --- where it is used


def test_limits_are_checked_with_the_widths_found(load: Load) -> None:
    limited = MATCHED.replace("[9]", "[256]") + "\nlimits = {max_params = 24674}"
    (_, found) = describe_plan(load(TINY, limited), Path("nowhere"))["variants"]
    assert found["num_params"] == 24_674
    too_many = limited.replace("24674", "24673")
    with pytest.raises(CnnbenchError, match=r"variant 'b': 24,674 parameters exceed max_params = 24,673"):
        describe_plan(load(TINY, too_many), Path("nowhere"))


def test_runs_carry_the_widths_found(tmp_path: Path) -> None:
    path, runs = tmp_path / "r.toml", tmp_path / "runs"
    path.write_text(
        "analyses = []\n"
        'data = {name = "synthetic", height = 8, width = 8, num_images = 40, val_size = 10}\n'
        "train = {epochs = 1}\n"
        '[[variants]]\nname = "a"\nmodel = {name = "mlp", widths = [5]}\n'
        '[[variants]]\nname = "b"\nmodel = {name = "mlp", widths = [50]}\nmatch_params.like = "a"\n',
        encoding="utf-8",
    )
    recipe = load_recipe(path)
    assert [decision.action for _, decision in look_ahead(recipe, runs).decisions] == ["train", "train"]
    outcome = run_recipe(recipe, runs_dir=runs, data_dir=tmp_path, device="cpu")
    assert outcome.comparison is not None
    assert [row.num_params for row in outcome.comparison.rows] == [1025, 1025]  # 192 × 5 + 5 + 50 + 10
    assert not outcome.comparison.problems
    config = json.loads((runs / "r/b/seed0/config.json").read_text())
    assert config["model"]["widths"] == [5]
    plan = json.loads((runs / "r/plan.json").read_text())
    assert plan["variants"][1]["config"]["model"]["widths"] == [5]
    assert [decision.action for _, decision in look_ahead(recipe, runs).decisions] == ["reuse", "reuse"]
