"""The numbers of a training step: from graded groups and update sums to the keys of metrics.jsonl."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from move37.report.estimators import STYLES, cons_at_k, thought_of
from move37.rewards import Weighted, style
from move37.rewards.combine import GradeReport
from move37.types import Credit, Group, Problem, Rollout, Stop, Verdict

DOMAINS = ("reasoning", "general", "safety")


def mix(seed: int, *parts: str | int) -> int:
    """A 63-bit seed of its own for every purpose and step."""
    text = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


class Clock:
    """Seconds by phase of one step."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def time(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[phase] += time.perf_counter() - started

    def seconds(self) -> dict[str, float]:
        return {f"seconds/{phase}": spent for phase, spent in self._spent.items()}

    def total(self) -> float:
        return sum(self._spent.values())


def mean(values: Sequence[float]) -> float:
    """NaN (null on disk) where there is nothing to average."""
    return float(np.mean(values)) if len(values) else float("nan")


def accuracy(rollouts: Sequence[Rollout]) -> float:
    """Share of RIGHT among the decided ones."""
    return mean([r.verdict is Verdict.RIGHT for r in rollouts if r.verdict is not Verdict.CANNOT_TELL])


def style_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Shares and accuracy of direct, step-by-step and checking responses, reflective words, behaviours, language."""
    by_style: dict[str, list[Rollout]] = {kind: [] for kind in STYLES}
    shown: Counter[str] = Counter()
    reflective, off, spoken = [], 0, 0
    for group in groups:
        asked = group.problem.meta.get("language")
        for rollout in group.rollouts:
            thought = thought_of(rollout)
            read = style.read(thought)
            by_style[read.kind].append(rollout)
            reflective.append(read.reflective)
            shown.update(style.shown(thought))
            language = style.language(thought)
            if asked and language:
                spoken += 1
                off += language != asked
    total = max(1, len(reflective))
    metrics = {f"style/{kind}": len(members) / total for kind, members in by_style.items()}
    metrics |= {f"accuracy/{kind}": accuracy(members) for kind, members in by_style.items()}
    metrics |= {f"behaviour/{kind}": shown[kind] / total for kind in style.BEHAVIOURS}
    metrics["behaviours"] = shown.total() / total  # different ones, per response
    return metrics | {"reflective": mean(reflective), "off_language": off / spoken if spoken else float("nan")}


def sample_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """What any set of graded groups tells: accuracy, lengths, ends, styles."""
    rollouts = [r for g in groups for r in g.rollouts]
    right = [r for r in rollouts if r.verdict is Verdict.RIGHT]
    wrong = [r for r in rollouts if r.verdict is Verdict.WRONG]
    return {
        "pass@1": accuracy(rollouts),
        "cannot_tell": mean([r.verdict is Verdict.CANNOT_TELL for r in rollouts]),
        "length": mean([r.length for r in rollouts]),
        "length/right": mean([r.length for r in right]),
        "length/wrong": mean([r.length for r in wrong]),
        "truncated": mean([r.truncated for r in rollouts]),
        "no_eos": mean([r.stop is not Stop.EOS for r in rollouts]),
        **style_metrics(groups),
    }


def task_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """The same by task, for the questions one asks by task."""
    metrics: dict[str, float] = {}
    for name, members in by_task(groups).items():
        rollouts = [r for g in members for r in g.rollouts]
        metrics |= {f"task/{name}/{key}": value for key, value in brief(rollouts).items()}
        metrics[f"task/{name}/checked"] = style_metrics(members)["style/checked"]
    return metrics


def domain(problem: Problem) -> str:
    """Which of R1's domains a problem is of. A task that names none, or a subject of its own, is of reasoning."""
    told = problem.meta.get("domain")
    return told if told in DOMAINS else "reasoning"


def domain_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """By domain: reasoning, general, safety."""
    by_domain: dict[str, list[Rollout]] = defaultdict(list)
    for group in groups:
        by_domain[domain(group.problem)] += group.rollouts
    found = {name: brief(members) for name, members in sorted(by_domain.items())}
    return {f"domain/{name}/{key}": value for name, told in found.items() for key, value in told.items()}


def brief(rollouts: Sequence[Rollout]) -> dict[str, float]:
    return {
        "reward": mean([r.reward for r in rollouts if r.graded]),
        "pass@1": accuracy(rollouts),
        "length": mean([r.length for r in rollouts]),
    }


def by_task(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """In order of names."""
    found: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        found[group.problem.task].append(group)
    return dict(sorted(found.items()))


def errors(groups: Sequence[Group]) -> dict[str, float]:
    """By task, the standard errors of mean reward and pass@1: over problems, because responses to one are not independent."""
    metrics: dict[str, float] = {}
    for name, members in by_task(groups).items():
        metrics[f"task/{name}/reward_se"] = standard_error([mean([r.reward for r in g.graded]) for g in members])
        metrics[f"task/{name}/pass@1_se"] = standard_error([accuracy(g.rollouts) for g in members])
    return metrics


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of the finite values; NaN for fewer than two."""
    told = np.array([value for value in values if np.isfinite(value)])
    return float(told.std(ddof=1) / np.sqrt(len(told))) if len(told) > 1 else float("nan")


def rl_metrics(
    groups: Sequence[Group], credits: Sequence[Credit], reports: Sequence[GradeReport], rewards: Sequence[Weighted]
) -> dict[str, Any]:
    """Everything of a step that is known before the update. A reward's mean is over the rollouts of the tasks it covers."""
    rollouts = [r for g in groups for r in g.rollouts]
    graded = [r for r in rollouts if r.graded]
    metrics: dict[str, Any] = {"tokens": sum(r.length for r in rollouts), "reward": mean([r.reward for r in graded])}
    for name in sorted({key for r in graded for key in r.scores}):
        scored = [w for w in rewards if w.name == name]
        mine = [r for r in graded if name in r.scores and (not scored or scored[0].covers(r.task))]
        metrics[f"reward/{name}"] = mean([r.scores[name].value for r in mine])
        if scored and scored[0].reward.verdict:
            metrics |= parting(mine, name)
    reasons = sum((report.reasons for report in reports), Counter[str]())
    metrics |= {f"error/{reason}": count for reason, count in sorted(reasons.items())}
    teaching = {id(c.rollout) for c in credits if c.advantage != 0 and c.weight != 0}
    metrics["advantage_abs"] = mean([abs(c.advantage) for c in credits])
    metrics["signal"] = mean([any(id(r) in teaching for r in g.rollouts) for g in groups])
    return metrics | sample_metrics(groups) | domain_metrics(groups) | task_metrics(groups)


def parting(rollouts: Sequence[Rollout], name: str) -> dict[str, float]:
    """Where a reward and the task's checker say otherwise, as shares of the responses that both have told.

    `paid_wrong`: the reward is above a half, the checker says wrong. `unpaid_right`: the other way round.
    """
    told = [r for r in rollouts if r.verdict is not Verdict.CANNOT_TELL and np.isfinite(r.scores[name].value)]
    paid = [(r.scores[name].value > 0.5, r.verdict is Verdict.RIGHT) for r in told]
    return {
        f"paid_wrong/{name}": mean([pays and not right for pays, right in paid]),
        f"unpaid_right/{name}": mean([right and not pays for pays, right in paid]),
    }


def distill_metrics(groups: Sequence[Group]) -> dict[str, Any]:
    """Everything of a step of distillation that is known before the update; reverse KL in nats per sampled token."""
    rollouts = [r for g in groups for r in g.rollouts]
    metrics: dict[str, Any] = {"tokens": sum(r.length for r in rollouts), "reverse_kl": reverse_kl(rollouts)}
    for name, members in by_task(groups).items():
        metrics[f"task/{name}/reverse_kl"] = reverse_kl([r for g in members for r in g.rollouts])
    return metrics | sample_metrics(groups) | domain_metrics(groups) | task_metrics(groups)


def reverse_kl(rollouts: Sequence[Rollout]) -> float:
    """The mean over all sampled tokens, from the mean of each response."""
    lengths = [r.length for r in rollouts]
    return float(np.average([r.scores["reverse_kl"].value for r in rollouts], weights=lengths))


def mismatch(sums: dict[str, float]) -> float:
    """Nats per token between what the sampler recorded and what the learner finds, on tokens of the same weights."""
    if "fresh_tokens" in sums:
        return sums["fresh_drift_sum"] / max(1.0, sums["fresh_tokens"])
    return sums.get("drift_sum", 0.0) / max(1.0, sums["tokens"])


def update_metrics(told: Sequence[dict[str, float]]) -> dict[str, float]:
    """The updates of one step as one: sums over tokens, then means. The mismatch is the first update's drift."""
    if not told:
        return {"loss": 0.0, "grad_norm": 0.0}
    tokens = max(1.0, sum(t["tokens"] for t in told))
    metrics = {
        "loss": mean([t["loss"] for t in told]),
        "grad_norm": mean([t["grad_norm"] for t in told]),
        "lr": told[-1]["lr"],
        "entropy": sum(t["entropy_sum"] for t in told) / tokens,
    }
    if "drift_sum" in told[0]:
        metrics["mismatch_kl"] = mismatch(told[0])
        metrics["clip_share"] = sum(t["clip_count"] for t in told) / tokens
        metrics["ratio_max"] = max(t["ratio_max"] for t in told)
    if "fresh_tokens" in told[0]:
        metrics["partial/drift"] = told[0]["drift_sum"] / max(1.0, told[0]["tokens"])
    if "kl_sum" in told[0]:
        metrics["kl"] = sum(t["kl_sum"] for t in told) / tokens
    if "squared_sum" in told[0]:
        last = told[-1]  # the furthest from the policy that sampled
        metrics["log_ratio_rms"] = (last["squared_sum"] / max(1.0, last["sequences"])) ** 0.5
    return metrics


def probe_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """A look at the fixed held-out problems."""
    samples = min(len(g.rollouts) for g in groups)
    votes = mean([cons_at_k(g.rollouts, samples) for g in groups])
    split = {**domain_metrics(groups), **task_metrics(groups), **errors(groups)}
    return {f"cons@{samples}": votes, **sample_metrics(groups), **split}


def no_signal(rollouts: Sequence[Rollout]) -> str:
    """Why a step taught nothing, most likely cause first."""
    if all(r.truncated for r in rollouts):
        return (
            "No response ended: no EOS and no stop string was ever sampled. Raise max_new_tokens, name a stop string, or "
            "check that the tokenizer's eos_token is the one the model was trained with."
        )
    undecided = [r for r in rollouts if r.verdict is Verdict.CANNOT_TELL]
    if len(undecided) == len(rollouts):
        return f"No response could be graded: {undecided[0].error}. Run `move37 check` on this recipe."
    ungraded = [r for r in rollouts if not r.graded]
    if len(ungraded) > len(rollouts) / 2:
        return f"{len(ungraded)} of {len(rollouts)} responses have no reward: {ungraded[0].error}."
    right = accuracy(rollouts)
    if right == 0:
        found = mean([r.final is not None for r in rollouts])
        hint = (
            "No answer was found in any response: does the template fit the model?"
            if found == 0
            else "The problems are too hard."
        )
        return (
            f"Every response was wrong. {hint} Try easier problems, more samples per prompt or a stronger base; "
            "`move37 check` tells pass@k."
        )
    if right == 1:
        return "Every response was right: there is nothing left to learn here. Use harder problems."
    return "Every group was all right or all wrong: use more samples per prompt, or problems between too easy and too hard."
