"""Timings of models whose speed is known, by sleeping, and of one that has not enough memory."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cnnbench.analyses import inference
from cnnbench.analyses.base import Figure, Subject, Table
from cnnbench.analyses.inference import Case, Inference, measure
from cnnbench.data.datasets import Datasets
from cnnbench.models.cnn import CNN
from cnnbench.precision import Precision
from cnnbench.runs import Run

FP32 = Precision("fp32", "cpu")
PLUGIN = '''
import time

import torch
from torch import nn


class Slow(nn.Module):
    """Sleeps a while for each call and each image, and can hold `most` images."""

    def __init__(self, in_shape, num_classes, *, call: float = 0.0, image: float = 0.0, most: int = 10_000):
        super().__init__()
        self.call, self.image, self.most = call, image, most
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs):
        if len(inputs) > self.most:
            torch.empty(2**60, dtype=torch.uint8)
        time.sleep(self.call + self.image * len(inputs))
        return inputs.flatten(1)[:, :10] * self.weight


MODELS = {"slow": Slow}
'''


@pytest.fixture
def slow(tmp_path: Path, make_run: Callable[..., Run]) -> Callable[..., Subject]:
    """`slow(a={"call": 0.01}, b={})` gives variants a and b of the plugin's model on digits."""
    plugin = tmp_path / "slow.py"
    plugin.write_text(PLUGIN)

    def make(**variants: dict[str, object]) -> Subject:
        runs = []
        for name, options in variants.items():
            run = make_run(name, 0, [0.1, 0.5])
            settings = {"data": {"name": "digits"}, "model": {"name": "slow", **options}}
            (run.path / "config.json").write_text(json.dumps(run.config() | settings))
            runs.append(run)
        datasets = Datasets(Path("data"), [str(plugin)])
        return Subject("demo", "Demo", runs, datasets, torch.device("cpu"))

    return make


class Counting(nn.Module):
    """Notes whose turn it is."""

    def __init__(self, name: str, log: list[tuple[str, int]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.name, self.log = name, log

    def forward(self, inputs: Tensor) -> Tensor:
        self.log.append((self.name, len(inputs)))
        return inputs


def test_every_subject_is_coped_with(any_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "NUM_ROUNDS", 1)
    *_, table = Inference(max_batch_size=2, budget_seconds=0.01).analyse(any_subject)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == list(any_subject.variants())
    for _, precision, num_params, macs, latency, *_ in table.rows:
        assert precision in ("fp32", "bf16")
        # ResNet-20 on 32x32 (He et al. 2016), with 1x1 shortcuts; test_resnet counts them by hand
        assert (num_params, macs) == (272_474, 40_813_184)
        assert isinstance(latency, float)
        assert latency > 0


def test_times_are_those_of_the_model(slow: Callable[..., Subject]) -> None:
    subject = slow(a={"call": 0.004}, b={"image": 0.002})
    figure, table = Inference(max_batch_size=8, budget_seconds=1.2).analyse(subject)
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    per_call, per_image = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    # sleep is never shorter; a busy machine may make it longer
    assert 4 <= per_call["latency (ms)"] < 100  # type: ignore[operator]
    assert 2 <= per_image["latency (ms)"] < 100  # type: ignore[operator]
    assert per_call["best batch size"] == 8  # the call costs the same for any number of images
    assert 8 / 0.1 < per_call["images per second"] <= 8 / 0.004  # type: ignore[operator]
    assert per_image["images per second"] <= 500  # type: ignore[operator]
    assert per_call["peak memory (MiB)"] is None
    assert "of the whole program" in table.caption
    axes = figure.figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch size", "images per second")
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[1, 2, 4, 8]] * 2


def test_variants_take_turns() -> None:
    log: list[tuple[str, int]] = []
    cases = [Case(name, Counting(name, log), (1, 2, 2), FP32) for name in ("a", "b")]
    measure(cases, 4, 1e-9)  # no time for more than the least: batch size 1
    rounds = log[-20:]  # each call after one that warms up, since the other model ran before
    assert rounds == [("a", 1), ("a", 1), ("b", 1), ("b", 1)] * 5
    assert all(len(case.seconds[1]) == 5 for case in cases)
    assert [case.ended for case in cases] == ["out of time"] * 2


def test_all_sizes_are_measured_where_there_is_time() -> None:
    log: list[tuple[str, int]] = []
    case = Case("a", Counting("a", log), (1, 2, 2), FP32)
    measure([case], 20, 60.0)
    assert list(case.seconds) == [1, 2, 4, 8, 16]
    assert case.ended is None
    assert all(5 <= len(times) <= 250 for times in case.seconds.values())


def test_quartiles_by_hand() -> None:
    case = Case("a", nn.Linear(1, 1), (1, 2, 2), FP32)
    case.seconds = {1: [0.004, 0.001, 0.002, 0.003, 0.010], 4: [0.004] * 5, 8: [0.016] * 5}
    latency = case.latency_ms()
    assert (latency.median, latency.low, latency.high) == pytest.approx((3, 2, 4))
    assert case.throughput(4).median == pytest.approx(1000)
    assert case.throughput(1).low == pytest.approx(250)
    assert case.throughput(1).high == pytest.approx(500)
    assert case.best_batch_size() == 4


def test_the_budget_ends_the_sweep_and_is_said(slow: Callable[..., Subject]) -> None:
    _, table = Inference(max_batch_size=64, budget_seconds=0.1).analyse(slow(a={"image": 0.002}))
    assert isinstance(table, Table)
    assert "Last batch size measured: a at " in table.caption
    assert "(out of time)" in table.caption


def test_too_little_memory_ends_the_sweep_and_is_said(slow: Callable[..., Subject]) -> None:
    figure, table = Inference(max_batch_size=16, budget_seconds=1.0).analyse(
        slow(a={"most": 4}, b={"most": 0})
    )
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    assert list(figure.figure.axes[0].lines[0].get_xdata()) == [1, 2, 4]
    assert "Last batch size measured: a at 4 (out of memory)." in table.caption
    assert "Not shown: b (out of memory at batch size 1)." in table.caption
    assert list(table.rows[1]) == ["b", *[None] * 9]


def test_a_precision_that_is_not_to_be_had_here(slow: Callable[..., Subject]) -> None:
    subject = slow(a={}, b={})
    path = subject.runs[0].path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"train": config["train"] | {"precision": "fp16"}}))
    _, table = Inference(max_batch_size=1, budget_seconds=0.01).analyse(subject)
    assert isinstance(table, Table)
    assert 'a (precision "fp16" needs a CUDA device' in table.caption
    assert table.rows[0][1] is None
    assert table.rows[1][1] is not None


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    case = Case("a", nn.Linear(3, 3), (1, 2, 2), FP32)  # which takes no images
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure([case], 4, 1.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_on_cuda_is_that_of_the_case() -> None:
    """Two models at once: each is told its own weights, inputs and activations, not the other's."""
    small, large = (CNN((3, 32, 32), 10, widths=[width], head=[]) for width in (8, 512))
    precision = Precision("fp32", "cuda")
    cases = [Case("a", small.cuda().eval(), (3, 32, 32), precision)]
    cases.append(Case("b", large.cuda().eval(), (3, 32, 32), precision))
    measure(cases, 64, 1.0)
    outputs_mib = 64 * 32 * 32 * 4 / 2**20  # of one channel: a convolution's output is kept whole
    assert 8 * outputs_mib < cases[0].memory_mib[64] < 200
    assert cases[1].memory_mib[64] > 512 * outputs_mib
