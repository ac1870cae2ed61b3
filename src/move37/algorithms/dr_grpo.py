"""Dr. GRPO: GRPO without its two biases."""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm, NonNegative, centred
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DrGRPO(Algorithm):
    """GRPO done right (Liu et al., arXiv 2503.20783): no division by the length and none by the std.

        A_i = r_i - mean(r)
        L = -1/(G * max_tokens) sum_i sum_t min(r_it A_i, clip(r_it, 1 - clip_low, 1 + clip_high) A_i)

    1/|o_i| makes long wrong responses cheap, so they grow; 1/std over-weights problems that are nearly always right
    or wrong. The constant is the stage's max_new_tokens. No KL, as published.
    """

    clip_low: NonNegative = 0.2
    clip_high: NonNegative = 0.2

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return [centred(r) for r in rewards]

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="clip",
            ratio="token",
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            kl_coef=self.kl_coef,
            normalise="constant",
            max_tokens=max_tokens,
            temperature=temperature,
        )
