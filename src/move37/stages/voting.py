"""Which answers vote together: those that the task's own verifier calls equal.

cons@k counts votes. Comparing texts splits the vote of 1/2 and \\frac{1}{2}; here two answers to one problem are in a class
when the verifier, given one of them as the gold, calls the other right. Right answers are one class, being equal to the
gold. Only tasks whose answers can stand for golds (`Task.comparable`) are asked; the others compare texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from move37.report.estimators import normalise
from move37.tasks.base import Task
from move37.types import Group, Problem, Rollout, Verdict

RIGHT = "the gold"


def fill(groups: Iterable[Group], tasks: Mapping[str, Task]) -> None:
    """Write `vote` onto every graded rollout that has an answer."""
    waiting: dict[str, list[Group]] = {}
    for group in groups:
        for rollout in group.rollouts:
            rollout.vote = normalise(rollout.final)
        if len(group.rollouts) > 1 and tasks[group.problem.task].comparable:
            waiting.setdefault(group.problem.task, []).append(group)
    for name, mine in waiting.items():
        _join(tasks[name], mine)


def _join(task: Task, groups: Sequence[Group]) -> None:
    """All pairs of different wrong answers of all groups in one call of the verifier."""
    pairs: list[tuple[int, str, str]] = []
    for number, group in enumerate(groups):
        wrong = dict.fromkeys(r.vote for r in group.rollouts if r.verdict is Verdict.WRONG and r.vote is not None)
        pairs += [(number, one, other) for one, other in combinations(wrong, 2)]
    spoken = [_spoken(group.rollouts) for group in groups]
    asked = [(spoken[n][one], _gold(groups[n].problem, spoken[n][other])) for n, one, other in pairs]
    scores = task.verify_all(asked) if asked else []
    classes: list[dict[str, str]] = [{} for _ in groups]
    for (number, one, other), score in zip(pairs, scores, strict=True):
        if score.verdict is Verdict.RIGHT:
            _merge(classes[number], one, other)
    for group, joined in zip(groups, classes, strict=True):
        for rollout in group.rollouts:
            if rollout.verdict is Verdict.RIGHT:
                rollout.vote = RIGHT
            elif rollout.vote is not None:
                rollout.vote = _root(joined, rollout.vote)


def _spoken(rollouts: Sequence[Rollout]) -> dict[str, str]:
    """Vote -> the answer as it was first written."""
    told: dict[str, str] = {}
    for r in rollouts:
        if r.vote is not None and r.final is not None:
            told.setdefault(r.vote, r.final)
    return told


def _gold(problem: Problem, answer: str) -> Problem:
    return replace(problem, answer=answer)


def _merge(joined: dict[str, str], one: str, other: str) -> None:
    first, second = _root(joined, one), _root(joined, other)
    if first != second:
        joined[second] = first


def _root(joined: Mapping[str, str], vote: str) -> str:
    while vote in joined:
        vote = joined[vote]
    return vote
