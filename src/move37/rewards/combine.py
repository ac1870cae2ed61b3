"""Grading a step: every reward of every rollout, then their weighted sum.

What can not be graded gets no reward (NaN): it is named on the rollout, counted in the report, and trains nothing.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from move37.errors import Move37Error
from move37.rewards import Item, Reward, Weighted
from move37.rewards.accuracy import Accuracy, Grader, verify
from move37.rewards.reading import READINGS, Format
from move37.types import Group, Reading, Rollout, Score

ACCURACY = (Weighted("accuracy", 1.0, Accuracy()),)  # for measuring: the verdict and nothing else


@dataclass(slots=True)
class GradeReport:
    """What a call of `grade` did."""

    rollouts: int = 0
    ungraded: int = 0  # rollouts without a reward
    reasons: Counter[str] = field(default_factory=Counter)  # "<reward>_<cannot_tell|raised|hung|died|nan>" -> rollouts
    seconds: dict[str, float] = field(default_factory=dict)  # by reward name, wall-clock


def grade(
    groups: Sequence[Group], rewards: Sequence[Weighted], tasks: Mapping[str, Grader], reading: Reading = "tags"
) -> GradeReport:
    """Fill group, thinking, answer, final, scores, reward, verdict and error of every rollout.

    `reading` says where the answer stands: see `rewards/reading.py`. An open-ended task is given all of the summary.

    `reward` is the sum of weight x value over the `rewards` of the rollout's task; a part that is NaN makes it NaN, unless
    its weight is 0: then it is only watched. `accuracy` and `format` are scored and recorded whether or not they are
    among these, so that an independent number is always there; `verdict` is that of accuracy.

    Raises:
        RewardError: a user's reward does not load in its process.
    """
    items = [(rollout, group.problem) for group in groups for rollout in group.rollouts]
    for number, group in enumerate(groups):
        for rollout in group.rollouts:
            rollout.group = number
    report = GradeReport(rollouts=len(items))
    for rollout, problem in items:
        why = read(rollout, tasks[problem.task], reading)
        rollout.scores, rollout.error = {}, None
        if rollout.final is None:
            rollout.scores["accuracy"] = Score(value=0.0, why=why)
    started = time.perf_counter()
    verify(items, tasks)
    for line in _lines(rewards, {problem.task for _, problem in items}, reading):
        mine = [item for item in items if line.covers(item[1].task)]
        for (rollout, _), score in zip(mine, _scores(line.reward, mine), strict=True):
            _note(report, rollout, line.name, score)
        report.seconds[line.name] = report.seconds.get(line.name, 0.0) + time.perf_counter() - started
        started = time.perf_counter()
    for rollout, problem in items:
        parts = [w.weight * rollout.scores[w.name].value for w in rewards if w.weight and w.covers(problem.task)]
        rollout.reward = float(sum(parts))
        rollout.error = rollout.error if math.isnan(rollout.reward) else None
    report.ungraded = sum(not rollout.graded for rollout, _ in items)
    return report


def read(rollout: Rollout, task: Grader, reading: Reading) -> str:
    """Fill thinking, answer and final of a response, looking at no gold; returns why it has no answer, or nothing."""
    found = READINGS[reading](rollout.prefill, rollout.text)
    rollout.thinking, rollout.answer = found.thinking, found.answer
    rollout.final = found.answer if task.open_ended or task.whole else found.final
    return found.why


def _lines(rewards: Sequence[Weighted], drawn: set[str], reading: Reading) -> list[Weighted]:
    """The rewards and, for the tasks that have none of that name, accuracy and format without weight; these two first."""
    lines: list[Weighted] = []
    for name, reward in (("accuracy", Accuracy()), ("format", Format(reading=reading))):
        paid = [w for w in rewards if w.name == name]
        lines += paid
        if rest := {task for task in drawn if not any(w.covers(task) for w in paid)}:
            lines.append(Weighted(name, 0.0, reward, tuple(sorted(rest))))
    return [*lines, *(w for w in rewards if w.name not in ("accuracy", "format"))]


def _scores(reward: Reward, items: Sequence[Item]) -> list[Score]:
    """What a reward says of every item, seen through its scope; what it raises is data, unless raised on purpose."""
    if reward.scope != "response":
        items = [(rollout.view(reward.scope), problem) for rollout, problem in items]
    try:
        return [_finite(score) for score in reward.scores(items)]
    except Move37Error:
        raise
    except Exception as error:
        return [Score.cannot_tell(f"{type(error).__name__}: {error}"[:500], cause="raised")] * len(items)


def _finite(score: Score) -> Score:
    """A Score that is NaN says of itself that it can not tell; infinity is nonsense."""
    if math.isinf(score.value):
        return Score.cannot_tell(f"it returned {score.value}", cause="nan")
    return score


def _note(report: GradeReport, rollout: Rollout, name: str, score: Score) -> None:
    rollout.scores[name] = score
    if math.isnan(score.value):
        report.reasons[f"{name}_{score.cause or 'cannot_tell'}"] += 1
        rollout.error = rollout.error or f"{name} {score.cause or 'can not tell'}: {score.why}"
