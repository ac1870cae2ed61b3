"""Which judged pairs make a data set of preferences: by margin, then by length. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from move37.rewards.judge import Pair
from move37.types import Rollout


def difference(pair: Pair) -> float | None:
    """The mean judgement of a pair, from 2 (the first is much better) to -2; None where an order can not be told.

    Arena-Hard's five verdicts count 2, 1, 0, -1 and -2. DeepSeek-R1 keeps differences above 1 and does not say what its
    verdicts count; these numbers are ours.
    """
    return None if pair.value is None else 4 * pair.value - 2


def drawn(rollouts: Sequence[Rollout], most: int, rng: np.random.Generator) -> list[tuple[Rollout, Rollout]]:
    """At most so many pairs of responses that ended and have different summaries, in random order and sides."""
    whole = [r for r in rollouts if r.answer is not None and not r.truncated]
    found = [(a, b) for a, b in itertools.combinations(whole, 2) if a.answer != b.answer]
    picked = rng.permutation(len(found))[:most]
    sides = rng.random(len(picked)) < 0.5
    return [found[i] if side else found[i][::-1] for i, side in zip(picked, sides, strict=True)]


def balanced(gaps: Sequence[float], allowed: float) -> list[int]:
    """Which pairs to keep, as places in order, so that the mean gap (chosen minus rejected length) is within +-allowed.

    As long as it is not, the pair goes that is furthest on the side of the excess, which drops few. Nothing is left where
    all pairs lie on one side, further out than allowed.

    >>> balanced([30, 2, -4, 10, 1], 1.0)
    [1, 2, 4]
    """
    order = sorted(range(len(gaps)), key=lambda place: (gaps[place], place))
    total, first, last = sum(gaps), 0, len(gaps)
    while first < last and abs(total) > allowed * (last - first):
        if total > 0:
            last -= 1
            total -= gaps[order[last]]
        else:
            total -= gaps[order[first]]
            first += 1
    return sorted(order[first:last])
