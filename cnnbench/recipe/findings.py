"""Where one of pydantic's findings lies in what was written, and what fits there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from cnnbench.recipe.toml_positions import Path


@dataclass(frozen=True)
class Place:
    """The innermost place of a finding that was written; `key` is what is missing or unknown in it."""

    path: Path
    value: Any
    annotation: Any  # of the value, bounds included
    key: str | int | None

    def expected_of_key(self) -> Any:
        """The annotation of the key that is missing."""
        return _of_field(bare(self.annotation), str(self.key))


def innermost(model: type[BaseModel], values: Any, loc: Sequence[str | int], path: Path) -> Place:
    """Follows the steps of a finding (`loc`) into values that a model was made of, written at `path`."""
    annotation: Any = model
    for step in loc:
        annotation = bare(annotation)
        if _is_model(annotation) and isinstance(values, dict):
            if step not in annotation.model_fields or step not in values:
                return Place(path, values, annotation, step)
            annotation = _of_field(annotation, str(step))
        elif get_origin(annotation) is list and isinstance(step, int) and isinstance(values, list):
            annotation = get_args(annotation)[0]
        else:
            return Place(path, values, annotation, step)  # inside a union: what fits is said of the whole
        values = values[step]
        path = (*path, step)
    return Place(path, values, annotation, None)


def bare(annotation: Any) -> Any:
    """The annotation without bounds and without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    args = [arg for arg in get_args(annotation) if arg is not type(None)]
    optional = type(None) in get_args(annotation) and len(args) == 1
    return bare(args[0]) if optional else annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _of_field(model: Any, key: str) -> Any:
    """The annotation of a field as it was written, bounds included."""
    field = model.model_fields[key]
    annotation = field.annotation
    for item in field.metadata:
        annotation = Annotated[annotation, item]
    return annotation
