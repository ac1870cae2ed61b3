"""Preference rows that say shorter is better (Kimi k1.5, section 2.4): from the responses to one problem to pairs for DPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Written:
    """A response that ended: what it says, its length, whether it is right, and whether it passes the filters."""

    text: str
    tokens: int
    right: bool
    passes: bool


def pairs(responses: Sequence[Written], longer: float) -> list[tuple[Written, Written]]:
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
