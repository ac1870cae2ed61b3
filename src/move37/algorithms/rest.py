"""ReST: fit the best sample, learn nothing from the others."""

from __future__ import annotations

import numpy as np
from pydantic.dataclasses import dataclass

from move37.algorithms.base import Algorithm
from move37.options import STRICT
from move37.types import LossSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ReST(Algorithm):
    """Reinforced self-training as Kimi k1.5 compares with (arXiv 2501.12599, section 3.5, Fig. 10; Gulcehre et al., 2308.08998).

        A_i = 1 for the response of the largest reward of its group, if that is at least `threshold`; 0 for all others
        L = -1/(N * max_tokens) sum_i A_i sum_t log pi(o_it),  N responses in the update

    There is no negative gradient. Of equal rewards the first sample is the best. Deviations: the paper of ReST grows a data
    set once and fits it several times with a rising threshold; here each step samples anew and fits, as in Fig. 10. The
    constant 1/max_tokens, as in RLOO.
    """

    threshold: float = 0.5  # least reward that is fitted: with accuracy at weight 1 and form below 0.5, right responses

    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        return [np.where(np.arange(len(r)) == r.argmax(), float(r.max() >= self.threshold), 0.0) for r in rewards]

    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        return LossSpec(
            kind="reinforce",
            kl_coef=self.kl_coef,
            normalise="constant",
            max_tokens=max_tokens,
            temperature=temperature,
        )
