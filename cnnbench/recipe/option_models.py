"""The options of a unit as a pydantic model, made from its signature: what a recipe may say of it."""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model

from cnnbench.signatures import Option, signature


def options_model(target: str, exclude: tuple[str, ...] = ()) -> type[BaseModel]:
    """A strict pydantic model of the target's options: no unknown keys, no silent conversion, no NaN."""
    return _model_of(tuple(option for option in signature(target) if option.name not in exclude))


# few and small, so kept for good; options compare by value, defaults such as lists included
_models: list[tuple[tuple[Option, ...], type[BaseModel]]] = []


def _model_of(options: tuple[Option, ...]) -> type[BaseModel]:
    for known, model in _models:
        if known == options:
            return model
    fields: dict[str, Any] = {}
    for option in options:
        annotation = _lax_tuples(option.annotation)
        if option.readable:
            fields[option.name] = (annotation, option.default)
        else:
            fields[option.name] = (annotation | None, None)
    config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )
    model = create_model("Options", __config__=config, **fields)
    _models.append((options, model))
    return model


def _lax_tuples(annotation: Any) -> Any:
    """TOML has lists only, so a tuple option takes a list; its elements stay strict."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return Annotated[annotation, Field(strict=False)]
    if origin in (Union, UnionType):
        return Union[tuple(_lax_tuples(arg) for arg in args)]  # noqa: UP007
    if origin in (dict, list):
        return origin[tuple(_lax_tuples(arg) for arg in args)]
    return annotation
