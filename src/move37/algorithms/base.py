"""What every algorithm shares: who gets credit, over-long responses, groups that teach nothing, reference settings.

An algorithm is two pure functions and its options. `credit` turns the rewards of a step into one number per rollout;
`loss` declares, as a frozen `LossSpec`, what the learner does with it. Neither touches a tensor.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from move37.options import STRICT
from move37.types import Credit, Group, LossSpec, Rollout, Verdict

NonNegative = Annotated[float, Field(ge=0)]
Steps = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
SAME = 1e-8  # rewards this close are one reward: the mean of n equal floats may be off by a rounding error


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Algorithm(ABC):
    """Base of all algorithms; the fields are the options of the recipe's `algorithm` section."""

    kl_coef: NonNegative = 0.0  # weight of the k3 KL to the reference model, inside the loss; 0 needs no reference
    reference_every: Steps = 0  # steps after which the reference becomes the policy; 0: never
    dynamic_sampling: bool = False  # replace groups that are all right or all wrong by freshly sampled ones
    refill_rounds: Annotated[int, Field(ge=1)] = 3  # at most this many extra samplings per step
    overlong: Literal["keep", "mask", "soft", "both"] = "keep"  # truncated: as graded, out of the loss, or punished
    overlong_buffer: Annotated[float, Field(gt=0, le=1)] = 0.2  # last share of the token limit that "soft" punishes
    overlong_penalty: NonNegative = 0.5  # reward taken off at the limit; DAPO's 1 is for rewards of -1 and 1
    zero_groups: Literal["keep", "drop"] = "keep"  # groups without a nonzero advantage: in the denominators, or out
    epochs: Annotated[int, Field(ge=1)] = 1  # passes over a step's rollouts, each of updates_per_step updates
    reset_optimizer: bool = False  # forget the optimizer's moments before each step

    @property
    def needs_group(self) -> bool:
        """Whether one response per problem would teach nothing."""
        return True

    @property
    def needs_values(self) -> bool:
        """Whether a value model learns beside the policy; then `over_tokens` gives the advantages."""
        return False

    def over_tokens(self, rewards: list[float], values: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Advantages and targets of the values, [T] float64 each, of responses that earned `rewards`.

        Args:
            values: [T] each, what the value model says before each sampled token.
        """
        raise AssertionError(f"{type(self).__name__} has no value model")

    @abstractmethod
    def advantages(self, rewards: list[np.ndarray]) -> list[np.ndarray]:
        """One float64 array per group, of the shape of its rewards; no group is empty."""

    @abstractmethod
    def loss(self, max_tokens: int, temperature: float) -> LossSpec:
        """The loss the learner executes; `max_tokens` is the stage's limit of sampled tokens per response."""

    def settings(self) -> dict[str, Any]:
        """Every option with its value, JSON-able; `build(name, settings)` gives the same algorithm."""
        return dataclasses.asdict(self)

    def teaches(self, group: Group) -> bool:
        """Whether dynamic sampling keeps the group: 0 < accuracy < 1, raw (before any shaping or length punishment).

        Counted over rollouts that are both graded and decided, so an ungraded one changes nothing for the others.
        """
        decided = [r.verdict for r in group.graded if r.verdict is not Verdict.CANNOT_TELL]
        return 0 < decided.count(Verdict.RIGHT) < len(decided)

    def credit(self, groups: list[Group], max_tokens: int) -> list[Credit]:
        """One credit per graded rollout, in the order given; ungraded rollouts get none and enter no mean.

        Weight 0 (out of the loss and of its denominator): truncated rollouts under overlong mask/both, groups that
        do not teach under dynamic sampling, and groups without any nonzero advantage under `zero_groups: drop`.
        A masked rollout still counts in the mean of its group, because it was graded. Rollouts are not changed.

        Args:
            groups: all groups of the step.
            max_tokens: the limit of sampled tokens per response, for the soft punishment.
        """
        used = [bool(g.graded) and (self.teaches(g) or not self.dynamic_sampling) for g in groups]
        kept = [group for group, use in zip(groups, used, strict=True) if use]
        found = iter(self.advantages([np.array([self._reward(r, max_tokens) for r in g.graded]) for g in kept]))
        credits = []
        for group, use in zip(groups, used, strict=True):
            values = next(found) if use else np.zeros(len(group.graded))
            counts = use and (self.zero_groups == "keep" or bool(values.any()))
            for rollout, value in zip(group.graded, values, strict=True):
                assert np.isfinite(value), f"advantage {value} from reward {rollout.reward}"
                masked = rollout.truncated and self.overlong in ("mask", "both")
                credits.append(Credit(rollout=rollout, advantage=float(value), weight=float(counts and not masked)))
        return credits

    def _reward(self, rollout: Rollout, max_tokens: int) -> float:
        if self.overlong not in ("soft", "both"):
            return rollout.reward
        punishment = soft_punishment(rollout.length, max_tokens, self.overlong_buffer)
        return rollout.reward + self.overlong_penalty * punishment


def soft_punishment(length: int, max_tokens: int, buffer: float) -> float:
    """0 down to -1, linear over the last `buffer` share of the limit (DAPO, arXiv 2503.14476, eq. 13).

    Example:
        >>> soft_punishment(90, max_tokens=100, buffer=0.2)
        -0.5
    """
    cache = buffer * max_tokens
    return max(-1.0, min(0.0, (max_tokens - cache - length) / cache))


def centred(rewards: np.ndarray) -> np.ndarray:
    """r_i - mean(r), float64 [G]; exactly 0 where all rewards are the same."""
    same = rewards.max() - rewards.min() <= SAME
    return np.zeros_like(rewards) if same else rewards - rewards.mean()


def standardised(rewards: np.ndarray) -> np.ndarray:
    """(r_i - mean(r)) / std(r), float64 [G], with the POPULATION standard deviation and nothing added to it.

    The papers write std({r_1 .. r_G}) without saying which; other trainers take the sample one, which is larger by
    sqrt(G / (G - 1)). Where all rewards are the same the result is exactly 0.
    """
    gap = centred(rewards)
    return gap / gap.std() if gap.any() else gap


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """r_i - mean of the others, float64 [G]; 0 for a single reward, which has nothing to be compared with."""
    n = len(rewards)
    return centred(rewards) * (n / (n - 1)) if n > 1 else np.zeros(1)
