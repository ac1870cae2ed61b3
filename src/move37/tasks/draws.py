"""Ways to draw problems for RL: uniform, from easy to hard, or those first that are not solved yet.

Kimi k1.5 (arXiv 2501.12599), section 2.3.4. Each kind is a set of options, and makes a `Curriculum`.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from move37.errors import TaskError
from move37.options import STRICT
from move37.tasks.base import Task
from move37.tasks.curriculum import Curriculum
from move37.tasks.pool import Entry, Pool
from move37.types import Group, Problem, Verdict

Level = list[str] | list[float]  # names of tasks, or the lowest and highest pass rate


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Draw(ABC):
    """Base of all kinds; the fields are the options of the recipe's `draw`."""

    problems: str | None = None  # a `curate` stage, or its data: only these problems are drawn

    @abstractmethod
    def make(self, tasks: Mapping[str, Task], seed: int, pool: Pool | None, least: int) -> Curriculum:
        """What draws, of `tasks` and (where given) of `pool` alone, `least` problems a step or more.

        Raises:
            TaskError: a level without problems; fewer problems than a step needs, where none comes twice in a step.
        """

    def names(self) -> list[str]:
        """The tasks it names."""
        return []

    def settings(self) -> dict[str, Any]:
        """Every option with its value, JSON-able."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Uniform(Draw):
    """By the weights of the tasks, and within a task every problem as likely as any other."""

    def make(self, tasks: Mapping[str, Task], seed: int, pool: Pool | None, least: int) -> Curriculum:
        return Curriculum(tasks, seed, pool)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Levels(Draw):
    """One level after the other: easy problems first, then hard ones (k1.5's curriculum sampling).

    The paper declares no levels; its ablation (Figure 9) warms up on a uniform mix and goes on with hard problems alone from
    iteration 24: `levels: [[0, 1], [0, 0.5]]`, `at: [24]`. Within a level, as `uniform`.
    """

    levels: list[Level]  # each: names of tasks; or [lowest, highest] pass rate, both included, of `problems`
    at: list[Annotated[int, Field(gt=1)]]  # the first step of every level after the first

    @field_validator("levels")
    @classmethod
    def _bands(cls, value: list[Level]) -> list[Level]:
        if not value:
            raise ValueError("there is no level")
        for number, level in enumerate(value, 1):
            if not level:
                raise ValueError(f"level {number} is empty; name tasks, or give the lowest and highest pass rate")
            if not _by_name(level) and (len(level) != 2 or not 0 <= level[0] <= level[1] <= 1):
                raise ValueError(f"level {number}: {level} must be the lowest and the highest pass rate, within 0 and 1")
        return value

    @model_validator(mode="after")
    def _steps(self) -> Levels:
        if len(self.at) != len(self.levels) - 1 or any(b <= a for a, b in itertools.pairwise(self.at)):
            raise ValueError(
                f"at={self.at} must be the ascending first steps of all {len(self.levels)} levels but the first: "
                f"{len(self.levels) - 1} of them"
            )
        if self.problems is None and not all(map(_by_name, self.levels)):
            raise ValueError("levels by pass rate need `problems`: a curate stage, which measures them")
        return self

    def names(self) -> list[str]:
        return [str(name) for level in self.levels if _by_name(level) for name in level]

    def make(self, tasks: Mapping[str, Task], seed: int, pool: Pool | None, least: int) -> Curriculum:
        return LevelCurriculum(tasks, seed, pool, self.levels, self.at)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Prioritised(Draw):
    """With chance proportional to 1 - s_i, s_i being the success rate of problem i so far (k1.5's prioritised sampling).

    The paper does not say over what s_i is taken nor where it starts; here over all decided responses of the stage, and
    before the first from what `problems` tells, else 0. Tasks of unlike weight: see `PriorityCurriculum`.
    """

    pool: Annotated[int, Field(gt=0)] = 256  # problems of a task that never ends, where `problems` names none

    def make(self, tasks: Mapping[str, Task], seed: int, pool: Pool | None, least: int) -> Curriculum:
        found = pool if pool is not None else {name: first(task, self.pool) for name, task in tasks.items()}
        return PriorityCurriculum(tasks, seed, found, least)


# One entry per kind; nothing registers itself.
DRAWS: dict[str, type[Draw]] = {"uniform": Uniform, "curriculum": Levels, "prioritised": Prioritised}


class LevelCurriculum(Curriculum):
    """Draws from one level of tasks or of pass rates at a time."""

    def __init__(
        self, tasks: Mapping[str, Task], seed: int, pool: Pool | None, levels: Sequence[Level], at: Sequence[int]
    ) -> None:
        super().__init__(tasks, seed, pool)
        self.levels, self.at = levels, at
        for number, first_step in enumerate([1, *at], 1):
            if not self.open(first_step):
                of = "these tasks" if _by_name(levels[number - 1]) else f"pass rates of {levels[number - 1]}"
                raise TaskError(f"draw.levels: level {number} has no problem to draw ({of}); widen it, or leave it out")

    def level(self, step: int) -> int:
        """0, 1, ...: the level of a step."""
        return bisect.bisect_right(self.at, step)

    def open(self, step: int) -> dict[str, float]:
        shares = super().open(step)
        level = self.levels[self.level(step)]
        if _by_name(level):
            return {name: weight for name, weight in shares.items() if name in level}
        assert self.pool is not None
        return {name: w for name, w in shares.items() if any(self.accepts(step, e) for e in self.pool[name])}

    def accepts(self, step: int, entry: Entry) -> bool:
        level = self.levels[self.level(step)]
        return _by_name(level) or (entry.pass_rate is not None and level[0] <= entry.pass_rate <= level[1])

    def metrics(self, step: int, groups: Sequence[Group]) -> dict[str, float]:
        return super().metrics(step, groups) | {"drawn/level": float(self.level(step) + 1)}


class PriorityCurriculum(Curriculum):
    """Draws without replacement within a step, with chances proportional to (task weight / its problems) (1 - s_i).

    With one task that is 1 - s_i; with several, each keeps its weight as long as its problems are equally unsolved. Solved
    problems (s_i = 1) come only where there is nothing else left to fill a step.
    """

    def __init__(self, tasks: Mapping[str, Task], seed: int, pool: Pool, least: int) -> None:
        super().__init__(tasks, seed, pool)
        self._entries = [(name, entry) for name in self.open(1) for entry in pool[name]]
        if len(self._entries) < least:
            raise TaskError(
                f"draw: {len(self._entries)} problems are not enough for the {least} of a step; "
                "raise draw.pool, give more problems, or lower prompts_per_step"
            )
        self._seen: dict[str, list[int]] = {}  # problem -> right and decided responses
        self._taken: list[str] = []  # problems of the step at hand

    def success(self, entry: Entry) -> float:
        """s_i."""
        right, decided = self._seen.get(entry.problem, (0, 0))
        return right / decided if decided else entry.pass_rate or 0.0

    def expected(self, problem: Problem) -> float:
        name, index = self.place(problem)
        assert self.pool is not None
        return self.success(next(e for e in self.pool[name] if e.index == index))

    def draw(self, step: int, n: int) -> list[Problem]:
        if step != self._step:
            self._taken = []
        rng = self._rng(step)
        assert self.pool is not None
        weights = np.array([self.tasks[t].weight / len(self.pool[t]) * (1 - self.success(e)) for t, e in self._entries])
        weights[[e.problem in self._taken for _, e in self._entries]] = np.nan
        picked = [self._entries[i] for i in weighted(weights, n, rng)]
        self._taken += [entry.problem for _, entry in picked]
        return [self.problem_at(name, entry.index) for name, entry in picked]

    def observe(self, groups: list[Group]) -> None:
        super().observe(groups)
        for group in groups:
            seen = self._seen.setdefault(group.problem.id, [0, 0])
            for rollout in group.rollouts:
                seen[0] += rollout.verdict is Verdict.RIGHT
                seen[1] += rollout.verdict is not Verdict.CANNOT_TELL

    def state(self) -> dict[str, Any]:
        return super().state() | {"seen": {k: list(v) for k, v in self._seen.items()}, "taken": list(self._taken)}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._seen = {k: list(v) for k, v in state["seen"].items()}
        self._taken = list(state["taken"])


def weighted(weights: np.ndarray, n: int, rng: np.random.Generator) -> list[int]:
    """Up to `n` different indices, one after the other, each with chance proportional to the weights of what is left.

    The largest u^(1/w), u uniform (Efraimidis and Spirakis, 2006). Weight 0 comes after all others, in random order; NaN never.
    """
    chances = rng.random(len(weights))
    with np.errstate(divide="ignore", invalid="ignore"):
        keys = np.where(weights > 0, np.log(chances) / weights, -np.inf)
    order = np.lexsort((chances, keys))[::-1]
    return [int(i) for i in order if not np.isnan(weights[i])][:n]


def first(task: Task, n: int) -> list[Entry]:
    """The training problems of a finite task, or the first `n` different ones of one that never ends."""
    found: dict[str, int] = {}
    for index in range(task.size if task.size is not None else 50 * n + 100):
        found.setdefault(task.problem(index, "train").id, index)
        if task.size is None and len(found) == n:
            break
    return [Entry(index, problem) for problem, index in found.items()]


def _by_name(level: Level) -> bool:
    return isinstance(level[0], str)
