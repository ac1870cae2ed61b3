"""REINFORCE: the policy gradient, with the step's mean reward as baseline or with none."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm, centred
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Reinforce(Algorithm):
    """REINFORCE (Williams 1992), a whole response being one episode with one reward at its end.

        A_i = r_i - b,  b = mean reward of all graded responses of the step ("batch") or 0 ("none")
        L = -1/(N * max_tokens) sum_i A_i sum_t log pi(o_it),  N responses in the update

    Works with one response per problem. Deviations: the constant 1/max_tokens; b contains r_i itself, which only
    scales the expected gradient by 1 - 1/N. No importance ratio: meant for one update per step.
    """

    baseline: Literal["batch", "none"] = "batch"

    @property
    def needs_group(self) -> bool:
        return self.dynamic_sampling

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        if self.baseline == "none" or not rewards:
            return rewards
        sizes = [len(r) for r in rewards]
        return np.split(centred(np.concatenate(rewards)), np.cumsum(sizes)[:-1])

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="reinforce",
            kl_coef=self.kl_coef,
            normalise="constant",
            max_tokens=max_tokens,
            temperature=temperature,
        )
