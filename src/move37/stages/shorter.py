"""Preference rows that say shorter is better (Kimi k1.5, section 2.4): from the responses to one problem to pairs for DPO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from move37 import shards
from move37.errors import NothingAccepted
from move37.stages import accepted, dataset
from move37.stages.dataset import Row
from move37.types import Problem, Verdict

if TYPE_CHECKING:
    from move37.stages.rejection import RejectionSampling


@dataclass(frozen=True, slots=True)
class Written:
    """A response that ended: what it says, its length, whether it is right, and whether it passes the filters."""

    text: str
    tokens: int
    right: bool
    passes: bool


Pair = tuple[Written, Written]  # chosen, rejected


def pairs(responses: Sequence[Written], longer: float) -> list[Pair]:
    """(chosen, rejected) of one problem, in the order of the rejected ones; none where nothing passes.

    Chosen is the shortest right response that passes. Rejected are the wrong ones that are longer than it, and the right ones
    of at least `longer` times its tokens, whether or not they pass. Of equal texts the first counts.

    Example:
        >>> short, long = Written("a", 10, True, True), Written("b", 15, True, True)
        >>> [(c.text, r.text) for c, r in pairs([long, short, Written("c", 14, True, True)], longer=1.5)]
        [('a', 'b')]
    """
    best = min((r for r in responses if r.passes), key=lambda r: r.tokens, default=None)
    if best is None:
        return []
    found: dict[str, Written] = {}
    for one in responses:
        if one.tokens >= longer * best.tokens if one.right else one.tokens > best.tokens:
            found.setdefault(one.text, one)
    found.pop(best.text, None)
    return [(best, one) for one in found.values()]


def collect(stage: RejectionSampling) -> tuple[list[Row], dict[str, Any]]:
    """The pairs of all problems, at most `keep_per_prompt` each, in the order of the data set; and their statistics.

    Deviation: a truncated response is never rejected. It has no end, and what would be learned is that it should end there.

    Raises:
        NothingAccepted: no problem has a short right response and a longer one.
    """
    problems: dict[tuple[str, str], Problem] = {}  # by id and wording: the responses answer that one
    written: dict[tuple[str, str], list[Written]] = defaultdict(list)
    for path in stage.log.shards().values():
        for group in shards.read(path):
            key = (group.problem.id, group.problem.question)
            problems[key] = group.problem
            written[key] += [
                Written(r.prefill + r.text, r.length, stage.verdict(r) is Verdict.RIGHT, stage.passes(r))
                for r in group.rollouts
                if not r.truncated and stage.verdict(r) is not Verdict.CANNOT_TELL
            ]
    kept = [(problems[key], *pair) for key, mine in written.items() for pair in _chosen(stage, key[0], mine)]
    if not kept:
        fix = "more samples per prompt, a higher temperature, or a lower `longer`"
        raise NothingAccepted(f"{stage.name}: no problem has a short right response and a longer one to reject; try {fix}")
    rows = [_row(stage.name, *one) for one in kept]
    return dataset.shuffled(rows, stage.context.recipe.seed, stage.name), _statistics(stage, rows)


def _chosen(stage: RejectionSampling, problem: str, written: Sequence[Written]) -> list[Pair]:
    found = pairs(written, stage.section.longer)
    if stage.section.choose == "shortest":
        found.sort(key=lambda pair: pair[1].tokens)
    else:
        order = dataset.random(stage.context.recipe.seed, stage.name, "keep", problem).permutation(len(found))
        found = [found[i] for i in order]
    return found[: stage.section.keep_per_prompt]


def _row(source: str, problem: Problem, chosen: Written, rejected: Written) -> Row:
    """`margin` is the difference of the verdicts: 1 above a wrong response, 0 above a right and longer one."""
    return {
        "prompt": problem.question,
        "chosen": chosen.text,
        "rejected": rejected.text,
        "margin": float(not rejected.right),
        "task": problem.task,
        "problem": problem.id,
        "chosen_tokens": chosen.tokens,
        "rejected_tokens": rejected.tokens,
        "source": source,
    }


def _statistics(stage: RejectionSampling, rows: Sequence[Row]) -> dict[str, Any]:
    tokens = {part: sum(row[f"{part}_tokens"] for row in rows) / len(rows) for part in ("chosen", "rejected")}
    wrong = sum(row["margin"] for row in rows)
    told = f"{len(rows)} pairs of {len({row['problem'] for row in rows})} problems: {tokens['chosen']:.1f} tokens above "
    return {
        "pairs": len(rows),
        "wrong": int(wrong),  # rejected for being wrong; the others for being long
        "tokens": tokens,
        "tasks": accepted.rates(stage.log.metrics()),
        "told": [f"{told}{tokens['rejected']:.1f}; {int(wrong)} rejected as wrong, {len(rows) - int(wrong)} as long"],
    }
