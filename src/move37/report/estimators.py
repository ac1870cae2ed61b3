"""Numbers from responses, with intervals. NumPy alone; every function is pure.

Sources:
    pass@k      Chen et al. 2021, "Evaluating Large Language Models Trained on Code", eq. 1: 1 - C(n-c, k) / C(n, k)
    cons@k      Wang et al. 2022, "Self-Consistency"; the cons@16 of DeepSeek-R1. Ties share the credit here.
    Wilson      Wilson 1927, score interval of a proportion
    bootstrap   Efron 1979, percentile method; problems are what is drawn again, not single responses, because
                responses to one problem are not independent

Responses that could not be graded (`Verdict.CANNOT_TELL`) enter no mean of verdicts; they are counted.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from move37.rewards import style
from move37.rewards.consistent import Language
from move37.rewards.readability import Readable
from move37.types import Group, Rollout, Verdict

KS = (1, 2, 4, 8, 16, 32, 64)
STYLES = ("direct", "steps", "checked")
SEED = 20250122  # of the bootstrap, so that the same responses always give the same interval
DRAWS = 2000
Interval = dict[str, float | None]  # value, low, high


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that at least one of k responses is right, from c right ones among n.

    Raises:
        ValueError: unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, not n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    # C(n-c, k) / C(n, k) as a product of k factors, which neither overflows nor cancels
    return 1.0 - float(np.prod((n - c - np.arange(k)) / (n - np.arange(k))))


def majority(answers: Sequence[str | None], right: Sequence[bool]) -> float:
    """Whether the most frequent answer is right: 1 or 0, and in between where answers tie.

    `None` (no answer) does not vote. Each of m tied answers gets 1/m of the credit. Should a verifier have judged
    equal answers differently, their share of right ones counts.
    """
    votes: dict[str, list[bool]] = defaultdict(list)
    for answer, ok in zip(answers, right, strict=True):
        if answer is not None:
            votes[answer].append(ok)
    if not votes:
        return 0.0
    most = max(len(v) for v in votes.values())
    first = [sum(v) / len(v) for v in votes.values() if len(v) == most]
    return sum(first) / len(first)


def cons_at_k(rollouts: Sequence[Rollout], k: int) -> float:
    """Majority vote over the first k responses to one problem; ungradable ones do not vote. In [0, 1].

    Answers vote together where their `vote` is the same (`stages/voting.py`), else where their texts are.
    """
    voters = [r for r in rollouts[:k] if r.verdict is not Verdict.CANNOT_TELL]
    return majority([r.vote or normalise(r.final) for r in voters], [r.verdict is Verdict.RIGHT for r in voters])


def normalise(answer: str | None) -> str | None:
    """Equal for equal votes: case, white space, a final stop, thousands commas and the `.0` of 7.0 do not count."""
    if answer is None:
        return None
    text = " ".join(answer.split()).rstrip(".").casefold().strip("$ ")
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", plain):
        value = float(plain)
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return text or None


def wilson(right: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95% score interval of the proportion right / n; (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    p = right / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(numerators: np.ndarray, denominators: np.ndarray, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """95% percentile intervals of sum(numerator) / sum(denominator) over problems drawn with replacement.

    Args:
        numerators, denominators: [problems, metrics] float; a problem that says nothing of a metric has 0 in both.

    Returns:
        [metrics, 2] float: low and high; NaN for a metric without a denominator.
    """
    problems, metrics = numerators.shape
    if problems == 0:
        return np.full((metrics, 2), np.nan)
    generator = np.random.Generator(np.random.Philox(seed))
    weights = generator.multinomial(problems, np.full(problems, 1 / problems), size=draws).astype(np.float64)
    above, below = weights @ numerators, weights @ denominators
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(below > 0, above / below, np.nan)
    out = np.full((metrics, 2), np.nan)
    seen = ~np.isnan(values).all(axis=0)
    if seen.any():
        out[seen] = np.nanpercentile(values[:, seen], [2.5, 97.5], axis=0).T
    return out


LANGUAGE, READABLE = Language(), Readable()  # as rewards and filters count, whatever a recipe sets
COUNTED = frozenset({"length", "length/right", "reflective", "tokens", "search/tokens", "search/responses"})
SIGNED = frozenset({"search/gain"})  # every other metric is a share


@dataclass(frozen=True, slots=True)
class Ratio:
    """One problem's part of a metric: the metric is the sum of `above` over the sum of `below`, over problems."""

    above: float = 0.0
    below: float = 0.0


@dataclass(frozen=True, slots=True)
class Searched:
    """What a tree search made of one problem."""

    group: Group  # the responses that it finished
    tokens: int  # sampled in all: a beginning that several responses share counts once, what was cut counts too


def summarise(sampled: list[Group], greedy: list[Group], searched: Sequence[Searched] = ()) -> dict[str, Any]:
    """All metrics of an evaluation, overall and by task, each `{"value", "low", "high"}`; and accuracy by style.

    Args:
        sampled: n responses per problem. Majority metrics use the first k of each problem.
        greedy: one response per problem, or empty.
        searched: a tree search per problem, or empty. It gives `search` (the vote of what it finished is right), `search/gain`
            (that less cons@n of the n samples, problem by problem), `cons/steps` (the vote of those samples that have two
            lines or more: a tree extends no others), `search/tokens` and `tokens` (sampled tokens a problem took, of the
            tree and of the samples) and `search/responses` (finished ones a problem).

    Returns:
        `{"problems", "samples", "cannot_tell", "overall", "tasks", "styles"}`. `overall` pools all problems, so a task
        counts by its problems. A metric that nothing speaks of has None for its three numbers.
    """
    names = sorted({g.problem.task for g in [*sampled, *greedy]})
    rollouts = [r for g in sampled for r in g.rollouts]
    trees = {(one.group.problem.task, one.group.problem.id): one for one in searched}
    parts = [_problem(g) | _search(g, trees.get((g.problem.task, g.problem.id))) for g in sampled]
    by_task: dict[str, list[dict[str, Ratio]]] = {name: [] for name in names}
    for group, part in zip(sampled, parts, strict=True):
        by_task[group.problem.task].append(part)
    return {
        "problems": len(sampled),
        "samples": max((len(g.rollouts) for g in sampled), default=0),
        "cannot_tell": sum(r.verdict is Verdict.CANNOT_TELL for r in rollouts),
        "overall": _metrics(parts, greedy),
        "tasks": {name: _metrics(mine, [g for g in greedy if g.problem.task == name]) for name, mine in by_task.items()},
        "styles": by_style(rollouts),
    }


def paired(before: list[Group], after: list[Group]) -> dict[str, Any]:
    """How much the same problems changed: after minus before, with intervals over problems.

    Pairing takes the difference between problems out of the interval, so it is narrower than two separate ones.
    Problems that only one side has are left out; `problems` says how many are left.
    """
    first = {g.problem.id: _right(g) for g in before}
    pairs = [(first[g.problem.id], _right(g)) for g in after if g.problem.id in first]
    out: dict[str, Any] = {"problems": len(pairs)}
    for key in ("pass@1", "cons@16"):
        change = np.array([[b[key].above - a[key].above] for a, b in pairs if key in a and key in b]).reshape(-1, 1)
        if len(change):
            out[key] = _interval(float(change.mean()), *bootstrap(change, np.ones_like(change))[0])
    return out


def by_style(rollouts: Iterable[Rollout]) -> dict[str, dict[str, float | None]]:
    """Share and accuracy of direct, step-by-step and checked responses."""
    kinds: dict[str, list[Rollout]] = {kind: [] for kind in STYLES}
    for rollout in rollouts:
        kinds[read_style(rollout).kind].append(rollout)
    total = sum(len(found) for found in kinds.values())
    return {
        kind: {"share": len(found) / total if total else None, "accuracy": accuracy(found)}
        for kind, found in kinds.items()
    }


def accuracy(rollouts: Iterable[Rollout]) -> float | None:
    """Share of RIGHT among the decided; None where none is decided."""
    counts = Counter(r.verdict for r in rollouts)
    decided = counts[Verdict.RIGHT] + counts[Verdict.WRONG]
    return counts[Verdict.RIGHT] / decided if decided else None


def read_style(rollout: Rollout) -> style.Style:
    return style.read(thought_of(rollout))


def thought_of(rollout: Rollout) -> str:
    """What styles and behaviours are read from: the thinking of a response, or its whole text where it has none."""
    return rollout.text if rollout.thinking is None else rollout.thinking


def lenient(rollout: Rollout, gold: str) -> bool:
    """Whether the response says the gold answer where an answer may stand, tags or not.

    Looked at: what follows the last `<answer>`, the last `\\boxed{...}`, the last number, the last line. It compares
    text with text, so for a task with several right answers it is a lower bound (RIGHT ones always count).
    """
    if rollout.verdict is Verdict.RIGHT:
        return True
    wanted = normalise(gold)
    return wanted is not None and any(normalise(text) == wanted for text in _places(rollout.text))


def _places(text: str) -> list[str]:
    places = []
    if "<answer>" in text:
        places.append(text.rpartition("<answer>")[2].partition("</answer>")[0])
    bare = re.sub(r"</?(?:think|answer)>", "\n", text)
    places += re.findall(r"\\boxed\{([^{}]*)\}", bare)[-1:]
    places += re.findall(r"[+-]?\d[\d,]*(?:\.\d+)?", bare)[-1:]
    places += [line for line in bare.splitlines() if line.strip()][-1:]
    return places


def _metrics(parts: Sequence[Mapping[str, Ratio]], greedy: Sequence[Group]) -> dict[str, Interval]:
    """From each problem's part of every metric, and the greedy responses."""
    keys = list(dict.fromkeys(key for part in parts for key in part))
    above = np.array([[part.get(key, Ratio()).above for key in keys] for part in parts]).reshape(len(parts), len(keys))
    below = np.array([[part.get(key, Ratio()).below for key in keys] for part in parts]).reshape(len(parts), len(keys))
    intervals = bootstrap(above, below)
    out: dict[str, Interval] = {}
    for index, key in enumerate(keys):
        total = below[:, index].sum()
        value = above[:, index].sum() / total if total > 0 else math.nan
        low, high = intervals[index]
        if low == high and key not in COUNTED | SIGNED:  # all problems alike: a bootstrap would claim to be certain
            low, high = wilson(value * len(parts), len(parts))
        out[key] = _interval(value, low, high)
    decided = [r for g in greedy for r in g.rollouts if r.verdict is not Verdict.CANNOT_TELL]
    if decided:
        right = sum(r.verdict is Verdict.RIGHT for r in decided)
        out["pass@1_greedy"] = _interval(right / len(decided), *wilson(right, len(decided)))
    return out


def _problem(group: Group) -> dict[str, Ratio]:
    """One problem's part of every metric of sampled responses."""
    rollouts = group.rollouts
    decided = [r for r in rollouts if r.verdict is not Verdict.CANNOT_TELL]
    right = [r for r in decided if r.verdict is Verdict.RIGHT]
    n = len(rollouts)
    out = _right(group)
    out["length"] = Ratio(sum(r.length for r in rollouts), n)
    out["length/right"] = Ratio(sum(r.length for r in right), len(right))
    out["extraction"] = Ratio(sum(r.final is not None for r in rollouts), n)
    out["truncated"] = Ratio(sum(r.truncated for r in rollouts), n)
    out["lenient"] = Ratio(sum(lenient(r, group.problem.answer) for r in decided), len(decided))
    return out | _ways(rollouts) | _languages(group)


def _right(group: Group) -> dict[str, Ratio]:
    """pass@k and cons@k of one problem, as far as its responses allow."""
    rollouts = group.rollouts
    decided = [r for r in rollouts if r.verdict is not Verdict.CANNOT_TELL]
    right = sum(r.verdict is Verdict.RIGHT for r in decided)
    passed = {f"pass@{k}": Ratio(pass_at_k(len(decided), right, k), 1) for k in KS if k <= len(decided)}
    return passed | {f"cons@{k}": Ratio(cons_at_k(rollouts, k), 1) for k in KS[1:] if k <= len(rollouts) and decided}


def _ways(rollouts: Sequence[Rollout]) -> dict[str, Ratio]:
    """How the thoughts go: shares of the three styles and of each behaviour, and reflective words per response."""
    n = len(rollouts)
    styles = [read_style(r) for r in rollouts]
    shown = Counter(kind for r in rollouts for kind in style.shown(thought_of(r)))
    return {
        **{f"style/{kind}": Ratio(sum(s.kind == kind for s in styles), n) for kind in STYLES},
        "reflective": Ratio(sum(s.reflective for s in styles), n),
        **{f"behaviour/{kind}": Ratio(shown[kind], n) for kind in style.BEHAVIOURS},
    }


def _search(group: Group, tree: Searched | None) -> dict[str, Ratio]:
    """One problem's part of what a tree search is measured by; nothing where there was none."""
    if tree is None:
        return {}
    voted, found = len(group.rollouts), tree.group.rollouts
    vote = cons_at_k(found, len(found))
    stepped = [r for r in group.rollouts if "\n" in r.text]
    return {
        "search": Ratio(vote, 1),
        "search/gain": Ratio(vote - cons_at_k(group.rollouts, voted), 1),
        "cons/steps": Ratio(cons_at_k(stepped, len(stepped)), 1),
        "search/tokens": Ratio(tree.tokens, 1),
        "search/responses": Ratio(len(found), 1),
        "tokens": Ratio(sum(r.length for r in group.rollouts), 1),
    }


def _languages(group: Group) -> dict[str, Ratio]:
    """In which language the thoughts are, over those that have words; and how many are readable, over all thoughts.

    `language` is the mean share of words in the question's language; `language/other` are thoughts without one such word,
    `language/mixed` those with words of both kinds.
    """
    thoughts = [r.view("thinking") for r in group.rollouts if r.thinking]
    shares = [LANGUAGE.score(r, group.problem) for r in thoughts]
    worded = [s.value for s in shares if s.parts["words"]]
    return {
        "language": Ratio(sum(worded), len(worded)),
        "language/other": Ratio(sum(v == 0 for v in worded), len(worded)),
        "language/mixed": Ratio(sum(0 < v < 1 for v in worded), len(worded)),
        "readable": Ratio(sum(READABLE.score(r, group.problem).value for r in thoughts), len(thoughts)),
    }


def _interval(value: float, low: float, high: float) -> Interval:
    return {
        key: None if math.isnan(number) else round(float(number), 6)
        for key, number in {"value": value, "low": low, "high": high}.items()
    }
