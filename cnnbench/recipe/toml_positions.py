"""Where each key and value of a TOML document stands, by paths such as ("variants", 1, "model").

A scanner for text that `tomli` has already accepted: it finds places, it does not judge.
"""

import re
from contextlib import suppress
from dataclasses import dataclass

Path = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
    re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


@dataclass(frozen=True)
class Mark:
    """A stretch of one line; line and column count from 1."""

    line: int
    column: int
    width: int
    source: str


class TomlPositions:
    """Positions in one document; an unknown path answers with its nearest known parent."""

    def __init__(self, text: str) -> None:
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        self.lines = self.text.split("\n")
        self._keys: dict[Path, tuple[int, int]] = {}  # start and end in the text
        self._values: dict[Path, tuple[int, int]] = {}
        self._last_index: dict[Path, int] = {}  # of each array of tables
        self._at = 0
        with suppress(_LostError):  # what was found so far still stands; the rest falls back to it
            self._document()

    def key(self, path: Path) -> Mark:
        """The key of this path; for an element of an array its value."""
        return self._nearest(path, self._keys, self._values)

    def value(self, path: Path) -> Mark:
        """The value of this path; for a `[table]` its header."""
        return self._nearest(path, self._values, self._keys)

    def within(self, path: Path, text: str, start: int, end: int) -> Mark:
        """The stretch from `start` to `end` of the text that stands as this value.

        The whole value where the file writes the text otherwise, with escapes.
        """
        if path in self._values:
            first, last = self._values[path]
            at = self.text.find(text, first, last)
            if at >= 0:
                return self.mark(at + start, at + max(end, start + 1))
        return self.value(path)

    def mark(self, start: int, end: int) -> Mark:
        """The stretch between two offsets of the text, cut at the end of its first line."""
        line = self.text.count("\n", 0, start)
        first = self.text.rfind("\n", 0, start) + 1
        source = self.lines[line]
        return Mark(line + 1, start - first + 1, max(1, min(end, first + len(source)) - start), source)

    def _nearest(self, path: Path, *tables: dict[Path, tuple[int, int]]) -> Mark:
        for length in range(len(path), 0, -1):
            for table in tables:
                if (found := table.get(path[:length])) is not None:
                    return self.mark(*found)
            tables = (self._keys, self._values)  # of a parent the key says more than the value
        return self.mark(0, 0)

    def _document(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BLANK_LINES)
            if self._at >= len(self.text):
                return
            if self._peek("[["):
                table = self._header("[[", "]]")
            elif self._peek("["):
                table = self._header("[", "]")
            else:
                self._pair(table)

    def _header(self, opening: str, closing: str) -> Path:
        start = self._at
        self._at += len(opening)
        parts = [part for part, _, _ in self._dotted_key()]
        self._expect(closing)
        path: Path = ()
        for part in parts[:-1]:
            path = self._inside(path, part)
            self._keys.setdefault(path, (start, self._at))
        if opening == "[[":
            path = (*path, parts[-1])
            self._keys.setdefault(path, (start, self._at))
            self._last_index[path] = self._last_index.get(path, -1) + 1
            path = (*path, self._last_index[path])
        else:
            path = self._inside(path, parts[-1])
        self._keys[path] = (start, self._at)
        return path

    def _inside(self, path: Path, part: str) -> Path:
        """One step down; into an array of tables it leads to the last table."""
        path = (*path, part)
        return (*path, self._last_index[path]) if path in self._last_index else path

    def _pair(self, table: Path) -> None:
        path = table
        for part, start, end in self._dotted_key():
            path = (*path, part)
            self._keys.setdefault(path, (start, end))
        self._expect("=")
        self._skip(_BLANK)
        self._value(path)

    def _dotted_key(self) -> list[tuple[str, int, int]]:
        parts = []
        while True:
            self._skip(_BLANK)
            start = self._at
            if (bare := _BARE_KEY.match(self.text, start)) is not None:
                self._at = bare.end()
                parts.append((bare[0], start, self._at))
            else:
                text = self._string()
                parts.append((_unquoted(text), start, self._at))
            self._skip(_BLANK)
            if not self._peek("."):
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        start = self._at
        if self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline_table(path)
        elif self._peek('"') or self._peek("'"):
            self._string()
        else:
            bare = _BARE_VALUE.match(self.text, start)
            self._at = start + len(bare[0].rstrip() if bare else "")
            if self._at == start:
                raise _LostError
        self._values[path] = (start, self._at)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK_LINES)
            if self._peek("]"):
                self._at += 1
                return
            self._value((*path, index))
            index += 1
            self._comma_before("]")

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK_LINES)
            if self._peek("}"):
                self._at += 1
                return
            self._pair(path)
            self._comma_before("}")

    def _comma_before(self, closing: str) -> None:
        self._skip(_BLANK_LINES)
        if not self._peek(closing):
            self._expect(",")

    def _string(self) -> str:
        for pattern in _STRINGS:
            if (found := pattern.match(self.text, self._at)) is not None:
                self._at = found.end()
                return found[0]
        raise _LostError

    def _peek(self, text: str) -> bool:
        return self.text.startswith(text, self._at)

    def _expect(self, text: str) -> None:
        self._skip(_BLANK)
        if not self._peek(text):
            raise _LostError
        self._at += len(text)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if (found := pattern.match(self.text, self._at)) is not None:
            self._at = found.end()


class _LostError(Exception):
    """The text is not what the scanner knows."""


def _unquoted(text: str) -> str:
    if text[0] == "'":
        return text[1:-1]

    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code, 16)) if code else _ESCAPED.get(found[3], found[3])

    return _ESCAPE.sub(character, text[1:-1])
