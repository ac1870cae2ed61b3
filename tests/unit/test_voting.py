"""Answers that verify equal vote together, and ties are split."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from move37.report.estimators import cons_at_k
from move37.rewards.combine import ACCURACY, grade
from move37.rollout.scripted import Scripted, written
from move37.stages import voting
from move37.tasks.files import FileTask
from move37.tasks.layouts import plain
from move37.types import Problem, Verdict


def task(verifier):
    problem = Problem(id="p", task="t", question="q", answer="1/2", meta={"language": "en"})
    return FileTask("t", [], [problem], plain("question", "answer", verifier), seed=0, weight=1.0, share=1.0), problem


def voted(answers, verifier="math", comparable=True):
    """A graded group that says these answers, None being none, with its votes."""
    made, problem = task(verifier)
    texts = ["" if answer is None else written(answer, "tags") for answer in answers]
    groups = Scripted(lambda problem, sample: texts[sample]).sample([problem], len(texts), None, 0)
    grade(groups, ACCURACY, {"t": made})
    seen = made if comparable else SimpleNamespace(comparable=False, verify_all=None)
    voting.fill(groups, {"t": seen})
    return groups[0].rollouts


def test_equal_answers_vote_together():
    """Texts alone: 0.25 has two votes and wins. By the verifier: 1/2 in three ways has three."""
    answers = ["0.25", "0.25", "1/2", "\\frac{1}{2}", "0.5"]
    rollouts = voted(answers)
    assert [r.vote for r in rollouts] == ["0.25", "0.25", *[voting.RIGHT] * 3]
    assert cons_at_k(rollouts, 5) == 1
    assert cons_at_k(voted(answers, comparable=False), 5) == 0


def test_wrong_answers_join_too_and_can_win():
    rollouts = voted(["\\frac{1}{4}", "0.25", "1/4", "1/2", "1/2", None])
    assert len({r.vote for r in rollouts[:3]}) == 1 and rollouts[0].vote != voting.RIGHT and rollouts[5].vote is None
    assert cons_at_k(rollouts, 6) == 0
    assert cons_at_k(rollouts, 5) == 0


def test_ties_are_shared():
    rollouts = voted(["1/2", "0.25", "1/4", "0.5", "7", None])
    assert cons_at_k(rollouts, 6) == 0.5  # two classes of two; right one of them
    assert cons_at_k(rollouts[:2], 2) == 0.5 and cons_at_k(rollouts[4:], 2) == 0


def test_joining_is_transitive():
    rollouts = voted(["1/4", "2/8", "0.25", "25%"], verifier="number")
    assert len({r.vote for r in rollouts}) == 1


def test_what_can_not_be_told_does_not_vote():
    rollouts = voted(["7", "7", "1/2"])
    for r in rollouts[:2]:
        r.verdict = Verdict.CANNOT_TELL
    assert cons_at_k(rollouts, 3) == 1


@pytest.mark.parametrize("answer", ["1/2", "0.50"])
def test_a_single_response_is_not_asked_about(answer):
    made, problem = task("math")
    [group] = Scripted(lambda problem, sample: written(answer, "tags")).sample([replace(problem)], 1, None, 0)
    grade([group], ACCURACY, {"t": made})
    voting.fill([group], {"t": SimpleNamespace(comparable=True)})  # a task without a verifier: it would fail
    assert group.rollouts[0].vote in ("1/2", "0.5")
