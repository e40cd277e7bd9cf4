"""What runs have in common, and the command they were trained with."""

import pytest

from cnnbench.report.conditions import command_of, table_of_shared


def test_an_option_unset_in_a_variant_that_the_first_one_lacks() -> None:
    """A U-Net without an encoder beside a model that has no such option."""
    settings = {"train": {"lr": 0.1}}
    plan = {
        "variants": [
            {"seeds": [0], "config": {"model": {"name": "mlp"}, **settings}},
            {"seeds": [0], "config": {"model": {"name": "unet", "encoder": None}, **settings}},
        ]
    }
    assert [key for key, _ in table_of_shared(plan).rows] == ["train.lr", "train.seeds"]


@pytest.mark.parametrize(
    ("plan", "command"),
    [
        (
            {"recipe": "a+quick", "command": "cnnbench recipe my/a.toml --quick"},
            "cnnbench recipe my/a.toml --quick",
        ),
        ({"recipe": "lunar/2_unet"}, "cnnbench recipe recipes/lunar/2_unet.toml"),
    ],
    ids=["as it was typed", "run from a program"],
)
def test_the_command(plan: dict[str, str], command: str) -> None:
    assert command_of(plan) == command
