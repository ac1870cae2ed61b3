"""Where an answer stands when a model was not trained on the R1-Zero form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.rewards.reading import READINGS, boxed, last_box, whole
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
    assert found.answer == answer and bool(found.why) == (answer is None)


def test_all_after_the_thought():
    assert whole("", "<think>a</think>\n```python\npass\n```").answer == "```python\npass\n```"
    assert whole("", "no thought") == whole("", "<think></think>no thought")
    assert whole("<think>", "no end").answer is None and whole("", "<think>a</think> ").answer is None


@pytest.mark.parametrize("reading", list(READINGS))
@given(answer=st.text(alphabet="ab1/{}\\ ", min_size=1, max_size=9))
def test_what_is_written_for_a_reading_is_read(reading, answer):
    found = READINGS[reading]("", written(answer, reading)).answer
    balanced = answer.count("{") == answer.count("}") == answer.count("\\") == 0
    if balanced and answer.strip():
        assert found == answer.strip()


def test_many_boxes_do_not_take_long():
    assert last_box("\\boxed{" * 20_000) is None and last_box("\\boxed{1}" * 20_000) == "1"
