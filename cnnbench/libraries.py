"""Names in timm, torchvision and albumentations, read from their source: importing any takes seconds."""

import ast
import re
from functools import lru_cache
from pathlib import Path

from cnnbench.signatures import source_path

LIBRARIES = ("timm", "torchvision")

_DEFINITION = re.compile(r"^@register_model(?:\(\))?\n(?:@.*\n)*def (\w+)\(([^)]*)", re.MULTILINE)
_TIMM_WEIGHTS = re.compile(r"""['"](\w+\.[\w.-]+)['"]\s*:""")
_TORCHVISION_WEIGHTS = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:(?: .*)?\n)*)", re.MULTILINE)
_TORCHVISION_ENTRY = re.compile(r"^    ([A-Z][A-Z0-9_]*) = ", re.MULTILINE)

_EXPORTED = re.compile(r"^__all__ = (\[[^\]]*\])", re.MULTILINE)
_CLASS = re.compile(r"^class ((?!Base)\w+)\b", re.MULTILINE)


def split_name(name: str) -> tuple[str, str, str | None] | None:
    """(library, model, which weights or None) of `timm/vgg16.tv_in1k`; None for a name of no library."""
    library, slash, rest = name.partition("/")
    if not slash or library not in LIBRARIES:
        return None
    model, dot, weights = rest.partition(".")
    return library, model, weights if dot else None


def architectures(library: str) -> frozenset[str]:
    """Every image classifier of a library without weights, as `vgg16`: found faster than `model_names`."""
    return frozenset(name for path in _files(library) for name, _ in _DEFINITION.findall(_text(path)))


@lru_cache(maxsize=4)
def model_names(library: str) -> frozenset[str]:
    """Every image classifier of a library, as `timm/vgg16`, and as `timm/vgg16.tv_in1k` with its weights."""
    found: set[str] = set()
    for path in _files(library):
        found |= _timm(_text(path)) if library == "timm" else _torchvision(_text(path))
    return frozenset(f"{library}/{name}" for name in found)


def is_model(name: str) -> bool:
    """Whether a library has this model, with these weights where some are named.

    timm makes a few names in loops: there any weights go that some model has, and building the model tells.
    """
    parts = split_name(name)
    if parts is None:
        return False
    library, model, weights = parts
    known = model_names(library)
    if name in known or weights is None or library != "timm":
        return name in known
    return f"timm/{model}" in known and any(each.endswith(f".{weights}") for each in known)


def _files(library: str) -> list[Path]:
    init = source_path(library)
    return sorted((init.parent / "models").glob("*.py")) if init else []


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _timm(text: str) -> set[str]:
    models = {name for name, _ in _DEFINITION.findall(text)}
    return models | {name for name in _TIMM_WEIGHTS.findall(text) if name.partition(".")[0] in models}


def _torchvision(text: str) -> set[str]:
    weights = {name: _TORCHVISION_ENTRY.findall(body) for name, body in _TORCHVISION_WEIGHTS.findall(text)}
    found: set[str] = set()
    for model, parameters in _DEFINITION.findall(text):
        found.add(model)
        for name in re.findall(r"weights: Optional\[(\w+)\]", parameters):
            found |= {f"{model}.{entry}" for entry in weights.get(name, ()) if entry != "DEFAULT"}
    return found


@lru_cache(maxsize=1)
def transforms() -> dict[str, str]:
    """Every transform of albumentations that a recipe can describe: target ("module:Name") by name."""
    init = source_path("albumentations")
    found: dict[str, str] = {}
    if init is None:
        return found
    for path in sorted((init.parent / "augmentations").glob("*/*.py")):
        text = _text(path)
        exported = _EXPORTED.search(text)
        if path.name == "__init__.py" or "functional" in path.name or exported is None:
            continue
        module = ".".join(("albumentations", *path.relative_to(init.parent).with_suffix("").parts))
        classes = set(_CLASS.findall(text))
        found |= {name: f"{module}:{name}" for name in ast.literal_eval(exported[1]) if name in classes}
    found.pop("Lambda", None)  # made of functions, without which it does nothing
    return found
