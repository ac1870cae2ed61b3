"""Policies without a model: for tests, and to check a suite before money is spent on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from move37.rollout.draw import Sampling
from move37.rollout.remote import made_rollout
from move37.types import Group, Problem, Rollout

THOUGHT = "Let me see."


class Scripted:
    """Answers what a function says: `write(problem, sample)` is the text of the response."""

    def __init__(self, write: Callable[[Problem, int], str]) -> None:
        self.write = write

    def render(self, question: str) -> str:
        return question

    def sample(self, problems: Sequence[Problem], n: int, sampling: Sampling, seed: int) -> list[Group]:
        """n responses to each problem; a token is a word."""
        return [Group(problem=p, rollouts=[_rollout(p, sample, self.write(p, sample)) for sample in range(n)]) for p in problems]


def _rollout(problem: Problem, sample: int, text: str) -> Rollout:
    return made_rollout(problem, sample, text, prompt=len(problem.question.split()), response=len(text.split()))


def written(answer: str, reading: str) -> str:
    """A response that gives `answer` where a reading (`rewards/reading.py`) looks for it."""
    bodies = {"tags": f" <answer>{answer}</answer>", "box": f" \\boxed{{{answer}}}", "text": f"\n{answer}"}
    return f"<think>{THOUGHT}</think>{bodies[reading]}"
