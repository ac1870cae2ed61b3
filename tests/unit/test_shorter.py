"""Pairs of a short right response and a longer one; numbers by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fabricate
import tiny
from move37.errors import NothingAccepted, RecipeError
from move37.runs import StageLog
from move37.stages import dataset, shorter
from move37.stages.shorter import Written, pairs
from move37.types import Group, Problem, Rollout, Stop, Verdict


def right(text: str, tokens: int, passes: bool = True) -> Written:
    return Written(text, tokens, True, passes)


def wrong(text: str, tokens: int) -> Written:
    return Written(text, tokens, False, False)


def names(responses: list[Written], longer: float = 1.5) -> list[str]:
    return [chosen.text + rejected.text for chosen, rejected in pairs(responses, longer)]


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        # 10 is the shortest right one: 14 is right and not long enough, 15 is; of wrong ones any that is longer
        ([right("a", 14), right("b", 10), right("c", 15), wrong("d", 11), wrong("e", 10), wrong("f", 3)], ["bc", "bd"]),
        ([wrong("a", 9), wrong("b", 90)], []),  # nothing to choose
        ([right("a", 10)], []),  # nothing to reject
        ([right("a", 10), right("b", 10)], []),
        # a short right one that fails a filter is not chosen; a long one is rejected all the same
        ([right("a", 4, passes=False), right("b", 10), right("c", 16, passes=False)], ["bc"]),
        # equal texts once, and none against itself
        ([right("a", 10), right("b", 20), right("b", 21), wrong("a", 12)], ["ab"]),
        ([right("a", 10), right("b", 10), wrong("c", 12)], ["ac"]),  # of equally short ones the first
    ],
)
def test_pairs_by_hand(responses: list[Written], expected: list[str]) -> None:
    assert names(responses) == expected


def test_how_much_longer_is_an_option() -> None:
    responses = [right("a", 10), right("b", 11), right("c", 30)]
    assert names(responses, 1.1) == ["ab", "ac"]
    assert names(responses, 3.0) == ["ac"]


some = st.builds(Written, st.sampled_from("abcdef"), st.integers(1, 40), st.booleans(), st.just(False))


@given(st.lists(some, max_size=12), st.floats(1, 4))
def test_the_chosen_one_is_right_and_shorter(responses: list[Written], longer: float) -> None:
    marked = [Written(r.text, r.tokens, r.right, r.right) for r in responses]
    found = pairs(marked, longer)
    assert len({rejected.text for _, rejected in found}) == len(found)
    for chosen, rejected in found:
        assert chosen.passes and chosen.tokens == min(r.tokens for r in marked if r.passes)
        assert chosen.text != rejected.text and chosen.tokens <= rejected.tokens
        assert not rejected.right or rejected.tokens >= longer * chosen.tokens


# ------------------------------------------------------------------------------------------------------ the data set


def rollout(problem: Problem, sample: int, text: str, length: int, verdict: Verdict, stop: Stop = Stop.EOS) -> Rollout:
    zeros = np.zeros(length, np.float32)
    tokens = {"token_ids": np.arange(length, dtype=np.int32), "sampled": np.ones(length, bool), "logprobs": zeros}
    return fabricate.rollout(problem, sample, text=text, verdict=verdict, stop=stop, sampling_logprobs=zeros, **tokens)


@pytest.fixture
def stage(tmp_path):
    """p: right of 4 and 6 (step 1) and 8 tokens (step 2), wrong of 5 and 3, a truncated one and one nobody could grade.
    q: wrong ones alone."""
    log = StageLog(tmp_path)
    p, q = (Problem(id=i, task="sums", question=f"{i}?", answer="5") for i in "pq")
    right, wrong = Verdict.RIGHT, Verdict.WRONG
    first = [
        rollout(p, 0, "six", 6, right),
        rollout(p, 1, "four", 4, right),
        rollout(p, 2, "five", 5, wrong),
        rollout(p, 3, "three", 3, wrong),
        rollout(p, 4, "cut", 9, wrong, Stop.LENGTH),
        rollout(p, 5, "odd", 9, Verdict.CANNOT_TELL),
    ]
    log.rollouts(1, [Group(problem=p, rollouts=first), Group(problem=q, rollouts=[rollout(q, 0, "x", 7, wrong)])])
    log.record(1, {"tally/sums/sampled": 7, "tally/sums/right": 2})
    log.rollouts(2, [Group(problem=p, rollouts=[rollout(p, 0, "eight", 8, right)])])
    log.record(2, {"tally/sums/sampled": 1, "tally/sums/right": 1})

    def make(least=0, **section):
        recipe = tiny.recipe({"kept": {"stage": "rejection_sample", "prompts": 4, "rows": "pairs", **section}}, model="bundled")
        return SimpleNamespace(
            log=log,
            name="kept",
            section=recipe.stages["kept"],
            context=SimpleNamespace(recipe=recipe),
            verdict=lambda r: r.verdict,
            passes=lambda r: r.verdict is Verdict.RIGHT and r.length >= least,
        )

    return make


def test_rows_of_the_contract(stage):
    rows, statistics = shorter.collect(stage(choose="shortest", keep_per_prompt=9))
    texts = [(row["chosen"], row["rejected"], row["margin"]) for row in sorted(rows, key=lambda row: row["rejected_tokens"])]
    prefill = fabricate.rollout(Problem(id="p", task="t", question="", answer=""), 0).prefill
    named = [(prefill + c, prefill + r, m) for c, r, m in (("four", "five", 1.0), ("four", "six", 0.0), ("four", "eight", 0.0))]
    assert texts == named  # 6 is 1.5 times 4; of what has no end or no verdict nothing is said
    assert rows[0].keys() == {
        *("prompt", "chosen", "rejected", "margin", "task", "problem", "chosen_tokens", "rejected_tokens", "source")
    }
    assert (statistics["pairs"], statistics["wrong"]) == (3, 1)
    assert statistics["tokens"] == {"chosen": 4.0, "rejected": pytest.approx((5 + 6 + 8) / 3)}
    assert statistics["tasks"] == {"sums": {"right": 3, "sampled": 8}}
    assert len(dataset.table(statistics)) == 1


def test_at_most_so_many_pairs_a_problem(stage):
    [row] = shorter.collect(stage(choose="shortest"))[0]
    assert row["rejected_tokens"] == 5
    assert shorter.collect(stage())[0] == shorter.collect(stage())[0]  # random, and the same each time
    assert len(shorter.collect(stage(keep_per_prompt=2))[0]) == 2
    assert {row["rejected_tokens"] for row in shorter.collect(stage(keep_per_prompt=9, longer=2.0))[0]} == {5, 8}


def test_a_filter_decides_what_is_chosen(stage):
    [row] = shorter.collect(stage(least=6, keep_per_prompt=9, longer=1.2))[0]
    assert (row["chosen_tokens"], row["rejected_tokens"]) == (6, 8)
    with pytest.raises(NothingAccepted, match="no problem has a short right response"):
        shorter.collect(stage(least=8))


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"rows": "pairs", "mix": {"d.jsonl": 0.2}}, "can not be mixed into pairs"),
        ({"rows": "pairs", "samples_per_prompt": 1}, "2 or more"),
        ({"rows": "responses", "longer": 2.0}, "longer=2 is for rows: pairs"),
        ({"rows": "pairs", "longer": 0.9}, r"longer.*greater than or equal to 1"),
        ({"rows": "pair"}, "rows"),
    ],
)
def test_sections_that_can_not_be(section, told):
    with pytest.raises(RecipeError, match=told):
        tiny.recipe({"kept": {"stage": "rejection_sample", "prompts": 4, **section}}, model="bundled")
