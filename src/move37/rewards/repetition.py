"""The penalty for saying the same again, by n-grams of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from move37.options import STRICT
from move37.rewards.base import Each
from move37.types import Problem, Rollout, Score


def repeated(tokens: Sequence[int], n: int) -> float:
    """The share of n-grams that occurred before: 1 - different / all; 0 where there is none.

    Example:
        >>> repeated([1, 2, 1, 2, 1], 2)
        0.5
    """
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Repetition(Each):
    """Minus the share of n-grams of sampled tokens that the response has had before: 0 (none) down to -1.

    After the n-gram repetition penalty of Yeo et al. (arXiv 2502.03373), which counts n-grams of 40 tokens. Deviations:
    one number per response, where the paper takes 0.05 off at every repeated token with a discount of its own; so the
    weight in the recipe is what a response of nothing but repetition loses.
    """

    ngram: Annotated[int, Field(ge=2)] = 40  # tokens

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        share = repeated(rollout.token_ids[rollout.sampled].tolist(), self.ngram)
        return Score(value=-share, why=f"{share:.0%} of the {self.ngram}-grams repeat" if share else "")
