"""Algorithms: how rewards become credit, and which loss the learner executes. No torch.

Example:
    >>> build("dapo", {"clip_high": 0.3}).clip_high
    0.3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import ValidationError

from move37.algorithms.base import Algorithm
from move37.algorithms.cispo import CISPO
from move37.algorithms.dapo import DAPO
from move37.algorithms.dr_grpo import DrGRPO
from move37.algorithms.grpo import GRPO
from move37.algorithms.gspo import GSPO
from move37.algorithms.reinforce import Reinforce
from move37.algorithms.rloo import RLOO
from move37.errors import RecipeError, nearest

__all__ = ["ALGORITHMS", "Algorithm", "build"]

ALGORITHMS: dict[str, type[Algorithm]] = {
    "grpo": GRPO,
    "dr_grpo": DrGRPO,
    "dapo": DAPO,
    "rloo": RLOO,
    "gspo": GSPO,
    "cispo": CISPO,
    "reinforce": Reinforce,
}


def build(name: str, options: Mapping[str, Any]) -> Algorithm:
    """The algorithm of that name with these options; the others keep their defaults.

    Raises:
        RecipeError: an unknown name or option (with the nearest valid one) or an impossible value.
    """
    if name not in ALGORITHMS:
        raise RecipeError(f"algorithm {name!r} is not known; {nearest(str(name), ALGORITHMS)}")
    kind = ALGORITHMS[name]
    valid = [f.name for f in fields(kind)]
    for option in options:
        if option not in valid:
            raise RecipeError(f"algorithm {name} has no option {option!r}; {nearest(str(option), valid)}")
    try:
        return kind(**options)
    except ValidationError as problem:
        found = [f"algorithm {name}: {e['loc'][-1]}={e['input']!r}: {e['msg']}" for e in problem.errors()]
        raise RecipeError("; ".join(found)) from None
