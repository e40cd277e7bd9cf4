"""Everything a recipe can name, read from the catalog without importing any of it."""

from pathlib import Path

import tomli

from cnnbench import catalog
from cnnbench.files import natural_order
from cnnbench.libraries import LIBRARIES, architectures, transforms
from cnnbench.signatures import Option, signature

KINDS = {
    "models": "model",
    "datasets": "dataset",
    "analyses": "analysis",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "augmentations": "augmentation",
}


def listing(kind: str | None) -> list[tuple[str, list[list[str]]]]:
    """Titles and rows of one kind, or all in short: name, what it is, and of units options with defaults."""
    if kind == "recipes":
        return [("recipes", recipes())]
    if kind is not None:
        return [(kind, units(KINDS[kind], list(catalog.KINDS[KINDS[kind]]), with_options=True))]
    return [("recipes", recipes())] + [
        (title, units(name, list(catalog.KINDS[name]), with_options=False)) for title, name in KINDS.items()
    ]


def units(kind: str, names: list[str], with_options: bool) -> list[list[str]]:
    rows = [[name, catalog.describe(catalog.target(kind, name))] for name in names]
    if with_options:
        rows = [[*row, "\n".join(map(written, catalog.options(kind, row[0])))] for row in rows]
    if kind == "augmentation":
        others = [name for name in catalog.names(kind) if name not in catalog.KINDS[kind]]
        count = len(transforms())
        text = f"any other of albumentations' {count:,} transforms, image by image"
        rows.append(["NAME", text, *([", ".join(sorted(others))] if with_options else [])])
    if kind == "model":
        options = ["\n".join(map(written, signature(catalog.LIBRARY_MODEL)))] if with_options else []
        for library in LIBRARIES:
            count = len(architectures(library))
            text = f"any of the {count:,} image classifiers of {library}, with its own preprocessing"
            rows.append([f"{library}/NAME", text, *options])
    return rows


def written(option: Option) -> str:
    """An option as it stands in a recipe, with its default."""
    if option.required:
        return f"{option.name} (required)"
    return f"{option.name} = {toml_value(option.default)}"


def toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return "unset" if value is None else str(value)


def recipes(root: Path = Path("recipes")) -> list[list[str]]:
    """The recipes below a folder with what they ask (else their titles); a file that is no TOML says so."""
    rows = []
    for path in sorted(root.rglob("*.toml"), key=natural_order):
        try:
            document = tomli.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError):  # of text, of TOML, or of more digits or brackets than are read
            rows.append([str(path), "not a readable recipe"])
            continue
        rows.append([str(path), str(document.get("question") or document.get("title", ""))])
    return rows
