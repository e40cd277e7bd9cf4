import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from cnnbench.bench import STANDARD, Speeds, VariantSpeed, bench_recipe, formats
from cnnbench.bench.loops import cut
from cnnbench.bench.measure import Compiling, images_or_noise, may_be_less, peaks_needed, run_images
from cnnbench.bench.peak import matmul_flops
from cnnbench.data import load_dataset
from cnnbench.errors import CnnbenchError
from cnnbench.models.summary import summarize_config
from cnnbench.precision import has_bf16
from cnnbench.recipe import load_recipe
from cnnbench.recipe.config import Named

RECIPE = """
title = "Trial"
question = "How fast?"
[data]
name = "synthetic"
height = 8
width = 8
num_images = 400
batch_size = 16
augment = ["HorizontalFlip"]
[[variants]]
name = "mlp"
model = {name = "mlp", widths = [8]}
[[variants]]
name = "net"
data = {name = "lunar_synthetic", num_images = 40, image_size = 32, batch_size = 4}
model = {name = "unet", widths = [2, 4]}
"""


@pytest.fixture(scope="module")
def speeds(tmp_path_factory: pytest.TempPathFactory) -> Speeds:
    path = tmp_path_factory.mktemp("bench") / "trial.toml"
    path.write_text(RECIPE)
    return bench_recipe(load_recipe(path), device="cpu", seconds=0.05, repeats=2)


def test_every_variant_in_the_recipes_order_with_a_rate_for_each_turn(speeds: Speeds) -> None:
    assert [each.variant for each in speeds.variants] == ["mlp", "net"]
    mlp, net = speeds.variants
    for rates in (mlp.data_alone, mlp.steps_alone, mlp.whole_loop, mlp.notebook, net.whole_loop):
        assert len(rates) == 2
        assert min(rates) > 0
    assert mlp.workers in (0, 2)
    assert mlp.peak_memory_mib > 50


def test_masks_have_no_notebook_beside_them(speeds: Speeds) -> None:
    net = speeds.variants[1]
    assert (net.notebook, net.ratios, net.workers) == ([], [], None)
    assert formats.to_rows(speeds)[1][4:6] == ["–", "–"]


def test_what_follows_from_the_rates() -> None:
    """A multiply-add is two operations, and a step costs three forward passes."""
    speed = VariantSpeed(
        "a", "digits", 8, "fp32", macs=1_000, peak_flops=6e6, peak_memory_mib=1.0,
        data_alone=[1_000.0, 1_000.0, 4_000.0], steps_alone=[200.0] * 3, whole_loop=[100.0, 90.0, 120.0],
        notebook=[50.0, 30.0, 40.0],
    )  # fmt: skip
    assert speed.ratios == [2.0, 3.0, 3.0]
    assert speed.data_share == pytest.approx(0.1)
    assert speed.peak_share == pytest.approx(6 * 1_000 * 100 / 6e6)


@pytest.mark.parametrize(
    ("seconds", "compiled", "saved", "said"),
    [
        (40.0, [250.0, 250.0], 50.0, "+25 % (+25 to +25); a run of 50,000 images gains 50 s by it, so"),
        (60.0, [250.0, 250.0], 50.0, "takes 60 s and changes"),
        (1.0, [160.0, 160.0], -62.5, "−20 % (−20 to −20); a run of 50,000 images loses 6"),
    ],
    ids=["pays", "too late", "slower"],
)  # fmt: skip
def test_whether_compiling_pays_back_within_a_run(
    seconds: float, compiled: list[float], saved: float, said: str
) -> None:
    found = Compiling(seconds, compiled, eager=[200.0, 200.0], run_images=50_000)
    assert found.saved_seconds == pytest.approx(saved)
    assert found.pays == (saved > seconds)
    assert said in formats.compiling("a", found)


def test_of_a_run_whose_images_are_not_known_there_is_no_verdict(tmp_path: Path) -> None:
    found = Compiling(40.0, [250.0], eager=[200.0], run_images=None)
    assert (found.saved_seconds, found.pays) == (None, None)
    assert formats.compiling("a", found).endswith("is not known, so neither is whether it pays.")
    path = tmp_path / "trial.toml"
    path.write_text(RECIPE)
    for settings, less in (
        ([], False),
        (["train.early_stopping.patience=2"], True),
        (["train.progressive_resizing.size=4"], True),
    ):
        recipe = load_recipe(path, ["train.epochs=5", *settings], only=["mlp"])
        (config,) = recipe.run_configs()
        dataset = load_dataset(config.data, tmp_path)
        assert run_images(config, dataset) == 5 * 352  # 22 batches of 16 of 360 images
        assert may_be_less(config) == less
        assert run_images(config, replace(dataset, name="noise")) is None


def speed_of(variant: str, rate: float, **more: Any) -> VariantSpeed:
    return VariantSpeed(
        variant, "digits", 8, "fp32", macs=1, peak_flops=1.0, peak_memory_mib=1.0, data_alone=[rate],
        steps_alone=[rate], whole_loop=[rate / 2, rate, 2 * rate], **more,
    )  # fmt: skip


def test_how_long_the_recipe_takes() -> None:
    """50,000 images at 100 a second are 500 s, at 5 a second 10,000."""
    quick = speed_of("quick", 100.0, num_runs=3, run_images=50_000)
    slow = speed_of("slow", 5.0, num_runs=2, run_images=50_000, may_be_less=True)
    assert (quick.run_seconds, slow.run_seconds) == (500, 10_000)
    assert slow.as_dict()["run_seconds"] == 10_000
    start = "To train, one run after another, takes"
    rate = "(at the rate of the whole loop):"
    assert formats.time_to_train([quick, slow]) == [
        f"{start} about or less {rate} quick 3 × 8 min, slow 2 × 2 h 47 min, 5 h 58 min together."
    ]
    assert formats.time_to_train([replace(quick, num_runs=1)]) == [f"{start} about {rate} quick 1 × 8 min."]
    held = speed_of("held", 1.0)
    assert formats.time_to_train([held]) == []
    (said,) = formats.time_to_train([quick, held])
    assert said.endswith("25 min together; not known of held, whose epochs take unequally long.")
    assert [formats.written_time(value) for value in (0.4, 99, 100, 5999, 6000)] == [
        "0 s", "99 s", "2 min", "1 h 40 min", "1 h 40 min"
    ]  # fmt: skip


def test_of_every_variant_it_is_said(speeds: Speeds) -> None:
    mlp, net = speeds.variants
    assert (mlp.num_runs, mlp.run_images, net.run_images) == (1, 10 * 352, 10 * 36)
    assert sum("To train" in line for line in formats.explanation(speeds)) == 1


@pytest.mark.slow
def test_compiling_is_timed(tmp_path: Path) -> None:
    path = tmp_path / "trial.toml"
    path.write_text(RECIPE)
    recipe = load_recipe(path, ["train.epochs=3"], only=["mlp"])
    (speed,) = bench_recipe(recipe, device="cpu", seconds=0.05, repeats=2, compiled=True).variants
    assert speed.compiling is not None
    assert speed.compiling.seconds > 0.5
    assert len(speed.compiling.compiled) == 2
    assert speed.compiling.run_images == 3 * 352
    assert speed.as_dict()["compiling"]["pays"] == speed.compiling.pays


def test_as_json_and_markdown(speeds: Speeds, tmp_path: Path) -> None:
    values = json.loads(formats.to_json(speeds))
    mlp = values["variants"][0]
    assert mlp["ratios"] == speeds.variants[0].ratios
    assert mlp["macs"] == summarize_config(Named(name="mlp", widths=[8]), (3, 8, 8), 10).macs
    formats.save(speeds, tmp_path / "new" / "bench.md")
    text = (tmp_path / "new" / "bench.md").read_text()
    assert f"| {median(speeds.variants[0].whole_loop):,.0f} |" in text
    with pytest.raises(CnnbenchError, match=r"ends in \.md or \.json"):
        formats.check_file(Path("bench.txt"))


def test_a_part_of_the_data_keeps_the_proportion_of_its_splits(tmp_path: Path) -> None:
    (tmp_path / "trial.toml").write_text(RECIPE)
    config = load_recipe(tmp_path / "trial.toml").run_configs()[0]
    part = cut(load_dataset(config.data, tmp_path), 90)
    assert (len(part.train), len(part.val)) == (90, 10)


def test_images_that_are_not_there_are_noise_of_their_format(tmp_path: Path) -> None:
    notes: list[str] = []
    configs = load_recipe(STANDARD).run_configs()
    datasets = [images_or_noise(config, tmp_path, notes) for config in configs]
    assert [each.in_shape for each in datasets] == [(3, 32, 32)] * 2 + [(1, 28, 28)] * 2
    assert {each.num_classes for each in datasets} == {10}
    assert [note.partition(":")[0] for note in notes] == ["cifar10", "mnist"]


def test_the_standard_set_is_that_of_the_known_figures() -> None:
    """Parameters of WRN-16-4 and ResNet-20, and an MLP 784-256-10."""
    configs = {config.variant: config for config in load_recipe(STANDARD).run_configs()}
    counts = {
        name: summarize_config(configs[name].model, shape, 10).num_params
        for name, shape in {
            "wrn-16-4": (3, 32, 32), "resnet-20": (3, 32, 32), "mnist-mlp": (1, 28, 28)
        }.items()
    }  # fmt: skip
    assert counts == {"wrn-16-4": 2_748_890, "resnet-20": 272_474, "mnist-mlp": 203_530}


def test_a_matrix_product_does_billions_of_operations() -> None:
    assert 1e9 < matmul_flops(torch.float32, torch.device("cpu")) < 1e14


def test_where_bf16_is_emulated_a_smaller_product_tells() -> None:
    """And is no faster than one with instructions for it, by far."""
    cpu = torch.device("cpu")
    rate = matmul_flops(torch.bfloat16, cpu)
    assert 1e6 < rate < (1e14 if has_bf16(cpu) else matmul_flops(torch.float32, cpu))


def test_only_peaks_that_a_variant_is_held_against_are_measured(tmp_path: Path) -> None:
    """Where bf16 has no instructions a product takes a minute, and auto does not choose it."""
    (tmp_path / "trial.toml").write_text(RECIPE)
    cpu = torch.device("cpu")
    path = tmp_path / "trial.toml"
    assert peaks_needed(load_recipe(path, ["train.precision=fp32"]), cpu) == ["fp32"]
    assert peaks_needed(load_recipe(path, ["train.precision=bf16"]), cpu) == ["bf16", "fp32"]
    assert peaks_needed(load_recipe(path), cpu) == (["bf16", "fp32"] if has_bf16(cpu) else ["fp32"])
    with pytest.raises(CnnbenchError, match=r'variant \'mlp\': precision "fp16" needs a CUDA device'):
        peaks_needed(load_recipe(path, ["train.precision=fp16"]), cpu)


def test_too_few_images_for_a_batch_size(tmp_path: Path) -> None:
    (tmp_path / "trial.toml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "trial.toml", ["data.batch_size=128"], only=["mlp"])
    with pytest.raises(CnnbenchError, match=r"variant 'mlp': .* 360 training images, .* takes 384 .* to 90"):
        bench_recipe(recipe, device="cpu")


def test_too_few_images_for_any_batch_size(tmp_path: Path) -> None:
    path = tmp_path / "few.toml"
    path.write_text(RECIPE.replace("num_images = 400", "num_images = 3\nnum_classes = 2"))
    recipe = load_recipe(path, ["data.batch_size=1"], only=["mlp"])
    with pytest.raises(
        CnnbenchError, match="synthetic has 2 training images, too few to time: take 3 or more"
    ):
        bench_recipe(recipe, device="cpu")
