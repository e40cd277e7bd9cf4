"""What a fresh clone needs: its files, versions that fit, nothing of one machine, a quick command line."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOP = "recipes cnnbench tests Makefile pyproject.toml constraints.txt README.md CHANGELOG.md LICENSE .ci/run"


def package_name(requirement: str) -> str:
    """The normalized name at the start of a requirement: `scikit_learn>=1.4` -> `scikit-learn`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


def pins() -> dict[str, str]:
    """Version by package name; every line of constraints.txt that is not a comment must be a plain pin."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [
        re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9A-Za-z.]*)", line) for line in lines if line[:1] != "#"
    ]
    assert all(matches), "constraints.txt: a line is not of the form name==version"
    return {package_name(match[1]): match[2] for match in matches if match}


def repository_files() -> list[Path]:
    """Files that git tracks or would track."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in output.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("name", TOP.split())
def test_top_level(name: str) -> None:
    assert (ROOT / name).exists()


def test_license_is_mit() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License\n\nCopyright (c) 2026 cnnbench contributors\n")
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in text
    assert PROJECT["project"]["license"] == "MIT"


def test_changelog_keeps_its_form() -> None:
    headings = re.findall(
        r"^##? .*|^### .*", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[:2] == ["# Changelog", "## [Unreleased]"]
    kinds = "Added|Changed|Deprecated|Removed|Fixed|Security"
    form = rf"## \[(Unreleased|\d+\.\d+\.\d+\] - \d{{4}}-\d\d-\d\d)\]?|### ({kinds})"
    assert [heading for heading in headings[1:] if not re.fullmatch(form, heading)] == []


def test_constraints_name_no_place_and_leave_cuda_to_torch() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(
        r"://|^-|--|@|\bhash", text.replace("pip install -c constraints.txt -e .", ""), re.MULTILINE
    )
    assert not [name for name in pins() if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_every_direct_dependency_is_pinned() -> None:
    groups = [
        entry for group in PROJECT["dependency-groups"].values() for entry in group if isinstance(entry, str)
    ]
    direct = {package_name(entry) for entry in [*PROJECT["project"]["dependencies"], *groups]}
    assert sorted(direct - pins().keys()) == []


def test_albumentations_is_the_last_mit_release() -> None:
    assert pins()["albumentations"] == "2.0.8"
    assert "albumentationsx" not in pins()


def test_no_file_names_a_place_of_one_machine() -> None:
    places = re.compile(
        rb"(?<![\w.~})])/(?:home|Users)/\w+/|(?<![\w.~})])/(?:root|work)/|/tmp/" + rb"contract"
    )
    named = [path for path in repository_files() if places.search(path.read_bytes())]
    assert [str(path.relative_to(ROOT)) for path in named] == []


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["--version"], 0, id="version"),
        pytest.param(["list"], 0, id="list"),
        pytest.param(["show", "--help"], 0, id="show-help"),
        pytest.param(["compare", "--runs", "{empty}"], None, id="compare"),
        pytest.param(["recipe", "{empty}/absent.toml"], 2, id="recipe-error"),
    ],
)
def test_quick_commands_leave_torch_alone(
    arguments: list[str], exit_code: int | None, tmp_path: Path
) -> None:
    program = (
        "import sys; from cnnbench.cli import main; sys.argv[0] = 'cnnbench'\n"
        "try: main()\n"
        "except SystemExit as exit: code = exit.code or 0\n"
        "else: code = 0\n"
        "heavy = {'torch', 'torchvision', 'timm', 'albumentations', 'sklearn'} & sys.modules.keys()\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else code)\n"
    )
    command = [sys.executable, "-c", program, *(part.format(empty=tmp_path) for part in arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "imported [" not in done.stderr
    assert "Traceback" not in done.stderr
    assert exit_code is None or done.returncode == exit_code, done.stderr
