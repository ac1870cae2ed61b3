"""A reward of a user, loaded by its file path."""

from __future__ import annotations


def plain(rollout, problem):
    """Share of ASCII characters: responses of any random model differ in it."""
    return sum(c.isascii() for c in rollout.text) / max(1, len(rollout.text))
