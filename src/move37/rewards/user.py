"""A user's reward: a plain function `(rollout, problem) -> Score | float`, loaded and called in a process of its own."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from move37.errors import RewardError, nearest
from move37.rewards.base import Item, Reward
from move37.rewards.worker import Outcome, Pool
from move37.types import Problem, Rollout, Scope, Score

Function = Callable[[Rollout, Problem], Score | float]
SCOPE_MARK = "move37_scope"
DEADLINE_S = 10.0  # per response, where a recipe says nothing
HANGS_LIMIT = 3  # items that may hang in one call of `scores`; the rest of that call is not tried


@dataclass(frozen=True, kw_only=True)
class UserReward(Reward):
    """`source` is `module:function` or `/absolute/file.py:function`; a response that takes longer than `deadline_s` hangs."""

    function: Function
    scope: Scope
    source: str
    deadline_s: float = DEADLINE_S

    def scores(self, items: Sequence[Item]) -> list[Score]:
        """After HANGS_LIMIT hangs the rest of the call counts as hung without a try.

        Raises:
            RewardError: it does not load in its process.
        """
        return [_outcome(o) for o in _pool(self.source).run(items, self.deadline_s, HANGS_LIMIT)]

    def settings(self) -> dict[str, Any]:
        return {}


def scope(part: Scope) -> Callable[[Function], Function]:
    """Declare what a reward may see: `@scope("thinking")`, `"answer"` or `"response"` (the default)."""
    if part not in get_args(Scope):
        raise RewardError(f"scope {part!r} is not known; {nearest(str(part), get_args(Scope))}")

    def mark(function: Function) -> Function:
        setattr(function, SCOPE_MARK, part)
        return function

    return mark


def scope_of(function: Function) -> Scope:
    return getattr(function, SCOPE_MARK, "response")


def load(source: str) -> Callable[..., Any]:
    """Import `module:function` or `file.py:function` and return the function.

    Raises:
        RewardError: naming what is missing and the nearest thing that is there.
    """
    target, _, name = source.rpartition(":")
    module = _load_file(Path(target)) if target.endswith(".py") else _load_module(target)
    function = getattr(module, name, None)
    if function is None:
        public = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise RewardError(f"reward {source!r}: {target} has no function {name!r}; {nearest(name, public)}")
    try:
        inspect.signature(function).bind("rollout", "problem")
    except (TypeError, ValueError) as problem:
        raise RewardError(f"reward {source!r} must be a function of (rollout, problem): {problem}") from None
    return function


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise RewardError(f"reward file {path} does not exist" + (f"; {nearest(path.name, near)}" if near else ""))
    name = f"move37_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as problem:
        raise RewardError(f"reward file {path} does not load: {type(problem).__name__}: {problem}") from problem
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as problem:
        hint = "; for a file, write path/to/file.py:function" if isinstance(problem, ModuleNotFoundError) else ""
        what = f"{type(problem).__name__}: {problem}{hint}"
        raise RewardError(f"reward module {name!r} does not load: {what}") from problem


def _outcome(outcome: Outcome) -> Score:
    """What a function returned, as a Score; anything but a Score or a finite number is nonsense, with a reason."""
    value = outcome.value
    if outcome.kind != "ok":
        return Score.cannot_tell(str(value), cause=outcome.kind)
    if isinstance(value, Score):
        return value
    if isinstance(value, int | float) and math.isfinite(value):
        return Score(value=float(value))
    return Score.cannot_tell(f"it returned {value!r:.80}, not a Score or a finite number", cause="nan")


@cache
def _pool(source: str) -> Pool:
    """One process per user reward, kept between steps."""
    return Pool(source, size=1)
