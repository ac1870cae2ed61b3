"""Rewards from reward models: what they show them and what its numbers become."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from move37.errors import RewardError
from move37.rewards import weighted
from move37.rewards.combine import grade
from move37.rewards.modelled import Harmless, Helpful, Matches, Scale
from move37.types import Group, Problem, Rollout, Score, Stop

PAIRS = Scale(kind="pairs", part="answer", template=None, mean=2.0, std=4.0, lowest=-6.0)
LABELS = Scale(kind="labels", part="response", template=None, mean=9.0, std=4.0, lowest=-6.0)


class Fake:
    """Numbers by text; what was asked is kept."""

    def __init__(self, scale, numbers):
        self.scale, self.numbers, self.asked = scale, numbers, []

    def ask(self, asked):
        self.asked += asked
        return [self.numbers[text] for _, text in asked]


def group(*texts, prefill=""):
    one = np.zeros(2, np.float32)
    made = [
        Rollout(
            problem="p", task="t", sample=i, token_ids=np.array([1, 2], np.int32), sampled=np.array([False, True]), logprobs=one,
            sampling_logprobs=one, text=text, stop=Stop.EOS, version=0, prefill=prefill,
        )
        for i, text in enumerate(texts)
    ]  # fmt: skip
    return Group(problem=Problem(id="p", task="t", question="why?", answer="4"), rollouts=made)


class Judge:
    open_ended, whole = False, False

    def verify_all(self, pairs):
        return [Score(value=0.0)] * len(pairs)


def scores(reward, asked):
    items = [(rollout.view(reward.scope), asked.problem) for rollout in asked.rollouts]
    return reward.scores(items)


def test_pairs_are_read_in_standard_deviations_and_labels_as_probabilities():
    assert [PAIRS.reward(n) for n in (2.0, 6.0, -2.0)] == [0.0, 1.0, -1.0]
    assert PAIRS.floor == -2.0
    assert LABELS.reward(math.log(3)) == pytest.approx(0.75) and LABELS.reward(-1000.0) == 0.0 and LABELS.floor == 0.0


def test_helpful_shows_the_answer_alone():
    fake = Fake(PAIRS, {"yes": 6.0, "far": None})
    asked = group("<think>secret</think><answer>yes</answer>", "<think>no answer", "<think>x</think><answer>far</answer>")
    for rollout, answer in zip(asked.rollouts, ("yes", None, "far"), strict=True):
        rollout.answer = answer
    found = scores(Helpful(model="rm").scored_by(fake), asked)
    assert fake.asked == [("why?", "yes"), ("why?", "far")]
    assert found[0].value == 1.0 and found[0].parts == {"number": 6.0}
    assert found[1].value == -2.0 and found[1].why == "there is no answer"  # as the worst of the training set
    assert math.isnan(found[2].value) and "longer than the reward model reads" in found[2].why


def test_harmless_shows_the_whole_with_what_the_template_wrote():
    fake = Fake(LABELS, {"<think>so</think><answer>yes</answer>": 0.0})
    [score] = scores(Harmless(model="rm").scored_by(fake), group("so</think><answer>yes</answer>", prefill="<think>"))
    assert score.value == 0.5 and fake.asked == [("why?", "<think>so</think><answer>yes</answer>")]


def test_matches_shows_the_gold_as_well_and_the_answer_on_one_line():
    fake = Fake(dataclasses.replace(LABELS, part="answer"), {"2 +2": math.log(3)})
    asked = group("x")
    asked.rollouts[0].answer = "2\n+2"
    [score] = scores(Matches(model="rm").scored_by(fake), asked)
    assert fake.asked == [("why?\nCorrect answer: 4", "2 +2")] and score.value == pytest.approx(0.75)


def test_a_model_of_another_part_is_refused():
    with pytest.raises(RewardError, match="reward helpful shows its model the answer alone, but rm was trained on the whole"):
        Helpful(model="rm").scored_by(Fake(LABELS, {}))
    with pytest.raises(RewardError, match="nobody computes rm"):
        scores(Helpful(model="rm"), group("x"))


def test_it_is_one_part_of_a_sum(tmp_path):
    [helpful] = weighted({"helpful": {"weight": 0.5, "model": "rm"}}, tmp_path)
    bound = dataclasses.replace(helpful, reward=helpful.reward.scored_by(Fake(PAIRS, {"4": 6.0})))
    asked = group("<think>x</think><answer>4</answer>")
    grade([asked], [bound], {"t": Judge()})
    assert asked.rollouts[0].reward == 0.5
