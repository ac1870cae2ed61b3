"""Loops: a response that writes one block again and again will not come out of it, so it may end early."""

from __future__ import annotations

from collections.abc import Sequence

COPIES = 4  # whole copies of the block
EVERY = 16  # tokens between two looks at a response


def loops(tokens: Sequence[int], window: int) -> bool:
    """Whether the last `window` tokens are one block at least COPIES times over, whole or cut at either end.

    That is: they have a period p of at most window / COPIES, x[i] = x[i - p] for every i of the window that has an
    i - p in it. The smallest period is read off the failure function of Knuth, Morris and Pratt (1977), in O(window).

    Example:
        >>> loops([9, 1, 2, 1, 2, 1, 2, 1, 2], window=8), loops([1, 2, 1, 2, 1, 2, 1, 3], window=8)
        (True, False)
    """
    if len(tokens) < window:
        return False
    tail = list(tokens[-window:])
    fail, k = [0] * window, 0  # fail[i]: the longest proper prefix of tail[: i + 1] that is its suffix as well
    for i in range(1, window):
        while k and tail[i] != tail[k]:
            k = fail[k - 1]
        if tail[i] == tail[k]:
            k += 1
        fail[i] = k
    return COPIES * (window - k) <= window


def due(length: int) -> bool:
    """Whether a response of that many tokens is looked at: it depends on the response alone, not on its batch."""
    return length % EVERY == 0
