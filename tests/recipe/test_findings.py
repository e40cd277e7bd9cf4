"""Where a finding of pydantic lies: the innermost place that was written."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from cnnbench.recipe.findings import Place, bare, innermost


class Inner(BaseModel):
    count: Annotated[int, Field(ge=1)]
    size: float | None = None


class Outer(BaseModel):
    inners: list[Inner]
    either: int | Inner = 0


def place_of(values: dict[str, Any]) -> tuple[Place, str]:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    problem = caught.value.errors()[0]
    return innermost(Outer, values, problem["loc"], ("table",)), problem["type"]


def test_a_value_within_lists_and_tables() -> None:
    place, kind = place_of({"inners": [{"count": 1}, {"count": 0}]})
    assert (place.path, place.value, place.key) == (("table", "inners", 1, "count"), 0, None)
    assert kind == "greater_than_equal"
    assert bare(place.annotation) is int
    assert place.annotation is not int  # its bounds are kept, to be told


def test_a_key_that_is_missing() -> None:
    place, kind = place_of({"inners": [{"size": 1.0}]})
    assert (place.path, place.value, place.key) == (("table", "inners", 0), {"size": 1.0}, "count")
    assert kind == "missing"
    assert bare(place.expected_of_key()) is int


def test_inside_a_union_the_place_is_the_whole() -> None:
    place, _ = place_of({"inners": [], "either": {"count": "many"}})
    assert place.path == ("table", "either")
    assert place.annotation == int | Inner


def test_an_annotation_without_bounds_and_none() -> None:
    assert bare(Annotated[int, Field(ge=1)] | None) is int
    assert bare(int | str) == int | str
