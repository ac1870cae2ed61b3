"""PPO: advantages per token from a learned value function."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm, NonNegative, Positive
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PPO(Algorithm):
    """Proximal policy optimisation (Schulman et al., arXiv 1707.06347) with GAE (arXiv 1506.02438); DeepSeek-R1 v2, Fig. 4.

        d_t = V_{t+1} - V_t, at the last token r - V_t;   A_t = sum_{s >= t} gae_lambda^(s - t) d_s;   target of V_t: A_t + V_t
        L = -1/(sum_i |o_i|) sum_i sum_t min(r_it A_it, clip(r_it, 1 - clip_low, 1 + clip_high) A_it)
        L_V = 1/(sum_i |o_i|) sum_i sum_t (V(s_it) - target_it)^2 / 2

    V_t is what the value model says before token t: a second model that begins as the stage's with a head of zeros and learns
    beside it. The discount is 1, so at gae_lambda 1 A_t = r - V_t; R1 found 0.95 clearly worse than 1. Works with one response
    per problem. Deviations: the KL, where wanted, is k3 in the loss; values are not clipped; a truncated response ends there.
    """

    clip_low: NonNegative = 0.2
    clip_high: NonNegative = 0.2
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 1.0
    whiten: bool = True  # advantages of a step's tokens to mean 0 and standard deviation 1
    value_rate: Positive = 1.0  # learning rate of the value model, in multiples of the policy's
    zero_groups: Literal["keep"] = "keep"  # that all earned 0 is news to the value model

    needs_group = property(lambda self: self.dynamic_sampling)
    needs_values = property(lambda self: True)

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return rewards  # what the responses earned; `over_tokens` makes credit of it

    def over_tokens(self, rewards: list[float], values: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        raw = [gae(reward, value, self.gae_lambda) for reward, value in zip(rewards, values, strict=True)]
        targets = [gap + value for gap, value in zip(raw, values, strict=True)]
        whole = np.concatenate(raw)
        spread = whole.std() if self.whiten else 0.0
        return ([(gap - whole.mean()) / spread for gap in raw] if spread > 0 else raw), targets

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            clip_low=self.clip_low, clip_high=self.clip_high, kl_coef=self.kl_coef, max_tokens=max_tokens, temperature=temperature
        )


def gae(reward: float, values: np.ndarray, decay: float) -> np.ndarray:
    """[T] float64 advantages of a response that earned `reward` at its end; `values` [T] before each of its tokens."""
    gaps = np.append(values[1:], reward) - values.astype(np.float64)
    for t in reversed(range(len(gaps) - 1)):
        gaps[t] += decay * gaps[t + 1]
    return gaps
