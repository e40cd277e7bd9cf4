"""Holds the house of cnnbench: imports go down, rich stands in two files, light files stay light."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from cnnbench import catalog

PACKAGE = Path(__file__).parents[1] / "cnnbench"

# A file imports from lower floors only; a package stands on a floor as a whole.
FLOORS = (
    "errors options files seeds imagenet signatures libraries catalog expressions parsing recipe",
    "measures settings devices reading",
    "models data metrics statistics paired_tests precision memory threads muon optimizers schedules",
    "tasks features seeds_needed",
    "passes probes signals evaluation training together inference runs course decisions matching trained",
    "analyses comparison console checks",
    "job joint_job report publish plan running bench prediction live",
    "arguments interrupts progress views listing commands cli __init__ __main__",
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
# The bottom floor is a staircase: each file may import those named before it.
STAIRS = FLOORS[0].split()
# Elsewhere a file imports from beside it only where it says so here.
BESIDE = {
    "data": "memory",
    "muon": "precision",
    "paired_tests": "statistics",
    "optimizers": "muon",
    "training": "evaluation passes probes",
    "together": "training",
    "decisions": "runs",
    "course": "runs",
    "signals": "probes",
    "trained": "runs",
    "console": "analyses.base",
    "checks": "analyses.base",
    "joint_job": "job",
    "running": "job joint_job report plan",
    "commands": "arguments progress views listing",
    "cli": "interrupts commands",
    "__main__": "cli",
}
# What a recipe can name: a unit imports no other unit; what they share stands in files of its own.
UNITS = {*catalog.MODELS.values(), *catalog.DATASETS.values(), *catalog.ANALYSES.values()}
UNITS = {target.partition(":")[0].removeprefix("cnnbench.") for target in UNITS}
HEAVY = {"torch", "torchvision", "timm", "albumentations", "matplotlib", "sklearn", "scipy", "numpy"}
LIGHT_ROOMS = (
    "measures settings devices reading statistics paired_tests seeds_needed "
    "runs course decisions matching comparison console report publish running arguments interrupts "
    "listing views commands cli __init__ __main__"
)
LIGHT_ROOMS = {*FLOORS[0].split(), *LIGHT_ROOMS.split()} - {"seeds"}

FILES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
FILES = {name.removesuffix(".__init__"): path for name, path in sorted(FILES.items())}
LIGHT = [name for name in FILES if name.partition(".")[0] in LIGHT_ROOMS]


def statements(tree: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    """Every node of a file, or only what runs at its import: no function's body, nothing for types only."""
    for node in ast.iter_child_nodes(tree):
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from statements(node, at_import=at_import)


def imported(path: Path, *, at_import: bool = False) -> set[str]:
    """Dotted names of the modules a file imports; `from a import b` counts as a.b."""
    names: set[str] = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), at_import=at_import):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: imports are written in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_modules(path: Path, *, at_import: bool = False) -> set[str]:
    """The files of cnnbench that a file imports, by their name in FILES."""
    found: set[str] = set()
    for name in imported(path, at_import=at_import):
        if name.split(".")[0] == "cnnbench":
            inner = name.removeprefix("cnnbench").removeprefix(".")
            while inner and inner not in FILES:  # a function or class: the file it stands in
                inner = inner.rpartition(".")[0]
            found.add(inner or "__init__")
    return found


def allowed(importer: str, target: str) -> bool:
    room, other = importer.partition(".")[0], target.partition(".")[0]
    if room == other:
        return target not in UNITS
    if room in STAIRS and other in STAIRS:
        return STAIRS.index(other) < STAIRS.index(room)
    return FLOOR.get(other, 0) < FLOOR[room] or bool({target, other} & set(BESIDE.get(room, "").split()))


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down(name: str) -> None:
    assert name.partition(".")[0] in FLOOR, f"{name} stands on no floor: add it to FLOORS in this test"
    wrong = {target for target in own_modules(FILES[name]) if not allowed(name, target)}
    assert not wrong, f"{name} must not import {', '.join(sorted(wrong))}"


def test_no_import_goes_round_in_a_circle() -> None:
    TopologicalSorter({name: own_modules(path, at_import=True) for name, path in FILES.items()}).prepare()


def test_only_what_a_person_sees_imports_rich() -> None:
    users = {name for name, path in FILES.items() if "rich" in {n.split(".")[0] for n in imported(path)}}
    assert users <= {"console", "live"}


@pytest.mark.parametrize("name", LIGHT)
def test_light_files_import_nothing_heavy(name: str) -> None:
    assert not HEAVY & {module.split(".")[0] for module in imported(FILES[name], at_import=True)}
