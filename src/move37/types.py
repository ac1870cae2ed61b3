"""The records that travel. Imports nothing of ours, and no torch.

One RL step passes these along: `Problem` -> `Rollout` -> `Score` -> `Credit` (per rollout) -> learner.

Example:
    >>> rollout = Rollout(problem="a1", task="chain", sample=0, token_ids=np.array([5, 6, 7, 2], np.int32),
    ...                   sampled=np.array([0, 0, 1, 1], bool), logprobs=np.array([0, 0, -0.1, -0.2], np.float32),
    ...                   sampling_logprobs=np.array([0, 0, -0.1, -0.2], np.float32),
    ...                   text="23", stop=Stop.EOS, version=0)
    >>> rollout.length
    2
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

import numpy as np

Scope = Literal["thinking", "answer", "response"]
Reading = Literal["tags", "box", "text"]  # where the answer of a response stands: rewards/reading.py


class Stop(StrEnum):
    """Why a rollout ended."""

    EOS = "eos"  # the model sampled its end-of-sequence token
    STRING = "string"  # a stop string of the recipe appeared in the text
    REPEAT = "repeat"  # the last tokens were one block again and again, and the recipe ends such responses
    LENGTH = "length"  # the token limit was reached: the response is truncated


class Verdict(StrEnum):
    """What a verifier can say. CANNOT_TELL never trains and never enters a mean."""

    RIGHT = "right"
    WRONG = "wrong"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question and what its task needs to grade an answer."""

    id: str  # stable over runs: a hash of task content
    task: str  # the task's name in the recipe
    question: str  # what is asked, before any chat template
    answer: str  # the gold answer as text
    meta: Mapping[str, Any] = field(default_factory=dict)  # difficulty knobs, language, whatever a verifier needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a reward says of one rollout. `value` NaN means "could not grade"; use `Score.cannot_tell`."""

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    cause: str = ""  # where value is NaN: one word by which it is counted, such as hung; empty: cannot_tell
    seconds: float | None = field(default=None, compare=False)  # spent on it in another process, where that was measured

    @classmethod
    def cannot_tell(cls, why: str, cause: str = "") -> Score:
        return cls(value=math.nan, why=why, cause=cause)

    @property
    def verdict(self) -> Verdict:
        """RIGHT at full marks (1), CANNOT_TELL at NaN, WRONG otherwise."""
        if math.isnan(self.value):
            return Verdict.CANNOT_TELL
        return Verdict.RIGHT if self.value >= 1.0 else Verdict.WRONG


@dataclass(slots=True, kw_only=True)
class Rollout:
    """One sampled response, from the sampler to the learner, the records and the report.

    All arrays have one entry per token, prompt included: there is no prompt/completion split, only `sampled`.
    """

    problem: str  # Problem.id
    task: str
    sample: int  # index within its group
    token_ids: np.ndarray  # [T] int32
    sampled: np.ndarray  # [T] bool: True where the model chose the token
    logprobs: np.ndarray  # [T] float32, nats, under the policy at its temperature, untruncated; 0 where not sampled
    sampling_logprobs: np.ndarray  # [T] float32, nats, under the truncated distribution drawn from; 0 likewise
    text: str  # the sampled part, decoded, without EOS
    stop: Stop
    version: int  # optimizer updates the sampling weights had seen; of several segments, the last one's
    segments: tuple[tuple[int, int], ...] = ()  # (sampled tokens, version) of each part, where sampled in several iterations
    prefill: str = ""  # what the template put after the generation prompt, such as "<think>"
    thinking: str | None = None  # filled by rewards.combine.grade; None where the form is not found
    answer: str | None = None  # the summary: all that the reader is given after the thought
    final: str | None = None  # what of it is verified and voted on, such as the content of its box
    vote: str | None = None  # answers with one vote count together in cons@k; None: as `final` is written
    group: int = 0  # of those graded at once, the number of its own; filled by rewards.combine.grade
    scores: dict[str, Score] = field(default_factory=dict)  # by reward name
    reward: float = math.nan  # weighted sum; NaN while ungraded or when a part can not tell
    verdict: Verdict = Verdict.CANNOT_TELL  # of the accuracy reward, before any shaping
    error: str | None = None  # why it could not be graded

    @property
    def length(self) -> int:
        """Sampled tokens, EOS included."""
        return int(self.sampled.sum())

    @property
    def versions(self) -> np.ndarray:
        """[length] int64: the version of the weights that each sampled token came from."""
        parts = self.segments or ((self.length, self.version),)
        return np.repeat([version for _, version in parts], [tokens for tokens, _ in parts])

    @property
    def truncated(self) -> bool:
        return self.stop is Stop.LENGTH

    @property
    def graded(self) -> bool:
        return not math.isnan(self.reward)

    def view(self, scope: Scope) -> Rollout:
        """A copy a reward of that scope may see: `text` holds the scoped part alone, the other parts are None."""
        if scope == "response":
            return replace(self)
        part = self.thinking if scope == "thinking" else self.answer
        kept = {"thinking": None, "answer": None, "final": self.final if scope == "answer" else None, scope: part}
        return replace(self, text=part or "", **kept)


@dataclass(slots=True, kw_only=True)
class Group:
    """All samples of one problem in one step; the unit algorithms compare within."""

    problem: Problem
    rollouts: list[Rollout]

    @property
    def graded(self) -> list[Rollout]:
        return [r for r in self.rollouts if r.graded]


@dataclass(slots=True, kw_only=True)
class Credit:
    """What an algorithm assigns to one rollout. Zero `weight` keeps it out of the loss and its denominator."""

    rollout: Rollout
    advantage: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSpec:
    """The loss the learner executes. It is all the learner ever knows of an algorithm.

    With r_t = exp(logp_t - old_t) (or the sequence ratio) and credit A_t:

        kind "clip":       -min(r_t A_t, clip(r_t, 1 - clip_low, 1 + clip_high) A_t)       PPO / GRPO
        kind "weight":     -sg[min(r_t, clip_high)] A_t logp_t                              CISPO
        kind "reinforce":  -A_t logp_t
        kind "cross_entropy": -w_t logp_t                                                   pretrain, SFT
        kind "squared":    (x_t - A_t)^2 / 2, x_t of a scalar model in place of logp_t      value function
    plus kl_coef * k3(logp_t, ref_t), k3 = exp(ref - logp) - (ref - logp) - 1,
    plus tau/2 (sum_s logp_s - old_s)^2 / n over the n tokens of a response: each bears an equal part   Kimi k1.5
    """

    kind: Literal["clip", "weight", "reinforce", "cross_entropy", "squared"] = "clip"
    ratio: Literal["token", "sequence"] = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coef: float = 0.0
    tau: float = 0.0
    # "sequence": mean over tokens, then over sequences (GRPO). "token": over all tokens of the update (DAPO).
    # "constant": sum / (sequences * max_tokens) (Dr. GRPO).
    normalise: Literal["sequence", "token", "constant"] = "token"
    max_tokens: int = 1  # the constant of "constant"
    temperature: float = 1.0  # the policy's logits are divided by it, as in sampling
