"""`cnnbench predict`: a trained run on the user's own pictures."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cnnbench import console
from cnnbench.arguments import (
    DataDir,
    Device,
    ImagePaths,
    MasksDir,
    Plugins,
    RunPath,
    RunsDir,
    ShowFormat,
    TopClasses,
)  # fmt: skip


def predict(
    run: RunPath,
    images: ImagePaths,
    top: TopClasses = None,
    form: Annotated[ShowFormat, typer.Option("--format", help="How to print it.")] = ShowFormat.table,
    save: MasksDir = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    data: DataDir = None,
    runs: RunsDir = Path("runs"),
    plugins: Plugins = None,
) -> None:
    """Applies a trained run to your own pictures: classes with probabilities, or masks as PNG files.

    Example: cnnbench predict runs/quickstart/cnn/seed0 photo.jpg --top 3
    """
    from cnnbench import prediction, views

    predictions = prediction.predict(
        run,
        images,
        top=top,
        save=save,
        runs_dir=runs,
        data_dir=data,
        device=device.value,
        plugins=plugins or (),
    )
    for note in predictions.notes:
        console.say(note)
    if form is ShowFormat.json:
        console.write(json.dumps(prediction.as_dicts(predictions), indent=2))
    else:
        views.show_predictions(predictions)
