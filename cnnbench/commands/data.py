"""`cnnbench data`: downloads and verifies data sets."""

from typing import TYPE_CHECKING, Annotated

import typer

from cnnbench import console
from cnnbench.arguments import DataDir
from cnnbench.errors import CnnbenchError

if TYPE_CHECKING:
    from cnnbench.data.base import Survey


def data(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Data sets to fetch; else a list.")
    ] = None,
    root: DataDir = None,
) -> None:
    """Downloads and verifies data sets; without a name, says which are there.

    Example: cnnbench data cifar10
    """
    from cnnbench import catalog
    from cnnbench.data import data_root, download_dataset, survey_dataset
    from cnnbench.live import download_bar
    from cnnbench.recipe.mistakes import choices, nearest

    known = catalog.names("dataset")
    for name in names or ():
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near!r}?" if near else f"; expected {choices(known)}"
            raise CnnbenchError(f"no data set {name!r}{hint}")
    place = data_root(root)
    if names:
        for name in names:
            with download_bar(name) as progress:
                survey = download_dataset(name, place, progress)
            console.print_lines([f"{name}: {said(survey)}"])
        return
    rows = []
    for name in known:
        try:
            state = said(survey_dataset(name, place))
        except CnnbenchError as error:
            state = str(error).partition(": ")[0]
        rows.append([name, state])
    console.print_table(f"data sets under {place}", ["name", "state"], rows, left=2)


def said(survey: "Survey") -> str:
    return f"{survey.num_train:,} training and {survey.num_test:,} test images, {survey.how}"
