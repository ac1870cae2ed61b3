"""Where the answer of a response stands; the examples of docs/grading.md are checked in test_grading.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.rewards.extract import answer_of, boxes, outside, visible


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>a</think> <answer>42</answer>", "42"),
        ("a</think> <answer> 42 </answer>", "42"),  # the prompt opened the thought
        ("<think>a</think> <answer>42", "42"),  # a stop string took the closing tag
        ("<answer>1</answer> <answer>2</answer>", "2"),
        (r"<answer>x</answer> \boxed{3}", "x"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} and \boxed{2", "1"),  # an open box is none
        (r"\fbox{7}", "7"),
        ("so\n#### 1,234", "1,234"),
        ("He has 3.\nA: 26", "26"),
        ("**Answer:** 12", "12"),
        ("The answer is 3.5. That was easy.", "3.5"),
        ("The final answer is: $x=5$.", "$x=5$"),
        ("The answer to the question is (B).", "(B)"),
        ("所以答案是 18。", "18"),
        ("42", "42"),
        ("two\nlines", None),
        ("", None),
        ("x" * 201, None),
        (r"<think>\boxed{5}", None),  # cut off inside the thought
        (r"<think>\boxed{5}</think>", None),
        (r"<think><answer>5</answer></think> hm, I" + "\n do not know", None),
        ("<think>The answer is 5.</think>\n\n#### 6", "6"),
    ],
)
def test_where_the_answer_stands(response, answer):
    assert answer_of(response) == answer


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_is_taken_out_of_a_thought(thought, rest):
    """What the thought says changes nothing."""
    plain = rest.replace("<", "").replace(">", "")
    inside = thought.replace("</think>", "")
    assert answer_of(f"<think>{inside}</think>{plain}") == answer_of(plain)
    assert answer_of(f"<think>{inside}<answer>5</answer> \\boxed{{5}} #### 5") is None


@given(st.lists(st.sampled_from(["\\boxed{", "}", "{", "x", "1", " ", "\\fbox{"]), max_size=30))
def test_boxes_are_balanced(parts):
    text = "".join(parts)
    for box in boxes(text):
        assert box.count("{") == box.count("}") and box in text
    assert len(outside(text)) <= len(text) + len(boxes(text))


def test_visible():
    assert visible("<think>a</think>b<think>c") == "b"
    assert visible("a</think>b</think>c") == "c"
    assert visible("no thought") == "no thought"
