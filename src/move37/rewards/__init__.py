"""Rewards: plain functions `(rollout, problem) -> Score | float` with a declared scope.

Built in are `accuracy` (the task's own verifier, on the answer alone) and `format` (the R1-Zero form). Anything else is
yours: `module:function`, or `path/to/file.py:function` relative to the recipe file. See docs/rewards.md.

Example:
    >>> resolve("format", Path("recipe.yaml")).scope
    'response'
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from move37.errors import RewardError, nearest
from move37.rewards import form
from move37.types import Problem, Rollout, Scope, Score

Function = Callable[[Rollout, Problem], Score | float]
SCOPE_MARK = "move37_scope"


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward by name. `source` tells a user's reward, which runs in a process of its own; empty for built-ins."""

    name: str
    function: Function | None  # None: the verifier of the rollout's task
    scope: Scope
    source: str = ""  # `module:function` or `/absolute/file.py:function`


# One entry per built-in reward; nothing registers itself.
REWARDS: dict[str, Reward] = {
    "accuracy": Reward("accuracy", None, "answer"),
    "format": Reward("format", form.reward, "response"),
}


def scope(part: Scope) -> Callable[[Function], Function]:
    """Declare what a reward may see: `@scope("thinking")`, `"answer"` or `"response"` (the default)."""
    if part not in get_args(Scope):
        raise RewardError(f"scope {part!r} is not known; {nearest(str(part), get_args(Scope))}")

    def mark(function: Function) -> Function:
        setattr(function, SCOPE_MARK, part)
        return function

    return mark


def resolve(name: str, where: Path) -> Reward:
    """The reward a recipe names. `where` is the recipe file or its directory; file paths are relative to it.

    Raises:
        RewardError: the name, file, module or function does not exist, does not load, or can not take two arguments.
    """
    if name in REWARDS:
        return REWARDS[name]
    target, colon, function_name = name.rpartition(":")
    if not colon or not target or not function_name:
        raise RewardError(
            f"reward {name!r} is not known; {nearest(name, REWARDS)} (or give module:function or file.py:function)"
        )
    if function_name in REWARDS:
        raise RewardError(f"reward {name!r}: {function_name!r} is a built-in reward; give your function another name")
    if target.endswith(".py"):
        base = where if where.is_dir() else where.parent
        target = str((base / target).resolve())
    function = load(f"{target}:{function_name}")
    return Reward(function_name, function, getattr(function, SCOPE_MARK, "response"), f"{target}:{function_name}")


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
