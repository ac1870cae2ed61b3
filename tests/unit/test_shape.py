"""Rewards of the shape of a response: length, repetition, readability."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.recipe import parse
from move37.rewards import resolve
from move37.rewards.length import Cosine
from move37.rewards.readability import Readable, code_block, long_paragraph, mixed_languages
from move37.rewards.repetition import Repetition, repeated
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
