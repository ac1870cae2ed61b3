"""Rewards of length. DAPO's soft punishment of over-long responses is an option of the algorithms (`overlong: soft`)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from move37.options import STRICT
from move37.rewards.base import Each, Item, Reward
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Length(Reward):
    """Shorter than the other responses of its group; only a right one gains by it. Of a response of n tokens:

        form kimi (Kimi k1.5, arXiv 2501.12599, section 2.3.3):
            l = 0.5 - (n - min) / (max - min);   l for a right response, min(0, l) for a wrong one
        form pass_rate (prime-rl's linear penalty, 2026):
            -(share of right responses) * n / max

    min and max are over the responses of the group, right and wrong together. kimi gives 0 to all where they are equally long.
    pass_rate does little before most responses are right, which is a warm-up of its own; prime-rl's weight is 0.25. The paper of
    Kimi gives no weight, and begins without the penalty: `from_step`. Deviation: a response of which the verifier can not tell
    gets no score and enters neither min, max nor share.
    """

    pays_length: ClassVar[bool] = True
    needs_group: ClassVar[bool] = True

    form: Literal["kimi", "pass_rate"] = "kimi"

    def scores(self, items: Sequence[Item]) -> list[Score]:
        groups: dict[int, list[int]] = defaultdict(list)
        for place, (rollout, _) in enumerate(items):
            if rollout.verdict is not Verdict.CANNOT_TELL:
                groups[rollout.group].append(place)  # not by problem: a step may draw one twice
        found = [Score.cannot_tell("the verifier can not tell")] * len(items)
        for places in groups.values():
            lengths = [items[i][0].length for i in places]
            right = [items[i][0].verdict is Verdict.RIGHT for i in places]
            values = by_range(lengths, right) if self.form == "kimi" else by_pass_rate(lengths, right)
            for place, value in zip(places, values, strict=True):
                found[place] = Score(value=value)
        return found


def by_range(lengths: Sequence[int], right: Sequence[bool]) -> list[float]:
    """Kimi's length reward of one group's responses: 0.5 for the shortest down to -0.5; of wrong ones what is below 0.

    Example:
        >>> by_range([10, 20, 30, 10], [True, True, True, False])
        [0.5, 0.0, -0.5, 0.0]
    """
    low, high = min(lengths), max(lengths)
    if low == high:
        return [0.0] * len(lengths)
    shares = [0.5 - (n - low) / (high - low) for n in lengths]
    return [share if ok else min(0.0, share) for share, ok in zip(shares, right, strict=True)]


def by_pass_rate(lengths: Sequence[int], right: Sequence[bool]) -> list[float]:
    """prime-rl's length penalty of one group's responses, before its weight.

    Example:
        >>> by_pass_rate([10, 40], [True, False])
        [-0.125, -0.5]
    """
    rate = sum(right) / len(right)
    return [-rate * n / max(1, *lengths) for n in lengths]
