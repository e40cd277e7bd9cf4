"""What a person sees: messages on stderr, results on stdout; what moves is in `live`."""

import codecs
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

# Where output is no terminal, lines are as long as they need to be.
WIDTH_OF_A_PIPE = 200

if TYPE_CHECKING:
    from cnnbench.analyses.base import Cell

# what stands for a sign that the encoding of the output lacks; else a question mark does
IN_ASCII = {"★": "*", "±": "+-", "≈": "~", "×": "x", "–": "-", "−": "-", "→": "->", "…": "...", "·": "-"}
IN_OTHER_SIGNS = "cnnbench.in_other_signs"  # the name of the error handler

# Characters of a name that are kept on one line in a table, whatever the width.
MOST_IN_ONE_PIECE = 56


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What stands for signs that an encoding lacks, and where to go on: an error handler for codecs."""
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(sign, "?") for sign in signs), error.end


codecs.register_error(IN_OTHER_SIGNS, in_ascii)


def make_console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    columns = os.environ.get("COLUMNS", "")
    wide = int(columns) if columns.isdecimal() and int(columns) > 0 else WIDTH_OF_A_PIPE
    width = None if stream.isatty() else wide
    return Console(stderr=stderr, highlight=False, width=width, soft_wrap=not stream.isatty())


def say(text: str, style: str = "") -> None:
    """A line on stderr."""
    make_console(stderr=True).print(Text(text, style=style))


def fail(text: str) -> None:
    """An error on stderr, as it is: file excerpts keep their columns."""
    console = make_console(stderr=True)
    console.print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)


def write(text: str) -> None:
    """Data on stdout, byte for byte; flushed, so that a reader who has gone shows here and not at exit."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence["Cell"]],
    *,
    left: int = 1,
    optional: Sequence[str] = (),
) -> list[str]:
    """A table on stdout; the first `left` columns are text, the others numbers.

    Where it is too wide, titles are broken, then columns left out in the order of `optional`; returns those.
    """
    console = make_console(stderr=False)

    def written(text: str) -> str:  # before widths are measured
        return text.encode(console.encoding, IN_OTHER_SIGNS).decode(console.encoding)

    cells = [[written(as_text(cell)) for cell in row] for row in rows]
    columns, optional = list(map(written, columns)), list(map(written, optional))
    shown, cells, left_out = fitted(columns, cells, optional, console.width)
    left -= len(set(columns[:left]) & set(left_out))
    console.print(table(written(title), shown, cells, left=left))
    return left_out


def fitted(
    columns: list[str], rows: list[list[str]], optional: Sequence[str], width: int
) -> tuple[list[str], list[list[str]], list[str]]:
    """Titles and cells that fit the width, and the titles left out; numbers are never broken."""
    left_out: list[str] = []
    if table_width(columns, rows) > width and optional:
        broken = [broken_title(title, [row[i] for row in rows]) for i, title in enumerate(columns)]
        for title in optional:
            if table_width(broken, rows) <= width:
                break
            if title not in columns:
                continue
            index = columns.index(title)
            left_out.append(title)
            columns, broken = without(columns, index), without(broken, index)
            rows = [without(row, index) for row in rows]
        columns = broken
    return columns, rows, left_out


def table_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Characters that the widest line takes: of each column its cells, a blank either side, a rule."""
    lines = [[max(map(cell_len, title.split("\n"))) for title in columns]]
    lines += [list(map(cell_len, row)) for row in rows]
    widest: list[int] = [max(column) for column in zip(*lines, strict=True)]
    return sum(widest) + 3 * len(columns) + 1


def broken_title(title: str, cells: Sequence[str]) -> str:
    """The title on as many lines as it takes to be no wider than its cells or its longest word."""
    words = title.split(" ")
    width = max(map(cell_len, [*words, *cells]))
    lines = [words[0]]
    for word in words[1:]:
        joined = f"{lines[-1]} {word}"
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return "\n".join(lines)


def without(items: list[str], index: int) -> list[str]:
    return items[:index] + items[index + 1 :]


def as_text(cell: "Cell") -> str:
    return "–" if cell is None else str(cell)


def print_lines(lines: Sequence[str]) -> None:
    """Sentences on stdout."""
    console = make_console(stderr=False)
    for line in lines:
        console.print(Text(line))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> Table:
    made = Table(title=escape(title) or None, title_justify="left", header_style="bold")
    longest = max((cell_len(row[0]) for row in rows), default=0)
    for index, column in enumerate(columns):
        made.add_column(
            escape(column),
            justify="left" if index < left else "right",
            overflow="fold",
            no_wrap=index == 0 and longest <= MOST_IN_ONE_PIECE,  # so that a path can be copied
        )
    for row in rows:
        made.add_row(*map(escape, row))
    return made
