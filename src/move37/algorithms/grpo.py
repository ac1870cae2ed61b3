"""GRPO as DeepSeek wrote it."""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm, NonNegative, Steps, standardised
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GRPO(Algorithm):
    """Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300, eq. 3; R1, arXiv 2501.12948, eq. 1-3).

        A_i = (r_i - mean(r)) / std(r)                                        the same for all tokens of response i
        L = -1/G sum_i 1/|o_i| sum_t { min(r_it A_i, clip(r_it, 1 - clip_low, 1 + clip_high) A_i) - kl_coef * k3_it }
        r_it = pi(o_it) / pi_old(o_it),   k3 = pi_ref/pi - log(pi_ref/pi) - 1

    Defaults: kl_coef and reference_every of R1. The paper counts 400 *updates* between refreshes: with
    `updates_per_step: 16` set `reference_every: 25`. Clip 0.2 is PPO's; R1 states 10 for its first RL stage.
    R1 as published: clip_low 10, clip_high 10, kl_coef 0.001, reference_every 25, with updates_per_step 16.

    Deviations: 1/G is taken over all responses of the update; std is the population one.
    """

    kl_coef: NonNegative = 0.001
    reference_every: Steps = 400
    clip_low: NonNegative = 0.2
    clip_high: NonNegative = 0.2

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return [standardised(r) for r in rewards]

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="clip",
            ratio="token",
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            kl_coef=self.kl_coef,
            normalise="sequence",
            max_tokens=max_tokens,
            temperature=temperature,
        )
