"""Algorithms: how rewards become credit, and which loss the learner executes. No torch.

Example:
    >>> build("dapo", {"clip_high": 0.3}).clip_high
    0.3
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from move37.algorithms.base import Algorithm
from move37.algorithms.cispo import CISPO
from move37.algorithms.dapo import DAPO
from move37.algorithms.dr_grpo import DrGRPO
from move37.algorithms.grpo import GRPO
from move37.algorithms.gspo import GSPO
from move37.algorithms.mirror_descent import MirrorDescent
from move37.algorithms.ppo import PPO
from move37.algorithms.reinforce import Reinforce
from move37.algorithms.rest import ReST
from move37.algorithms.rloo import RLOO
from move37.options import build as choose

__all__ = ["ALGORITHMS", "Algorithm", "build"]

ALGORITHMS: dict[str, type[Algorithm]] = {
    "grpo": GRPO,
    "dr_grpo": DrGRPO,
    "dapo": DAPO,
    "rloo": RLOO,
    "gspo": GSPO,
    "cispo": CISPO,
    "reinforce": Reinforce,
    "mirror_descent": MirrorDescent,
    "rest": ReST,
    "ppo": PPO,
}


def build(name: str, options: Mapping[str, Any]) -> Algorithm:
    """The algorithm of that name with these options; the others keep their defaults.

    Raises:
        RecipeError: an unknown name or option (with the nearest valid one) or an impossible value.
    """
    return choose("algorithm", ALGORITHMS, name, options)
