"""`cnnbench list`: what a recipe can name."""

from typing import Annotated

import typer

from cnnbench import console
from cnnbench.arguments import Kind


def list_(
    kind: Annotated[
        Kind | None, typer.Argument(metavar="KIND", help="What to list; else an overview of everything.")
    ] = None,
) -> None:
    """Lists what a recipe can name, with options and defaults.

    Example: cnnbench list models
    """
    from cnnbench.listing import listing

    for title, rows in listing(None if kind is None else kind.value):
        if title == "recipes":  # paths are long, and are copied
            columns = ["recipe", "what it asks"]
        else:
            columns = ["name", "what it is", *(["options"] if kind else [])]
        console.print_table(title, columns, rows, left=len(columns))
