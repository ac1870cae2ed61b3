"""What a task is: problems by index, and how to grade an answer. The same object serves training and evaluation."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

from move37.errors import TaskError
from move37.types import Problem, Score

Split = Literal["train", "held_out"]
ATTEMPTS = 10_000  # draws before a task is said to have no problem of a split


def normalise(question: str) -> str:
    """A question with every run of whitespace as one space; the split and the id are hashes of this."""
    return " ".join(question.split())


def split_of(question: str, held_out: float) -> Split:
    """Which split a question belongs to: the first 8 bytes of its sha256, read as a share of 1, against `held_out`."""
    digest = hashlib.sha256(normalise(question).encode()).digest()
    return "held_out" if int.from_bytes(digest[:8], "big") < held_out * 2**64 else "train"


def problem_id(task: str, question: str) -> str:
    """16 hex digits, stable over runs and machines."""
    return hashlib.sha256(f"{task}\n{normalise(question)}".encode()).hexdigest()[:16]


def stream(*parts: object) -> int:
    """A 63-bit number that depends on all parts: the seed of a random stream, the position of a draw."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Task(ABC):
    """Problems and their verifier.

    Attributes:
        name: as the recipe calls it.
        weight: share of the draws, relative to the other tasks.
        held_out: share of the problems, by hash, that training never draws.
        size: number of training problems; None where they never end.
        languages: language -> share, of the questions.
        notes: what loading it found worth telling, one sentence each.
    """

    name: str
    weight: float
    held_out: float
    size: int | None
    languages: Mapping[str, float]
    notes: list[str]

    def __init__(self, name: str, *, weight: float = 1.0, held_out: float = 0.1, size: int | None = None) -> None:
        self.name = name
        self.weight = weight
        self.held_out = held_out
        self.size = size
        self.languages = {"en": 1.0}
        self.notes = []

    @property
    def open_ended(self) -> bool:
        """Whether so many answers are right that none is known to be wrong; then all of the summary is the answer."""
        return False

    @property
    def whole(self) -> bool:
        """Whether `verify` is given the thought and the summary, on lines of their own, instead of the answer alone."""
        return False

    @property
    def comparable(self) -> bool:
        """Whether one answer can stand for the gold when another is verified."""
        return False

    @property
    def domain(self) -> str:
        """`reasoning`, `general` or `safety`: which of R1's reward signals its prompts belong to."""
        return "reasoning"

    @property
    def runs_code(self) -> bool:
        """Whether answers are programs that are run."""
        return False

    @abstractmethod
    def problem(self, index: int, split: Split) -> Problem:
        """The problem at `index` (0, 1, ...) of a split; depends on the task's options, the split and the index alone.

        Raises:
            TaskError: the split is empty.
        """

    @abstractmethod
    def verify(self, answer: str, problem: Problem) -> Score:
        """1 right, 0 wrong, NaN (`Score.cannot_tell`) where it can not be decided."""

    def verify_all(self, pairs: Sequence[tuple[str, Problem]]) -> list[Score]:
        """One score per (answer, problem), in order; a verifier that raises can not tell.

        Override it where many answers at once are cheaper than one by one: processes, an endpoint.
        """
        return [self._verified(answer, problem) for answer, problem in pairs]

    def _verified(self, answer: str, problem: Problem) -> Score:
        try:
            return self.verify(answer, problem)
        except Exception as error:  # what a verifier does not expect is data about one answer
            return Score.cannot_tell(f"the verifier raised {type(error).__name__}: {error}"[:500], cause="raised")

    def gold_answers(self, problem: Problem) -> list[str]:
        """Answers that must be graded right."""
        return [problem.answer]

    def wrong_answer(self, problem: Problem) -> str:
        """An answer that must be graded wrong: the gold's last number one higher, or "not" before the gold."""
        numbers = list(re.finditer(r"\d+", problem.answer))
        if not numbers:
            return f"not {problem.answer}"
        last = numbers[-1]
        return f"{problem.answer[: last.start()]}{int(last[0]) + 1}{problem.answer[last.end() :]}"

    def held_out_problems(self, n: int | None) -> list[Problem]:
        """The first `n` different held-out problems; all, or fewer than n, where a finite task has no more.

        Raises:
            TaskError: there is not one; or all are asked for of a task that never ends.
        """
        if n is None:
            n = self.held_out_size()
        looks = 50 * n + 100 if self.size is None else self.held_out_size()
        found: dict[str, Problem] = {}
        for index in range(looks):
            problem = self.problem(index, "held_out")
            found.setdefault(problem.id, problem)
            if len(found) == n:
                break
        return list(found.values())

    def held_out_size(self) -> int:
        """Number of held-out problems of a finite task."""
        raise TaskError(f"task {self.name}: its problems never end; say how many (problems: 100)")
