"""Muon against PyTorch's own, which takes matrices, and its AdamW."""

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from cnnbench.muon import Muon, orthogonalize
from cnnbench.precision import has_bf16

CPU = torch.device("cpu")


def make(params: list[Parameter]) -> Muon:
    return Muon([{"params": params}], 0.02, 0.1, 0.95, (0.9, 0.95), 1e-8)


def steps(optimizer: torch.optim.Optimizer, params: list[Parameter], gradients: list[list[Tensor]]) -> None:
    for step in gradients:
        for parameter, gradient in zip(params, step, strict=True):
            parameter.grad = gradient.reshape(parameter.shape).clone()
        optimizer.step()


@pytest.mark.parametrize("shape", [(3, 16, 64), (3, 64, 16), (1, 32, 32)])
def test_singular_values_come_out_near_1(shape: tuple[int, int, int]) -> None:
    """0.68 to 1.2 by the polynomial's own extremes, for all but tiny ones; directions stay."""
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    found = orthogonalize(matrices)
    assert found.shape == shape
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    in_place = (left.mT @ found @ right.mT).diagonal(dim1=1, dim2=2)
    large = values / values.square().sum(1, keepdim=True).sqrt() > 0.01
    assert large.float().mean() > 0.9
    assert in_place[large].min() > 0.65
    assert in_place[large].max() < 1.2


@pytest.mark.skipif(not has_bf16(CPU), reason="PyTorch's iteration is in bf16 on any processor")
def test_hidden_weights_move_as_pytorchs_muon_moves_matrices() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3), torch.randn(40, 8), torch.randn(10, 40)]
    gradients = [[torch.randn_like(each) for each in weights] for _ in range(4)]
    ours = [
        Parameter(each.contiguous(memory_format=torch.channels_last) if each.dim() == 4 else each.clone())
        for each in weights
    ]
    flat = [Parameter(each.flatten(1).clone()) for each in weights]
    steps(make(ours), ours, gradients)
    muon = torch.optim.Muon(flat[:3], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    steps(muon, flat[:3], [each[:3] for each in gradients])
    adamw = torch.optim.AdamW(flat[3:], lr=0.02, weight_decay=0.1, betas=(0.9, 0.95))
    steps(adamw, flat[3:], [each[3:] for each in gradients])
    for mine, theirs in zip(ours, flat, strict=True):
        torch.testing.assert_close(mine.flatten(1), theirs, rtol=0.02, atol=0.003)  # bf16 in another order
    torch.testing.assert_close(ours[3], flat[3])
    assert ours[0].is_contiguous(memory_format=torch.channels_last)


def test_the_size_of_an_update_is_that_of_adamw() -> None:
    """Its root mean square is 0.2 lr (Liu et al. 2025), as all singular values are near 1."""
    torch.manual_seed(0)
    hidden, head = Parameter(torch.zeros(64, 16, 3, 3)), Parameter(torch.zeros(10, 64))
    optimizer = make([hidden, head])
    steps(optimizer, [hidden, head], [[torch.randn(64, 16, 3, 3), torch.randn(10, 64)]])
    assert hidden.square().mean().sqrt().item() == pytest.approx(0.2 * 0.02, rel=0.2)


def test_what_has_no_gradient_stays() -> None:
    hidden, head = Parameter(torch.ones(4, 4)), Parameter(torch.ones(2, 4))
    optimizer = make([hidden, head])
    head.grad = torch.ones(2, 4)
    optimizer.step()
    assert torch.equal(hidden, torch.ones(4, 4))
    assert not torch.equal(head, torch.ones(2, 4))


def test_the_head_is_the_last_matrix_of_the_first_group() -> None:
    hidden, head, bias = Parameter(torch.ones(4, 4)), Parameter(torch.ones(2, 4)), Parameter(torch.ones(2))
    backbone = Parameter(torch.ones(4, 4))
    optimizer = Muon(
        [{"params": [hidden, head, bias]}, {"params": [backbone]}], 0.1, 0.0, 0.95, (0.9, 0.95), 1e-8
    )
    for each in (hidden, head, bias, backbone):
        each.grad = torch.ones_like(each)
    optimizer.step()
    assert [set(optimizer.state[each]) for each in (hidden, head, bias, backbone)] == [
        {"momentum"},
        {"step", "exp_avg", "exp_avg_sq"},
        {"step", "exp_avg", "exp_avg_sq"},
        {"momentum"},
    ]


def test_what_is_frozen_stays_and_begins_anew_when_it_is_let_go() -> None:
    """A parameter that had no gradient so far moves as in the first step."""
    torch.manual_seed(0)
    weights = [torch.randn(8, 4, 3, 3), torch.randn(8), torch.randn(10, 8)]
    late, early = [[Parameter(each.clone()) for each in weights] for _ in range(2)]
    optimizer = make(late)
    gradients = [torch.randn_like(each) for each in weights]
    for _ in range(3):
        late[2].grad = gradients[2].clone()
        optimizer.step()
    assert torch.equal(late[0], weights[0])
    assert torch.equal(late[1], weights[1])
    assert not torch.equal(late[2], weights[2])
    steps(optimizer, late, [gradients])
    steps(make(early), early, [gradients])
    torch.testing.assert_close(late[0], early[0])
    torch.testing.assert_close(late[1], early[1])


def test_a_group_has_its_own_learning_rate_and_the_head_is_of_the_first_one() -> None:
    torch.manual_seed(0)
    weight, head = torch.randn(8, 12), torch.randn(10, 8)
    moved = []
    for lr in (0.02, 0.002):
        backbone, last = Parameter(weight.clone()), Parameter(head.clone())
        groups = [{"params": [last], "lr": 0.02}, {"params": [backbone], "lr": lr}]
        optimizer = Muon(groups, 0.02, 0.0, 0.95, (0.9, 0.95), 1e-8)
        steps(optimizer, [last, backbone], [[torch.ones_like(head), torch.eye(8, 12)]])
        torch.testing.assert_close(last.detach(), head - 0.02)  # Adam's first step is of one lr
        moved.append(weight - backbone.detach())
    torch.testing.assert_close(moved[1], moved[0] / 10, rtol=1e-3, atol=1e-6)
    assert moved[0].norm() > 0.01
