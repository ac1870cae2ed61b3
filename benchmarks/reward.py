"""The reward of `rl_step`: it costs nothing, and splits every group."""

from __future__ import annotations

from move37.types import Problem, Rollout


def parity(rollout: Rollout, problem: Problem) -> float:
    """1 for an odd number of characters."""
    return float(len(rollout.text) % 2)
