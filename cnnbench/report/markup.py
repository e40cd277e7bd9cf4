"""The report as Markdown and as HTML."""

import re
from collections.abc import Mapping
from typing import Any


def render(content: Mapping[str, Any]) -> tuple[str, str]:
    """The report as Markdown and as one self-contained page of HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    texts = []
    for name, autoescape in (("report.md.j2", False), ("report.html.j2", True)):
        environment = Environment(
            loader=PackageLoader("cnnbench", "templates"), autoescape=autoescape, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        environment.filters["md"] = markdown_text
        texts.append(environment.get_template(name).render(content).strip() + "\n")
    return re.sub(r"\n{3,}", "\n\n", texts[0]), texts[1]


def markdown_text(text: object) -> str:
    """Text on one line in which Markdown and HTML see no marks of theirs."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*\[\]<>|~])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", line)
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line)
    return re.sub(r"^(\d+)([.)])(?=\s|$)|^([#+\-=])", _escape_start, line)


def _escape_start(match: re.Match[str]) -> str:
    return f"{match[1]}\\{match[2]}" if match[1] else f"\\{match[3]}"
