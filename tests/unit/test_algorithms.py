"""Credit, options and loss specifications of the algorithms. Numbers are worked out by hand in the comments."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.algorithms import ALGORITHMS, build
from move37.algorithms.base import soft_punishment
from move37.algorithms.ppo import gae
from move37.errors import RecipeError
from move37.types import Credit, Group, LossSpec, Problem, Rollout, Stop, Verdict

NAN = math.nan
COMPARE_IN_GROUP = ["grpo", "dr_grpo", "dapo", "rloo", "gspo", "cispo", "mirror_descent"]


def rollout(
    reward: float, sample: int = 0, length: int = 3, stop: Stop = Stop.EOS, verdict: Verdict | None = None
) -> Rollout:
    zeros = np.zeros(length, np.float32)
    if verdict is None:
        verdict = Verdict.CANNOT_TELL if math.isnan(reward) else Verdict.RIGHT if reward >= 1 else Verdict.WRONG
    return Rollout(
        problem="p",
        task="t",
        sample=sample,
        token_ids=np.arange(length, dtype=np.int32),
        sampled=np.ones(length, bool),
        logprobs=zeros,
        sampling_logprobs=zeros,
        text="",
        stop=stop,
        version=0,
        reward=reward,
        verdict=verdict,
    )


def group(*rewards: float | Rollout) -> Group:
    members = [r if isinstance(r, Rollout) else rollout(r, sample=i) for i, r in enumerate(rewards)]
    return Group(problem=Problem(id="p", task="t", question="?", answer="!"), rollouts=members)


def advantages(credits: list[Credit]) -> list[float]:
    return [c.advantage for c in credits]


def plain(name: str, **options):
    """The algorithm with its group arithmetic alone: nothing resampled, nothing shaped."""
    return build(name, {"dynamic_sampling": False, "overlong": "keep", **options})


# ----------------------------------------------------------------------------------------------- numbers by hand


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # rewards 1 0 0 0: mean 1/4, population variance (9/16 + 3/16) / 4 = 3/16, std sqrt(3)/4
        # (3/4) / (sqrt(3)/4) = sqrt(3); (-1/4) / (sqrt(3)/4) = -1/sqrt(3)
        ("grpo", [3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)]),
        ("dapo", [3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)]),
        ("gspo", [3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)]),
        ("cispo", [3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)]),
        ("dr_grpo", [0.75, -0.25, -0.25, -0.25]),
        # the others of the right one average 0, of a wrong one 1/3
        ("rloo", [1.0, -1 / 3, -1 / 3, -1 / 3]),
        ("reinforce", [0.75, -0.25, -0.25, -0.25]),
        ("mirror_descent", [0.75, -0.25, -0.25, -0.25]),
        ("rest", [1, 0, 0, 0]),
        ("ppo", [1, 0, 0, 0]),  # what they earned: the value model makes credit of it, token by token
    ],
)
def test_advantages_of_one_right_in_four(name: str, expected: list[float]) -> None:
    credits = plain(name).credit([group(1, 0, 0, 0)], 10)
    assert advantages(credits) == pytest.approx(expected, abs=1e-12)
    assert [c.weight for c in credits] == [1, 1, 1, 1]


def test_grpo_with_parts_of_a_reward() -> None:
    # rewards 2, 1, 0: mean 1, population variance 2/3
    assert advantages(plain("grpo").credit([group(2, 1, 0)], 10)) == pytest.approx([1.5**0.5, 0, -(1.5**0.5)])


def test_reinforce_baseline_is_the_mean_of_the_step() -> None:
    groups = [group(1, 1), group(0, 1, NAN)]  # four graded, mean 3/4
    assert advantages(plain("reinforce").credit(groups, 10)) == pytest.approx([0.25, 0.25, -0.75, 0.25])
    assert advantages(plain("reinforce", baseline="none").credit(groups, 10)) == [1, 1, 0, 1]


def test_reinforce_works_with_one_response_per_problem() -> None:
    assert advantages(plain("reinforce").credit([group(1), group(0)], 10)) == [0.5, -0.5]


def test_mirror_descent_against_the_partition_function() -> None:
    # tau 1 / log 4, so exp(r / tau) is 4 for r = 1 and 1 for r = 0: mean of 4 1 1 2 (r = 1/2) = 2, tau log 2 = 1/2
    soft = plain("mirror_descent", baseline="log_mean_exp", tau=1 / math.log(4))
    assert advantages(soft.credit([group(1, 0, 0, 0.5)], 10)) == pytest.approx([0.5, -0.5, -0.5, 0])
    assert advantages(soft.credit([group(1, 1, 1)], 10)) == [0, 0, 0]
    # tau to infinity is the mean, tau to 0 the largest reward, and neither overflows
    wide = plain("mirror_descent", baseline="log_mean_exp", tau=1e6).credit([group(1, 0, 0, 0)], 10)
    assert advantages(wide) == pytest.approx([0.75, -0.25, -0.25, -0.25], abs=1e-6)
    sharp = plain("mirror_descent", baseline="log_mean_exp", tau=1e-6).credit([group(900, 0, 0)], 10)
    assert advantages(sharp) == pytest.approx([0, -900, -900], abs=1e-5)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        # values 0.2 0.5 0.4, reward 1: one-step gaps 0.5 - 0.2, 0.4 - 0.5, 1 - 0.4
        (0.0, [0.3, -0.1, 0.6]),
        (0.5, [0.3 + 0.5 * 0.2, -0.1 + 0.5 * 0.6, 0.6]),
        (1.0, [0.8, 0.5, 0.6]),  # the return less the value
    ],
)
def test_generalised_advantages_by_hand(decay: float, expected: list[float]) -> None:
    values = np.array([0.2, 0.5, 0.4], np.float32)
    assert gae(1.0, values, decay) == pytest.approx(expected, abs=1e-7)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(-3, 3))
def test_at_lambda_1_an_advantage_is_the_return_less_the_value(values: list[float], reward: float) -> None:
    assert gae(reward, np.array(values), 1.0) == pytest.approx(reward - np.array(values), abs=1e-9)


def test_credit_of_ppo_over_tokens() -> None:
    values = [np.array([0.5, 0.0]), np.array([0.25])]
    raw, targets = build("ppo", {"whiten": False}).over_tokens([1.0, 0.0], values)
    assert [a.tolist() for a in raw] == [[0.5, 1.0], [-0.25]]
    assert [t.tolist() for t in targets] == [[1.0, 1.0], [0.0]]  # at lambda 1 what was earned
    # mean 1.25/3 of 0.5 1 -0.25; after whitening mean 0 and standard deviation 1 over all tokens
    white, again = build("ppo", {}).over_tokens([1.0, 0.0], values)
    whole = np.concatenate(white)
    assert (whole.mean(), whole.std()) == pytest.approx((0, 1))
    assert np.argsort(whole).tolist() == [2, 0, 1] and np.concatenate(again).tolist() == [1, 1, 0]
    flat, _ = build("ppo", {}).over_tokens([0.5, 0.5], [np.full(2, 0.5), np.full(1, 0.5)])
    assert np.concatenate(flat).tolist() == [0, 0, 0]
    # lambda 0.5: gaps -0.5 and 1; targets are advantage + value
    _, targets = build("ppo", {"gae_lambda": 0.5}).over_tokens([1.0], [np.array([0.5, 0.0])])
    assert targets[0].tolist() == [0.5, 1.0]


def test_only_ppo_asks_for_values() -> None:
    assert [n for n in ALGORITHMS if build(n, {}).needs_values] == ["ppo"]


def test_rest_fits_the_best_one_alone() -> None:
    fitted = advantages(plain("rest").credit([group(0.1, 1.1, 1.0), group(0.1, 0, NAN), group(1, 1)], 10))
    assert fitted == [0, 1, 0, 0, 0, 1, 0]  # nothing of the second group reaches 0.5; of equal ones the first
    assert advantages(plain("rest", threshold=0.1).credit([group(0.1, 0)], 10)) == [1, 0]


@pytest.mark.parametrize("name", COMPARE_IN_GROUP)
def test_groups_are_compared_within_themselves_only(name: str) -> None:
    together = advantages(plain(name).credit([group(1, 0), group(5, 7, 9)], 10))
    apart = [a for g in (group(1, 0), group(5, 7, 9)) for a in advantages(plain(name).credit([g], 10))]
    assert together == apart


# ------------------------------------------------------------------------------------------ nothing to learn from


@pytest.mark.parametrize("name", [*COMPARE_IN_GROUP, "reinforce"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_equal_rewards_give_exactly_zero(name: str, value: float, size: int) -> None:
    """The mean of seven times 0.1 is not 0.1 in floats; divided by a std of 1e-17 that would look like a signal."""
    assert advantages(plain(name).credit([group(*[value] * size)], 10)) == [0.0] * size


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_no_groups_and_wholly_ungraded_groups(name: str) -> None:
    assert build(name, {}).credit([], 10) == []
    assert build(name, {}).credit([group(NAN, NAN)], 10) == []


def test_zero_groups_are_kept_or_dropped_as_declared() -> None:
    groups = [group(1, 1), group(1, 0)]
    assert [c.weight for c in plain("grpo").credit(groups, 10)] == [1, 1, 1, 1]
    assert [c.weight for c in plain("grpo", zero_groups="drop").credit(groups, 10)] == [0, 0, 1, 1]
    # against the mean of the step, 3/4, the first group of REINFORCE does teach
    assert [c.weight for c in plain("reinforce", zero_groups="drop").credit(groups, 10)] == [1, 1, 1, 1]


def test_a_single_middling_reward_has_no_advantage_but_stays() -> None:
    credits = plain("dr_grpo", zero_groups="drop").credit([group(0, 0.5, 1)], 10)
    assert [(c.advantage, c.weight) for c in credits] == [(-0.5, 1), (0, 1), (0.5, 1)]


# --------------------------------------------------------------------------------------------- dynamic sampling


def ungraded(verdict: Verdict) -> Rollout:
    return rollout(NAN, verdict=verdict)


@pytest.mark.parametrize(
    ("members", "teaches"),
    [
        ([1, 0], True),
        ([1, 1], False),
        ([0, 0], False),
        ([1], False),
        ([], False),
        ([1, NAN], False),
        ([1, 0, NAN], True),
        # shaping makes the rewards differ, but both are right: the raw verdict decides
        ([rollout(1.0), rollout(0.6, verdict=Verdict.RIGHT)], False),
        # and the other way round: equal rewards, different verdicts
        ([rollout(0.5, verdict=Verdict.RIGHT), rollout(0.5, verdict=Verdict.WRONG)], True),
        # graded by other rewards, undecided by accuracy
        ([rollout(1.0), rollout(0.2, verdict=Verdict.CANNOT_TELL)], False),
        # decided, but another reward failed: it will not train, so it can not make the group teach
        ([rollout(1.0), ungraded(Verdict.WRONG)], False),
    ],
)
def test_teaches(members: list, teaches: bool) -> None:
    for name in ALGORITHMS:
        assert build(name, {}).teaches(group(*members)) is teaches


def test_groups_that_do_not_teach_are_out_of_a_dynamic_batch() -> None:
    # the first group is all right, but one response is long: punished by 0.5 * -1, it would teach without the check
    first = group(rollout(1.0, length=2), rollout(1.0, sample=1, length=10))
    credits = build("dapo", {}).credit([first, group(1, 0)], max_tokens=10)
    assert [(c.advantage, c.weight) for c in credits] == [(0, 0), (0, 0), (1, 1), (-1, 1)]


def test_groups_out_of_the_batch_do_not_enter_the_baseline_of_reinforce() -> None:
    credits = build("reinforce", {"dynamic_sampling": True}).credit([group(0, 0), group(1, 0)], 10)
    assert advantages(credits) == [0, 0, 0.5, -0.5]


# ---------------------------------------------------------------------------------------------- over-long responses


@pytest.mark.parametrize(
    ("length", "expected"),
    # limit 100, buffer 20: nothing up to 80, then (80 - length) / 20
    [(1, 0.0), (80, 0.0), (85, -0.25), (90, -0.5), (100, -1.0), (130, -1.0)],
)
def test_soft_punishment(length: int, expected: float) -> None:
    assert soft_punishment(length, max_tokens=100, buffer=0.2) == pytest.approx(expected)


def test_soft_punishment_as_published() -> None:
    # 20,480 tokens, the last 4,096 of them punished: 18,432 lies in the middle of these
    assert soft_punishment(16_384, 20_480, 0.2) == 0
    assert soft_punishment(18_432, 20_480, 0.2) == -0.5
    assert soft_punishment(20_480, 20_480, 0.2) == -1


def test_soft_changes_the_reward_by_the_length() -> None:
    # limit 10, last 2 tokens punished: 9 tokens lose 0.5 * 0.5 = 0.25. Rewards 1, 0.75, 0, mean 7/12
    long_right = rollout(1.0, sample=1, length=9)
    members = group(1, long_right, 0)
    credits = plain("dr_grpo", overlong="soft").credit([members], max_tokens=10)
    assert advantages(credits) == pytest.approx([5 / 12, 2 / 12, -7 / 12])
    assert long_right.reward == 1.0  # the record keeps the reward as it was given
    doubled = plain("dr_grpo", overlong="soft", overlong_penalty=1.0).credit([members], max_tokens=10)
    assert advantages(doubled) == pytest.approx([0.5, 0.0, -0.5])  # rewards 1, 0.5, 0


def test_mask_takes_truncated_responses_out_of_the_loss_but_not_out_of_the_mean() -> None:
    members = group(1, rollout(0.0, sample=1, length=10, stop=Stop.LENGTH))
    for mode, weights in (("keep", [1, 1]), ("mask", [1, 0]), ("soft", [1, 1]), ("both", [1, 0])):
        credits = plain("dr_grpo", overlong=mode, overlong_penalty=1.0).credit([members], max_tokens=10)
        assert [c.weight for c in credits] == weights
        # punished by 1 at the limit, the rewards are 1 and -1
        assert advantages(credits) == ([1.0, -1.0] if mode in ("soft", "both") else [0.5, -0.5])


# --------------------------------------------------------------------------------------------------- properties

eighths = st.integers(-80, 80).map(lambda n: n / 8)  # exact in floats, so a shift by a whole number is exact too
some_groups = st.lists(st.lists(eighths, min_size=1, max_size=8), min_size=1, max_size=4)


@given(some_groups, st.sampled_from(COMPARE_IN_GROUP))
def test_advantages_of_a_group_average_zero(rewards: list[list[float]], name: str) -> None:
    credits = iter(plain(name).credit([group(*r) for r in rewards], 10))
    for members in rewards:
        assert abs(sum(next(credits).advantage for _ in members)) < 1e-9


@given(some_groups, st.sampled_from([n for n in COMPARE_IN_GROUP if n not in ("dr_grpo", "rloo", "mirror_descent")]))
def test_standardised_advantages_have_unit_variance_or_none(rewards: list[list[float]], name: str) -> None:
    for members in rewards:
        found = np.array(advantages(plain(name).credit([group(*members)], 10)))
        assert (found**2).mean() == pytest.approx(1.0 if len(set(members)) > 1 else 0.0)


@given(some_groups, st.integers(-100, 100), st.sampled_from([*COMPARE_IN_GROUP, "reinforce"]))
def test_a_constant_added_to_all_rewards_changes_nothing(rewards: list[list[float]], shift: int, name: str) -> None:
    algorithm = plain(name)
    before = algorithm.credit([group(*r) for r in rewards], 10)
    after = algorithm.credit([group(*[x + shift for x in r]) for r in rewards], 10)
    assert advantages(after) == pytest.approx(advantages(before), abs=1e-9)


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=1, max_size=8), min_size=1, max_size=4),
    st.sampled_from(list(ALGORITHMS)),
    st.sampled_from([Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL]),
)
def test_ungraded_rollouts_influence_nobody(rewards: list[list[float]], name: str, verdict: Verdict) -> None:
    algorithm = build(name, {})
    marked = [group(*[ungraded(verdict) if math.isnan(x) else x for x in r]) for r in rewards]
    absent = [group(*[x for x in r if not math.isnan(x)]) for r in rewards]
    found, expected = algorithm.credit(marked, 10), algorithm.credit(absent, 10)
    assert [(c.advantage, c.weight) for c in found] == [(c.advantage, c.weight) for c in expected]
    assert all(c.rollout.graded for c in found)


@given(some_groups, st.sampled_from(list(ALGORITHMS)))
def test_credit_is_pure_and_keeps_the_order(rewards: list[list[float]], name: str) -> None:
    groups = [group(*r) for r in rewards]
    untouched = copy.deepcopy(groups)
    credits = build(name, {}).credit(groups, 4)
    assert [id(c.rollout) for c in credits] == [id(r) for g in groups for r in g.rollouts]
    assert [r.reward for g in groups for r in g.rollouts] == [r.reward for g in untouched for r in g.rollouts]


# ------------------------------------------------------------------------------------------- options and settings


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("grpo", {"kl_coef": 0.001, "reference_every": 400, "clip_low": 0.2, "clip_high": 0.2}),
        ("dr_grpo", {"kl_coef": 0.0, "clip_low": 0.2, "clip_high": 0.2}),
        ("dapo", {"kl_coef": 0.0, "clip_low": 0.2, "clip_high": 0.28, "dynamic_sampling": True, "overlong": "soft"}),
        ("gspo", {"kl_coef": 0.0, "clip_low": 3e-4, "clip_high": 4e-4}),
        ("cispo", {"kl_coef": 0.0, "weight_max": 5.0}),
        ("rloo", {"kl_coef": 0.0}),
        ("reinforce", {"kl_coef": 0.0, "baseline": "batch"}),
        ("ppo", {"kl_coef": 0.0, "clip_low": 0.2, "clip_high": 0.2, "gae_lambda": 1.0}),
        ("mirror_descent", {"kl_coef": 0.0, "baseline": "mean", "reset_optimizer": True}),
    ],
)
def test_defaults_are_the_published_ones(name: str, published: dict) -> None:
    settings = build(name, {}).settings()
    assert {key: settings[key] for key in published} == published


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("grpo", {"kind": "clip", "kl_coef": 0.001, "normalise": "sequence"}),
        ("dr_grpo", {"kind": "clip", "normalise": "constant"}),
        ("dapo", {"kind": "clip", "clip_high": 0.28, "normalise": "token"}),
        ("rloo", {"kind": "reinforce", "normalise": "constant"}),
        ("gspo", {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4, "normalise": "sequence"}),
        ("cispo", {"kind": "weight", "clip_high": 5.0, "normalise": "token"}),
        ("reinforce", {"kind": "reinforce", "normalise": "constant"}),
        ("mirror_descent", {"kind": "reinforce", "normalise": "constant", "tau": 0.1}),
        ("rest", {"kind": "reinforce", "normalise": "constant"}),
        ("ppo", {"kind": "clip", "normalise": "token"}),
    ],
)
def test_loss_specifications(name: str, spec: dict) -> None:
    assert build(name, {}).loss(256, 0.7) == LossSpec(**spec, max_tokens=256, temperature=0.7)


def test_settings_of_r1_can_be_said() -> None:
    # 400 updates between refreshes at 16 updates per step are 25 steps
    spec = build("grpo", {"clip_low": 10, "clip_high": 10, "kl_coef": 0.001, "reference_every": 25}).loss(32_768, 1.0)
    assert (spec.clip_low, spec.clip_high, spec.kl_coef) == (10, 10, 0.001)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_settings_survive_json_and_build(name: str) -> None:
    algorithm = build(name, {"overlong": "mask", "kl_coef": 0.5})
    assert build(name, json.loads(json.dumps(algorithm.settings()))) == algorithm


def test_needs_group() -> None:
    assert [n for n in ALGORITHMS if not build(n, {}).needs_group] == ["reinforce", "ppo"]
    assert build("reinforce", {"dynamic_sampling": True}).needs_group  # a lone response is all right or all wrong


def test_options_can_not_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        build("grpo", {}).kl_coef = 1.0


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("dapoo", {}, ["'dapoo'", "'dapo'"]),
        ("grpo", {"clip_hihg": 0.3}, ["grpo", "'clip_hihg'", "'clip_high'"]),
        ("rloo", {"baseline": "batch"}, ["rloo", "'baseline'"]),
        ("grpo", {"kl_coef": -1}, ["kl_coef=-1", "greater than or equal to 0"]),
        ("grpo", {"kl_coef": NAN}, ["kl_coef=nan"]),
        ("grpo", {"reference_every": -3}, ["reference_every=-3"]),
        ("dapo", {"refill_rounds": 0}, ["refill_rounds=0"]),
        ("dapo", {"overlong": "drop"}, ["overlong='drop'", "'mask'"]),
        ("ppo", {"zero_groups": "drop"}, ["zero_groups='drop'", "'keep'"]),
        ("dapo", {"overlong_buffer": 4096}, ["overlong_buffer=4096", "less than or equal to 1"]),
        ("cispo", {"weight_max": 0}, ["weight_max=0"]),
        ("reinforce", {"baseline": "group"}, ["baseline='group'", "'batch' or 'none'"]),
        ("mirror_descent", {"tau": 0}, ["tau=0", "greater than 0"]),
        ("mirror_descent", {"tau": -1.0}, ["tau=-1"]),
        ("mirror_descent", {"baseline": "median"}, ["baseline='median'", "'log_mean_exp'"]),
        ("mirror_descent", {"clip_high": 0.2}, ["mirror_descent", "'clip_high'"]),
        ("grpo", {"epochs": 0}, ["epochs=0"]),
        ("ppo", {"gae_lambda": 1.1}, ["gae_lambda=1.1", "less than or equal to 1"]),
        ("ppo", {"value_rate": 0}, ["value_rate=0"]),
        ("grpo", {"tau": 0.1}, ["grpo", "'tau'"]),
    ],
)
def test_impossible_options_are_told(name: str, options: dict, told: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        build(name, options)
    assert all(part in str(caught.value) for part in told), str(caught.value)
