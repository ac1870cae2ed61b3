"""The filter of the warm-up set: different behaviours, each counted once."""

from __future__ import annotations

import numpy as np
import pytest

from move37 import rewards
from move37.errors import RecipeError
from move37.options import build
from move37.stages.watch import sample_metrics
from move37.types import Group, Problem, Rollout, Score, Stop

PROBLEM = Problem(id="p", task="chain", question="2+3?", answer="5")


def rollout(thought: str) -> Rollout:
    zeros = np.zeros(1, np.float32)
    return Rollout(
        problem="p", task="chain", sample=0, token_ids=np.zeros(1, np.int32), sampled=np.ones(1, bool), logprobs=zeros,
        sampling_logprobs=zeros, text=thought, thinking=thought, stop=Stop.EOS, version=0,
    )  # fmt: skip


def score(thought: str, **options: object) -> Score:
    return build("reward", rewards.REWARDS, "behaviours", options).scores([(rollout(thought), PROBLEM)])[0]


def test_different_ones_count_once_each():
    """Check (evaluation), wait and wait (reflection), retry (backtracking)."""
    found = score("2+3=6 Check: no. Wait, wait. Retry: 2+3=5")
    assert found.value == 3 and found.parts["reflection"] == 2 and "no planning" in found.why


def test_those_that_are_asked_for():
    """k1.5 asks for four: planning, evaluation, reflection, exploration."""
    four = {"of": ["planning", "evaluation", "reflection", "exploration"]}
    assert score("First, 2+3=6. Check: no. Wait, retry: 5. Alternatively 5.", **four).value == 4
    assert score("Retry. Wrong.", **four).value == 0
    with pytest.raises(RecipeError, match="did you mean 'planning'"):
        score("", of=["plannin"])


def test_shares_of_responses_in_the_metrics():
    """Two responses: check and wait in one, a plain other: shares of 1/2, and one behaviour per response."""
    told = sample_metrics([Group(problem=PROBLEM, rollouts=[rollout("Check. Wait."), rollout("2+3=5")])])
    assert told["behaviour/evaluation"] == told["behaviour/reflection"] == 0.5
    assert told["behaviour/planning"] == 0 and told["behaviours"] == 1
