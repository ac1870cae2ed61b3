"""Draws: by weight, without repeats, and the same after a resume."""

import json
from collections import Counter

import numpy as np
import pytest

from move37.errors import TaskError
from move37.tasks.base import Task, problem_id
from move37.tasks.curriculum import Curriculum
from move37.types import Group, Problem, Rollout, Score, Stop, Verdict


class Counting(Task):
    def problem(self, index, split):
        return Problem(id=problem_id(self.name, f"{index}"), task=self.name, question=f"{index}", answer="0")

    def verify(self, answer, problem):
        return Score(value=1.0)


def tasks(**weights: float) -> dict[str, Task]:
    return {name: Counting(name, weight=weight) for name, weight in weights.items()}


def names(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(p.task, p.question) for p in problems]


def test_shares_are_exact_when_they_can_be():
    drawn = Curriculum(tasks(a=1, b=2, c=1), 0).draw(0, 16)
    assert Counter(p.task for p in drawn) == {"a": 4, "b": 8, "c": 4}


def test_shares_are_rounded_and_right_on_average():
    curriculum = Curriculum(tasks(a=1, b=2), 0)
    counts = [Counter(p.task for p in curriculum.draw(step, 10))["a"] for step in range(600)]
    assert set(counts) == {3, 4}  # 10/3 rounded down or up
    assert np.mean(counts) == pytest.approx(10 / 3, abs=0.06)  # sd of the mean: sqrt(2/9/600) = .019


def test_order_is_mixed_and_indices_run_on():
    curriculum = Curriculum(tasks(a=1, b=1), 0)
    first = curriculum.draw(0, 8)
    assert [p.task for p in first] != sorted(p.task for p in first)
    refill = curriculum.draw(0, 8)
    seen = [question for task, question in names(first + refill) if task == "a"]
    assert seen == [str(k) for k in range(8)]
    assert [p.task for p in first] != [p.task for p in refill]  # a refill is another draw


def test_same_seed_same_draws_other_seed_other_draws():
    def five(seed):
        curriculum = Curriculum(tasks(a=1, b=1), seed)
        return [names(curriculum.draw(step, 7)) for step in range(5)]

    assert five(1) == five(1) != five(2)


def test_resume_inside_a_step():
    whole = Curriculum(tasks(a=1, b=3), 5)
    for step in range(3):
        whole.draw(step, 5)
    whole.draw(3, 5)
    saved = json.loads(json.dumps(whole.state()))
    rest = [names(whole.draw(3, 5)), names(whole.draw(4, 5))]
    resumed = Curriculum(tasks(a=1, b=3), 5)
    resumed.restore(saved)
    assert [names(resumed.draw(3, 5)), names(resumed.draw(4, 5))] == rest


def test_state_is_a_copy():
    curriculum = Curriculum(tasks(a=1), 0)
    saved = curriculum.state()
    curriculum.draw(0, 3)
    assert saved["cursor"] == {"a": 0} and curriculum.state()["cursor"] == {"a": 3}


def test_observe():
    curriculum = Curriculum(tasks(a=1, b=1), 0)
    zeros = np.zeros(1, np.float32)
    rollouts = [
        Rollout(
            problem="p", task="a", sample=k, token_ids=np.zeros(1, np.int32), sampled=np.ones(1, bool), logprobs=zeros,
            sampling_logprobs=zeros, text="", stop=Stop.EOS, version=0, verdict=verdict,
        )
        for k, verdict in enumerate([Verdict.RIGHT, Verdict.WRONG, Verdict.WRONG, Verdict.CANNOT_TELL])
    ]  # fmt: skip
    curriculum.observe([Group(problem=Problem(id="p", task="a", question="", answer=""), rollouts=rollouts)])
    assert curriculum.solved("a") == pytest.approx(1 / 3) and np.isnan(curriculum.solved("b"))
    again = Curriculum(tasks(a=1, b=1), 0)
    again.restore(json.loads(json.dumps(curriculum.state())))
    assert again.solved("a") == curriculum.solved("a")


def test_other_tasks_and_none():
    with pytest.raises(TaskError, match="no task"):
        Curriculum({}, 0)
    with pytest.raises(TaskError, match="start a new run"):
        Curriculum(tasks(a=1), 0).restore(Curriculum(tasks(b=1), 0).state())


class Wordings(Counting):
    """Two wordings of every problem, one after the other."""

    def problem(self, index, split):
        return Problem(id=problem_id(self.name, f"{index // 2}"), task=self.name, question=f"{index}", answer="0")


def test_each_wording_of_a_problem_has_its_own_place():
    curriculum = Curriculum({"a": Wordings("a")}, 0)
    drawn = curriculum.draw(1, 4)
    assert len({p.id for p in drawn}) == 2
    assert [curriculum.problem_at(*curriculum.place(p)).question for p in drawn] == [p.question for p in drawn]
