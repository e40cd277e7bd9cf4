"""Signatures are read from source: never imported, never evaluated."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnbench import catalog, signatures
from cnnbench.errors import CnnbenchError

SOURCE = '''\
"""A user's file."""
from __future__ import annotations
from typing import Literal
import nowhere_to_be_found
from cnnbench.options import Count, Counts, DropRate
from cnnbench import options

Shape = Literal["round", "square"]
WIDTHS = [4, 8]


class Base(nowhere_to_be_found.Module):
    def __init__(self, in_shape, num_classes, *, depth: Count, shape: Shape = "round"): ...


class Inherits(Base):
    """Takes its options from Base.

    More.
    """


class Own(Base):
    def __init__(
        self,
        in_shape,
        num_classes,
        *,
        widths: Counts = WIDTHS,
        rate: options.DropRate | None = None,
        size: tuple[int, int] = (1, 2),
        pair: int | tuple[float, float] = 1,
        named: dict[str, float] = {},
        quoted: "list[str]" = ["a"],
        offset: float = -0.5,
        free=3,
    ):
        super().__init__()


class Bare:
    pass


def function(params, lr: float, *, momentum: float = 0.9):
    return params


def odd(*, x: SomethingElse = 1): ...


def computed(*, x: int = 2 * 3): ...


MODELS = {"own": Own, "inherits": Inherits}
ANALYSES = {"f": function}
'''


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return str(path)


def test_signature_of_a_class(file: str) -> None:
    options = {option.name: option for option in catalog.signature(f"{file}:Own")}
    defaults = {name: option.default for name, option in options.items()}
    assert defaults == {
        "widths": [4, 8],
        "rate": None,
        "size": (1, 2),
        "pair": 1,
        "named": {},
        "quoted": ["a"],
        "offset": -0.5,
        "free": 3,
    }
    assert options["quoted"].annotation == list[str]
    assert options["named"].annotation == dict[str, float]
    assert options["free"].annotation is Any
    assert not any(option.required for option in options.values())


def test_signature_is_inherited_and_may_be_required(file: str) -> None:
    depth, shape = catalog.signature(f"{file}:Inherits")
    assert (depth.name, depth.required) == ("depth", True)
    assert (shape.name, shape.default, shape.required) == ("shape", "round", False)


@pytest.mark.parametrize(("name", "options"), [("function", ["momentum"]), ("Bare", [])])
def test_only_keyword_parameters_are_options(file: str, name: str, options: list[str]) -> None:
    assert [option.name for option in catalog.signature(f"{file}:{name}")] == options


def test_a_default_that_is_no_literal_is_left_to_the_constructor(file: str) -> None:
    (option,) = catalog.signature(f"{file}:computed")
    assert not option.readable
    assert not option.required


@pytest.mark.parametrize(
    ("target", "said"),
    [
        pytest.param("{file}:odd", "SomethingElse", id="unknown type"),
        pytest.param("{file}:Nowhere", "defines no class or function named 'Nowhere'", id="unknown name"),
        pytest.param("{file}.py:X", "was not found", id="no file"),
        pytest.param("cnnbench.nowhere:X", "cnnbench.nowhere was not found", id="no module"),
        pytest.param("no_such_package.x:X", "no_such_package.x was not found", id="no package"),
    ],
)
def test_what_cannot_be_read(file: str, target: str, said: str) -> None:
    with pytest.raises(CnnbenchError, match=said):
        catalog.signature(target.format(file=file))


def test_broken_python(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ndef (:\n")
    with pytest.raises(CnnbenchError, match=r"broken\.py:2: not valid Python"):
        catalog.signature(f"{path}:X")


@pytest.mark.parametrize("kind", list(catalog.KINDS))
def test_a_unit_read_alone_is_what_it_is_in_its_whole_module(kind: str) -> None:
    for name in catalog.KINDS[kind]:
        target = catalog.target(kind, name)
        module, alone = signatures.find_definition(target)
        found, described = catalog.signature(target), catalog.describe(target)
        whole = next(node for node in module.tree.body if getattr(node, "name", None) == alone.name)
        assert isinstance(whole, ast.ClassDef | ast.FunctionDef)
        for part, same in zip(alone.body, whole.body, strict=True):
            assert ast.dump(part, include_attributes=True) == ast.dump(same, include_attributes=True)
        assert (catalog.signature(target), catalog.describe(target)) == (found, described)


def test_an_edited_file_is_read_again(file: str) -> None:
    assert catalog.signature(f"{file}:function")
    Path(file).write_text("def function(params, *, other: int = 1): ...\n")
    assert [option.name for option in catalog.signature(f"{file}:function")] == ["other"]


@pytest.mark.parametrize(
    ("name", "line"),
    [("Inherits", "Takes its options from Base."), ("Bare", "A user's file.")],
    ids=["own", "module's"],
)
def test_describe(file: str, name: str, line: str) -> None:
    assert catalog.describe(f"{file}:{name}") == line


def test_plugin_names_and_targets(file: str) -> None:
    assert catalog.target("model", "own", [file]) == f"{file}:Own"
    assert catalog.names("model", [file])[-2:] == ["own", "inherits"]
    assert "own" not in catalog.names("model")
    with pytest.raises(KeyError):
        catalog.target("model", "own")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("x = 1", "defines none of MODELS", id="no table"),
        pytest.param("MODELS = make()", "must be written out", id="computed"),
        pytest.param("MODELS = {'a': 3}", "must be written out", id="number for a class"),
        pytest.param("MODELS = {'a': Gone}", "named 'Gone'", id="class that is missing"),
    ],
)
def test_wrong_plugin(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(text)
    with pytest.raises(CnnbenchError, match=said):
        catalog.plugin_table(str(path))


@pytest.mark.parametrize("module", ["beside", ".beside", ".", "..beside"])
def test_a_plugin_that_imports_a_file_beside_it(tmp_path: Path, module: str) -> None:
    (tmp_path / "beside.py").write_text("class A: ...\n")
    path = tmp_path / "plugin.py"
    path.write_text(f"from {module} import A\nMODELS = {{'a': A}}\n")
    said = rf"plugin.py: A is imported from '{re.escape(module)}', which is no installed module"
    with pytest.raises(CnnbenchError, match=said):
        catalog.plugin_table(str(path))


def test_resolve_imports_a_file_once(tmp_path: Path) -> None:
    path = tmp_path / "fine.py"
    path.write_text("class A: ...\nclass B: ...\n")
    first, second = catalog.resolve(f"{path}:A"), catalog.resolve(f"{path}:A")
    assert first is second
    assert catalog.resolve(f"{path}:B").__module__ == first.__module__


def test_resolve_says_why_a_plugin_fails(file: str) -> None:
    for _ in range(2):  # the failed module is not left behind half made
        with pytest.raises(CnnbenchError, match="failed on import: ModuleNotFoundError"):
            catalog.resolve(f"{file}:Own")


def test_a_plugin_that_ends_the_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("import sys\nclass A: ...\nsys.exit(3)\n")
    with pytest.raises(CnnbenchError, match=r"script\.py failed on import: SystemExit: 3"):
        catalog.resolve(f"{path}:A")


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, table in catalog.KINDS.items() for name in table], ids="-".join
)
def test_everything_in_the_tables_exists_and_is_described(kind: str, name: str) -> None:
    assert catalog.describe(catalog.target(kind, name))


def test_signatures_agree_with_inspect() -> None:
    import inspect

    for kind, name in (("optimizer", "sgd"), ("schedule", "one_cycle"), ("model", "resnet")):
        target = catalog.target(kind, name)
        parameters = inspect.signature(catalog.resolve(target)).parameters.values()
        wanted = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert {option.name: option.default for option in catalog.signature(target)} == wanted


def test_optimizer_options_leave_out_what_stands_in_train() -> None:
    assert "lr" not in {option.name for option in catalog.options("optimizer", "sgd")}


def test_albumentations_vocabulary() -> None:
    names = catalog.names("augmentation")
    assert len(names) == len(set(names))
    assert {"HorizontalFlip", "RandomCrop", "Affine", "ColorJitter", "GaussNoise"} <= set(names)
    affine = {option.name: option.default for option in catalog.options("augmentation", "Affine")}
    assert affine["scale"] == (1.0, 1.0)
    assert affine["p"] == 0.5
    solarize = catalog.target("augmentation", "Solarize")
    assert {option.name for option in catalog.signature(solarize)} == {"threshold_range", "p"}


def test_reading_imports_nothing(file: str) -> None:
    code = (
        "import sys; from cnnbench import catalog\n"
        f"catalog.plugin_table({file!r})\n"
        "for kind in catalog.KINDS:\n"
        "    for name in catalog.names(kind): catalog.options(kind, name)\n"
        "print(sorted({'torch', 'numpy', 'albumentations', 'cnnbench.optimizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
