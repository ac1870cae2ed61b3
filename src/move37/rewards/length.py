"""Rewards of length. DAPO's soft punishment of over-long responses is an option of the algorithms (`overlong: soft`)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from move37.options import STRICT
from move37.rewards.base import Each
from move37.types import Problem, Rollout, Score, Verdict


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Cosine(Each):
    """The cosine reward (Yeo et al., Demystifying Long Chain-of-Thought Reasoning in LLMs, arXiv 2502.03373).

        c(t) = end + (start - end) / 2 * (1 + cos(pi t / max_tokens)),   t: sampled tokens of the response

    from `right_short` to `right_long` for a right answer, from `wrong_short` to `wrong_long` for a wrong one; a truncated
    response earns `exceeded`. It holds the accuracy reward in it: give `accuracy` weight 0 beside it. The defaults are
    the paper's as we remember them, not checked against its table: short right answers earn most, and a wrong one should
    rather have been longer.

    Deviation: a response that reaches the limit and ends there has not exceeded it.
    """

    pays_length: ClassVar[bool] = True

    right_short: float = 2.0
    right_long: float = 1.0
    wrong_short: float = -10.0
    wrong_long: float = 0.0
    exceeded: float = -10.0
    max_tokens: Annotated[int, Field(gt=0)] | None = None  # the stage's max_new_tokens where not given

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        if rollout.truncated:
            return Score(value=self.exceeded, why="truncated")
        if rollout.verdict is Verdict.CANNOT_TELL:
            return Score.cannot_tell("the verifier can not tell")
        if self.max_tokens is None:
            return Score.cannot_tell("cosine needs max_tokens")
        right = rollout.verdict is Verdict.RIGHT
        start, end = (self.right_short, self.right_long) if right else (self.wrong_short, self.wrong_long)
        share = min(1.0, rollout.length / self.max_tokens)
        return Score(value=end + (start - end) / 2 * (1 + math.cos(math.pi * share)))
