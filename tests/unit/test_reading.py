"""Where an answer stands when a model was not trained on the R1-Zero form."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.rewards.reading import READINGS, Format, boxed, last_box, whole
from move37.rollout.scripted import written


@pytest.mark.parametrize(
    ("prefill", "text", "answer"),
    [
        ("", "So it is \\boxed{42}.", "42"),
        ("", "<think>\\boxed{1}</think>\\boxed{2}", "2"),
        ("<think>", "\\boxed{1}</think> \\boxed{ 2 }", "2"),
        ("", "\\boxed{1} or rather \\boxed{\\frac{1}{\\sqrt{2}}}", "\\frac{1}{\\sqrt{2}}"),
        ("", "\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("", "<think>\\boxed{1}</think> I do not know.", None),  # only in the thought
        ("", "<think>\\boxed{1}", None),  # the thought never ends
        ("<think>", "\\boxed{1}", None),
        ("", "The answer is 42.", None),
        ("", "\\boxed{42", None),
        ("", "\\boxed{}", None),
        ("", "", None),
    ],
)
def test_the_last_box_after_the_thought(prefill, text, answer):
    found = boxed(prefill, text)
    assert found.final == answer and (bool(found.why) or answer is not None)


def test_all_after_the_thought():
    assert whole("", "<think>a</think>\n```python\npass\n```").answer == "```python\npass\n```"
    assert whole("", "no thought") == whole("", "<think></think>no thought")
    assert whole("<think>", "no end").answer is None and whole("", "<think>a</think> ").answer is None


@pytest.mark.parametrize("reading", list(READINGS))
@given(answer=st.text(alphabet="ab1/{}\\ ", min_size=1, max_size=9))
def test_what_is_written_for_a_reading_is_read(reading, answer):
    found = READINGS[reading]("", written(answer, reading)).final
    balanced = answer.count("{") == answer.count("}") == answer.count("\\") == 0
    if balanced and answer.strip():
        assert found == answer.strip()


BOTH = "<think>\\boxed{1}</think> <answer>Twice 7 is \\boxed{14}.</answer>"
TWO = "<think>a</think> <answer>\\boxed{15}, no, \\boxed{14}</answer>"
INSIDE = "Twice 7 is \\boxed{14}."


@pytest.mark.parametrize(
    ("reading", "text", "answer", "final"),
    [
        ("tags", BOTH, INSIDE, "14"),  # a box inside the tags is what counts
        ("tags", "<think>a</think> <answer> 14 </answer>", "14", "14"),
        ("tags", "<think>a</think> <answer>so \\boxed{}</answer>", "so \\boxed{}", "so \\boxed{}"),  # an empty box is none
        ("tags", "<think>a</think> <answer>\\boxed{14} or \\boxed{ 14 }</answer>", "\\boxed{14} or \\boxed{ 14 }", "14"),
        ("tags", TWO, "\\boxed{15}, no, \\boxed{14}", "\\boxed{15}, no, \\boxed{14}"),  # hedged: the verifier sees both
        ("tags", "<think>a</think> \\boxed{14}", None, None),
        ("box", TWO, "<answer>\\boxed{15}, no, \\boxed{14}</answer>", "14"),
        ("box", BOTH, f"<answer>{INSIDE}</answer>", "14"),
        ("box", "<think>a</think> I do not know.", "I do not know.", None),  # a summary, and nothing to verify in it
        ("text", "<think>a</think> Hello! \\boxed{14}", "Hello! \\boxed{14}", "Hello! \\boxed{14}"),
        ("text", "<think>a</think> ", None, None),
    ],
)
def test_the_summary_and_what_of_it_is_verified(reading, text, answer, final):
    found = READINGS[reading]("", text)
    assert (found.answer, found.final) == (answer, final)
    assert (found.final is not None) or found.why


@pytest.mark.parametrize(
    ("reading", "text", "kept"),
    [
        ("tags", "<think>a</think><answer>5</answer>", 1),
        ("tags", "<think>a</think>\\boxed{5}", 0),
        ("box", "<think>a</think>\\boxed{5}", 1),
        ("box", "<think>a</think>5", 0),
        ("box", "\\boxed{5}", 0),  # no thought
        ("text", "<think>a</think>5", 1),
        ("text", "<think> </think>5", 0),
        ("text", "<think>a", 0),
    ],
)
def test_the_form_of_each_reading(reading, text, kept):
    rollout = SimpleNamespace(prefill="", text=text)
    score = Format(reading=reading).score(rollout, None)
    assert score.value == kept and bool(score.why) != kept


def test_many_boxes_do_not_take_long():
    assert last_box("\\boxed{" * 20_000) is None and last_box("\\boxed{1}" * 20_000) == "1"
