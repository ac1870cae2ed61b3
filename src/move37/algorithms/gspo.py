"""GSPO: one importance ratio per response."""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm, NonNegative, standardised
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GSPO(Algorithm):
    """Group sequence policy optimisation (Zheng et al., arXiv 2507.18071, eq. 5-7).

        A_i = (r_i - mean(r)) / std(r)
        s_i = exp( 1/|o_i| sum_t (log pi(o_it) - log pi_old(o_it)) )
        L = -1/G sum_i min(s_i A_i, clip(s_i, 1 - clip_low, 1 + clip_high) A_i)

    The gradient runs through the mean log ratio in s_i. The bounds are tiny because s_i is a geometric mean: it stays
    near 1. Differs from GRPO only off-policy; the paper makes 4 updates per rollout phase (`updates_per_step: 4`).
    Deviations: 1/G over all responses of the update; population std.
    """

    clip_low: NonNegative = 3e-4
    clip_high: NonNegative = 4e-4

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return [standardised(r) for r in rewards]

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="clip",
            ratio="sequence",
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            kl_coef=self.kl_coef,
            normalise="sequence",
            max_tokens=max_tokens,
            temperature=temperature,
        )
