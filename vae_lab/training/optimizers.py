"""Torch's optimisers with their bounds stated. All are fused: one kernel a step, and an update can be skipped on the
device (see `Training`)."""

from collections.abc import Iterable

import torch
from torch import nn

from vae_lab.settings import Betas, Momentum, NonNegative, Positive

Parameters = Iterable[nn.Parameter]


def adam(
    params: Parameters,
    lr: Positive = 1e-3,
    betas: Betas = [0.9, 0.999],
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015)."""
    return torch.optim.Adam(params, lr, (betas[0], betas[1]), eps, weight_decay, fused=True)


def adamw(
    params: Parameters,
    lr: Positive = 1e-3,
    betas: Betas = [0.9, 0.999],
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(params, lr, (betas[0], betas[1]), eps, weight_decay, fused=True)


def sgd(
    params: Parameters, lr: Positive = 0.01, momentum: Momentum = 0.9, weight_decay: NonNegative = 0.0
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum."""
    return torch.optim.SGD(params, lr, momentum, weight_decay=weight_decay, fused=True)
