"""Text in which Markdown sees no marks of its own."""

import pytest

from cnnbench.report.markup import markdown_text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b*c", "a\\|b\\*c"),
        ("snake_case", "snake_case"),
        ("_emphasis_", "\\_emphasis\\_"),
        ("<b>", "\\<b\\>"),
        ("1. one", "1\\. one"),
        ("# head", "\\# head"),
        ("- item", "\\- item"),
        ("two\n lines", "two lines"),
        ("R&D &amp; x", "R&D &amp;amp; x"),
        ("91.2 ± 0.3 %", "91.2 ± 0.3 %"),
        (0.5, "0.5"),
    ],
    ids=str,
)
def test_markdown_text(text: object, escaped: str) -> None:
    assert markdown_text(text) == escaped
