"""Reads constructors and functions from their source, without importing it: what options a unit has.

A target is "package.module:Name" or "/abs/path/file.py:Name". Nothing read here is ever evaluated.
"""

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal

from cnnbench import options as option_types
from cnnbench.errors import CnnbenchError

_BASIC: dict[str, Any] = {kind.__name__: kind for kind in (int, float, str, bool, list, dict, tuple)} | {
    "Any": Any
}
_Definition = ast.ClassDef | ast.FunctionDef
_NOT_INDENTED = re.compile(r"^[^\s)\]}#]", re.MULTILINE)
# packages not written for us: every parameter is an option, and types that we cannot read are let through
_FOREIGN = ("albumentations",)


@dataclass(frozen=True)
class Option:
    """A parameter; without a default it is required, one that is no literal is left to the constructor."""

    name: str
    annotation: Any
    default: Any = ...
    readable: bool = True

    @property
    def required(self) -> bool:
        return isinstance(self.default, EllipsisType) and self.readable


class _Module:
    """A module's source, parsed no further than is asked for: mostly one class of it is."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    @cached_property
    def tree(self) -> ast.Module:
        try:
            return ast.parse(self.path.read_bytes(), filename=str(self.path))
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            text = f"{self.path}:{line}: not valid Python: {getattr(error, 'msg', error)}"
            raise CnnbenchError(text) from error

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8", errors="replace")

    def definition(self, name: str) -> _Definition | None:
        for node in (self._alone(name) or self.tree).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                return node
        return None

    def _alone(self, name: str) -> ast.Module | None:
        """The class or function up to the next line that is not indented; None where that is no Python."""
        start = re.search(rf"^(?:class|def) {re.escape(name)}\b", self.text, re.MULTILINE)
        if start is None or "tree" in vars(self):
            return None
        end = _NOT_INDENTED.search(self.text, start.end())
        try:
            above = "\n" * self.text.count("\n", 0, start.start())  # so that its lines keep their numbers
            return ast.parse(above + self.text[start.start() : end.start() if end else None])
        except (SyntaxError, ValueError):
            return None

    def constant(self, name: str) -> ast.expr | None:
        for node in self.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)):
                    if found == name:
                        return node.value
        return None

    def imported_from(self, name: str) -> tuple[str, str] | None:
        """(module, original name) of a name brought in by `from module import name`."""
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return _absolute(node, self), alias.name
        return None


def _absolute(node: ast.ImportFrom, module: _Module) -> str:
    if not node.level:
        return node.module or ""
    if module.name.endswith(".py"):  # in no package
        return "." * node.level + (node.module or "")
    depth = node.level - (module.path.name == "__init__.py")
    package = module.name.split(".")[: -depth or None]
    return ".".join([*package, *([node.module] if node.module else [])])


def source_path(module: str) -> Path | None:
    """The file of a module or package, found without importing anything; None where there is none."""
    top, *rest = module.split(".")
    if top == "cnnbench":
        folder = Path(__file__).parent
    else:
        spec = importlib.util.find_spec(top)
        if spec is None:
            return None
        if not spec.submodule_search_locations:
            return Path(spec.origin) if spec.origin and not rest else None
        folder = Path(spec.submodule_search_locations[0])
    base = folder.joinpath(*rest)
    candidates = (base.with_suffix(".py"), base / "__init__.py") if rest else (base / "__init__.py",)
    return next((path for path in candidates if path.is_file()), None)


def split_target(target: str) -> tuple[str, str]:
    """("package.module" or a path, name)."""
    module, _, name = target.rpartition(":")
    return module, name


def is_file_target(target: str) -> bool:
    return split_target(target)[0].endswith(".py")


def is_foreign(target: str) -> bool:
    """Whether the target is of a package not written for us."""
    return target.startswith(_FOREIGN)


def read_module(module: str) -> _Module:
    """The source of a module or of a path to a `.py` file. Raises CnnbenchError."""
    path = Path(module) if module.endswith(".py") else source_path(module)
    if path is None or not path.is_file():
        raise CnnbenchError(f"{module} was not found")
    found = _module(path, module, path.stat().st_mtime_ns)
    if is_file_target(f"{module}:"):  # written by someone now: a slip anywhere in it is told
        _ = found.tree
    return found


@lru_cache(maxsize=256)
def _module(path: Path, module: str, _mtime_ns: int) -> _Module:
    return _Module(path, module)


def find_definition(target: str) -> tuple[_Module, _Definition]:
    """The class or function of a target, followed through `from x import name`, else CnnbenchError."""
    module_name, name = split_target(target)
    module = read_module(module_name)
    node = module.definition(name)
    if node is not None:
        return module, node
    origin = module.imported_from(name)
    if origin is None:
        raise CnnbenchError(f"{module.path} defines no class or function named {name!r}")
    if is_file_target(target) and (origin[0].startswith(".") or source_path(origin[0]) is None):
        raise CnnbenchError(
            f"{module.path}: {name} is imported from {origin[0]!r}, which is no installed module with a "
            "source to read; a file beside a plugin cannot be imported: name it in plugins, too, with a "
            "table of its own"
        )
    return find_definition(":".join(origin))


def docstring(target: str) -> str:
    """First line of the target's docstring, or of its module's where it has none; may be empty."""
    module, node = find_definition(target)
    text = ast.get_docstring(node) or ast.get_docstring(module.tree) or ""
    return text.splitlines()[0] if text else ""


def signature(target: str) -> list[Option]:
    """The options of a class (its `__init__`, own or inherited) or function: its keyword-only parameters."""
    module, node = find_definition(target)
    foreign = is_foreign(target)
    if isinstance(node, ast.ClassDef):
        found = _constructor(module, node)
        if found is None:
            return []
        module, function = found
    else:
        function = node
    return list(_parameters(module, function, foreign))


def before_star(target: str) -> list[str]:
    """The parameters of a class or function that are no options since they may be given by position."""
    module, node = find_definition(target)
    if isinstance(node, ast.ClassDef):
        found = _constructor(module, node)
        if found is None:
            return []
        node = found[1]
    return [argument.arg for argument in (*node.args.posonlyargs, *node.args.args) if argument.arg != "self"]


def assigns(target: str, attribute: str) -> bool:
    """Whether the constructor of a class (its own, or the inherited one) gives itself this attribute."""
    module, node = find_definition(target)
    found = _constructor(module, node) if isinstance(node, ast.ClassDef) else None
    return found is not None and any(
        isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and part.attr == attribute
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
        for part in ast.walk(found[1])
    )


def _constructor(module: _Module, node: ast.ClassDef) -> tuple[_Module, ast.FunctionDef] | None:
    """`__init__` of the class or of the nearest base whose source can be found."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return module, item
    for base in node.bases:
        if not isinstance(base, ast.Name):
            continue  # torch.nn.Module and the like: no options of ours
        parent = module.definition(base.id)
        parent_module = module
        if parent is None and (origin := module.imported_from(base.id)) is not None:
            if origin[0].split(".")[0] not in (module.name.split(".")[0], "cnnbench"):
                continue
            try:
                parent_module, parent = find_definition(":".join(origin))
            except CnnbenchError:  # a base from elsewhere has no options that a recipe could set
                continue
        if isinstance(parent, ast.ClassDef) and (found := _constructor(parent_module, parent)) is not None:
            return found
    return None


def _parameters(module: _Module, function: ast.FunctionDef, foreign: bool) -> list[Option]:
    arguments = function.args
    pairs = list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    if foreign:
        positional = [*arguments.posonlyargs, *arguments.args]
        missing = [None] * (len(positional) - len(arguments.defaults))
        pairs = [*list(zip(positional, [*missing, *arguments.defaults], strict=True))[1:], *pairs]
    return [_option(module, argument, default, foreign) for argument, default in pairs]


def _option(module: _Module, argument: ast.arg, default: ast.expr | None, foreign: bool) -> Option:
    annotation = Any if argument.annotation is None else _annotation(argument.annotation, module, foreign)
    if default is None:
        return Option(argument.arg, annotation)
    if isinstance(default, ast.Name):
        default = module.constant(default.id) or default
    try:
        return Option(argument.arg, annotation, ast.literal_eval(default))
    except ValueError:
        return Option(argument.arg, annotation, readable=False)


def _annotation(node: ast.expr, module: _Module, foreign: bool) -> Any:
    """The type an annotation stands for, from a whitelist of names and forms."""

    def inner(part: ast.expr) -> Any:
        return _annotation(part, module, foreign)

    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=EllipsisType()):
            return ...
        case ast.Constant(value=str(text)):
            return inner(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _named_type(name, node, module, foreign)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(inner(left), inner(right))
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=slice_node):
            parts = slice_node.elts if isinstance(slice_node, ast.Tuple) else [slice_node]
            if name == "Literal" and all(isinstance(part, ast.Constant) for part in parts):
                return Literal[tuple(part.value for part in parts if isinstance(part, ast.Constant))]
            if name in ("list", "Sequence"):
                return list[inner(parts[0])]  # type: ignore[misc]
            if name == "tuple":
                return tuple[tuple(inner(part) for part in parts)]  # type: ignore[misc]
            if name == "dict":
                return dict[inner(parts[0]), inner(parts[1])]  # type: ignore[misc]
    return _unknown(node, module, foreign)


def _named_type(name: str, node: ast.expr, module: _Module, foreign: bool) -> Any:
    if name in _BASIC:
        return _BASIC[name]
    if not foreign and not name.startswith("_") and name[0].isupper() and hasattr(option_types, name):
        return getattr(option_types, name)
    alias = module.constant(name)  # a type named in the same module
    return _unknown(node, module, foreign) if alias is None else _annotation(alias, module, foreign)


def _union(left: Any, right: Any) -> Any:
    return Any if left is Any or right is Any else left | right


def _unknown(node: ast.expr, module: _Module, foreign: bool) -> Any:
    if foreign:
        return Any
    raise CnnbenchError(
        f"{module.path}:{node.lineno}: the type {ast.unparse(node)!r} is not one that options may have; "
        "use int, float, str, bool, list, tuple, dict, Literal, | or a name from cnnbench.options"
    )
