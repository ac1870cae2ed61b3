"""Online policy mirror descent: the algorithm of Kimi k1.5."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import SAME, Algorithm, Positive, centred
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MirrorDescent(Algorithm):
    """Online policy mirror descent (Kimi k1.5, arXiv 2501.12599, section 2.3.2, eq. 2-3).

        A_i = r_i - b,   b = mean(r) ("mean") or tau log( mean_j exp(r_j / tau) ) ("log_mean_exp", which is tau log Z)
        L = -1/(N * max_tokens) sum_i { A_i log pi(o_i) - tau/2 (log pi(o_i) - log pi_old(o_i))^2 }

    with log pi(o_i) the sum over the whole response. pi_old is the policy that sampled, the reference of the iteration. No
    ratio, no clip, no std. The optimizer forgets its moments before each iteration (a step of the stage), since each is
    another problem. An iteration is several updates: `updates_per_step`, and `epochs` for more than one pass.
    Deviations: the constant 1/max_tokens, as in RLOO; tau, which the paper does not give, is our choice; log pi_old are the
    log-probs that the sampler recorded.
    """

    reset_optimizer: bool = True
    tau: Positive = 0.1  # weight of the squared log ratio; nats of reward per nat of drift
    baseline: Literal["mean", "log_mean_exp"] = "mean"

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return [centred(r) if self.baseline == "mean" else r - soft_maximum(r, self.tau) for r in rewards]

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="reinforce",
            tau=self.tau,
            kl_coef=self.kl_coef,
            normalise="constant",
            max_tokens=max_tokens,
            temperature=temperature,
        )


def soft_maximum(rewards: np.ndarray, tau: float) -> np.ndarray | float:
    """tau log mean exp(r / tau): the mean at large tau, the largest at small; the rewards themselves where all are the same."""
    top = rewards.max()
    if top - rewards.min() <= SAME:
        return rewards
    return float(top + tau * np.log(np.exp((rewards - top) / tau).mean()))
