"""Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks").

The momentum of each matrix of weights is replaced by the nearest orthogonal matrix, so that every direction
is learned equally fast. PyTorch's own takes matrices alone; this one takes a whole network with convolutions.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from cnnbench.precision import has_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, from the same source
NUM_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon for the weights of convolutions and hidden linear layers, AdamW for the head and all that is 1-D.

    A convolution's weight counts as the matrix (out_channels, in_channels * height * width). The head is the
    last such weight of the first group. Updates are scaled to the size AdamW's have (Liu et al. 2025, "Muon
    is scalable for LLM training"), so that one `lr` and one decoupled `weight_decay` serve both.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        weight_decay: float,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__(params, defaults)
        matrices = [each for each in self.param_groups[0]["params"] if each.dim() > 1]
        self.head = matrices[-1] if matrices else None

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [each for each in group["params"] if each.grad is not None]
            hidden = [each for each in trained if each.dim() > 1 and each is not self.head]
            others = [each for each in trained if each.dim() <= 1 or each is self.head]
            self._step_hidden(hidden, group)
            self._step_others(others, group)
        return loss

    def _step_hidden(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            assert weight.grad is not None
            average = state["momentum"].lerp_(weight.grad, 1 - momentum)
            update = weight.grad.lerp(average, momentum).flatten(1)  # Nesterov's look ahead
            by_shape[update.shape[0], update.shape[1]].append((weight, update))
        for (rows, columns), pairs in by_shape.items():
            orthogonal = orthogonalize(torch.stack([update for _, update in pairs]))
            step = lr * 0.2 * max(rows, columns) ** 0.5
            for (weight, _), update in zip(pairs, orthogonal, strict=True):
                weight.mul_(1 - lr * group["weight_decay"]).sub_(update.view(weight.shape), alpha=step)

    def _step_others(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for each in params:
            if not self.state[each]:
                self.state[each] = {
                    "step": torch.zeros((), dtype=torch.float32),
                    "exp_avg": torch.zeros_like(each),
                    "exp_avg_sq": torch.zeros_like(each),
                }
        states = [self.state[each] for each in params]
        beta1, beta2 = group["betas"]
        adamw(
            params,
            [each.grad for each in params if each.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalize(matrices: Tensor) -> Tensor:
    """About the nearest orthogonal matrices of (B, N, M), by a Newton-Schulz iteration.

    Singular values come out between 0.68 and 1.2 and not at 1: the coefficients give speed, not precision.
    In bf16 where the hardware has it.
    """
    dtype = torch.bfloat16 if has_bf16(matrices.device) else torch.float32
    tall = matrices.shape[1] > matrices.shape[2]
    out = (matrices.mT if tall else matrices).to(dtype)
    out = out / out.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # no singular value above 1
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        gram = out @ out.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic)
        out = torch.baddbmm(out, polynomial, out, beta=linear)
    return (out.mT if tall else out).to(matrices.dtype)
