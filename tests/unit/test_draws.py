"""Ways to draw: levels at their steps, chances of 1 - s_i, chosen problems alone; and the same again after a resume."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.errors import RecipeError, TaskError
from move37.options import build
from move37.tasks import pool
from move37.tasks.base import Task, problem_id
from move37.tasks.curriculum import Curriculum
from move37.tasks.draws import DRAWS, Draw, weighted
from move37.tasks.pool import Entry
from move37.types import Group, Problem, Rollout, Score, Stop, Verdict


class Counting(Task):
    """Problem k asks "k"; `size` of them, or no end."""

    def problem(self, index, split):
        question = str(index if self.size is None else index % self.size)
        return Problem(id=problem_id(self.name, question), task=self.name, question=question, answer="0")

    def verify(self, answer, problem):
        return Score(value=1.0)


def tasks(size: int | None = None, **weights: float) -> dict[str, Task]:
    return {name: Counting(name, weight=weight, size=size) for name, weight in weights.items()}


def entries(task: str, **rates: float) -> list[Entry]:
    """`i3=0.5`: problem 3, of which half of the responses were right."""
    return [Entry(int(key[1:]), problem_id(task, key[1:]), rate) for key, rate in rates.items()]


def make(kind: str, known: dict[str, Task], chosen: pool.Pool | None = None, least: int = 1, **options: object) -> Curriculum:
    return draw(kind, **options).make(known, 7, chosen, least)


def draw(kind: str, **options: object) -> Draw:
    return build("draw", DRAWS, kind, options)


def group(problem: Problem, right: int, wrong: int, unknown: int = 0) -> Group:
    zeros = np.zeros(1, np.float32)
    verdicts = [Verdict.RIGHT] * right + [Verdict.WRONG] * wrong + [Verdict.CANNOT_TELL] * unknown
    rollouts = [
        Rollout(
            problem=problem.id, task=problem.task, sample=k, token_ids=np.zeros(1, np.int32), sampled=np.ones(1, bool),
            logprobs=zeros, sampling_logprobs=zeros, text="", stop=Stop.EOS, version=0, verdict=verdict,
        )
        for k, verdict in enumerate(verdicts)
    ]  # fmt: skip
    return Group(problem=problem, rollouts=rollouts)


def questions(problems: list[Problem]) -> list[str]:
    return [p.question for p in problems]


# --------------------------------------------------------------------------------------------------- chosen problems


def test_only_chosen_problems_are_drawn_and_each_once_before_any_twice():
    chosen = {"a": entries("a", i2=0.5, i5=0.1, i9=0.3)}
    one = make("uniform", tasks(a=1, b=1), chosen)
    drawn = [questions(one.draw(step, 3)) for step in range(4)]
    assert all(sorted(step) == ["2", "5", "9"] for step in drawn)  # task b has none that is chosen
    assert len({tuple(step) for step in drawn}) > 1  # in another order each time
    assert {p.task for p in one.draw(9, 5)} == {"a"}


def test_a_set_is_read_for_these_tasks_alone_and_checked_against_them(tmp_path: Path):
    known = tasks(a=1)
    rows = [{"task": t, "index": 3, "problem": problem_id(t, "3"), "pass_rate": 0.4} for t in ("a", "b")]
    file = tmp_path / "part-00001.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert pool.read("key", tmp_path, known) == {"a": [Entry(3, problem_id("a", "3"), 0.4)]}
    with pytest.raises(TaskError, match="has no problem of the tasks c"):
        pool.read("key", tmp_path, tasks(c=1))
    file.write_text(json.dumps({**rows[0], "index": 4}))
    with pytest.raises(TaskError, match="curate again with this recipe's task and seed"):
        pool.read("key", tmp_path, known)
    file.write_text('{"prompt": "?", "response": "!"}')
    with pytest.raises(TaskError, match="line 1 has no 'task'"):
        pool.read("key", tmp_path, known)


# -------------------------------------------------------------------------------------------------------------- levels


def test_levels_of_tasks_change_at_their_steps():
    one = make("curriculum", tasks(easy=1, hard=1), levels=[["easy"], ["easy", "hard"], ["hard"]], at=[3, 5])
    drawn = {step: Counter(p.task for p in one.draw(step, 4)) for step in range(1, 7)}
    assert drawn[1] == drawn[2] == {"easy": 4}
    assert drawn[3] == drawn[4] == {"easy": 2, "hard": 2}
    assert drawn[5] == drawn[6] == {"hard": 4}
    assert [one.level(step) for step in (1, 2, 3, 5, 99)] == [0, 0, 1, 2, 2]


def test_levels_of_pass_rates():
    """The ablation of k1.5: a uniform mix, then only hard ones."""
    chosen = {"a": entries("a", i0=0.9, i1=0.5, i2=0.2), "b": entries("b", i4=0.8)}
    one = make("curriculum", tasks(a=1, b=1), chosen, problems="curate", levels=[[0, 1], [0, 0.5]], at=[2])
    first = {(p.task, p.question) for p in one.draw(1, 6)}
    assert first == {("a", "0"), ("a", "1"), ("a", "2"), ("b", "4")}
    later = [(p.task, p.question) for step in (2, 3) for p in one.draw(step, 4)]
    assert Counter(later) == {("a", "1"): 4, ("a", "2"): 4}  # b has nothing that hard, and is left out


def test_an_empty_level_is_refused():
    chosen = {"a": entries("a", i0=0.9)}
    with pytest.raises(TaskError, match="level 2 has no problem to draw"):
        make("curriculum", tasks(a=1), chosen, problems="curate", levels=[[0, 1], [0, 0.5]], at=[2])
    with pytest.raises(TaskError, match="level 1 has no problem"):
        make("curriculum", tasks(a=1, b=1), chosen, problems="curate", levels=[["b"], ["a"]], at=[2])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"levels": [], "at": []}, "there is no level"),
        ({"levels": [["a"], []], "at": [2]}, "level 2 is empty"),
        ({"levels": [["a"], ["b"]], "at": []}, "1 of them"),
        ({"levels": [["a"], ["b"], ["c"]], "at": [4, 4]}, "ascending"),
        ({"levels": [[0, 1]], "at": []}, "need `problems`"),
        ({"levels": [[0.5, 0.2]], "at": [], "problems": "x"}, "lowest and the highest"),
        ({"levels": [["a"], ["b"]], "at": [1]}, "greater than 1"),
    ],
)
def test_impossible_levels(options: dict, told: str):
    with pytest.raises(RecipeError, match=told):
        draw("curriculum", **options)


# --------------------------------------------------------------------------------------------------------- prioritised


def test_chances_are_1_minus_the_success_rate():
    """After 3 of 4, 1 of 4 and 0 of 4 right: chances of 1/4, 3/4 and 1, of 2 in all."""
    one = make("prioritised", tasks(size=3, a=1))
    known = {p.question: p for p in one.draw(1, 3)}
    one.observe([group(known["0"], 3, 1), group(known["1"], 1, 3, unknown=9), group(known["2"], 0, 4)])
    counts = Counter(one.draw(step, 1)[0].question for step in range(2, 4002))
    found = np.array([counts[q] for q in "012"]) / 4000
    np.testing.assert_allclose(found, [1 / 8, 3 / 8, 4 / 8], atol=0.03)  # sd: sqrt(.25/4000) = .008


def test_before_the_first_look_what_was_measured_counts():
    chosen = {"a": entries("a", i0=1.0, i1=0.0)}
    one = make("prioritised", tasks(a=1), chosen, problems="curate")
    assert {one.draw(step, 1)[0].question for step in range(50)} == {"1"}
    assert sorted(questions(one.draw(99, 2))) == ["0", "1"]  # a solved one only where nothing else is left


def test_tasks_keep_their_weights_whatever_their_sizes():
    known = {"few": Counting("few", weight=3, size=2), "many": Counting("many", weight=1, size=40)}
    one = make("prioritised", known)
    counts = Counter(one.draw(step, 1)[0].task for step in range(2000))
    assert counts["few"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_an_endless_task_gives_as_many_different_problems_as_the_pool_has():
    one = make("prioritised", tasks(a=1), pool=5)
    assert sorted(questions(one.draw(1, 5))) == ["0", "1", "2", "3", "4"]
    with pytest.raises(TaskError, match="5 problems are not enough for the 6 of a step"):
        make("prioritised", tasks(a=1), least=6, pool=5)


@given(
    weights=st.lists(st.sampled_from([0.0, 0.25, 1.0, 7.0, float("nan")]), max_size=12),
    n=st.integers(0, 15),
    seed=st.integers(0, 2**32),
)
def test_weighted_draws_are_distinct_and_zero_comes_last(weights: list[float], n: int, seed: int):
    given = np.array(weights)
    picked = weighted(given, n, np.random.default_rng(seed))
    real = int(np.sum(~np.isnan(given)))
    assert len(picked) == len(set(picked)) == min(n, real)
    positive = int(np.sum(given > 0))
    assert all(given[i] > 0 for i in picked[:positive])
    assert not any(np.isnan(given[i]) for i in picked)


def test_a_refill_repeats_no_problem_of_its_step():
    one = make("prioritised", tasks(size=6, a=1))
    assert sorted(questions(one.draw(1, 4) + one.draw(1, 4))) == ["0", "1", "2", "3", "4", "5"]


# -------------------------------------------------------------------------------------------- records, and going on


def test_how_hard_what_was_drawn_is():
    chosen = {"a": entries("a", i0=0.2, i1=0.4)}
    one = make("uniform", tasks(a=1), chosen)
    first, second = one.draw(1, 2)
    told = one.metrics(1, [group(first, 0, 4), group(second, 3, 1)])
    assert told["drawn/none"] == 0.5 and told["drawn/half_or_more"] == 0.5 and told["drawn/all"] == 0
    assert told["drawn/pass_rate"] == pytest.approx(0.3)
    plain = make("uniform", tasks(a=1))
    (problem,) = plain.draw(1, 1)
    told = plain.metrics(1, [group(problem, 1, 3)])
    assert told["drawn/under_half"] == 1 and "drawn/pass_rate" not in told  # nobody has measured it


CASES = {
    "uniform": ({"a": entries("a", i1=0.1, i2=0.6, i3=0.6)}, {}),
    "curriculum": ({"a": entries("a", i1=0.1, i2=0.6, i3=0.6)}, {"problems": "x", "levels": [[0.5, 1], [0, 1]], "at": [3]}),
    "prioritised": (None, {"pool": 9}),
}


@pytest.mark.parametrize("kind", CASES)
def test_resumed_it_draws_what_it_would_have_drawn(kind: str):
    chosen, options = CASES[kind]
    whole, again = (make(kind, tasks(a=1), chosen, **options) for _ in range(2))
    for step in (1, 2):
        drawn = whole.draw(step, 2)
        whole.observe([group(p, k, 2 - k) for k, p in enumerate(drawn)])
    whole.draw(3, 1)
    again.restore(json.loads(json.dumps(whole.state())))
    assert [questions(again.draw(step, 2)) for step in (3, 4, 5)] == [questions(whole.draw(step, 2)) for step in (3, 4, 5)]
    assert again.state() == whole.state()


def test_a_drawn_problem_can_be_found_again():
    one = make("uniform", tasks(a=1))
    problem = one.draw(1, 3)[1]
    assert one.problem_at(*one.place(problem)) == problem
