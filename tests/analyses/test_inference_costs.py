"""Memory of a model in a process of its own, and pictures of what inference costs."""

from typing import Any

import pytest
import torch

from cnnbench.analyses import plots
from cnnbench.analyses.base import Figure, Table
from cnnbench.analyses.fresh_memory import measure_fresh
from cnnbench.analyses.inference import Inference
from cnnbench.analyses.inference_costs import Costs, cost_figures
from cnnbench.errors import CnnbenchError
from cnnbench.recipe.config import Named

needs_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="memory of a processor")


def test_memory_is_that_of_weights_and_batch() -> None:
    """A linear layer of 20 M weights is 76 MiB in fp32; what comes beside it is code and small."""
    model = Named(name="mlp", widths=[20_000])
    found = measure_fresh(model, (1, 32, 32), 10, "fp32", (1,), num_threads=1)
    weights_mib = 4 * (1024 * 20_000 + 20_000 * 10 + 20_010) / 2**20
    assert weights_mib < found[1] < weights_mib + 60


def test_a_larger_batch_takes_more() -> None:
    model = Named(name="cnn", widths=[64], head=[])
    found = measure_fresh(model, (3, 32, 32), 10, "fp32", (1, 128), num_threads=1)
    outputs_mib = 128 * 64 * 32 * 32 * 4 / 2**20  # of the convolution: 32 MiB
    assert found[128] - found[1] > outputs_mib


def test_a_model_that_fails_is_said() -> None:
    with pytest.raises(CnnbenchError, match=r"could not be measured at batch size 1: .*takes grey or color"):
        measure_fresh(Named(name="torchvision/alexnet"), (4, 8, 8), 10, "fp32", (1,), num_threads=1)


def test_pictures(subject: Any) -> None:
    demo = subject({"a": [[0.1, 0.8]], "b": [[0.1, 0.9]]})
    costs = {"a": Costs(2.0, 900.0, 40.0, 300.0), "b": Costs(8.0, 200.0, None, 900.0)}
    styles = {"a": plots.style_of(0), "b": plots.style_of(1)}
    bars, latency, memory = cost_figures(costs, demo, styles, "some processor")
    assert [axes.get_xlabel() for axes in bars.figure.axes] == [
        "latency (ms)", "throughput (images/s)", "memory, one image (MiB)", "memory, best batch (MiB)",
    ]  # fmt: skip
    first, *_ = bars.figure.axes
    assert [bar.get_width() for bar in first.patches] == [2.0, 8.0]
    assert "not measured" in [text.get_text() for text in bars.figure.axes[2].texts]
    assert latency.figure.axes[0].get_xlabel() == "latency of one image (ms)"
    assert [text.get_text() for text in memory.figure.axes[0].texts] == ["a"]


@needs_cpu
def test_the_analysis_asks_for_it(model_run: Any, subject_from: Any) -> None:
    run = model_run("a", {"name": "mlp", "widths": [8]})
    items = list(Inference(max_batch_size=2, budget_seconds=0.05, memory=True).analyse(subject_from([run])))
    assert [item.name for item in items] == [
        "inference_throughput", "inference_costs", "accuracy_vs_latency", "accuracy_vs_memory", "inference",
    ]  # fmt: skip
    assert all(isinstance(item, Figure) for item in items[:-1])
    table = items[-1]
    assert isinstance(table, Table)
    assert isinstance(table.rows[0][-1], float)
    assert "a process of its own" in table.caption
