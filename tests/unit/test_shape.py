"""Rewards of the shape of a response: length, repetition, readability."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.errors import RecipeError
from move37.recipe import parse
from move37.rewards import resolve
from move37.rewards.length import Cosine, Length, by_pass_rate, by_range
from move37.rewards.readability import Readable, code_block, long_paragraph, mixed_languages
from move37.rewards.repetition import Repetition, repeated
from move37.rewards.steps import Steps, steps, true
from move37.types import Problem, Rollout, Stop, Verdict

PROBLEM = Problem(id="p", task="t", question="?", answer="5")
ENGLISH = "The number of apples is the sum of what they have and what they get. "


def rollout(tokens: list[int], text: str = "", verdict: Verdict = Verdict.RIGHT, stop: Stop = Stop.EOS) -> Rollout:
    """A prompt of two tokens, then those given."""
    zeros = np.zeros(len(tokens) + 2, np.float32)
    return Rollout(
        problem="p", task="t", sample=0, token_ids=np.array([7, 7, *tokens], np.int32), text=text, stop=stop, version=0,
        sampled=np.arange(len(tokens) + 2) >= 2, logprobs=zeros, sampling_logprobs=zeros, verdict=verdict,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ length


@pytest.mark.parametrize(
    ("length", "right", "value"),
    [
        (0, True, 2.0),  # cos 0 = 1: the short end
        (50, True, 1.5),  # cos(pi/2) = 0: half way
        (100, True, 1.0),
        (25, True, 1 + (1 + math.sqrt(0.5)) / 2),  # cos(pi/4)
        (0, False, -10.0),
        (50, False, -5.0),
        (100, False, 0.0),
    ],
)
def test_cosine_by_hand(length, right, value):
    one = rollout([1] * length, verdict=Verdict.RIGHT if right else Verdict.WRONG)
    assert Cosine(max_tokens=100).score(one, PROBLEM).value == pytest.approx(value)


def test_cosine_of_what_is_truncated_or_not_decided():
    cut = rollout([1] * 100, stop=Stop.LENGTH)
    assert Cosine(max_tokens=100).score(cut, PROBLEM).value == -10
    assert Cosine(max_tokens=100, exceeded=-1).score(cut, PROBLEM).value == -1
    assert math.isnan(Cosine(max_tokens=100).score(replace(cut, stop=Stop.EOS, verdict=Verdict.CANNOT_TELL), PROBLEM).value)
    assert math.isnan(Cosine().score(rollout([1]), PROBLEM).value)


@given(st.integers(1, 99), st.booleans())
def test_cosine_falls_for_right_and_rises_for_wrong(length, right):
    verdict = Verdict.RIGHT if right else Verdict.WRONG
    shorter, longer = (Cosine(max_tokens=100).score(rollout([1] * n, verdict=verdict), PROBLEM) for n in (length - 1, length))
    assert (shorter.value > longer.value) == right


def test_cosine_takes_the_limit_of_its_stage():
    stage = {"stage": "rl", "steps": 1, "max_new_tokens": 77, "rewards": {"cosine": 1, "accuracy": 0}}
    raw = {"name": "x", "model": "bundled", "tasks": {"c": {"family": "chain"}}, "stages": {"rl": stage}}
    assert parse(raw, "test").stages["rl"].rewards["cosine"]["max_tokens"] == 77
    stage["rewards"]["cosine"] = {"weight": 1, "max_tokens": 5}
    assert parse(raw, "test").stages["rl"].rewards["cosine"]["max_tokens"] == 5


@pytest.mark.parametrize(
    ("lengths", "right", "expected"),
    [
        # 10 to 30: 0.5 - 0/20, 0.5 - 10/20, 0.5 - 20/20
        ([10, 20, 30], [True, True, True], [0.5, 0.0, -0.5]),
        # a wrong one is never paid for being short, and loses like a right one for being long
        ([10, 20, 30], [False, False, False], [0.0, 0.0, -0.5]),
        # the range is that of all responses: a right one in the middle of two wrong ones earns 0.5 - 15/20
        ([10, 25, 30], [False, True, False], [0.0, -0.25, -0.5]),
        ([12, 12, 12], [True, False, True], [0.0, 0.0, 0.0]),
        ([7], [True], [0.0]),
    ],
)
def test_kimis_length_reward_by_hand(lengths, right, expected):
    assert by_range(lengths, right) == pytest.approx(expected)


def test_prime_rls_length_penalty_by_hand():
    # half of four right; 0.5 * 10/40, 20/40, 40/40, 40/40
    assert by_pass_rate([10, 20, 40, 40], [True, False, True, False]) == pytest.approx([-0.125, -0.25, -0.5, -0.5])
    assert by_pass_rate([10, 20], [False, False]) == [0, 0]


def test_length_compares_the_responses_of_one_group():
    """Two groups of one problem: 10 and 30 tokens; 50 and 100, and 900 of which nobody can tell."""

    def one(group, length, verdict=Verdict.RIGHT):
        return replace(rollout([1] * length, verdict=verdict), group=group), PROBLEM

    items = [one(0, 10), one(1, 100), one(0, 30, Verdict.WRONG), one(1, 50), one(1, 900, Verdict.CANNOT_TELL)]
    values = [score.value for score in Length().scores(items)]
    assert values[:4] == [0.5, -0.5, -0.5, 0.5]  # 900 would have made the second group's two nearly alike
    assert math.isnan(values[4])
    assert [score.value for score in Length(form="pass_rate").scores(items[:4])] == pytest.approx([-1 / 6, -1, -0.5, -0.5])


@given(st.lists(st.tuples(st.integers(1, 500), st.booleans()), min_size=1, max_size=16))
def test_the_length_reward_is_bounded_and_pays_wrong_ones_nothing(group):
    values = by_range(*zip(*group, strict=True))
    assert all(-0.5 <= value <= (0.5 if right else 0.0) for value, (_, right) in zip(values, group, strict=True))
    for (n, right), value in zip(group, values, strict=True):
        for (m, other), smaller in zip(group, values, strict=True):
            assert right != other or n >= m or value >= smaller  # of two equally right ones the shorter never earns less


def recipe_of(**rl):
    stage = {"stage": "rl", "steps": 40, **rl}
    return parse({"name": "x", "model": "bundled", "tasks": {"c": {"family": "chain"}}, "stages": {"rl": stage}}, "test")


@pytest.mark.parametrize(
    ("rl", "told"),
    [
        ({"rewards": {"accuracy": 1, "length": 0.5}, "samples_per_prompt": 1, "algorithm": "reinforce"}, "length compares"),
        ({"rewards": {"accuracy": 1, "length": {"weight": 1, "form": "kmi"}}}, "form='kmi'.*'kimi' or 'pass_rate'"),
        ({"rewards": {"accuracy": 1, "length": {"weight": 1, "from_step": 41}}}, "from_step=41.*40 steps"),
        ({"rewards": {"accuracy": 1, "length": {"weight": 1, "from_step": 0}}}, "from_step=0"),
        ({"rewards": {"accuracy": 1, "length": {"weight": 1, "from_step": True}}}, "from_step=True"),
    ],
)
def test_length_rewards_that_can_not_be(rl, told):
    with pytest.raises(RecipeError, match=told):
        recipe_of(**rl)


def test_warm_up_stands_in_the_recipe_and_has_no_place_in_a_filter():
    rewards = recipe_of(rewards={"accuracy": 1, "length": {"weight": 0.5, "from_step": 20}}).stages["rl"].rewards
    assert rewards["length"].items() >= {"weight": 0.5, "from_step": 20, "form": "kimi"}.items()
    assert rewards["accuracy"]["from_step"] == 1
    stage = {"stage": "rejection_sample", "prompts": 4, "filters": {"length": {"least": 0.0, "from_step": 3}}}
    raw = {"name": "x", "model": "bundled", "tasks": {"c": {"family": "chain"}}, "stages": {"kept": stage}}
    with pytest.raises(RecipeError, match=r"length.*from_step"):
        parse(raw, "test")
    stage["filters"] = {"length": {"least": 0.0}}
    assert parse(raw, "test").stages["kept"].filters["length"]["least"] == 0.0
    stage["samples_per_prompt"] = 1
    with pytest.raises(RecipeError, match="length compares"):
        parse(raw, "test")


# ------------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12+7=19", [("12+7", "19", True)]),
        ("3+4=8 Wait. 3+4=7", [("3+4", "8", False), ("3+4", "7", True)]),
        # a solution of the tiny world: each line goes on from the one before
        ("47*36\n=47*30+47*6\n=1410+282\n=1692", [("47*36", "47*30+47*6", True), ("47*30+47*6", "1410+282", True),
                                                  ("1410+282", "1692", True)]),
        ("12+7=19\n19+3=22", [("12+7", "19", True), ("19+3", "22", True)]),
        ("(3+4=7)", [("3+4", "7", True)]),
        ("7/2=3 and 6÷2=3, 2×4 = 8", [("7/2", "3", False), ("6÷2", "3", True), ("2×4", "8", True)]),
        ("1/3+2/3=1", [("1/3+2/3", "1", True)]),  # exact
        ("5-9=-4, -2*-3=6", [("5-9", "-4", True), ("-2*-3", "6", True)]),
        ("4/0=4", [("4/0", "4", False)]),
        ("((1+1=2", [("1+1", "2", True)]),
        ("1+(1+1=2", [("1+(1+1", "2", False)]),
        ("7 cats. x=3. 2x+3+1=6. x + 3 + 1 = 6. 3+4=7.5. 1+1=2x. 5=5. f(2)+1=3", []),
    ],
)  # fmt: skip
def test_steps_by_hand(text, expected):
    assert [(left, right, true(left, right)) for left, right in steps(text)] == expected


def test_the_share_of_true_steps():
    thought = replace(rollout([1], text="3+4=8 Wait. 3+4=7, 7*2=14."), verdict=Verdict.WRONG)
    score = Steps().score(thought, PROBLEM)
    assert (score.value, score.parts) == (pytest.approx(2 / 3), {"steps": 3})
    assert Steps.scope == "thinking"
    assert Steps().score(replace(thought, text="It is 7."), PROBLEM).value == 0
    assert Steps().score(replace(thought, text="9" * 5000 + "+1=" + "9" * 5000), PROBLEM).value == 0  # no attempt is made


@given(st.text(alphabet="0123456789+-*/()=. \n", max_size=80))
def test_nothing_written_raises_or_runs(text):
    assert all(true(left, right) in (True, False) for left, right in steps(text))


@given(st.integers(-99, 99), st.sampled_from("+-*"), st.integers(0, 99))
def test_steps_agree_with_arithmetic(a, sign, b):
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    assert [true(*pair) for pair in steps(f"{a}{sign}{b}={value}")] == [True]
    assert [true(*pair) for pair in steps(f"{a} {sign} {b} = {value + 1}")] == [False]


# -------------------------------------------------------------------------------------------------------- repetition


def test_repetition_by_hand():
    """1 2 1 2 1: the pairs 12 21 12 21, of which two are new; the prompt's tokens do not count."""
    assert Repetition(ngram=2).score(rollout([1, 2, 1, 2, 1]), PROBLEM).value == -0.5
    assert Repetition(ngram=2).score(rollout([7, 7]), PROBLEM).value == 0
    assert Repetition(ngram=6).score(rollout([1, 2, 1, 2, 1]), PROBLEM).value == 0
    assert Repetition(ngram=3).score(rollout([]), PROBLEM).value == 0
    assert Repetition(ngram=2).score(rollout([5] * 101), PROBLEM).value == pytest.approx(-0.99)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(2, 5))
def test_repetition_is_its_definition(tokens, n):
    """Every n-gram in turn: has it come before?"""
    grams = [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
    again = sum(gram in grams[:i] for i, gram in enumerate(grams))
    assert repeated(tokens, n) == pytest.approx(again / len(grams) if grams else 0.0)


# ------------------------------------------------------------------------------------------------------- readability


def test_mixed_languages():
    assert mixed_languages(ENGLISH, 0.9) == "" and mixed_languages("3+4=7", 0.9) == ""
    mixed = ENGLISH + "所以我们有五个苹果"  # 9 of 24 words
    assert mixed_languages(mixed, 0.9) == "38% of the words are not in en"
    assert mixed_languages(ENGLISH + "所以", 0.8) == "" != mixed_languages(ENGLISH + "所以", 0.9)  # 2 of 17


def test_long_paragraphs():
    ten = "one two three four five six seven eight nine ten"
    assert long_paragraph(f"{ten}\n\n{ten}", 10) == ""
    assert long_paragraph(f"{ten}\n{ten}", 10) == "a paragraph has 20 words"  # a line break is no paragraph
    assert long_paragraph("一二三四五六七八九十百", 10) == "a paragraph has 11 words"
    assert long_paragraph("", 10) == ""


@pytest.mark.parametrize(
    ("text", "fails"),
    [("so `x = 1` is", False), ("```python\nx = 1\n```", True), ("so\n  ~~~\nx\n~~~", True), ("three ``` inside", False)],
)
def test_code_blocks(text, fails):
    assert bool(code_block(text)) == fails


def test_readable(tmp_path):
    reward = resolve("readable", tmp_path, {"paragraph_words": 20})
    assert isinstance(reward, Readable) and reward.scope == "thinking"
    good = reward.score(rollout([], ENGLISH), PROBLEM)
    assert good.value == 1 and good.parts == {"one_language": 1, "short_paragraphs": 1, "no_code": 1}
    bad = reward.score(rollout([], ENGLISH * 2 + "\n```\nx"), PROBLEM)
    assert bad.value == 0 and bad.parts == {"one_language": 1, "short_paragraphs": 0, "no_code": 0}
    assert bad.why == "a paragraph has 30 words; there is a code block"
