"""Rewards: what a response earns, each with a declared scope, options and a weight in the recipe.

Built in are those of REWARDS. Anything else is yours: `module:function`, or `path/to/file.py:function` relative to the
recipe file. See docs/rewards.md.

Example:
    >>> resolve("format", Path("recipe.yaml")).scope
    'response'
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37.errors import RecipeError, RewardError, nearest
from move37.options import build
from move37.rewards.accuracy import Accuracy
from move37.rewards.base import Each, Item, Reward
from move37.rewards.consistent import Language
from move37.rewards.form import Format
from move37.rewards.judge import JudgePair, JudgeReference, JudgeRubric
from move37.rewards.length import Cosine
from move37.rewards.readability import Readable
from move37.rewards.repetition import Repetition
from move37.rewards.user import UserReward, load, scope, scope_of

__all__ = ["REWARDS", "Each", "Item", "Reward", "UserReward", "Weighted", "resolve", "scope", "settings", "weighted"]

# One entry per built-in reward; nothing registers itself.
REWARDS: dict[str, type[Reward]] = {
    "accuracy": Accuracy,
    "format": Format,
    "language": Language,
    "readable": Readable,
    "cosine": Cosine,
    "repetition": Repetition,
    "judge_pair": JudgePair,
    "judge_reference": JudgeReference,
    "judge_rubric": JudgeRubric,
}


@dataclass(frozen=True, slots=True)
class Weighted:
    """One line of a recipe's `rewards`. Weight 0 scores and records without summing."""

    name: str
    weight: float
    reward: Reward


def settings(given: Mapping[str, Any], max_tokens: int | None = None) -> dict[str, dict[str, Any]]:
    """A recipe's `rewards` with every option visible: name -> {weight, options}. A bare number is a weight.

    Loads nothing of a user's: that is for `weighted`. An option `max_tokens` that is not given is the stage's.

    Raises:
        RecipeError: an unknown reward or option (with the nearest valid one), or an impossible weight or value.
    """
    found = {}
    for name, value in given.items():
        options = dict(value) if isinstance(value, Mapping) else {"weight": value}
        weight = options.pop("weight", None)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise RecipeError(f"reward {name}: give a weight, or {{weight: ..., and options}}; given: {value!r}")
        found[name] = {"weight": float(weight), **_options(name, options)}
        if "max_tokens" in found[name]:
            found[name]["max_tokens"] = found[name]["max_tokens"] or max_tokens
    return found


def _options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    if ":" not in name:
        _known(name)
        return build("reward", REWARDS, name, options).settings()
    if options:
        raise RecipeError(f"reward {name} is your own and has no option {next(iter(options))!r}; it takes a weight alone")
    return {}


def _known(name: str) -> None:
    if name not in REWARDS:
        near = nearest(name, REWARDS)
        raise RewardError(f"reward {name!r} is not known; {near} (or give module:function or file.py:function)")


def weighted(given: Mapping[str, Any], where: Path, deadline_s: float = 10.0) -> list[Weighted]:
    """The rewards a recipe names, built. `deadline_s` is for the user's own, per response.

    Raises:
        RecipeError, RewardError: as `settings` and `resolve` do; two rewards of one name.
    """
    found: dict[str, Weighted] = {}
    for key, value in settings(given).items():
        weight = value.pop("weight")
        reward = resolve(key, where, value)
        if isinstance(reward, UserReward):
            reward = dataclasses.replace(reward, deadline_s=deadline_s)
        name = key.rpartition(":")[2]
        if name in found:
            raise RewardError(f"two rewards are named {name!r}; rename one of the functions")
        found[name] = Weighted(name, weight, reward)
    return list(found.values())


def resolve(name: str, where: Path, options: Mapping[str, Any] | None = None) -> Reward:
    """The reward a recipe names. `where` is the recipe file or its directory; file paths are relative to it.

    Raises:
        RewardError: the name, file, module or function does not exist, does not load, or can not take two arguments.
        RecipeError: an option that it does not have, or an impossible value.
    """
    target, colon, function_name = name.rpartition(":")
    if not colon or not target or not function_name:
        _known(name)
        return build("reward", REWARDS, name, options or {})
    if function_name in REWARDS:
        raise RewardError(f"reward {name!r}: {function_name!r} is a built-in reward; give your function another name")
    if target.endswith(".py"):
        base = where if where.is_dir() else where.parent
        target = str((base / target).resolve())
    source = f"{target}:{function_name}"
    function = load(source)
    return UserReward(function=function, scope=scope_of(function), source=source)
