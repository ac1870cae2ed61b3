"""Log-probs of given tokens without the [tokens, vocabulary] logits: chunk by chunk, computed again in the backward pass."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor

from move37.errors import RecipeError
from move37.models.head import logits

LOGITS_AT_ONCE = 1 << 24  # numbers of one chunk: 64 MiB in float32
LOGITS_ON_GPU = 1 << 28  # 1 GiB: products that fill it, and few passes over the gradient of the output layer
TRITON = importlib.util.find_spec("triton") is not None


class _Pick(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        for part in _chunks(len(targets), head.shape[0]):
            scores = _logsoftmax(hidden[part], head, temperature)
            logprobs[part] = scores.gather(1, targets[part, None]).squeeze(1)
            entropy[part] = -(scores.exp() * scores).sum(1)
        ctx.save_for_backward(hidden, head, targets)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, head, targets = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device)
        for part in _chunks(len(targets), head.shape[0]):
            slope = _logsoftmax(hidden[part], head, ctx.temperature).exp_().neg_()  # d logp / d logits = onehot - p
            slope.scatter_add_(1, targets[part, None], torch.ones_like(slope[:, :1]))
            slope *= (grad[part] / ctx.temperature)[:, None]
            grad_hidden[part] = slope @ head.float()
            grad_head += slope.T @ hidden[part].float()
        return grad_hidden, grad_head.to(head.dtype), None, None


class _PickByRows(torch.autograd.Function):
    """The same on a GPU: kernels over rows of logits, products in the dtype of the states, sums in float32."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        from move37.models import rows  # needs Triton

        found = torch.empty(3, len(targets), dtype=torch.float32, device=hidden.device)
        low = head.detach().to(hidden.dtype)
        for part in _chunks(len(targets), head.shape[0], LOGITS_ON_GPU):
            for line, values in zip(found, rows.pick(logits(hidden[part], low), targets[part], temperature), strict=True):
                line[part] = values
        logprobs, entropy, sums = found.unbind()
        ctx.save_for_backward(hidden, head, targets, sums)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        from move37.models import rows

        hidden, head, targets, sums = ctx.saved_tensors
        low, grad = head.detach().to(hidden.dtype), grad.contiguous()
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device)
        for part in _chunks(len(targets), head.shape[0], LOGITS_ON_GPU):
            scores = logits(hidden[part], low)
            slope = rows.unpick(scores, targets[part], sums[part], grad[part], ctx.temperature, hidden.dtype)
            torch.mm(slope, low, out=grad_hidden[part])
            _add_product(grad_head, slope.T, hidden[part])
        return grad_hidden, grad_head.to(head.dtype), None, None


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, in float32 whatever the dtype of a and b."""
    if a.dtype is torch.float32:
        total.addmm_(a, b)
    else:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)


def _logsoftmax(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    """[m, D], [V, D] -> [m, V] float32."""
    return torch.log_softmax(logits(hidden, head) / temperature, dim=-1)


def _chunks(rows: int, vocabulary: int, numbers: int = LOGITS_AT_ONCE) -> list[slice]:
    size = max(16, numbers // vocabulary)
    return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]


def by_rows(device: torch.device, kernels: str) -> bool:
    """Whether kernels over rows of logits pick log-probs on this device; `kernels` is the recipe's `hardware.kernels`.

    A GPU without Triton is told of in a warning. Raises RecipeError where `kernels` is native and there is no Triton.
    """
    if device.type != "cuda" or kernels == "torch":
        return False
    if TRITON:
        return True
    if kernels == "native":
        raise RecipeError("hardware.kernels=native needs Triton on a GPU: pip install triton, or hardware.kernels=auto")
    warnings.warn("log-probs without Triton: every row of logits is written down, which is slower", stacklevel=2)
    return False


def pick_logprobs(
    hidden: Tensor, head: Tensor, targets: Tensor, temperature: float = 1.0, rows: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probs of `targets` and the entropy of each distribution, in nats.

    Args:
        hidden: [M, D] states the targets are predicted from. head: [V, D]. targets: [M] int64.
        temperature: divides the logits, as in sampling.
        rows: by the kernels for a GPU; see `by_rows`.

    Returns:
        ([M] float32 with gradient to hidden and head, [M] float32 without gradient). Memory grows with M * D, not M * V.
    """
    pick = _PickByRows if rows else _Pick
    return pick.apply(hidden, head, targets, temperature)
