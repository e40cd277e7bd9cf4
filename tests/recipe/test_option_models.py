"""What a recipe may say of a unit is checked strictly, by the types of its signature."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cnnbench import catalog
from cnnbench.recipe import load_recipe
from cnnbench.recipe.option_models import options_model

SOURCE = """\
from cnnbench import options
from cnnbench.options import Count, Counts

class Inherits:
    def __init__(self, *, depth: Count, shape: str = "round"): ...

class Own:
    def __init__(
        self,
        *,
        widths: Counts = [4, 8],
        rate: options.DropRate | None = None,
        size: tuple[int, int] = (1, 2),
        pair: int | tuple[float, float] = 1,
        named: dict[str, float] = {},
        quoted: "list[str]" = ["a"],
        offset: float = -0.5,
    ): ...

def computed(*, x: int = 2 * 3): ...
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        pytest.param({"offset": 1}, True, id="int for float"),
        pytest.param({"offset": True}, False, id="bool for float"),
        pytest.param({"offset": float("nan")}, False, id="nan"),
        pytest.param({"offset": float("inf")}, False, id="inf"),
        pytest.param({"widths": [1, 2]}, True, id="list"),
        pytest.param({"widths": [1, 2.0]}, False, id="float for int"),
        pytest.param({"widths": [1, True]}, False, id="bool for int"),
        pytest.param({"widths": []}, False, id="empty list"),
        pytest.param({"widths": "12"}, False, id="text for a list"),
        pytest.param({"size": [3, 4]}, True, id="list for a tuple"),
        pytest.param({"size": [3]}, False, id="tuple too short"),
        pytest.param({"pair": [0.5, 1]}, True, id="tuple in a union"),
        pytest.param({"pair": 0.5}, False, id="float where the union has int"),
        pytest.param({"rate": 1.0}, False, id="out of range"),
        pytest.param({"named": {"a": 1}}, True, id="table"),
        pytest.param({"quoted": [1]}, False, id="number for text"),
        pytest.param({"unknown": 1}, False, id="unknown key"),
    ],
)
def test_options_model_is_strict(file: str, options: dict[str, Any], accepted: bool) -> None:
    model = options_model(f"{file}:Own")
    if accepted:
        model.model_validate(options)
    else:
        with pytest.raises(ValidationError):
            model.model_validate(options)


def test_options_model_requires_what_has_no_default(file: str) -> None:
    with pytest.raises(ValidationError, match="depth"):
        options_model(f"{file}:Inherits").model_validate({})


def test_a_default_that_is_no_literal_is_left_to_the_constructor(file: str) -> None:
    assert options_model(f"{file}:computed").model_validate({}).model_dump(exclude_unset=True) == {}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, table in catalog.KINDS.items() for name in table], ids="-".join
)
def test_the_defaults_of_everything_in_the_tables_keep_to_their_own_bounds(kind: str, name: str) -> None:
    target = catalog.target(kind, name)
    model = options_model(target, catalog.NOT_OPTIONS.get(kind, ()))
    given = {option.name: option.default for option in catalog.options(kind, name) if not option.required}
    required = {option.name for option in catalog.options(kind, name) if option.required}
    try:
        model.model_validate(given)
    except ValidationError as error:
        assert {problem["loc"][0] for problem in error.errors()} <= required  # noqa: PT017


def test_a_table_of_pairs_is_read_as_albumentations_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        'model = "mlp"\n[data]\nname = "digits"\n'
        'augment = [{name = "Affine", scale = {x = [0.5, 1.0], y = 1.0}}]\n[[variants]]\nname = "a"\n'
    )
    (variant,) = load_recipe(path).variants
    assert variant.data.augment[0].options["scale"] == {"x": [0.5, 1.0], "y": 1.0}
