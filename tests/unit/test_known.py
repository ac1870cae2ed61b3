"""Problems found again by id and wording."""

from __future__ import annotations

from move37.tasks.base import Split, Task
from move37.tasks.known import find
from move37.types import Problem, Score


class Wordings(Task):
    """Problem i at the indices 2i and 2i + 1, in two wordings under one id."""

    def problem(self, index: int, split: Split) -> Problem:
        wording = "en" if index % 2 == 0 else "zh"
        return Problem(id=f"p{index // 2}", task=self.name, question=f"{index // 2} in {wording}", answer="0")

    def verify(self, answer: str, problem: Problem) -> Score:
        return Score(value=1.0)


def test_each_row_gets_the_problem_in_its_own_words() -> None:
    wanted = [("a", "p1", "1 in zh"), ("a", "p1", "1 in en"), ("a", "p3", "3 in zh"), ("a", "p3", "3 in fr")]
    found = find({"a": Wordings("a", size=20)}, wanted)
    assert {key: problem.question for key, problem in found.items()} == {key: key[2] for key in wanted[:3]}
