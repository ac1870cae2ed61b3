"""CISPO: clip the importance weight, keep every token's gradient."""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm, Positive, standardised
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CISPO(Algorithm):
    """Clipped importance-sampling policy optimisation (MiniMax-M1, arXiv 2506.13585, eq. 4-5).

        A_i = (r_i - mean(r)) / std(r)
        L = -1/(sum_i |o_i|) sum_i sum_t sg[min(r_it, weight_max)] A_i log pi(o_it)

    sg stops the gradient. Clamp convention: `weight_max` is the largest weight ITSELF (5 means r <= 5); the paper and
    some trainers write it as 1 + epsilon_high. No lower bound, as in the paper's runs.
    Deviations: the paper gives no number for the bound; 5 is the value used with ScaleRL (arXiv 2510.13786).
    """

    weight_max: Positive = 5.0

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return [standardised(r) for r in rewards]

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="weight",
            ratio="token",
            clip_high=self.weight_max,
            kl_coef=self.kl_coef,
            normalise="token",
            max_tokens=max_tokens,
            temperature=temperature,
        )
