"""The published loss of every algorithm, written out in plain loops over plain floats: what the learner's is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(kw_only=True)
class Sequence:
    """One response of a test: what the loss needs to know of it, in float64."""

    logp: np.ndarray
    old: np.ndarray
    ref: np.ndarray
    advantage: float = 0.0
    weight: float = 1.0
    reward: float = 0.0

    @classmethod
    def of(cls, logp: list[float], log_ratio: list[float], advantage: float = 1.0, weight: float = 1.0) -> Sequence:
        logps = np.array(logp, float)
        return cls(logp=logps, old=logps - np.array(log_ratio), ref=logps.copy(), advantage=advantage, weight=weight)


# Each `equation` takes groups of sequences (rewards, old and reference log-probs) and returns the LOSS by the paper,
# the sign turned, as plain loops over plain floats. `frozen` holds the log-probs that a stopped gradient sees.

Groups = list[list[Sequence]]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def std(values: list[float]) -> float:
    return math.sqrt(mean([(v - mean(values)) ** 2 for v in values]))


def clipped(ratio: float, low: float, high: float) -> float:
    return low if ratio < low else high if ratio > high else ratio


def grpo(groups: Groups, frozen: Groups, low: float = 0.2, high: float = 0.2, beta: float = 0.001) -> float:
    per_sequence = []
    for members in groups:
        rewards = [s.reward for s in members]
        for s in members:
            credit = (s.reward - mean(rewards)) / std(rewards)
            inner = 0.0
            for t in range(len(s.logp)):
                ratio = math.exp(s.logp[t]) / math.exp(s.old[t])
                back = math.exp(s.ref[t]) / math.exp(s.logp[t])
                surrogate = min(ratio * credit, clipped(ratio, 1 - low, 1 + high) * credit)
                inner += surrogate - beta * (back - math.log(back) - 1)
            per_sequence.append(inner / len(s.logp))
    return -mean(per_sequence)


def grpo_r1(groups: Groups, frozen: Groups) -> float:
    return grpo(groups, frozen, low=10, high=10, beta=0.001)


def dr_grpo(groups: Groups, frozen: Groups) -> float:
    total, count = 0.0, 0
    for members in groups:
        for s in members:
            credit = s.reward - mean([m.reward for m in members])
            for t in range(len(s.logp)):
                ratio = math.exp(s.logp[t] - s.old[t])
                total += min(ratio * credit, clipped(ratio, 0.8, 1.2) * credit)
            count += 1
    return -total / (count * MAX_TOKENS)


def dapo(groups: Groups, frozen: Groups) -> float:
    total, tokens = 0.0, 0
    cache = 0.2 * MAX_TOKENS
    for members in groups:
        right = [s.reward == 1 for s in members]
        if all(right) or not any(right):
            continue
        shaped = []
        for s in members:
            n = len(s.logp)
            punishment = 0.0 if n <= MAX_TOKENS - cache else (MAX_TOKENS - cache - n) / cache
            shaped.append(s.reward + 0.5 * punishment)
        for s, reward in zip(members, shaped, strict=True):
            credit = (reward - mean(shaped)) / std(shaped)
            for t in range(len(s.logp)):
                ratio = math.exp(s.logp[t] - s.old[t])
                total += min(ratio * credit, clipped(ratio, 1 - 0.2, 1 + 0.28) * credit)
            tokens += len(s.logp)
    return -total / tokens


def rloo(groups: Groups, frozen: Groups) -> float:
    per_sequence = []
    for members in groups:
        for i, s in enumerate(members):
            others = [m.reward for j, m in enumerate(members) if j != i]
            per_sequence.append((s.reward - mean(others)) * sum(s.logp))
    return -mean(per_sequence) / MAX_TOKENS


def gspo(groups: Groups, frozen: Groups) -> float:
    per_sequence = []
    for members in groups:
        rewards = [s.reward for s in members]
        for s in members:
            credit = (s.reward - mean(rewards)) / std(rewards)
            ratio = (math.exp(sum(s.logp)) / math.exp(sum(s.old))) ** (1 / len(s.logp))
            per_sequence.append(min(ratio * credit, clipped(ratio, 1 - 3e-4, 1 + 4e-4) * credit))
    return -mean(per_sequence)


def cispo(groups: Groups, frozen: Groups) -> float:
    total, tokens = 0.0, 0
    for members, still in zip(groups, frozen, strict=True):
        rewards = [s.reward for s in members]
        for s, stopped in zip(members, still, strict=True):
            credit = (s.reward - mean(rewards)) / std(rewards)
            for t in range(len(s.logp)):
                ratio = math.exp(stopped.logp[t] - s.old[t])
                total += (5.0 if ratio > 5.0 else ratio) * credit * s.logp[t]
            tokens += len(s.logp)
    return -total / tokens


def reinforce(groups: Groups, frozen: Groups) -> float:
    everyone = [s for members in groups for s in members]
    baseline = mean([s.reward for s in everyone])
    return -mean([(s.reward - baseline) * sum(s.logp) for s in everyone]) / MAX_TOKENS


def mirror_descent(groups: Groups, frozen: Groups, tau: float = 0.1) -> float:
    """Minus equation 3 of Kimi k1.5, integrated: its gradient is (r - mean) d log pi - tau/2 d (log pi / pi_i)^2."""
    per_sequence = []
    for members in groups:
        for s in members:
            credit = s.reward - mean([m.reward for m in members])
            whole, sampled = sum(s.logp), sum(s.old)
            per_sequence.append(credit * whole - tau / 2 * (whole - sampled) ** 2)
    return -mean(per_sequence) / MAX_TOKENS


def squared_regression(groups: Groups, frozen: Groups, tau: float = 0.5) -> float:
    """The surrogate before equation 3, (r - tau log Z - tau log(pi / pi_i))^2, over 2 tau; less what does not move."""
    per_sequence = []
    for members in groups:
        baseline = tau * math.log(mean([math.exp(m.reward / tau) for m in members]))
        for s, still in zip(members, [(m.reward, sum(m.old)) for m in members], strict=True):
            gap = still[0] - baseline
            whole = (gap - tau * (sum(s.logp) - still[1])) ** 2 / (2 * tau)
            per_sequence.append(whole - gap**2 / (2 * tau) - gap * still[1])
    return mean(per_sequence) / MAX_TOKENS


def rest(groups: Groups, frozen: Groups) -> float:
    total, count = 0.0, 0
    for members in groups:
        best = max(range(len(members)), key=lambda i: members[i].reward)
        if members[best].reward >= 0.5:
            total += sum(members[best].logp)
        count += len(members)
    return -total / (count * MAX_TOKENS)


MAX_TOKENS = 8
R1 = {"clip_low": 10, "clip_high": 10, "kl_coef": 0.001, "reference_every": 25}
EQUATIONS = [
    ("grpo", {}, grpo),
    ("grpo", R1, grpo_r1),
    ("dr_grpo", {}, dr_grpo),
    ("dapo", {}, dapo),
    ("rloo", {}, rloo),
    ("gspo", {}, gspo),
    ("cispo", {}, cispo),
    ("reinforce", {}, reinforce),
    ("mirror_descent", {}, mirror_descent),
    ("mirror_descent", {"tau": 0.5, "baseline": "log_mean_exp"}, squared_regression),
    ("rest", {}, rest),
]
