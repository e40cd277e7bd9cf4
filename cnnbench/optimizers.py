"""The optimizers a recipe can name; fused kernels where PyTorch has them (CPU and CUDA alike)."""

import torch
from torch.optim.optimizer import ParamsT

from cnnbench.muon import Muon
from cnnbench.options import Momentum, Positive

# Those that treat each number of a weight by itself: weights of several models may stand in one tensor.
ELEMENTWISE = ("sgd", "adam", "adamw", "rmsprop")


def sgd(
    params: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    momentum: Momentum = 0.9,
    nesterov: bool = True,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum (Sutskever et al. 2013)."""
    return torch.optim.SGD(
        params,
        lr,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=nesterov and momentum > 0,
        fused=True,
    )


def adam(
    params: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    beta1: Momentum = 0.9,
    beta2: Momentum = 0.999,
    eps: Positive = 1e-8,
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015); its weight decay is the L2 penalty added to the gradient."""
    return torch.optim.Adam(params, lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=True)


def adamw(
    params: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    beta1: Momentum = 0.9,
    beta2: Momentum = 0.999,
    eps: Positive = 1e-8,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(params, lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=True)


def rmsprop(
    params: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    alpha: Momentum = 0.99,
    momentum: Momentum = 0.0,
    eps: Positive = 1e-8,
    centered: bool = False,
) -> torch.optim.Optimizer:
    """RMSprop (Hinton 2012, lecture 6e)."""
    return torch.optim.RMSprop(
        params,
        lr,
        alpha=alpha,
        eps=eps,
        weight_decay=weight_decay,
        momentum=momentum,
        centered=centered,
        foreach=True,
    )


def muon(
    params: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    momentum: Momentum = 0.95,
    beta1: Momentum = 0.9,
    beta2: Momentum = 0.95,
    eps: Positive = 1e-8,
) -> torch.optim.Optimizer:
    """Muon for hidden weights, AdamW for the head, biases and norms (Jordan et al. 2024)."""
    return Muon(params, lr, weight_decay, momentum, (beta1, beta2), eps)
