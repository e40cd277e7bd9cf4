"""Positions are checked against what a reader of the text would point at."""

import pytest
import tomli

from cnnbench.recipe.toml_positions import TomlPositions

TRICKY = '''\
# [not] = "a table"
title = "a # b = [c]"   # comment
"quoted.key" = 'it''s'
a.b . "c d" = 1
text = """
[fake]
x = \\"""1\\"""
""""
raw = \'\'\'
'[fake]' = """
\'\'\'
widths = [ # one
  1, [2,
    3], # two
  {k = "]", deep = [4, 5]},
]
date = 1979-05-27 07:32:00

[data]  # end
  name = "x"
[train.optimizer]
momentum=0.9
[[variants]]
name = "one"
model = {name = "resnet", widths = [16, 32], "we ird" = {x = 1}}
[variants.train]
lr = 1
[[variants]]
name = "two"
  [[variants.layers]]
  k = 1
  [[variants.layers]]
  k = 2
'''.replace("'it''s'", "'its'")


@pytest.fixture(scope="module")
def positions() -> TomlPositions:
    tomli.loads(TRICKY)  # the test's own text is valid
    return TomlPositions(TRICKY)


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        pytest.param(("title",), "title", '"a # b = [c]"', id="string with comment signs"),
        pytest.param(("quoted.key",), '"quoted.key"', "'its'", id="quoted key, literal string"),
        pytest.param(("a", "b", "c d"), '"c d"', "1", id="dotted key with blanks and quotes"),
        pytest.param(("a", "b"), "b", "b", id="inner part of a dotted key"),
        pytest.param(("text",), "text", '"""', id="multi-line string, marked on its first line"),
        pytest.param(("raw",), "raw", "'''", id="multi-line literal string"),
        pytest.param(("widths",), "widths", "[ # one", id="array over lines"),
        pytest.param(("widths", 0), "1", "1", id="element on a later line"),
        pytest.param(("widths", 1, 1), "3", "3", id="element of an element"),
        pytest.param(("widths", 2, "k"), "k", '"]"', id="inline table in an array"),
        pytest.param(("widths", 2, "deep", 1), "5", "5", id="array in an inline table in an array"),
        pytest.param(("date",), "date", "1979-05-27 07:32:00", id="date with a blank"),
        pytest.param(("data",), "[data]", "[data]", id="table"),
        pytest.param(("data", "name"), "name", '"x"', id="indented key"),
        pytest.param(("train",), "[train.optimizer]", "[train.optimizer]", id="table that is only implied"),
        pytest.param(("train", "optimizer", "momentum"), "momentum", "0.9", id="no blanks around ="),
        pytest.param(("variants", 0), "[[variants]]", "[[variants]]", id="array of tables"),
        pytest.param(("variants", 0, "model", "widths", 1), "32", "32", id="inline array element"),
        pytest.param(("variants", 0, "model", "we ird", "x"), "x", "1", id="nested inline table"),
        pytest.param(("variants", 0, "train", "lr"), "lr", "1", id="table in the last of an array of tables"),
        pytest.param(("variants", 1, "name"), "name", '"two"', id="second of an array of tables"),
        pytest.param(("variants", 1, "layers", 1, "k"), "k", "2", id="array of tables in an array of tables"),
    ],
)
def test_finds_key_and_value(
    positions: TomlPositions, path: tuple[str | int, ...], key: str, value: str
) -> None:
    for mark, wanted in ((positions.key(path), key), (positions.value(path), value)):
        assert mark.source[mark.column - 1 : mark.column - 1 + mark.width] == wanted
        assert TRICKY.split("\n")[mark.line - 1] == mark.source


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param(("variants", 1, "name"), 28, id="second variant"),
        pytest.param(("widths", 2, "deep", 0), 14, id="after multi-line strings"),
    ],
)
def test_line_numbers(positions: TomlPositions, path: tuple[str | int, ...], line: int) -> None:
    lines = TRICKY.split("\n")
    wanted = {28: 'name = "two"', 14: '  {k = "]", deep = [4, 5]},'}[line]
    assert positions.value(path).line == lines.index(wanted) + 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param(("data", "missing"), "[data]  # end", id="missing key"),
        pytest.param(("variants", 1, "model", "widths"), "[[variants]]", id="missing table"),
        pytest.param(("nothing",), '# [not] = "a table"', id="nothing near: the first line"),
        pytest.param((), '# [not] = "a table"', id="the document"),
    ],
)
def test_falls_back_to_the_nearest_parent(
    positions: TomlPositions, path: tuple[str | int, ...], source: str
) -> None:
    assert positions.key(path).source == source


@pytest.mark.parametrize("text", ["a = 1\r\nb = 2\r\n", "\ufeffa = 1\nb = 2\n"], ids=["CRLF", "BOM"])
def test_line_ends_and_byte_order_mark(text: str) -> None:
    mark = TomlPositions(text).value(("b",))
    assert (mark.line, mark.column, mark.source) == (2, 5, "b = 2")
    assert TomlPositions(text).key(("a",)).column == 1


@pytest.mark.parametrize("text", ["", "[", "a", "a = [1, {", 'a = """', "= 1", "a = 1 b", "[[x]"])
def test_broken_text_does_not_crash(text: str) -> None:
    assert TomlPositions(text).key(("z",)).line == 1


def test_escapes_in_keys() -> None:
    assert TomlPositions('"a\\u0062\\tc" = 1').value(("ab\tc",)).column == 16
