"""RLOO: REINFORCE with a leave-one-out baseline."""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm, leave_one_out
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RLOO(Algorithm):
    """REINFORCE leave-one-out (Kool et al. 2019; Ahmadian et al., arXiv 2402.14740).

        A_i = r_i - 1/(G - 1) sum_{j != i} r_j
        L = -1/(G * max_tokens) sum_i A_i sum_t log pi(o_it)

    Deviations: the paper has no 1/max_tokens; it is a constant that AdamW cancels and that keeps the gradient norm
    away from the clip. The paper subtracts the KL from the reward; here `kl_coef` puts k3 into the loss (0 by default).
    No importance ratio: meant for one update per step, later ones learn from stale samples uncorrected.
    """

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return [leave_one_out(r) for r in rewards]

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="reinforce",
            kl_coef=self.kl_coef,
            normalise="constant",
            max_tokens=max_tokens,
            temperature=temperature,
        )
