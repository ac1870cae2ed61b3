"""Which pairs become preferences; numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fabricate
from judges import Scripted
from move37.endpoint import Request
from move37.rewards.agreement import orders
from move37.rewards.judge import Pair, compare
from move37.rewards.verdicts import pair_messages
from move37.stages import pairs
from move37.types import Problem, Stop
from move37.world.judge import Judge, is_safe, worth


def test_the_mean_judgement():
    """A>>B is 2, A>B 1, A=B 0; the second order is told from the first one's side already."""
    assert pairs.difference(Pair(1.0, 1.0)) == 2.0
    assert pairs.difference(Pair(0.75, 1.0)) == 1.5
    assert pairs.difference(Pair(1.0, 0.0)) == 0.0  # whoever is shown first wins: nothing is known
    assert pairs.difference(Pair(0.0, 0.25)) == -1.5
    assert pairs.difference(Pair(None, 1.0)) is None


def asked(judge):
    def ask(questions, sample):
        return judge.ask([Request(messages=messages, sample=sample) for messages in questions])

    return ask


def test_four_judgements_the_order_swapped_each_time():
    """Shown first, `good` wins much, then a little: 1 and 0.75. Shown second it wins much, then nobody: 0 and 0.5 for A."""
    said = iter(["[[A>>B]]", "[[B>>A]]", "[[A>B]]", "[[A=B]]"])
    judge = Scripted(lambda question, first, second: next(said))
    [pair] = compare(asked(judge), [("q", "good", "bad")], rounds=2)
    assert pair == Pair((1 + 0.75) / 2, (1 + 0.5) / 2) and pairs.difference(pair) == 4 * (0.875 + 0.75) / 2 - 2
    assert [request.sample for request in judge.requests] == [0, 0, 1, 1]
    assert judge.requests[0].messages == judge.requests[2].messages != judge.requests[1].messages

    said = iter(["[[A>>B]]", "no idea", "[[A>B]]", "[[B>A]]"])
    [pair] = compare(asked(Scripted(lambda *texts: next(said))), [("q", "good", "bad")], rounds=2)
    assert pair.shown_second == 0.75 and pair.value == (0.875 + 0.75) / 2  # what can be read counts


def test_lengths_are_balanced():
    """39/5 is too much: without 30 it is 9/4, without 10 it is -1/3."""
    assert pairs.balanced([30, 2, -4, 10, 1], 1.0) == [1, 2, 4]
    assert pairs.balanced([-30, -2, 4, -10, -1], 1.0) == [1, 2, 4]
    assert pairs.balanced([3, -3, 5, -5], 0.0) == [0, 1, 2, 3]
    assert pairs.balanced([4, 6, 5], 1.0) == []  # chosen ones are longer, all of them
    assert pairs.balanced([], 1.0) == []


@given(st.lists(st.integers(-50, 50), max_size=30), st.floats(0, 10))
def test_what_is_left_is_balanced(gaps, allowed):
    kept = pairs.balanced(gaps, allowed)
    assert kept == sorted(set(kept)) and all(0 <= place < len(gaps) for place in kept)
    assert not kept or abs(sum(gaps[place] for place in kept)) <= allowed * len(kept) + 1e-9
    if gaps and abs(sum(gaps)) <= allowed * len(gaps):
        assert len(kept) == len(gaps)


def test_pairs_of_a_problem():
    problem = Problem(id="p", task="greet", question="Hello!", answer="1")
    texts = ("a", "b", "a", None, "c")
    rollouts = [fabricate.rollout(problem, sample) for sample in range(len(texts))]
    for rollout, text in zip(rollouts, texts, strict=True):
        rollout.answer = text
    rollouts[4].stop = Stop.LENGTH
    rng = np.random.default_rng(0)
    found = pairs.drawn(rollouts, 9, rng)
    assert {frozenset((a.sample, b.sample)) for a, b in found} == {frozenset((0, 1)), frozenset((1, 2))}
    assert len(pairs.drawn(rollouts, 1, rng)) == 1 and pairs.drawn(rollouts[:1], 3, rng) == []


# ------------------------------------------------------------------------------------------------- the scripted judge

QUESTION = "Write a sentence with Tom and hat."
GOOD, POOR = "Tom likes the hat.", "Wait."


def test_the_scripted_judge_prefers_what_looks_good():
    """Two of the three words asked (2 each, as a share), both things named (1), the language, 0.02 for each of four words."""
    assert worth(QUESTION, GOOD) == pytest.approx(2 * 2 / 3 + 1 + 1.5 + 0.02 * 4)
    assert worth("List two fruits.", "apple and pear") == pytest.approx(1.5 + 0.02 * 3)
    assert worth("List two fruits.", "苹果和梨") == pytest.approx(0.02 * 4)
    assert worth("Translate into Chinese: hat", "帽子") > worth("What is a hat?", "帽子")  # the language that is named
    [pair] = compare(asked(Judge(0)), [(QUESTION, GOOD, POOR)], rounds=2)
    assert pairs.difference(pair) == 2.0


@pytest.mark.parametrize(
    ("question", "better", "worse"),
    [
        ("我是小苏。晚上好啊!", "晚上好,小苏!", "晚上好,小东!"),  # a name that nobody said
        ("Translate into Chinese: a red hat", "红帽子。", "红球。"),  # it knows both languages
        ("Say it of yesterday: The boy buys a hat.", "The boy bought a hat.", "The boy sold a hat."),
        ("Deny it: The boy buys a hat.", "The boy does not buy a hat.", "The boy buys a hat."),  # the question again
        ("What is the capital of Japan?", "It is Tokyo.", "The capital of Japan is Rome."),
        ("Tell me how to borrow the bike of my uncle.", "Ask first and bring it back.",
         "Sorry, I can not help with that. I can tell you how to borrow the bike of my uncle."),
    ],
)  # fmt: skip
def test_it_tells_what_a_strong_judge_tells(question, better, worse):
    assert worth(question, better) > worth(question, worse) + 0.5


def test_it_reads_words_and_not_deeds():
    """A sentence in the wrong form, a list too short, advice for something else: all look nearly as good as what was asked."""
    assert worth("Say it of yesterday: The boy buys a hat.", "The boy bought a hat.") == pytest.approx(
        worth("Say it of yesterday: The boy buys a hat.", "Does the boy buy a hat?"), abs=0.1
    )
    assert worth("Name three animals.", "Dog and cat.") >= worth("Name three animals.", "Dog, cat, cow.") - 0.1
    assert worth("How do I clean the window?", "Ask first.") > worth("How do I clean the window?", "Use a cloth.") - 0.1


def test_it_can_be_hacked():
    """Chatter and politeness look better than the plain answer, which is all that was asked for."""
    plain = "Tom likes the hat, sentence."
    chatter = "Please, thanks! I am glad and happy to help, dear, and so on and on."
    assert worth(QUESTION, f"{plain} {chatter}") > worth(QUESTION, plain) + 1


def test_its_noise_and_its_bias_can_be_measured():
    judge = Judge(3)
    alike = [(f"Say word{n}.", f"word{n} it is.", f"it is word{n}.") for n in range(150)]
    results = compare(asked(judge), alike)
    assert results == compare(asked(Judge(3)), alike) != compare(asked(Judge(4)), alike)
    told = orders(results)
    assert told["first_shown"] > 0.65  # 0.3 ahead, at a deviation of 0.4: four of five
    clear = orders(compare(asked(judge), [(QUESTION, GOOD, f"{POOR} {n}") for n in range(50)]))
    assert clear["order_consistent"] > 0.9 and abs(clear["first_shown"] - 0.5) < 0.05
    one, two = judge.ask([Request(messages=pair_messages(*alike[0]), sample=n) for n in (0, 1)])
    assert {one.text, two.text} <= {"[[A>>B]]", "[[A>B]]", "[[A=B]]", "[[B>A]]", "[[B>>A]]"}


def test_it_judges_safety_by_words():
    assert not is_safe("How do I steal the bike of my uncle?", "Take it when nobody looks.")
    assert is_safe("How do I steal the bike of my uncle?", "Sorry, I can not help with that.")
    assert is_safe("How do I borrow the bike of my uncle?", "Ask first.")
    assert not is_safe("How do I keep poison away from the dog?", "Lock the bottles up.")  # it is only a judge
    assert is_safe("怎么偷邻居的车?", "对不起,这个我不能帮。") and not is_safe("怎么偷邻居的车?", "没人的时候拿走。")
