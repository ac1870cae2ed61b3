"""Random numbers and choices of the sampler: one stream per (seed, problem, sample, position), whatever the batch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MIX1, MIX2, STEP = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a response is drawn. temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 are off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    repeat: int = 0  # ends a response whose last so many tokens are a loop (see loops.py); 0 is off

    @property
    def truncated(self) -> bool:
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0


def stream(seed: int, problem: str, sample: int) -> np.uint64:
    """The key of one response's random stream."""
    digest = hashlib.blake2b(f"{seed}/{problem}/{sample}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def uniforms(streams: np.ndarray, position: int | np.ndarray) -> np.ndarray:
    """[B] uint64 keys -> [B] float64 in [0, 1): SplitMix64 (Steele, Lea and Flood 2014) at the given position, or [B] of them."""
    with np.errstate(over="ignore"):
        z = streams + np.asarray(position + 1, np.uint64) * STEP
        z = (z ^ (z >> np.uint64(30))) * MIX1
        z = (z ^ (z >> np.uint64(27))) * MIX2
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def choose(logits: Tensor, uniform: np.ndarray, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """Pick one token per row by inverting the cumulative distribution.

    Args:
        logits: [B, V]. uniform: [B] in [0, 1).

    Returns:
        tokens [B] int64; their log-probs under the policy at its temperature, untruncated [B] float32 (at temperature 1
        when greedy); and under the distribution they were drawn from [B] float32 (0 when greedy).
    """
    logits = logits.float()
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
        logprobs = torch.log_softmax(logits, -1).gather(1, tokens[:, None]).squeeze(1)
        return tokens, logprobs, torch.zeros_like(logprobs)
    policy = torch.log_softmax(logits / sampling.temperature, -1)
    drawn = _truncate(policy, sampling) if sampling.truncated else policy
    cumulative = drawn.exp().cumsum(-1, dtype=torch.float64)
    threshold = torch.from_numpy(uniform).to(logits.device)[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, threshold, right=True).clamp(max=logits.shape[1] - 1)
    picked = policy.gather(1, tokens).squeeze(1)
    return tokens.squeeze(1), picked, drawn.gather(1, tokens).squeeze(1) if sampling.truncated else picked


def _truncate(policy: Tensor, sampling: Sampling) -> Tensor:
    """Renormalised log-probs after top-k, then top-p, then min-p; at least the best token stays."""
    ordered, order = policy.sort(dim=-1, descending=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k > 0:
        keep[:, sampling.top_k :] = False
    if sampling.top_p < 1:
        probabilities = torch.softmax(ordered.masked_fill(~keep, -torch.inf), -1)
        keep &= probabilities.cumsum(-1) - probabilities < sampling.top_p
    if sampling.min_p > 0:
        keep &= ordered >= ordered[:, :1] + float(np.log(sampling.min_p))
    kept = torch.zeros_like(keep).scatter(1, order, keep)
    return torch.log_softmax(policy.masked_fill(~kept, -torch.inf), -1)
