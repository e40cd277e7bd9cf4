import pytest
import torch
from torch import Tensor, nn

from cnnbench.errors import CnnbenchError
from cnnbench.models.tuning import Backboned, Tuning, begin_epoch, num_trained, parameters_by_lr


class Net(Backboned):
    """A backbone with a parameter of its own beside its layers, as ViT has, and a head inside it."""

    def __init__(self, **options: float) -> None:
        super().__init__(Tuning(**options))  # type: ignore[arg-type]
        self.network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())
        self.network.register_parameter("offset", nn.Parameter(torch.zeros(())))
        self.network.append(nn.Linear(4, 2))

    def backbone(self) -> list[nn.Module]:
        head = set(self.network[-1].modules())
        return [module for module in self.network.modules() if module not in head]

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits


@pytest.mark.parametrize(
    ("options", "frozen"),
    [
        ({}, [False, False, False]),
        ({"freeze": True}, [True, True, True]),
        ({"unfreeze_epoch": 1}, [False, False, False]),
        ({"unfreeze_epoch": 3}, [True, True, False]),
    ],
)
def test_when_it_is_frozen(options: dict[str, int], frozen: list[bool]) -> None:
    assert [Tuning(**options).frozen(epoch) for epoch in (1, 2, 3)] == frozen  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"unfreeze_epoch": 2}, {"lr_factor": 0.1}])
def test_settings_that_contradict_each_other(options: dict[str, float]) -> None:
    with pytest.raises(CnnbenchError, match=f"leave it out, or {next(iter(options))}"):
        Tuning(freeze=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "epochs", "said"),
    [
        ({"freeze": True}, 0, "train.epochs = 0 trains nothing"),
        ({"unfreeze_epoch": 4}, 3, r"unfreeze_epoch = 4 comes after the last epoch \(train.epochs = 3\)"),
        ({"unfreeze_epoch": 3}, 3, None),
        ({"freeze": True}, 1, None),
        ({"lr_factor": 0.1}, 0, None),
    ],
)
def test_epochs_that_leave_nothing_of_it(options: dict[str, float], epochs: int, said: str | None) -> None:
    tuning = Tuning(**options)  # type: ignore[arg-type]
    if said is None:
        tuning.check_epochs(epochs)
        return
    with pytest.raises(CnnbenchError, match=said):
        tuning.check_epochs(epochs)


def test_how_many_parameters_are_trained() -> None:
    assert num_trained(Net()) == num_trained(Net(unfreeze_epoch=2)) == 16 + 8 + 1 + 10
    assert num_trained(Net(freeze=True)) == 4 * 2 + 2
    assert num_trained(nn.Linear(2, 2)) == 6


def test_what_is_frozen_has_no_gradient_and_the_head_has_one() -> None:
    model = Net(freeze=True)
    begin_epoch(model, 1)
    model.train()
    model(torch.randn(8, 3, 1, 1)).sum().backward()
    with_gradient = [name for name, each in model.named_parameters() if each.grad is not None]
    assert with_gradient == ["network.4.weight", "network.4.bias"]


def test_a_frozen_batch_norm_keeps_and_uses_its_statistics_in_training() -> None:
    model = Net(unfreeze_epoch=2)
    begin_epoch(model, 1)
    model.train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    images = torch.randn(8, 3, 1, 1) + 5
    in_training = model(images)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert torch.equal(in_training, model.eval()(images))  # so dropout within is off as well
    begin_epoch(model, 2)
    model.train()(images)
    assert model.get_buffer("network.1.running_mean").abs().max() > 0
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_beginning_an_epoch_leaves_the_mode_as_it_is() -> None:
    model = Net(freeze=True).eval()
    begin_epoch(model, 1)
    assert not any(module.training for module in model.modules())
    model.train()
    begin_epoch(model, 2)
    assert {type(module) for module in model.modules() if module.training} == {Net, nn.Linear}


def test_parameters_by_learning_rate() -> None:
    model = Net(lr_factor=0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [
        (factor, sorted(names[id(each)] for each in params)) for factor, params in parameters_by_lr(model)
    ]
    head = ["network.4.bias", "network.4.weight"]
    assert groups == [(1.0, head), (0.1, sorted(set(names.values()) - set(head)))]
    plain = nn.Linear(2, 2)
    assert parameters_by_lr(plain) == [(1.0, [plain.weight, plain.bias])]
