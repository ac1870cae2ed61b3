"""DAPO: clip-higher, dynamic sampling, token-level loss, over-long shaping."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm, NonNegative, standardised
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DAPO(Algorithm):
    """Decoupled clip and dynamic sampling (Yu et al., arXiv 2503.14476, eq. 8-13).

        A_i = (r_i - mean(r)) / std(r),  r_i = reward_i + overlong_penalty * R_len(|o_i|)
        L = -1/(sum_i |o_i|) sum_i sum_t min(r_it A_i, clip(r_it, 1 - clip_low, 1 + clip_high) A_i)
        subject to 0 < accuracy of the group < 1, on the raw verdict

    Deviations: the refill is capped (refill_rounds); sum_i runs over the whole update; rewards are 0 and 1 here, -1
    and 1 there, so overlong_penalty 0.5 stands for the paper's 1; the buffer is a share (paper: 4,096 of 20,480
    tokens). `overlong: both` adds the paper's filter of truncated responses, which its best run is said to lack.
    """

    dynamic_sampling: bool = True
    overlong: Literal["keep", "mask", "soft", "both"] = "soft"
    clip_low: NonNegative = 0.2
    clip_high: NonNegative = 0.28

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return [standardised(r) for r in rewards]

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="clip",
            ratio="token",
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            kl_coef=self.kl_coef,
            normalise="token",
            max_tokens=max_tokens,
            temperature=temperature,
        )
