"""Memory of one model on a processor, measured in a process of its own: no model's peak hides another's."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import Named

TIMEOUT_SECONDS = 300


def measure_fresh(
    model: Named,
    in_shape: Sequence[int],
    num_classes: int,
    precision: str,
    batch_sizes: Sequence[int],
    *,
    num_threads: int,
    plugins: Sequence[str] = (),
) -> dict[int, float]:
    """Peak resident memory in MiB while one batch is answered, beyond what the process held before the model.

    One process for each batch size. Raises CnnbenchError where a process fails.
    """
    asked = {
        "model": model.model_dump(mode="json"), "in_shape": list(in_shape), "num_classes": num_classes,
        "precision": precision, "num_threads": num_threads, "plugins": list(plugins),
    }  # fmt: skip
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    measured = {}
    for batch_size in dict.fromkeys(batch_sizes):
        try:
            done = subprocess.run(
                [sys.executable, "-m", "cnnbench.analyses.fresh_memory"],
                input=json.dumps(asked | {"batch_size": batch_size}), env=os.environ | {"PYTHONPATH": path},
                capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True,
            )  # fmt: skip
            measured[batch_size] = float(done.stdout)
        except (subprocess.SubprocessError, ValueError) as error:
            said = str(getattr(error, "stderr", "") or error).strip().rpartition("\n")[2]
            raise CnnbenchError(
                f"its memory could not be measured at batch size {batch_size}: {said}"
            ) from error
    return measured


def measure_here(asked: dict[str, Any]) -> float:
    """The peak of this process, in MiB, beyond what it held before the model was built."""
    import psutil
    import torch

    from cnnbench import memory
    from cnnbench.inference import random_images, time_calls
    from cnnbench.models import build_model
    from cnnbench.precision import choose_precision

    torch.set_num_threads(asked["num_threads"])
    device = torch.device("cpu")
    precision = choose_precision(asked["precision"], device)
    named = Named(**asked["model"])
    channels, height, width = asked["in_shape"]
    shape = (channels, height, width)
    with torch.device("meta"):  # loads the code of the model, which is no memory of the model's
        build_model(named, shape, asked["num_classes"], asked["plugins"])
    before = psutil.Process().memory_info().rss / memory.MIB
    memory.reset_peak(device)
    model = build_model(named, shape, asked["num_classes"], asked["plugins"])
    model = model.to(memory_format=torch.channels_last).eval()
    images = random_images(asked["batch_size"], shape, precision, device)
    time_calls(model, images, precision, warmup=0, max_calls=1)
    return memory.peak_mib(device) - before


if __name__ == "__main__":
    print(measure_here(json.load(sys.stdin)))
