"""Reward hacking: when a task's reward and its own checker are said to part. Numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fabricate
from move37.report import curves
from move37.report.parting import partings, rise
from move37.stages import watch
from move37.types import Group, Problem, Verdict


def look(step, reward, rate, reward_se=0.1, rate_se=0.1, task="write"):
    values = {"reward": reward, "reward_se": reward_se, "pass@1": rate, "pass@1_se": rate_se}
    return {"step": step, **{f"task/{task}/{key}": value for key, value in values.items()}}


def told(*looks):
    return [(one.task, one.since, one.step) for one in partings(looks)]


def test_a_line_through_three_looks_is_their_ends():
    """Gaps -10, 0, 10: (10 x .4 - 10 x .2) / 200 x 20 = .2; error 20 sqrt((10 x .03)^2 + (10 x .04)^2) / 200 = .05."""
    value, error = rise([0, 10, 20], [0.2, 0.9, 0.4], [0.03, 0.5, 0.04])
    assert (value, error) == (pytest.approx(0.2), pytest.approx(0.05))


def test_a_line_through_four_unequal_looks():
    """Mean 2, gaps -2 -1 0 3, S = 14. The values lie on a line: rise 5. Error 5/14 sqrt(.04 + .01 + 0 + .09)."""
    value, error = rise([0, 1, 2, 5], [0, 1, 2, 5], [0.1] * 4)
    assert (value, error) == (pytest.approx(5.0), pytest.approx(5 / 14 * math.sqrt(0.14)))


def test_they_part_where_both_move_by_more_than_their_errors():
    """The errors of a change over three looks of .1 each: sqrt(.1^2 + .1^2) = .141."""
    start = look(0, 0.4, 0.8), look(10, 0.5, 0.7)
    assert told(*start, look(20, 0.55, 0.65)) == [("write", 0, 20)]  # +.15 and -.15
    assert told(*start, look(20, 0.53, 0.65)) == []  # the reward's +.13 is within its error
    assert told(*start, look(20, 0.55, 0.67)) == []  # the checker's -.13 is
    assert told(*start, look(20, 0.55, 0.95)) == []  # both rise: that is learning
    assert told(*start, look(20, 0.25, 0.65)) == []  # both fall
    assert told(*start) == [] and told() == []


def test_told_once_and_again_only_after_they_have_come_together():
    """At the 4th look the window is still 3 wide, so the 2nd is its first; then they hold for three looks and part anew."""
    looks = [look(0, 0.1, 0.9), look(10, 0.3, 0.7), look(20, 0.5, 0.5), look(30, 0.7, 0.3)]
    assert told(*looks) == [("write", 0, 20)]
    flat = [look(step, 0.7, 0.3) for step in (40, 50, 60, 70)]
    assert told(*looks, *flat) == [("write", 0, 20)]
    assert told(*looks, *flat, look(80, 2.0, 0.0, 0.0, 0.0))[1:] == [("write", 40, 80)]  # 9 looks: the last 5


def test_slow_parting_shows_in_the_longer_window():
    """.03 a look: over three looks +-.06 is within the error of .141; by the ninth the last five rise by .12, error .126 of
    gaps 2 1 0 1 2: 4/10 sqrt(10 x .01). Thirteen looks, the last seven: .18 against 6/28 sqrt(28 x .01) = .113."""
    slow = [look(10 * n, 0.2 + 0.03 * n, 0.9 - 0.03 * n) for n in range(13)]
    assert told(*slow[:9]) == []
    assert len(told(*slow)) == 1


def test_what_has_no_number_is_left_out():
    looks = [look(0, 0.4, 0.8), look(5, None, 0.1), look(10, 0.5, 0.7), look(20, 0.6, math.nan), look(30, 0.9, 0.2)]
    assert told(*looks) == [("write", 0, 30)]
    assert told(*(look(n, n, -n, reward_se=None) for n in range(5))) == []  # one problem: no standard error


def test_tasks_are_apart_and_in_order_of_steps():
    both = [look(n, n, -n, 0, 0, "greet") | look(n, n, -n if n > 1 else 1, 0, 0, "write") for n in range(4)]
    assert told(*both) == [("greet", 0, 2), ("write", 0, 2)]


def test_standard_errors_are_over_problems():
    """Rewards of two problems: means .5 and 1 -> sd .3536, error .25. Verdicts: 1 of 2 and 2 of 2, the same."""
    groups = []
    for name, right in (("a", (True, False)), ("b", (True, True))):
        problem = Problem(id=name, task="write", question="?", answer="5")
        groups.append(Group(problem=problem, rollouts=[fabricate.rollout(problem, i, right=r) for i, r in enumerate(right)]))
    assert watch.errors(groups) == {
        "task/write/reward_se": pytest.approx(0.25),
        "task/write/pass@1_se": pytest.approx(0.25),
    }
    assert math.isnan(watch.errors(groups[:1])["task/write/reward_se"])
    groups[1].rollouts[0].reward = math.nan  # not graded: the other one counts
    assert watch.errors(groups)["task/write/reward_se"] == pytest.approx(0.25)


def test_domains_are_told_apart():
    plain = Problem(id="a", task="chain", question="?", answer="5")
    algebra = Problem(id="c", task="math", question="?", answer="5", meta={"domain": "Algebra"})  # of a file: reasoning
    talk = Problem(id="b", task="greet", question="?", answer="5", meta={"domain": "general"})
    groups = [
        Group(problem=plain, rollouts=[fabricate.rollout(plain, right=True, reward=2.0)]),
        Group(problem=algebra, rollouts=[fabricate.rollout(algebra, right=True, reward=1.0)]),
        Group(problem=talk, rollouts=[fabricate.rollout(talk, right=False, reward=0.5)]),
        Group(problem=talk, rollouts=[fabricate.rollout(talk, right=True, reward=np.nan, verdict=Verdict.CANNOT_TELL)]),
    ]
    metrics = watch.domain_metrics(groups)
    assert (metrics["domain/reasoning/reward"], metrics["domain/reasoning/pass@1"]) == (1.5, 1.0)
    assert (metrics["domain/general/reward"], metrics["domain/general/pass@1"]) == (0.5, 0.0)
    assert {key.split("/")[1] for key in metrics} == {"reasoning", "general"}


def test_the_chart_has_both_and_those_that_part_come_first():
    rows = [
        look(n, n, -n, 0, 0, "write") | look(n, n, n, 0, 0, "chain") | look(n, n, n, 0, 0, "b") | look(n, n, n, 0, 0, "a")
        for n in range(4)
    ]
    first, second = (p for p in curves.panels([], rows) if p.title.startswith("reward against checker"))
    assert first.title.endswith("write, a, b") and second.title.endswith("chain")
    assert [(c.label, c.dashed) for c in second.curves] == [("chain, reward", False), ("chain, right", True)]
    assert "part on write" in first.caption and "part on" not in second.caption
