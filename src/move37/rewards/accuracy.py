"""Accuracy: what the task's own verifier says of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Protocol

from pydantic.dataclasses import dataclass

from move37.options import STRICT
from move37.rewards.base import Item, Reward
from move37.types import Problem, Rollout, Scope, Score, Verdict


class Grader(Protocol):
    """What grading needs of a task; see `tasks.base.Task`."""

    @property
    def open_ended(self) -> bool: ...

    @property
    def whole(self) -> bool: ...

    def verify_all(self, pairs: Sequence[tuple[str, Problem]]) -> list[Score]: ...


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Accuracy(Reward):
    """1 where the task's verifier says right, 0 where it says wrong; what it can not tell is not graded.

    Verifying comes first in every grading (`verify`), because the verdict is there for all rewards to see; this one
    pays it. With `credit: partial` a wrong answer of a task with test cases earns the share of them that it passes; the
    verdict stays wrong.
    """

    scope: ClassVar[Scope] = "answer"

    credit: Literal["full", "partial"] = "full"

    def scores(self, items: Sequence[Item]) -> list[Score]:
        return [self._paid(rollout.scores["accuracy"]) for rollout, _ in items]

    def _paid(self, score: Score) -> Score:
        if self.credit == "full" or score.verdict is not Verdict.WRONG:
            return score
        return replace(score, value=score.parts.get("passed", 0.0))


def verify(items: Sequence[Item], tasks: Mapping[str, Grader]) -> None:
    """Fill `scores["accuracy"]` and `verdict` of every rollout; without `final` it is wrong. A task sees all its answers at once.

    It is given `final`; where it asks for the whole response, the thought and the summary, on lines of their own.
    """
    places: dict[str, list[Item]] = {}
    for rollout, problem in items:
        if rollout.final is None:
            rollout.scores.setdefault("accuracy", Score(value=0.0, why="there is no answer"))
        else:
            places.setdefault(problem.task, []).append((rollout, problem))
    for name, mine in places.items():
        for (rollout, _), score in zip(mine, _verified(tasks[name], mine), strict=True):
            rollout.scores["accuracy"] = score
    for rollout, _ in items:
        rollout.verdict = rollout.scores["accuracy"].verdict


def _verified(task: Grader, items: Sequence[Item]) -> list[Score]:
    """1, 0 or NaN; partial marks stay visible in the parts and earn nothing. A call that fails is data."""
    try:
        scores = task.verify_all([(_given(rollout, task.whole), problem) for rollout, problem in items])
    except Exception as error:
        return [Score.cannot_tell(f"{type(error).__name__}: {error}"[:500], cause="raised")] * len(items)
    return [Score(value=0.0, parts=s.parts, why=s.why) if s.verdict is Verdict.WRONG else s for s in scores]


def _given(rollout: Rollout, whole: bool) -> str:
    return f"{rollout.thinking or ''}\n{rollout.answer}" if whole else rollout.final or ""
