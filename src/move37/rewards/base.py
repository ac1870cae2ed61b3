"""What every reward shares: a declared scope, and scores of many responses at once.

A built-in reward is a frozen pydantic dataclass whose fields are the options that a recipe may set.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from move37.types import Problem, Rollout, Scope, Score

Item = tuple[Rollout, Problem]


class Reward(ABC):
    """Base of all rewards.

    `scope` says what of a response it sees: `rollout.text` is that part, the other parts are None. What can not be
    graded is a Score of NaN with a reason, never an exception. When `scores` is called, `rollout.verdict` is already
    that of the task's verifier, and `rollout.group` tells the groups apart: a step may hold two of one problem.
    """

    scope: ClassVar[Scope] = "response"
    pays_length: ClassVar[bool] = False  # on purpose: `move37 probe` compares at equal length
    needs_group: ClassVar[bool] = False  # compares the responses of a group: one alone has nothing to be compared with
    verdict: ClassVar[bool] = False  # above a half it says right, as the checker does: metrics tell where the two part

    @abstractmethod
    def scores(self, items: Sequence[Item]) -> list[Score]:
        """One score per item, in order."""

    def settings(self) -> dict[str, Any]:
        """Every option with its value, JSON-able."""
        return dataclasses.asdict(self) if dataclasses.is_dataclass(self) else {}


class Each(Reward):
    """A reward that looks at one response at a time. What it raises is data: that response can not be graded."""

    @abstractmethod
    def score(self, rollout: Rollout, problem: Problem) -> Score: ...

    def scores(self, items: Sequence[Item]) -> list[Score]:
        return [self._guarded(*item) for item in items]

    def _guarded(self, rollout: Rollout, problem: Problem) -> Score:
        try:
            return self.score(rollout, problem)
        except Exception as error:
            return Score.cannot_tell(f"{type(error).__name__}: {error}"[:500], cause="raised")
