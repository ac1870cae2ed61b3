"""Reward models as rewards: `helpful` sees the answer alone, `harmless` the whole response (DeepSeek-R1 v2, eq. 5, 6, 10),
`matches` the answer beside the gold (Kimi k1.5).

The model is one that a `reward_model` stage has made. Who computes its numbers is handed in (`scored_by`): this package
knows no model. See docs/preferences.md.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field
from pydantic.dataclasses import dataclass

from move37.errors import RewardError
from move37.options import STRICT
from move37.rewards.base import Item, Reward
from move37.rewards.verdicts import brief, quiet
from move37.types import Problem, Rollout, Scope, Score

EMPTY = "there is no answer"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a reward model was trained on, and how its number becomes a reward. It lies in the model's `config.json`."""

    kind: Literal["pairs", "labels"]
    part: Literal["answer", "response"]  # of a response
    template: str | None  # of prompts; None: the tokenizer's chat template
    mean: float = 0.0  # of its numbers on the responses it was trained on
    std: float = 1.0
    lowest: float = 0.0

    def reward(self, number: float) -> float:
        """Pairs: standard deviations above the mean. Labels: the probability of good.

        Pairwise training leaves the zero of the numbers open, and their size grows as long as one trains. Measured on the
        responses of the training set, 0 is a usual response and 1 a clearly better one, beside rewards from 0 to 1; so a
        weight in a recipe means the same for every model. Published descriptions say nothing here.
        """
        if self.kind == "labels":
            return 1 / (1 + math.exp(-number)) if number >= 0 else math.exp(number) / (1 + math.exp(number))
        return (number - self.mean) / self.std

    @property
    def floor(self) -> float:
        """What a response without an answer earns: as the worst of the training set. Of labels 0."""
        return 0.0 if self.kind == "labels" else self.reward(self.lowest)


class Scorer(Protocol):
    """A loaded reward model."""

    @property
    def scale(self) -> Scale: ...

    def ask(self, asked: Sequence[tuple[str, str]]) -> list[float | None]:
        """Numbers of (question, part); None where it is too long to be read."""
        ...


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Modelled(Reward):
    """Base of the rewards that a reward model gives."""

    model: Annotated[str, Field(min_length=1)]  # a reward_model stage of this recipe, or the directory of one

    def scored_by(self, scorer: Scorer) -> Self:
        """This reward with a model.

        Raises:
            RewardError: the model was trained on another part of a response than this reward shows it.
        """
        if scorer.scale.part != self.scope:
            raise RewardError(mismatch(type(self).__name__.lower(), self.model, scorer.scale.part, self.scope))
        bound = copy.copy(self)
        object.__setattr__(bound, "_scorer", scorer)
        return bound

    def settings(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def scores(self, items: Sequence[Item]) -> list[Score]:
        scorer: Scorer | None = vars(self).get("_scorer")
        if scorer is None:
            raise RewardError(f"nobody computes {self.model}: bind it with `scored_by` (a stage does so by itself)")
        parts = [self.part(rollout) for rollout, _ in items]
        asked = [(self.question(problem), part) for (_, problem), part in zip(items, parts, strict=True) if part.strip()]
        numbers = iter(scorer.ask(asked))
        return [self._score(scorer.scale, next(numbers)) if part.strip() else _empty(scorer.scale) for part in parts]

    def question(self, problem: Problem) -> str:
        """What the model is shown before the part."""
        return problem.question

    def part(self, rollout: Rollout) -> str:
        """What the model is shown."""
        return rollout.text

    def _score(self, scale: Scale, number: float | None) -> Score:
        if number is None:
            return Score.cannot_tell("prompt and response are longer than the reward model reads")
        return Score(value=scale.reward(number), parts={"number": number})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Helpful(Modelled):
    """How helpful the answer is: trained on pairs, it sees the final summary and never the thought."""

    scope: ClassVar[Scope] = "answer"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Harmless(Modelled):
    """How safe the response is: trained on labels, it sees thought and answer."""

    scope: ClassVar[Scope] = "response"

    def part(self, rollout: Rollout) -> str:
        return rollout.prefill + rollout.text


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Matches(Modelled):
    """How probable it is that the answer says what the gold says: trained on labels, it sees question, gold and answer.

    The classic reward model of Kimi k1.5 (arXiv 2501.12599, section 2.3.5): a value head, no reasoning. The one that
    reasons is `judge_reference`.
    """

    scope: ClassVar[Scope] = "answer"
    verdict: ClassVar[bool] = True

    def question(self, problem: Problem) -> str:
        return brief(problem.question, problem.answer)

    def part(self, rollout: Rollout) -> str:
        return " ".join(quiet(rollout.text).split())


def mismatch(reward: str, model: str, part: str, scope: str) -> str:
    """Why a model does not serve a reward."""
    return (
        f"reward {reward} shows its model the {_said(scope)}, but {model} was trained on the {_said(part)}; "
        f"set part: {scope} in that reward_model stage"
    )


def _said(part: str) -> str:
    return {"answer": "answer alone", "response": "whole response"}[part]


def _empty(scale: Scale) -> Score:
    return Score(value=scale.floor, why=EMPTY)
