"""Follows a forward pass and notes where each tensor comes from in the image.

Exact for the operations in RULES and for all that work element by element. What comes after an operation that
is not known is unknown too, never wrong.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cnnbench.models.index_ranges import Ranges
from cnnbench.models.origins import Axis, Origin, plain, union
from cnnbench.models.tracing_rules import LOOKS_AT_ALL, RULES, Call, Rule, elementwise, tensors_in


class Tracing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, notes what tensors depend on in `image`, (1, C, H, W). Needs `torch.no_grad`."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Tensors are kept, lest another one gets the id of one that is gone.
        self.known: dict[int, tuple[Tensor, Origin, int]] = {}
        self.num_writes: dict[int, int] = {}  # by storage
        _, channels, height, width = image.shape
        dims = ((), plain(channels), ((0, height),), ((1, width),))
        self._note(image, Origin(dims, (Axis(Ranges()), Axis(Ranges()))))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # PyTorch would import its whole compiler to see that it leaves this alone

    def origin_of(self, tensor: Tensor) -> Origin | None:
        """None for a tensor that does not depend on the image."""
        _, origin, noted = self.known.get(id(tensor), (tensor, Origin(), 0))
        if noted != self.num_writes.get(_storage(tensor), 0):
            return Origin(problem="a tensor that was written to through another one")
        return None if origin.is_constant else origin

    def _note(self, tensor: Tensor, origin: Origin) -> None:
        self.known[id(tensor)] = tensor, origin, self.num_writes.get(_storage(tensor), 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = func._schema
        given = {argument.name: argument.default_value for argument in schema.arguments}
        given |= dict(zip(given, args, strict=False)) | kwargs
        inputs = tensors_in(given)
        origins = [origin for tensor in inputs if (origin := self.origin_of(tensor)) is not None]
        result = func(*args, **kwargs)
        outputs = tensors_in(result)
        if origins and outputs:
            name = schema.name.partition("::")[2]
            call = Call(name.rstrip("_") if schema.is_mutable else name, given, outputs, self.origin_of)
            rule = RULES.get(call.name) or (elementwise if torch.Tag.pointwise in func.tags else None)
            problem = next((origin for origin in origins if origin.problem), None)
            found = [problem] * len(outputs) if problem else _origins(call, rule)
            for output, origin in zip(outputs, found, strict=True):
                self._update(output, origin, in_place=any(output is tensor for tensor in inputs))
        return result

    def _update(self, output: Tensor, origin: Origin, in_place: bool) -> None:
        if in_place and (self.origin_of(output) or Origin()) != origin:
            # Other views of the same memory are out of date.
            self.num_writes[_storage(output)] = self.num_writes.get(_storage(output), 0) + 1
        self._note(output, origin)


def _origins(call: Call, rule: Rule | None) -> list[Origin]:
    """The origin of each result."""
    if rule is None:
        return [Origin(problem=call.name)] * len(call.outputs)
    try:
        found = rule(call)
    except (LookupError, TypeError, ValueError):  # an overload that takes other arguments
        return [Origin(problem=f"{call.name} with arguments like these")] * len(call.outputs)
    if isinstance(found, list):
        return found
    if rule not in LOOKS_AT_ALL and not found.problem:
        found = _with_weights(call, found)
    others = Origin(problem=f"a further result of {call.name}")
    return [found if output.shape == call.outputs[0].shape else others for output in call.outputs]


def _with_weights(call: Call, found: Origin) -> Origin:
    """Adds what weights depend on, where they are made from the image and no constants."""
    main = call.given["input" if "input" in call.given else "self"]
    for tensor in tensors_in(call.given):
        origin = None if tensor is main else call.origin_of(tensor)
        if origin is not None and any(axis.ranges for axis in origin.axes):
            return Origin(problem=f"{call.name} with weights that vary over the image")
        if origin is not None:
            found = union([(found, call.shape), (replace(origin, dims=()), ())], call.shape, call.name)
    return found


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
