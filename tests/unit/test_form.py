"""The R1-Zero form: what is ok, what still yields an answer, and what earns nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.rewards import form
from move37.rewards.form import split
from move37.rewards.reading import Format
from move37.types import Problem, Rollout, Stop

PROBLEM = Problem(id="p", task="t", question="?", answer="5")


def rollout(text: str, prefill: str = "") -> Rollout:
    zeros = np.zeros(1, np.float32)
    return Rollout(
        problem="p", task="t", sample=0, token_ids=np.zeros(1, np.int32), sampled=np.ones(1, bool), logprobs=zeros,
        sampling_logprobs=zeros, text=text, stop=Stop.EOS, version=0, prefill=prefill,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prefill", "text"),
    [
        ("", "<think>a</think><answer>5</answer>"),
        ("", " \n<think>\na\n</think>\n <answer> 5 </answer>\n"),
        ("<think>", "a</think> <answer>5</answer>"),
        ("<think>\n", "a</think><answer>5</answer>"),
        ("Assistant: <think>", "a</think><answer>5</answer>"),
        ("Assistant:", " <think>a</think><answer>5</answer>"),
    ],
)
def test_ok(prefill, text):
    found = split(prefill, text)
    assert (found.ok, found.thinking, found.answer, found.why) == (True, "a", "5", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<think></think><answer>5</answer>", "the thought is empty"),
        ("<think> \n </think><answer>5</answer>", "the thought is empty"),
        ("<think>a</think><answer> </answer>", "the answer is empty"),
        ("<think>a</think><answer>5</answer> or 6", "text after"),
        ("<think>a</think><answer>5</answer><answer>6</answer>", "<answer> comes 2 times"),
        ("<think>a</think><think>b</think><answer>5</answer>", "<think> comes 2 times"),
        ("<think>a <answer>5</answer></think>", "wrong order"),
        ("<think>a <answer>5</answer>", "</think> is missing"),
        ("<answer>5</answer><think>a</think>", "wrong order"),
        ("<think>a</think> 5", "<answer> </answer> are missing"),
        ("<think>a", "</think> <answer> </answer> are missing"),
        ("5", "<think> </think> <answer> </answer> are missing"),
        ("", "are missing"),
        ("<answer>5</answer> and more", "text after"),
    ],
)
def test_broken_forms_hide_the_answer(text, why):
    found = split("", text)
    assert not found.ok and found.answer is None
    assert why in found.why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<answer>5</answer>", "<think> </think> are missing"),
        ("so it is <answer>5</answer>", "<think> </think> are missing"),
        ("a</think><answer>5</answer>", "<think> is missing"),
        ("Hm. <think>a</think><answer>5</answer>", "before <think>"),
        ("<think>a</think> so <answer>5</answer>", "between the blocks"),
    ],
)
def test_lenient_answers(text, why):
    """Accuracy can be told although the form is broken; format can not."""
    found = split("", text)
    assert not found.ok and found.answer == "5"
    assert why in found.why


def test_a_second_think_after_the_prefilled_one_is_two():
    assert "2 times" in split("<think>", "<think>a</think><answer>5</answer>").why


def test_thinking_is_kept_without_an_answer():
    assert split("<think>", "a</think> 5").thinking == "a"


def test_the_reward():
    good = rollout("a</think><answer>5</answer>", "<think>")
    assert Format().score(good, PROBLEM).value == 1
    bad = Format().score(rollout("5"), PROBLEM)
    assert bad.value == 0 and "missing" in bad.why


@given(st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "a", " ", "5"]), max_size=9))
def test_ok_means_the_four_tags_in_order(pieces):
    text = "".join(pieces)
    found = split("", text)
    tags = [piece for piece in pieces if piece.startswith("<")]
    if found.ok:
        assert tags == form.WHOLE and found.thinking and found.answer and not found.why
    else:
        assert found.why
    if found.answer is not None:
        assert tags.count("<answer>") == 1 and text.rstrip().endswith("</answer>")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_in_the_form_comes_back(thought, answer):
    found = split("", f"<think>{thought}</think><answer>{answer}</answer>")
    if found.ok:
        assert (found.thinking, found.answer) == (thought.strip(), answer.strip())
