"""A recipe's file: its text, its TOML, its name. Whatever is wrong with it as a file is said here."""

import re
from pathlib import Path
from typing import Any

import tomli

from cnnbench.recipe.mistakes import Mistake, RecipeError, nearest
from cnnbench.recipe.toml_positions import Mark, TomlPositions


def read_text(path: Path) -> str:
    """The file's text without a byte order mark."""
    if path.is_dir():
        raise RecipeError([Mistake(str(path), "is a directory; name a recipe file (.toml) in it")])
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        # by what stands before .toml, which all of them share
        known = {other.stem: str(other) for other in sorted(folder.glob("*.toml"))} if folder.is_dir() else {}
        near = nearest(path.stem, known)
        raise RecipeError([Mistake(str(path), "no such file", None, near and known[near])]) from None
    except OSError as error:
        raise RecipeError([Mistake(str(path), f"cannot be read: {error.strerror}")]) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + 3 * content.startswith(b"\xef\xbb\xbf")
        line = content.count(b"\n", 0, start) + 1
        first = content.rfind(b"\n", 0, start) + 1
        before = content[first:start].decode("utf-8-sig")
        shown = content[first:].partition(b"\n")[0].decode("utf-8-sig", "replace").rstrip("\r")
        source = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in shown)
        message = f"not UTF-8 text (byte {start}); save the file in the encoding UTF-8"
        mark = Mark(line, len(before) + 1, 1, source)
        raise RecipeError([Mistake(str(path), message, mark)]) from None


def parse(path: Path, text: str) -> dict[str, Any]:
    """The document; broken or empty TOML is a RecipeError."""
    try:
        document = tomli.loads(text)
    except RecursionError:
        raise RecipeError([Mistake(str(path), "is nested too deeply; no recipe needs that")]) from None
    except tomli.TOMLDecodeError as error:
        message = re.sub(r" \(at .*\)$", "", str(error), flags=re.DOTALL)
        positions = TomlPositions(text)
        place = re.search(r"\(at line (\d+), column (\d+)\)$", str(error))
        if place is not None:
            lines = positions.text.split("\n")
            start = sum(len(line) + 1 for line in lines[: int(place[1]) - 1]) + int(place[2]) - 1
        else:
            message += ": the file ends too early"
            start = len(positions.text.rstrip())
        mistake = Mistake(str(path), f"not valid TOML: {message}", positions.mark(start, start))
        raise RecipeError([mistake]) from None
    except ValueError as error:  # more digits than Python reads
        message = f"a number is too long to be read ({str(error).partition(':')[0]})"
        raise RecipeError([Mistake(str(path), message)]) from None
    if not document:
        raise RecipeError([Mistake(str(path), "is empty; a recipe needs [data], a model and [[variants]]")])
    return document


def recipes_root(path: Path) -> Path:
    """The nearest folder called `recipes` above a recipe's file; elsewhere the folder that it is in."""
    folders = path.absolute().parents
    return next((folder for folder in folders if folder.name == "recipes"), folders[0])


def recipe_name(path: Path) -> str:
    """The path under the nearest folder called `recipes`, without `.toml`; elsewhere the file's stem."""
    return path.absolute().relative_to(recipes_root(path)).with_suffix("").as_posix()
