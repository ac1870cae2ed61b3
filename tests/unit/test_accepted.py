"""Which accepted responses make the data set, and its statistics; numbers by hand, on made-up shards."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import fabricate
import tiny
from move37.rewards.style import BEHAVIOURS
from move37.runs import StageLog
from move37.stages import accepted, conversations, dataset
from move37.types import Group, Problem, Verdict


def rollout(problem, sample, text, length, right=True):
    tokens = {
        "token_ids": np.arange(length, dtype=np.int32),
        "sampled": np.ones(length, bool),
        "logprobs": np.zeros(length, np.float32),
        "sampling_logprobs": np.zeros(length, np.float32),
    }
    verdict = Verdict.RIGHT if right else Verdict.WRONG
    return fabricate.rollout(problem, sample, text=text, verdict=verdict, **tokens)


@pytest.fixture
def stage(tmp_path):
    """Problem p: right ones of 9, 3, 3 (the same text) and 5 tokens, a wrong one of 1. q: 4. r: none. p again: 2."""
    log = StageLog(tmp_path)
    named = (("p", "sums"), ("q", "logic"), ("r", "sums"))
    p, q, r = (Problem(id=i, task=task, question=f"{i}?", answer="5") for i, task in named)
    first = [
        Group(
            problem=p,
            rollouts=[
                rollout(p, 0, "nine", 9),
                rollout(p, 1, "three", 3),
                rollout(p, 2, "three", 3),
                rollout(p, 3, "five", 5),
                rollout(p, 4, "one", 1, right=False),
            ],
        ),
        Group(problem=q, rollouts=[rollout(q, 0, "four", 4)]),
    ]
    second = [
        Group(problem=r, rollouts=[rollout(r, 0, "x", 7, right=False)]),
        Group(problem=p, rollouts=[rollout(p, 0, "two", 2)]),
    ]
    for step, groups in ((1, first), (2, second)):
        log.rollouts(step, groups)
        log.record(step, {"tally/sums/sampled": 5, "tally/sums/right": 3, "tally/sums/filter/format": 2})

    def make(other=None, **section):
        given = {"stage": "rejection_sample", "prompts": 4, **section}
        recipe = tiny.recipe({"kept": given}, model="bundled")
        return SimpleNamespace(
            log=log,
            name="kept",
            section=recipe.stages["kept"],
            context=SimpleNamespace(recipe=recipe),
            passes=lambda r: r.verdict is Verdict.RIGHT,
            other=other or {},
            loaded=SimpleNamespace(tokenizer=tiny.tokenizer()),
        )

    return make


def written(made):
    rows, statistics = accepted.mixed(made, accepted.collect(made))
    dataset.write(made.log.data, rows, statistics)
    return statistics


def texts(rows):
    return [row["response"].removeprefix("<think>") for row in rows]


def test_at_most_so_many_a_problem(stage):
    assert texts(accepted.collect(stage(choose="shortest"))) == ["two", "four"]
    assert texts(accepted.collect(stage(choose="shortest", keep_per_prompt=3))) == ["two", "three", "five", "four"]
    every = texts(accepted.collect(stage(keep_per_prompt=9)))
    assert sorted(every[:4]) == ["five", "nine", "three", "two"] and every[4:] == ["four"]  # equal texts once
    assert accepted.collect(stage()) == accepted.collect(stage())  # random, and the same each time


def test_a_row_is_the_whole_response(stage):
    row = accepted.collect(stage(choose="shortest"))[0]
    assert row == {
        "prompt": "p?",
        "response": "<think>two",
        "task": "sums",
        "problem": "p",
        "answer": "5",
        "tokens": 2,
        "source": "kept",
        "domain": "reasoning",
    }


def test_the_statistics_are_those_of_table_5(stage):
    made = stage(choose="shortest", keep_per_prompt=3)
    statistics = written(made)
    assert statistics["domains"] == {"reasoning": {"samples": 4, "rounds": 1.0, "tokens": 3.5}}
    assert statistics["by_task"] == {
        "logic": {"samples": 1, "rounds": 1.0, "tokens": 4.0},
        "sums": {"samples": 3, "rounds": 1.0, "tokens": pytest.approx((2 + 3 + 5) / 3)},
    }
    assert statistics["total"] == {"samples": 4, "rounds": 1.0, "tokens": 3.5}
    assert statistics["tasks"] == {"sums": {"filter/format": 4, "right": 6, "sampled": 10}}
    assert len(conversations.read("x", made.log.data)) == 4


def test_behaviours_of_rows_by_hand(stage):
    """The thought alone is read, the whole response where there is none; mixed-in data does not count."""
    rows = [
        {"response": "<think>2+3=6 Check: no. Retry: 5</think><answer>Wait, 5</answer>"},
        {"response": "<think>2+3=5</think><answer>5</answer>"},
        {"response": "Wait, wait: 5"},
        {"response": "<think>Wait. Check.</think><answer>5</answer>"},
    ]
    shown = {"evaluation": 0.5, "reflection": 0.5, "backtracking": 0.25}
    assert dataset.behaviours(rows, "tags") == dict.fromkeys(BEHAVIOURS, 0.0) | shown
    assert dataset.behaviours([{"response": "<think>Wait.</think>Check: \\boxed{5}"}], "box")["evaluation"] == 0
    made = stage({"talk.jsonl": [{"prompt": "a", "response": "Wait."}]}, keep_per_prompt=3, mix={"talk.jsonl": 0.25})
    assert written(made)["behaviours"] == dict.fromkeys(BEHAVIOURS, 0.0)


def test_other_data_has_its_declared_share(stage):
    """Four accepted and a quarter of other data: 4 / 0.75 = 5.33 in all, 1.33 of the other, so one row."""
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}] * 2
    made = stage({"talk.jsonl": [{"messages": chat}]}, keep_per_prompt=3, mix={"talk.jsonl": 0.25})
    statistics = written(made)
    assert statistics["mixture"]["talk.jsonl"] == {"rows": 1, "share": 0.25, "times": 1.0}
    assert statistics["domains"]["talk"]["rounds"] == 2.0 and statistics["total"]["samples"] == 5
    assert statistics["total"]["rounds"] == pytest.approx(6 / 5)
    reply = len(tiny.tokenizer().encode("yes", add_special_tokens=False)) + 1
    assert statistics["domains"]["talk"]["tokens"] == 2 * reply

    assert statistics["told"] == []

    talk = [{"messages": chat}, {"prompt": "a", "response": "b", "task": "writing", "domain": "general"}]
    made = stage({"talk.jsonl": talk}, keep_per_prompt=3, mix={"talk.jsonl": 0.5})
    statistics = written(made)  # 4 of 8; each of the two rows twice
    assert statistics["mixture"]["talk.jsonl"] == {"rows": 4, "share": 0.5, "times": 2.0}
    assert statistics["domains"]["talk"]["samples"] == statistics["domains"]["general"]["samples"] == 2
    assert statistics["by_task"]["writing"]["samples"] == 2
    [told] = statistics["told"]  # and so on the display
    assert "talk.jsonl" in told and "2.0 times" in told


def test_the_data_set_does_not_depend_on_when_it_is_made(stage):
    made = stage(keep_per_prompt=2)
    first = (written(made), (made.log.data / "part-00001.jsonl").read_bytes())
    again = (written(made), (made.log.data / "part-00001.jsonl").read_bytes())
    assert first == again
