"""Grading a step: every reward of every rollout, then their weighted sum.

What can not be graded gets no reward (NaN): it is named on the rollout, counted in the report, and trains nothing.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from move37.errors import RewardError
from move37.rewards import REWARDS, Reward, form
from move37.rewards.worker import Outcome, Pool
from move37.types import Group, Problem, Rollout, Score, Verdict

HANGS_LIMIT = 3  # items of one reward that may hang in one call; the rest of that call is not tried

Item = tuple[Rollout, Problem]


class Grader(Protocol):
    """What grading needs of a task."""

    def verify_all(self, pairs: Sequence[tuple[str, Problem]]) -> list[Score]: ...


@dataclass(slots=True)
class GradeReport:
    """What a call of `grade` did."""

    rollouts: int = 0
    ungraded: int = 0  # rollouts without a reward
    reasons: Counter[str] = field(default_factory=Counter)  # "<reward>_<cannot_tell|raised|hung|died|nan>" -> rollouts
    seconds: dict[str, float] = field(default_factory=dict)  # by reward name, wall-clock


def grade(
    groups: Sequence[Group], rewards: Mapping[Reward, float], tasks: Mapping[str, Grader], deadline_s: float = 10.0
) -> GradeReport:
    """Fill thinking, answer, scores, reward, verdict and error of every rollout.

    `reward` is the sum of weight x value over `rewards`; a part that is NaN makes it NaN, unless its weight is 0: then
    it is only watched. `accuracy` and `format` are scored and recorded whether or not they are among the rewards, so
    that an independent number is always there; `verdict` is that of accuracy.

    A user's reward (one with a `source`) runs in a process of its own, `deadline_s` seconds per rollout. After
    HANGS_LIMIT hangs the rest of the call's rollouts is counted as hung without a try.

    Raises:
        RewardError: two rewards have one name, or a user's reward does not load in its process.
    """
    names = [reward.name for reward in rewards]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise RewardError(f"two rewards are named {twice[0]!r}; rename one of the functions")
    items = [(rollout, group.problem) for group in groups for rollout in group.rollouts]
    report = GradeReport(rollouts=len(items))
    for rollout, _ in items:
        form.fill(rollout)
        rollout.scores, rollout.error = {}, None
    for reward in [*REWARDS.values(), *(r for r in rewards if r.name not in REWARDS)]:
        started = time.perf_counter()
        if reward.source:
            results = _foreign(reward, items, deadline_s)
        elif reward.function is None:
            results = accuracy(items, tasks)
        else:
            results = [_own(reward, item) for item in items]
        for (rollout, _), (score, reason) in zip(items, results, strict=True):
            _note(report, rollout, reward, score, reason)
        report.seconds[reward.name] = time.perf_counter() - started
    for rollout, _ in items:
        rollout.verdict = rollout.scores["accuracy"].verdict
        parts = [weight * rollout.scores[reward.name].value for reward, weight in rewards.items() if weight]
        rollout.reward = float(sum(parts))
        rollout.error = rollout.error if math.isnan(rollout.reward) else None
    report.ungraded = sum(not rollout.graded for rollout, _ in items)
    return report


def _note(report: GradeReport, rollout: Rollout, reward: Reward, score: Score, reason: str) -> None:
    rollout.scores[reward.name] = score
    if math.isnan(score.value):
        report.reasons[f"{reward.name}_{reason or 'cannot_tell'}"] += 1
        rollout.error = rollout.error or f"{reward.name} {reason or 'can not tell'}: {score.why}"


def _own(reward: Reward, item: Item) -> tuple[Score, str]:
    """A built-in reward: trusted to end; what it raises is still data."""
    rollout, problem = item
    try:
        seen = rollout if reward.scope == "response" else rollout.view(reward.scope)
        return _score(reward.function(seen, problem))
    except Exception as error:
        return Score.cannot_tell(f"{type(error).__name__}: {error}"[:500]), "raised"


def accuracy(items: Sequence[Item], tasks: Mapping[str, Grader]) -> list[tuple[Score, str]]:
    """1, 0 or NaN as each task verifies the answer; partial marks stay visible in the parts and earn nothing.

    A task sees all its answers at once (`verify_all`). With each score "", or "raised" where that call itself failed.
    """
    results: list[tuple[Score, str]] = [(Score(value=0.0, why="there is no answer"), "")] * len(items)
    places: dict[str, list[int]] = {}
    for place, (rollout, problem) in enumerate(items):
        if rollout.answer is not None:
            places.setdefault(problem.task, []).append(place)
        elif why := form.split(rollout.prefill, rollout.text).why:
            results[place] = (Score(value=0.0, why=why), "")
    for name, mine in places.items():
        verified = _verified(tasks[name], [(items[place][0].answer or "", items[place][1]) for place in mine])
        for place, result in zip(mine, verified, strict=True):
            results[place] = result
    return results


def _verified(task: Grader, pairs: Sequence[tuple[str, Problem]]) -> list[tuple[Score, str]]:
    try:
        scores = task.verify_all(pairs)
    except Exception as error:
        return [(Score.cannot_tell(f"{type(error).__name__}: {error}"[:500]), "raised")] * len(pairs)
    return [
        (Score(value=0.0, parts=score.parts, why=score.why) if score.verdict is Verdict.WRONG else score, "")
        for score in scores
    ]


def _foreign(reward: Reward, items: list[Item], deadline_s: float) -> list[tuple[Score, str]]:
    """A user's reward, in its process."""
    views = [(rollout.view(reward.scope), problem) for rollout, problem in items]
    return [_outcome(outcome) for outcome in _pool(reward.source).run(views, deadline_s, HANGS_LIMIT)]


def _outcome(outcome: Outcome) -> tuple[Score, str]:
    if outcome.kind != "ok":
        return Score.cannot_tell(str(outcome.value)), outcome.kind
    return _score(outcome.value)


def _score(value: Any) -> tuple[Score, str]:
    """What a reward returned, as a Score; anything but a Score or a finite number is nonsense, with a reason."""
    if isinstance(value, Score):
        if math.isinf(value.value):
            return Score.cannot_tell(f"it returned {value.value}"), "nan"
        return value, ""  # a Score that is NaN says of itself that it can not tell
    if isinstance(value, int | float) and math.isfinite(value):
        return Score(value=float(value)), ""
    return Score.cannot_tell(f"it returned {value!r:.80}, not a Score or a finite number"), "nan"


@cache
def _pool(source: str) -> Pool:
    """One process per user reward, kept between steps."""
    return Pool(source, size=1)
