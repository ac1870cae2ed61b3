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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37.errors import RecipeError, RewardError, nearest
from move37.options import build
from move37.rewards.accuracy import Accuracy
from move37.rewards.base import Each, Item, Reward
from move37.rewards.behaviours import Behaviours
from move37.rewards.consistent import Language
from move37.rewards.judge import Judged, JudgePair, JudgeReference, JudgeRubric
from move37.rewards.length import Cosine, Length
from move37.rewards.modelled import Harmless, Helpful, Matches, Modelled
from move37.rewards.readability import Readable
from move37.rewards.reading import Format
from move37.rewards.repetition import Repetition
from move37.rewards.steps import Steps
from move37.rewards.user import DEADLINE_S, UserReward, load, scope, scope_of

__all__ = [
    "REWARDS",
    "Each",
    "Item",
    "Reward",
    "UserReward",
    "Weighted",
    "check_paid",
    "check_stage",
    "check_tasks",
    "judges",
    "models",
    "resolve",
    "scope",
    "settings",
    "weighted",
]

# One entry per built-in reward; nothing registers itself.
REWARDS: dict[str, type[Reward]] = {
    "accuracy": Accuracy,
    "format": Format,
    "language": Language,
    "readable": Readable,
    "cosine": Cosine,
    "length": Length,
    "repetition": Repetition,
    "steps": Steps,
    "behaviours": Behaviours,
    "judge_pair": JudgePair,
    "judge_reference": JudgeReference,
    "judge_rubric": JudgeRubric,
    "helpful": Helpful,
    "harmless": Harmless,
    "matches": Matches,
}


@dataclass(frozen=True, slots=True)
class Weighted:
    """One line of a recipe's `rewards`. Weight 0 scores and records without summing."""

    name: str
    weight: float
    reward: Reward
    tasks: tuple[str, ...] | None = None  # whose rollouts it scores; None: all
    from_step: int = 1  # the first step of RL in which it counts; before that it is only watched

    def covers(self, task: str) -> bool:
        return self.tasks is None or task in self.tasks

    def at(self, step: int) -> Weighted:
        """What it is in a step of RL."""
        return self if step >= self.from_step else dataclasses.replace(self, weight=0.0)


def settings(given: Mapping[str, Any], stage: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """A recipe's `rewards` with every option visible: name -> {weight, tasks, from_step, options}. A bare number is a weight.

    Loads nothing of a user's: that is for `weighted`. Options `max_tokens` and `reading` that are not given are the
    stage's, of which `stage` has the values.

    Raises:
        RecipeError: an unknown reward or option (with the nearest valid one), or an impossible weight or value.
    """
    found = {}
    for name, value in given.items():
        options = dict(value) if isinstance(value, Mapping) else {"weight": value}
        weight, tasks = options.pop("weight", None), options.pop("tasks", None)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise RecipeError(f"reward {name}: give a weight, or {{weight: ..., and options}}; given: {value!r}")
        if tasks is not None and not (isinstance(tasks, list) and tasks and all(isinstance(task, str) for task in tasks)):
            raise RecipeError(f"reward {name}: tasks={tasks!r} is no list of task names; leave it out for all tasks")
        from_step = options.pop("from_step", 1)
        if isinstance(from_step, bool) or not isinstance(from_step, int) or from_step < 1:
            raise RecipeError(f"reward {name}: from_step={from_step!r} is no step; 1 is the first")
        found[name] = {"weight": float(weight), "tasks": tasks, "from_step": from_step, **_options(name, options)}
        for key in ("max_tokens", "reading"):
            if key in found[name] and found[name][key] is None:
                found[name][key] = (stage or {}).get(key)
    return found


def _options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    if ":" not in name:
        _known(name)
        return build("reward", REWARDS, name, options).settings()
    deadline = options.pop("deadline_s", DEADLINE_S)
    if options:
        valid = "weight, tasks, from_step and deadline_s"
        raise RecipeError(f"reward {name} is your own and has no option {next(iter(options))!r}; it takes {valid}")
    if isinstance(deadline, bool) or not isinstance(deadline, int | float) or not 0 < deadline < math.inf:
        raise RecipeError(f"reward {name}: deadline_s={deadline!r} is no number of seconds above 0")
    return {"deadline_s": float(deadline)}


def check_tasks(given: Mapping[str, Mapping[str, Any]], drawn: Sequence[str]) -> None:
    """Whether the rewards of `settings` name only tasks that their stage draws.

    Raises:
        ValueError: a task that it does not draw; names the nearest.
    """
    for name, options in given.items():
        for task in options["tasks"] or []:
            if task not in drawn:
                raise ValueError(f"{name}.tasks names {task!r}, which is no task of this stage; {nearest(task, drawn)}")


def check_paid(given: Mapping[str, Mapping[str, Any]], drawn: Sequence[str]) -> None:
    """Whether every task that is drawn earns something, from the first step on.

    Raises:
        ValueError: a task that no reward of a weight other than 0 covers, or only one that sets in later.
    """
    for task in drawn:
        steps = [o["from_step"] for o in given.values() if o["weight"] and task in (o["tasks"] or drawn)]
        if not steps:
            raise ValueError(f"task {task} is drawn but no reward pays it; name it in a reward's `tasks`, or do not draw it")
        if min(steps) > 1:
            told = f"task {task} is drawn from step 1 on, but no reward pays it before step {min(steps)}"
            raise ValueError(f"{told}; leave from_step out of one of its rewards")


def check_stage(given: Mapping[str, Mapping[str, Any]], samples: int, steps: int) -> None:
    """Whether the rewards of `settings` can say anything in a stage of so many samples per problem and steps.

    Raises:
        ValueError: a reward that compares the members of a group of one, or one that would never count.
    """
    for name, options in given.items():
        if samples == 1 and name in REWARDS and REWARDS[name].needs_group:
            raise ValueError(f"{name} compares the responses to one problem: set samples_per_prompt to 2 or more")
        if options["from_step"] > steps:
            raise ValueError(f"{name}.from_step={options['from_step']}, but there are {steps} steps: it would never count")


def models(given: Mapping[str, Any]) -> dict[str, str]:
    """Reward -> the reward model it names, of a recipe's `rewards`."""
    modelled = {name for name, kind in REWARDS.items() if issubclass(kind, Modelled)}
    return {name: options["model"] for name, options in given.items() if name in modelled}


def judges(given: Mapping[str, Any]) -> dict[str, str]:
    """Reward -> the checkpoint that judges for it, of a recipe's `rewards`; endpoints have none."""
    judged = {name for name, kind in REWARDS.items() if issubclass(kind, Judged)}
    found = {name: options["judge"]["checkpoint"] for name, options in given.items() if name in judged}
    return {name: checkpoint for name, checkpoint in found.items() if checkpoint}


def _known(name: str) -> None:
    if name not in REWARDS:
        near = nearest(name, REWARDS)
        raise RewardError(f"reward {name!r} is not known; {near} (or give module:function or file.py:function)")


def weighted(given: Mapping[str, Any], where: Path) -> list[Weighted]:
    """The rewards a recipe names, built.

    Raises:
        RecipeError, RewardError: as `settings` and `resolve` do; two rewards of one name.
    """
    found: dict[str, Weighted] = {}
    for key, value in settings(given).items():
        weight, tasks, from_step = (value.pop(key) for key in ("weight", "tasks", "from_step"))
        reward = resolve(key, where, value)
        name = key.rpartition(":")[2]
        if name in found:
            raise RewardError(f"two rewards are named {name!r}; rename one of the functions")
        found[name] = Weighted(name, weight, reward, tuple(tasks) if tasks else None, from_step)
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
    return UserReward(function=function, scope=scope_of(function), source=source, **(options or {}))
