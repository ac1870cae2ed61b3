"""The loss the learner executes: numbers by hand, and each algorithm's published equation written out in loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equations import EQUATIONS, MAX_TOKENS, Groups, Sequence
from move37.algorithms import build
from move37.learner.loss import Streams, Totals, k3, merge, policy_loss
from move37.types import Credit, Group, LossSpec, Problem, Rollout, Stop, Verdict

LN2 = math.log(2)


def streams_of(sequences: list[Sequence], dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, Streams]:
    lengths = [len(s.logp) for s in sequences]

    def flat(values: list) -> torch.Tensor:
        return torch.tensor(np.concatenate(values) if values else [], dtype=dtype)

    return flat([s.logp for s in sequences]).requires_grad_(), Streams(
        weight=flat([np.full(n, s.weight) for s, n in zip(sequences, lengths, strict=True)]),
        sequence=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.int64)),
        lengths=torch.tensor(lengths, dtype=dtype),
        advantage=flat([np.full(n, s.advantage) for s, n in zip(sequences, lengths, strict=True)]),
        old=flat([s.old for s in sequences]),
        ref=flat([s.ref for s in sequences]),
    )


def totals_of(sequences: list[Sequence]) -> Totals:
    return Totals(sequences=sum(s.weight for s in sequences), tokens=sum(s.weight * len(s.logp) for s in sequences))


Found = tuple[float, np.ndarray, dict[str, float]]


def run(sequences: list[Sequence], spec: LossSpec, totals: Totals | None = None) -> Found:
    """Loss, gradient by the log-probs [M], metrics."""
    logp, streams = streams_of(sequences)
    loss, metrics = policy_loss(logp, streams, spec, totals or totals_of(sequences))
    loss.backward()
    return loss.item(), logp.grad.numpy(), merge([metrics])


# ----------------------------------------------------------------------------------------------- numbers by hand

# Ratios 1.5 and 1 with credit 1; ratio 0.5 with credit -1. With clip 0.2 on both sides the surrogates are
# min(1.5, 1.2) = 1.2, min(1, 1) = 1, min(-0.5, -0.8) = -0.8.
TWO = [Sequence.of([-1, -2], [math.log(1.5), 0]), Sequence.of([-3], [-LN2], advantage=-1.0)]


@pytest.mark.parametrize(
    ("spec", "loss", "gradient"),
    [
        # -(mean(1.2, 1) + -0.8) / 2 = -0.15; only the second token is not clipped: -(1 * 1) / 2 tokens / 2 sequences
        (LossSpec(normalise="sequence"), -0.15, [0, -0.25, 0]),
        # -(1.2 + 1 - 0.8) / 3
        (LossSpec(normalise="token"), -1.4 / 3, [0, -1 / 3, 0]),
        # -(1.2 + 1 - 0.8) / (2 sequences * 4)
        (LossSpec(normalise="constant", max_tokens=4), -0.175, [0, -0.125, 0]),
        # high bound 1.6: min(1.5, 1.6) = 1.5 is free again, its gradient is -1.5 / 3
        (LossSpec(normalise="token", clip_high=0.6), -1.7 / 3, [-0.5, -1 / 3, 0]),
        # R1's 10: bounds -9 and 11, nothing is clipped: -(1.5 + 1 - 0.5) / 3
        (LossSpec(normalise="token", clip_low=10, clip_high=10), -2 / 3, [-0.5, -1 / 3, 1 / 6]),
    ],
)
def test_clip_by_hand(spec: LossSpec, loss: float, gradient: list[float]) -> None:
    found, by_logp, _ = run(TWO, spec)
    assert found == pytest.approx(loss, abs=1e-12)
    assert by_logp == pytest.approx(gradient, abs=1e-12)


def test_the_clip_acts_on_one_side_only() -> None:
    # credit 1 at ratio 0.5: min(0.5, 0.8) = 0.5, free. Credit -1 at ratio 1.5: min(-1.5, -1.2) = -1.5, free.
    sequences = [Sequence.of([-1], [-LN2]), Sequence.of([-1], [math.log(1.5)], advantage=-1.0)]
    loss, gradient, metrics = run(sequences, LossSpec())
    assert loss == pytest.approx(-(0.5 - 1.5) / 2)
    assert gradient == pytest.approx([-0.25, 0.75])
    assert metrics["clip_count"] == 0


def test_metrics_by_hand() -> None:
    _, _, metrics = run(TWO, LossSpec())
    # k3 of old against new is r - 1 - log r: 0.5 - log 1.5, 0, -0.5 + log 2
    drift = (0.5 - math.log(1.5)) + (-0.5 + LN2)
    assert metrics == pytest.approx({"tokens": 3, "clip_count": 2, "ratio_max": 1.5, "drift_sum": drift})


def test_sequence_ratio_by_hand() -> None:
    # ratios 4 and 1: geometric mean 2 for both tokens. Wide clip: loss -2; d s / d logp_t = s / 2 -> -1 each
    wide = LossSpec(ratio="sequence", normalise="sequence", clip_low=5, clip_high=5)
    loss, gradient, metrics = run([Sequence.of([-1, -2], [2 * LN2, 0])], wide)
    assert loss == pytest.approx(-2)
    assert gradient == pytest.approx([-1, -1])
    assert metrics["ratio_max"] == pytest.approx(2)
    # clipped at 1.2 both tokens lose their gradient, and both count
    tight = LossSpec(ratio="sequence", normalise="sequence")
    loss, gradient, metrics = run([Sequence.of([-1, -2], [2 * LN2, 0])], tight)
    assert loss == pytest.approx(-1.2)
    assert gradient == pytest.approx([0, 0])
    assert metrics["clip_count"] == 2


def test_weight_by_hand() -> None:
    # ratios 8 and 0.5, largest weight 5, credit 1: -(5 * -1 + 0.5 * -2) / 2 = 3. The weights are constants, so
    # the gradient is -5/2 and -0.5/2: the capped token still learns, which is the point of the algorithm
    loss, gradient, metrics = run([Sequence.of([-1, -2], [3 * LN2, -LN2])], LossSpec(kind="weight", clip_high=5))
    assert loss == pytest.approx(3)
    assert gradient == pytest.approx([-2.5, -0.25])
    assert (metrics["clip_count"], metrics["ratio_max"]) == (1, pytest.approx(8))


def test_reinforce_and_cross_entropy_by_hand() -> None:
    sequences = [Sequence.of([-1, -2], [0, 0], advantage=2), Sequence.of([-4], [0], advantage=-1)]
    loss, gradient, metrics = run(sequences, LossSpec(kind="reinforce", normalise="constant", max_tokens=10))
    assert loss == pytest.approx((2 * 1 + 2 * 2 - 1 * 4) / 20)
    assert gradient == pytest.approx([-0.1, -0.1, 0.05])
    assert metrics == {"tokens": 3, "clip_count": 0, "ratio_max": 1, "drift_sum": 0}
    loss, gradient, _ = run(sequences, LossSpec(kind="cross_entropy"))  # credit plays no part: (1 + 2 + 4) / 3
    assert loss == pytest.approx(7 / 3)
    assert gradient == pytest.approx([-1 / 3] * 3)


def test_cross_entropy_needs_no_other_stream_and_weighs_tokens() -> None:
    # -(0.5 * -1 + 2 * -3) / 2.5
    one = torch.zeros(2, dtype=torch.int64)
    streams = Streams(weight=torch.tensor([0.5, 2.0]), sequence=one, lengths=torch.tensor([2.0]))
    totals = Totals(sequences=1, tokens=2.5)
    loss, _ = policy_loss(torch.tensor([-1.0, -3.0]), streams, LossSpec(kind="cross_entropy"), totals)
    assert loss.item() == pytest.approx(2.6)


def test_squared_by_hand() -> None:
    # numbers 1 and 3 against targets 2 and 2.5: (1/2 + 1/8) / 2; gradient (x - target) / 2
    sequences = [Sequence.of([1], [0], advantage=2), Sequence.of([3], [0], advantage=2.5)]
    loss, gradient, _ = run(sequences, LossSpec(kind="squared"))
    assert loss == pytest.approx(0.3125)
    assert gradient == pytest.approx([-0.5, 0.25])


def test_kl_by_hand() -> None:
    # pi_ref / pi = 2: k3 = 2 - log 2 - 1, its derivative by logp is 1 - 2 = -1. Credit 0 leaves the KL alone.
    sequence = Sequence(logp=np.array([-2.0]), old=np.array([-2.0]), ref=np.array([-2.0 + LN2]))
    loss, gradient, metrics = run([sequence], LossSpec(kl_coef=0.1))
    assert loss == pytest.approx(0.1 * (1 - LN2))
    assert gradient == pytest.approx([-0.1])
    assert metrics["kl_sum"] == pytest.approx(1 - LN2)


def test_squared_log_ratio_of_a_response_by_hand() -> None:
    # log ratios 0.5 and 0.1: of the response 0.6. With tau 2 and credit 1 over 2 responses x 10:
    # (-(-1 - 2) + 2/2 * 0.36) / 20 = 0.168; each token's gradient is (-1 + 2 * 0.6) / 20 = 0.01
    # the other: (-1 * 4 + 2/2 * 0.04) / 20 = -0.198, (1 + 2 * -0.2) / 20 = 0.03
    sequences = [Sequence.of([-1, -2], [0.5, 0.1]), Sequence.of([-4], [-0.2], advantage=-1)]
    spec = LossSpec(kind="reinforce", normalise="constant", max_tokens=10, tau=2)
    loss, gradient, metrics = run(sequences, spec)
    assert loss == pytest.approx(0.168 - 0.198)
    assert gradient == pytest.approx([0.01, 0.01, 0.03])
    assert (metrics["squared_sum"], metrics["sequences"]) == pytest.approx((0.36 + 0.04, 2))


# ---------------------------------------------------------------------------------- weights, types, extreme values


def test_weight_zero_is_as_good_as_absent() -> None:
    masked = Sequence.of([-1, -1], [3.0, 3.0], advantage=7.0, weight=0.0)
    for normalise in ("sequence", "token", "constant"):
        spec = LossSpec(normalise=normalise, max_tokens=5, kl_coef=0.1, tau=0.2)
        loss, gradient, metrics = run([*TWO, masked], spec)
        expected, expected_gradient, expected_metrics = run(TWO, spec)
        assert loss == pytest.approx(expected, abs=1e-15)
        assert gradient == pytest.approx([*expected_gradient, 0, 0], abs=1e-15)
        assert metrics == pytest.approx(expected_metrics)


def test_every_kind_reports_the_drift_from_the_sampler() -> None:
    for kind in ("clip", "weight", "reinforce", "cross_entropy"):
        metrics = run(TWO, LossSpec(kind=kind))[2]
        assert metrics["drift_sum"] == pytest.approx((0.5 - math.log(1.5)) + (-0.5 + LN2))
        assert metrics["ratio_max"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    "spec", [LossSpec(ratio=r, normalise=n, tau=0.7) for r in ("token", "sequence") for n in ("sequence", "token")]
)
def test_forced_tokens_within_a_sequence_play_no_part(spec: LossSpec) -> None:
    """A token the sampler did not choose has weight 0 and no log-prob of the sampler (old is 0)."""
    logp, streams = streams_of([Sequence.of([-1, -2], [0.1, -0.3])])
    loss, metrics = policy_loss(logp, streams, spec, Totals(sequences=1, tokens=2))
    with_forced, longer = streams_of([Sequence.of([-1, -9, -2], [0.1, -9.0, -0.3])])
    longer = replace(longer, weight=torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), lengths=streams.lengths)
    found, found_metrics = policy_loss(with_forced, longer, spec, Totals(sequences=1, tokens=2))
    loss.backward()
    found.backward()
    assert found.item() == pytest.approx(loss.item(), abs=1e-15)
    assert with_forced.grad.tolist() == pytest.approx([logp.grad[0].item(), 0, logp.grad[1].item()], abs=1e-15)
    assert merge([found_metrics]) == pytest.approx(merge([metrics]))


@pytest.mark.parametrize("normalise", ["sequence", "token", "constant"])
def test_nothing_to_learn_from_is_a_loss_of_zero(normalise: str) -> None:
    loss, gradient, _ = run([Sequence.of([-1, -2], [0.1, 0.2], weight=0.0)], LossSpec(normalise=normalise))
    assert loss == 0
    assert gradient.tolist() == [0, 0]


def test_an_empty_micro_batch() -> None:
    logp, streams = streams_of([])
    loss, metrics = policy_loss(logp, streams, LossSpec(), Totals(sequences=4, tokens=9))
    assert loss.item() == 0
    assert merge([metrics])["tokens"] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["clip", "weight", "reinforce", "cross_entropy"])
def test_dtype_is_kept(dtype: torch.dtype, kind: str) -> None:
    logp, streams = streams_of(TWO, dtype)
    loss, _ = policy_loss(logp, streams, LossSpec(kind=kind, kl_coef=0.1, ratio="sequence"), totals_of(TWO))
    loss.backward()
    assert loss.dtype == logp.grad.dtype == dtype
    assert loss.shape == ()


@pytest.mark.parametrize("gap", [-200.0, 200.0])
@pytest.mark.parametrize("kind", ["clip", "weight"])
def test_absurd_ratios_stay_finite(gap: float, kind: str) -> None:
    sequence = Sequence.of([-300.0], [gap], advantage=-1.0)
    sequence.ref = sequence.old
    logp, streams = streams_of([sequence], torch.float32)
    loss, metrics = policy_loss(logp, streams, LossSpec(kind=kind, kl_coef=0.1), totals_of([sequence]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert math.isfinite(logp.grad.item())
    assert all(math.isfinite(v) for v in merge([metrics]).values())


def test_our_own_mistakes_are_asserted() -> None:
    logp, streams = streams_of(TWO)
    for spec in (LossSpec(kind="ppo"), LossSpec(ratio="word"), LossSpec(normalise="batch")):  # type: ignore[arg-type]
        with pytest.raises(AssertionError):
            policy_loss(logp, streams, spec, totals_of(TWO))
    bare = Streams(weight=streams.weight, sequence=streams.sequence, lengths=streams.lengths)
    for spec in (LossSpec(), LossSpec(kind="reinforce"), LossSpec(kind="cross_entropy", kl_coef=0.1)):
        with pytest.raises(AssertionError, match="needs the stream"):
            policy_loss(logp, bare, spec, totals_of(TWO))


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_k3_is_never_negative(logp: float, other: float) -> None:
    found = k3(torch.tensor(logp), torch.tensor(other)).item()
    assert found >= -1e-6 * abs(other - logp)


def test_k3_keeps_small_differences_in_float32() -> None:
    # d = 1e-4: d^2 / 2 = 5e-9; exp(d) - d - 1 taken literally gives 0 or 1e-7 here
    assert k3(torch.zeros(1), torch.full((1,), 1e-4)).item() == pytest.approx(5e-9, rel=1e-2)


# ------------------------------------------------------------------------------------------------- micro-batches

SPECS = [
    LossSpec(kind=kind, ratio=ratio, normalise=normalise, kl_coef=0.05, max_tokens=7)
    for kind in ("clip", "weight", "reinforce", "cross_entropy")
    for ratio in ("token", "sequence")
    for normalise in ("sequence", "token", "constant")
]
SPECS.append(LossSpec(kind="reinforce", normalise="constant", tau=0.3, max_tokens=7))


def random_sequences(seed: int, count: int) -> list[Sequence]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        logp = -rng.exponential(1.0, rng.integers(1, 7))
        old, ref = (logp + rng.normal(0, 0.3, len(logp)) for _ in range(2))
        weight = float(rng.choice([1.0, 1.0, 0.0, 0.5]))
        made.append(Sequence(logp=logp, old=old, ref=ref, advantage=rng.normal(), weight=weight))
    return made


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from(SPECS), st.sets(st.integers(1, 7)))
def test_micro_batches_sum_to_the_whole(seed: int, spec: LossSpec, cuts: set[int]) -> None:
    sequences = random_sequences(seed, 8)
    totals = totals_of(sequences)
    loss, gradient, metrics = run(sequences, spec, totals)
    edges = [0, *sorted(cuts), len(sequences)]
    parts = [sequences[a:b] for a, b in pairwise(edges)]
    found, by_logp, merged = 0.0, [], []
    for part in parts:
        logp, streams = streams_of(part)
        part_loss, part_metrics = policy_loss(logp, streams, spec, totals)
        part_loss.backward()
        found += part_loss.item()
        by_logp.append(logp.grad.numpy())
        merged.append(part_metrics)
    assert found == pytest.approx(loss, abs=1e-12)
    assert np.concatenate(by_logp) == pytest.approx(gradient, abs=1e-12)
    assert merge(merged) == pytest.approx(metrics, abs=1e-12)


# ------------------------------------------------------------------------------------- the published equations


def random_groups(seed: int, spread: float) -> Groups:
    """Four groups of four; rewards differ in each but the last, which is all right but unequal in length."""
    rng = np.random.default_rng(seed)
    groups = []
    for rewards in ([1, 0, 0, 1], [0.2, 0, 1, 0], [0, 0, 0, 1], [1, 0.5, 1, 1]):
        members = []
        for reward in rewards:
            logp = -rng.exponential(1.0, rng.integers(1, MAX_TOKENS + 1))
            old, ref = (logp + rng.normal(0, spread, len(logp)) for _ in range(2))
            members.append(Sequence(logp=logp, old=old, ref=ref, reward=reward))
        groups.append(members)
    groups.append([Sequence(logp=-np.ones(n), old=-np.ones(n), ref=-np.ones(n), reward=1.0) for n in (2, MAX_TOKENS)])
    return groups


def rollout_of(s: Sequence, sample: int) -> Rollout:
    verdict = Verdict.RIGHT if s.reward == 1 else Verdict.WRONG
    ids, sampled = np.zeros(len(s.logp), np.int32), np.ones(len(s.logp), bool)
    arrays = {"token_ids": ids, "sampled": sampled, "logprobs": s.old, "sampling_logprobs": s.old}
    record = {"problem": "p", "task": "t", "sample": sample, "text": "", "stop": Stop.EOS, "version": 0}
    return Rollout(**record, **arrays, reward=s.reward, verdict=verdict)


def credits_of(groups: Groups, name: str, options: dict) -> list[Credit]:
    problem = Problem(id="p", task="t", question="?", answer="!")
    made = [Group(problem=problem, rollouts=[rollout_of(s, i) for i, s in enumerate(members)]) for members in groups]
    return build(name, options).credit(made, MAX_TOKENS)


def central_differences(equation: Callable[[Groups, Groups], float], groups: Groups) -> np.ndarray:
    """Gradient by every log-prob, in order; the error of the differences is about 1e-9."""
    frozen = [[Sequence(logp=s.logp.copy(), old=s.old, ref=s.ref, reward=s.reward) for s in g] for g in groups]
    step, slopes = 1e-6, []
    for s in (s for members in groups for s in members):
        for t in range(len(s.logp)):
            here = s.logp[t]
            s.logp[t] = here + step
            above = equation(groups, frozen)
            s.logp[t] = here - step
            slopes.append((above - equation(groups, frozen)) / (2 * step))
            s.logp[t] = here
    return np.array(slopes)


@pytest.mark.parametrize(("name", "options", "equation"), EQUATIONS, ids=[e[2].__name__ for e in EQUATIONS])
@pytest.mark.parametrize(("seed", "spread"), [(1, 0.05), (2, 0.5), (3, 1.5)])
def test_the_equation(name: str, options: dict, equation: Callable, seed: int, spread: float) -> None:
    """From rewards to gradient: credit, specification and loss against the paper, in float64."""
    groups = random_groups(seed, spread)
    if name not in ("dapo", "rloo", "reinforce", "dr_grpo"):
        groups.pop()  # equal rewards: 0 / 0 in the equations; ours is 0, see test_algorithms
    credits = credits_of(groups, name, options)
    sequences = [s for members in groups for s in members]
    for s, credit in zip(sequences, credits, strict=True):
        s.advantage, s.weight = credit.advantage, credit.weight
    loss, gradient, _ = run(sequences, build(name, options).loss(MAX_TOKENS, 1.0), Totals.of(credits))
    assert loss == pytest.approx(equation(groups, groups), abs=1e-12)
    assert gradient == pytest.approx(central_differences(equation, groups), abs=1e-7)
    assert np.abs(gradient).max() > 1e-3  # it is not zero against zero


def test_totals_of_credits() -> None:
    cases = [(3, 1.0), (5, 0.0), (2, 0.5)]
    rollouts = [rollout_of(Sequence.of([-1.0] * length, [0.0] * length), 0) for length, _ in cases]
    credits = [Credit(rollout=r, advantage=1.0, weight=w) for r, (_, w) in zip(rollouts, cases, strict=True)]
    assert Totals.of(credits) == Totals(sequences=1.5, tokens=4.0)  # 3 * 1 + 2 * 0.5
