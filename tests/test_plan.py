"""A recipe's plan in numbers, as `show` prints it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cnnbench.errors import CnnbenchError
from cnnbench.plan import describe_plan
from cnnbench.recipe.config import Recipe
from cnnbench.recipe.reader import load_recipe
from cnnbench.running import run_recipe

TEXT = """
title = "Two"
question = "Which?"
[data]
name = "synthetic"
[train]
epochs = 3
seeds = [0, 5]
[[variants]]
name = "mlp"
model = {name = "mlp", widths = [4]}
[[variants]]
name = "wide"
model = {name = "wide_resnet"}
"""


def recipe(folder: Path, text: str = TEXT, **settings: object) -> Recipe:
    path = folder / "two.toml"
    path.write_text(text)
    return load_recipe(path, **settings)  # type: ignore[arg-type]


def test_plan(tmp_path: Path) -> None:
    plan = describe_plan(recipe(tmp_path), tmp_path)
    assert (plan["recipe"], plan["title"], plan["question"]) == ("two", "Two", "Which?")
    mlp, wide = plan["variants"]
    assert (mlp["name"], mlp["seeds"], mlp["in_shape"], mlp["output_shape"]) == (
        "mlp",
        [0, 5],
        [3, 32, 32],
        [10],
    )
    # 3,072 × 4 + 4 and 4 × 10 + 10 parameters
    assert (mlp["num_params"], mlp["macs"]) == (12_342, 12_328)
    assert mlp["model"]["widths"] == [4]
    assert mlp["model"]["activation"] == "relu"  # defaults are filled in
    assert mlp["train"]["epochs"] == 3
    assert [(row["name"], row["kind"], row["num_params"]) for row in mlp["layers"]] == [
        ("hidden.0", "Linear", 12_292),
        ("hidden.2", "ReLU", 0),
        ("head", "Linear", 50),
    ]
    assert (wide["num_params"], wide["model"]["depth"]) == (2_748_890, 16)


def test_plan_is_json(tmp_path: Path) -> None:
    plan = describe_plan(recipe(tmp_path), tmp_path)
    restored = json.loads(json.dumps(plan, allow_nan=False))
    assert [variant["name"] for variant in restored["variants"]] == ["mlp", "wide"]
    assert restored["variants"][1]["layers"][0]["output_shape"] == [16, 32, 32]


def test_a_match_stands_in_the_plan(tmp_path: Path) -> None:
    # one hidden layer has 3,083 w + 10 parameters
    text = TEXT.replace('{name = "wide_resnet"}', '{name = "mlp", widths = [99]}\nmatch_params.like = "mlp"')
    mlp, matched = describe_plan(recipe(tmp_path, text), tmp_path)["variants"]
    assert mlp["match"] is None
    assert matched["match"] == {
        "like": "mlp",
        "target_params": 12_342,
        "widths": [4],
        "num_params": 12_342,
        "difference_percent": 0.0,
    }
    assert (matched["model"]["widths"], matched["num_params"]) == ([4], 12_342)
    assert list(matched["layers"][0]["output_shape"]) == [4]


def test_only_the_variants_asked_for(tmp_path: Path) -> None:
    plan = describe_plan(recipe(tmp_path, only=["wide"]), tmp_path)
    assert [variant["name"] for variant in plan["variants"]] == ["wide"]


@pytest.mark.parametrize(
    ("settings", "in_shape", "num_classes"),
    [
        pytest.param("image_size = 16", [3, 16, 16], 10, id="image_size"),
        pytest.param('classes = ["pattern 1", "pattern 7"]', [3, 32, 32], 2, id="classes"),
        pytest.param("channels = 1\nheight = 20\nnum_classes = 4", [1, 20, 32], 4, id="loader options"),
    ],
)
def test_data_settings_reach_the_model(
    tmp_path: Path, settings: str, in_shape: list[int], num_classes: int
) -> None:
    text = TEXT.replace("[train]", f"{settings}\n[train]")
    for variant in describe_plan(recipe(tmp_path, text), tmp_path)["variants"]:
        assert variant["in_shape"] == in_shape
        assert variant["output_shape"] == [num_classes]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            '{name = "wide_resnet"}',
            '{name = "wide_resnet", depth = 17}',
            r"two\.toml:\d+:\d+: variant 'wide': model 'wide_resnet': depth = 17 is not 6n \+ 4",
            id="impossible model",
        ),
        pytest.param(
            '{name = "wide_resnet"}',
            '{name = "wide_resnet"}\nlimits = {max_params = 2_748_889}',
            r"two\.toml:\d+:24: variant 'wide': 2,748,890 parameters exceed max_params = 2,748,889",
            id="limit",
        ),
        pytest.param(
            'model = {name = "mlp", widths = [4]}',
            'model = {name = "mlp", widths = [4]}\ntrain = {progressive_resizing = {size = 16}}',
            r"two\.toml:\d+:33: variant 'mlp': model 'mlp', built for images of 32×32, cannot be given some "
            r"of 16×16 \(.*\): take a model that averages over the image, or a larger size",
            id="a model of one size",
        ),
        pytest.param(
            '{name = "wide_resnet"}',
            '{name = "wide_resnet"}\ntrain = {progressive_resizing = {size = 32}}',
            r"two\.toml:\d+:33: variant 'wide': train.progressive_resizing: 32 pixels are not fewer",
            id="no smaller size",
        ),
        pytest.param(
            '{name = "wide_resnet"}',
            '{name = "whitened_cnn"}\ntrain = {progressive_resizing = {size = 4}}',
            r"two\.toml:\d+:33: variant 'wide': model 'whitened_cnn', built for images of 32×32, cannot",
            id="too small a size",
        ),
    ],
)
def test_a_variant_that_cannot_be(tmp_path: Path, old: str, new: str, said: str) -> None:
    wrong = recipe(tmp_path, TEXT.replace(old, new))
    with pytest.raises(CnnbenchError, match=said):
        describe_plan(wrong, tmp_path)
    # a plan of the other one is not held up
    other = "wide" if "variant 'mlp'" in said else "mlp"
    assert (
        len(describe_plan(recipe(tmp_path, TEXT.replace(old, new), only=[other]), tmp_path)["variants"]) == 1
    )


def test_a_batch_norm_of_single_values_is_refused(tmp_path: Path) -> None:
    """PyTorch's own error comes in the middle of training: "Expected more than 1 value per channel"."""
    alone = TEXT.replace('name = "synthetic"', 'name = "synthetic"\nbatch_size = 1')
    assert len(describe_plan(recipe(tmp_path, alone), tmp_path)["variants"]) == 2  # 2d norms see many pixels
    normed = alone.replace('{name = "mlp"', '{name = "mlp", norm = "batch"')
    with pytest.raises(
        CnnbenchError, match=r"two\.toml:\d+:14: variant 'mlp': .*cannot normalize a batch of one"
    ):
        describe_plan(recipe(tmp_path, normed), tmp_path)


def test_a_model_of_the_users_own_with_too_few_outputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, in_shape, num_classes):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(64, 3)\n"
        "    def forward(self, inputs):\n"
        "        return self.head(inputs.flatten(1))\n"
        'MODELS = {"own": Own}\n',
        encoding="utf-8",
    )
    text = 'plugins = ["own.py"]\ndata = {name = "digits"}\n[[variants]]\nname = "a"\nmodel = "own"\n'
    said = r"two\.toml:5:9: variant 'a': the model puts out 3 logits, but the data has 10 classes"
    with pytest.raises(CnnbenchError, match=said):
        describe_plan(recipe(tmp_path, text), tmp_path)


@pytest.mark.parametrize(
    ("made", "put_out", "said"),
    [
        ("nn.Linear(64, 10)", "self.head(inputs.flatten(1))[:1]", "puts out 1 rows for a batch of 2 images"),
        (
            "nn.Linear(64, 10)",
            "self.head(inputs.flatten(1)).detach()",
            "cannot be trained: its output has no gradient",
        ),
        ("nn.Flatten()", "self.head(inputs)[:, :10]", r"the model \(Own\) has no parameters"),
        ("nn.Linear(64, 10)", "self.head(inputs)", r"own.py:Own fails .*: RuntimeError: .* \(line 7\)"),
    ],
)
def test_models_of_the_users_own_that_cannot_be_trained_are_refused(
    tmp_path: Path, made: str, put_out: str, said: str
) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, in_shape, num_classes):\n"
        "        super().__init__()\n"
        f"        self.head = {made}\n"
        "    def forward(self, inputs):\n"
        f"        return {put_out}\n"
        'MODELS = {"own": Own}\n',
        encoding="utf-8",
    )
    text = 'plugins = ["own.py"]\ndata = {name = "digits"}\n[[variants]]\nname = "a"\nmodel = "own"\n'
    with pytest.raises(CnnbenchError, match=rf"two\.toml:5:9: variant 'a': .*{said}"):
        describe_plan(recipe(tmp_path, text), tmp_path)


def test_what_is_wrong_with_several_variants_is_told_at_once(tmp_path: Path) -> None:
    wrong = TEXT.replace('{name = "wide_resnet"}', '{name = "wide_resnet", depth = 17}')
    wrong = wrong.replace("[data]", "limits = {max_params = 1}\n[data]")
    with pytest.raises(CnnbenchError) as caught:
        describe_plan(recipe(tmp_path, wrong), tmp_path)
    assert "variant 'mlp': " in str(caught.value)
    assert "variant 'wide': model 'wide_resnet': depth = 17" in str(caught.value)


def test_a_model_of_the_users_own_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, in_shape, num_classes, *, features: int = 3):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(features, num_classes)\n"
        "    def forward(self, inputs):\n"
        "        return self.head(inputs)\n"
        'MODELS = {"own": Own}\n',
        encoding="utf-8",
    )
    path = tmp_path / "own.toml"
    path.write_text(
        'plugins = ["own.py"]\ndata = {name = "digits"}\n[[variants]]\nname = "a"\nmodel = {name = "own"}\n',
        encoding="utf-8",
    )
    with pytest.raises(CnnbenchError, match=r"variant 'a': .*own.py:Own fails on an image of 1×8×8: Runtime"):
        describe_plan(load_recipe(path), tmp_path)


def test_a_plan_loads_no_compiler(tmp_path: Path) -> None:
    """PyTorch's compiler takes longer to import than everything else that `show` does."""
    recipe(tmp_path)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from cnnbench.plan import describe_plan\n"
        "from cnnbench.recipe import load_recipe\n"
        "describe_plan(load_recipe(Path('two.toml')), Path('data'))\n"
        "print(sorted({'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_published_resnet_18_is_over_the_cap_before_anything_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        """
data = {name = "synthetic", height = 64, width = 64, num_images = 20, val_size = 5}
limits = {max_params = 5_000_000, max_channels = 512}
[[variants]]
name = "fits"
model = {name = "resnet", widths = [32, 64, 128, 256], blocks = [2, 2, 2, 2], stem = "7x7"}
[[variants]]
name = "published"
model = {name = "resnet", widths = [64, 128, 256, 512], blocks = [2, 2, 2, 2], stem = "7x7"}
""",
        encoding="utf-8",
    )
    with pytest.raises(CnnbenchError) as error:
        run_recipe(load_recipe(path), runs_dir=tmp_path / "runs", data_dir=tmp_path, device="cpu")
    message = str(error.value)
    # torchvision documents 11,689,512 for 1,000 classes; 990 classes less of 512 weights and a bias
    assert f"{11_689_512 - 990 * 513:,}" == "11,181,642"
    assert "variant 'published': 11,181,642 parameters exceed max_params = 5,000,000" in message
    # stem 9,536, three stages 147,968, 525,568 and 2,099,712; then 512 × 256 × 9 + 1,024 and 512 × 512 × 9
    assert "layer stages.3.0.conv2 (Conv2d) passes the limit, at 6,322,752;" in message
    assert "the largest layers are stages.3.0.conv2 (Conv2d) with 2,359,296" in message
    assert not (tmp_path / "runs").exists()


FROZEN = """
data = "cifar10"
[model]
name = "torchvision/squeezenet1_1"
weights = "a.pth"
image_size = 64
[train]
epochs = 2
[[variants]]
name = "frozen"
model = {freeze = true}
[[variants]]
name = "late"
model = {unfreeze_epoch = 2}
"""


def test_how_many_parameters_are_trained(tmp_path: Path) -> None:
    frozen, late = describe_plan(recipe(tmp_path, FROZEN), tmp_path)["variants"]
    assert (frozen["num_trained"], frozen["num_params"]) == (512 * 10 + 10, 727_626)
    assert late["num_trained"] == late["num_params"]


@pytest.mark.parametrize(
    ("epochs", "said"),
    [(0, "variant 'frozen': .*trains nothing"), (1, "variant 'late': .*comes after the last epoch")],
)
def test_epochs_that_leave_nothing_of_a_tuning(tmp_path: Path, epochs: int, said: str) -> None:
    text = FROZEN.replace("epochs = 2", f"epochs = {epochs}")
    with pytest.raises(CnnbenchError, match=said):
        describe_plan(recipe(tmp_path, text), tmp_path)
    quick = load_recipe(tmp_path / "two.toml", quick=True)
    assert len(describe_plan(quick, tmp_path)["variants"]) == 2
