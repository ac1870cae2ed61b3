"""AdamW and Muon, and learning-rate schedules as plain functions of the update number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.95)
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic iteration of Muon
ITERATIONS = 5
IN_A_BLOCK = re.compile(r"\.\d+\.")  # blocks.0.out.weight: every model keeps its blocks in a list


class OptimizerSettings(Protocol):
    """The recipe's `optimizer` section."""

    kind: str
    lr: float
    schedule: str
    warmup_steps: int
    final_share: float
    weight_decay: float
    clip_norm: float


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal (Jordan et al. 2024), scaled to AdamW's step size (Liu et al., arXiv 2502.16982).

    For matrices inside the blocks. Update: W -= lr * (0.2 sqrt(max(rows, columns)) * NS(nesterov momentum) + decay * W).
    PyTorch has this optimizer too, but orthogonalises in bfloat16, which is ten times slower than float32 on a CPU
    without bfloat16 units; here it runs in the dtype of the weights.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - BETAS[1])
                direction = orthogonal(torch.lerp(weight.grad, momentum, BETAS[1]))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(direction, alpha=-group["lr"] * 0.2 * math.sqrt(max(weight.shape)))


def orthogonal(matrix: Tensor) -> Tensor:
    """Push the singular values of a [rows, columns] matrix towards 1 (into about 0.7..1.2)."""
    a, b, c = NEWTON_SCHULZ
    x = matrix / (matrix.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


class Optimizer:
    """One or two torch optimizers that together cover the model; `state_dict` is what a checkpoint holds."""

    def __init__(self, model: nn.Module, settings: OptimizerSettings) -> None:
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        inner = [p for name, p in trained if settings.kind == "muon" and p.dim() == 2 and IN_A_BLOCK.search(name)]
        taken = {id(p) for p in inner}
        outer = [p for _, p in trained if id(p) not in taken]
        groups = [
            {"params": [p for p in outer if p.dim() > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in outer if p.dim() <= 1], "weight_decay": 0.0},  # norms and biases
        ]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr, betas=BETAS, eps=1e-8, fused=True)
        ]
        if inner:
            self.parts.append(Muon(inner, settings.lr, settings.weight_decay))

    def step(self, lr: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def learning_rate(settings: OptimizerSettings, update: int, updates: int) -> float:
    """Rate of update number `update` (from 0) of `updates`."""
    if update < settings.warmup_steps:
        return settings.lr * (update + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.lr
    done = (update - settings.warmup_steps) / max(1, updates - settings.warmup_steps)
    left = 1 - done if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return settings.lr * (settings.final_share + (1 - settings.final_share) * left)
