"""Which problems a step trains on: by the weights of the tasks, without repeats until a task has been through.

Every draw is a function of (seed, step, draws before it in the step), so a run that was killed and resumed draws what
it would have drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from move37.errors import TaskError
from move37.tasks.base import Task
from move37.types import Group, Problem, Verdict


class Curriculum:
    """Draws training problems; `state()` is JSON and `restore()` brings a curriculum back to it exactly."""

    def __init__(self, tasks: Mapping[str, Task], seed: int) -> None:
        if not tasks:
            raise TaskError("there is no task to draw problems from; add one under `tasks`")
        self.tasks = dict(tasks)
        self.seed = seed
        self._cursor = dict.fromkeys(self.tasks, 0)  # the next index of each task
        self._tally = {name: {"right": 0, "wrong": 0, "cannot_tell": 0} for name in self.tasks}
        self._step = -1
        self._draws = 0  # draws made so far within that step: a refill must not repeat the first draw

    def draw(self, step: int, n: int) -> list[Problem]:
        """`n` training problems, in random order.

        Each task gets its share of `n` rounded up or down, right on average (systematic sampling: n equally spaced
        points with one random offset, laid over the weights), so that small steps do not leave a task out by chance.
        """
        if step != self._step:
            self._step, self._draws = step, 0
        rng = self._rng(step, self._draws)
        self._draws += 1
        weights = np.array([task.weight for task in self.tasks.values()], np.float64)
        edges = np.cumsum(weights / weights.sum())
        points = (np.arange(n) + rng.random()) / max(n, 1)
        picks = np.minimum(np.searchsorted(edges, points, side="right"), len(weights) - 1)
        names = list(self.tasks)
        return [self._next(names[pick]) for pick in rng.permutation(picks)]

    def observe(self, groups: list[Group]) -> None:
        """Count the verdicts of each task's rollouts."""
        for group in groups:
            tally = self._tally[group.problem.task]
            for rollout in group.rollouts:
                tally[rollout.verdict.value] += 1

    def solved(self, name: str) -> float:
        """Share RIGHT of all decided rollouts of a task so far; NaN before the first."""
        tally = self._tally[name]
        decided = tally[Verdict.RIGHT.value] + tally[Verdict.WRONG.value]
        return tally[Verdict.RIGHT.value] / decided if decided else float("nan")

    def state(self) -> dict[str, Any]:
        tally = {name: dict(counts) for name, counts in self._tally.items()}
        return {"cursor": dict(self._cursor), "tally": tally, "step": self._step, "draws": self._draws}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises:
        TaskError: the state is of other tasks.
        """
        if set(state["cursor"]) != set(self.tasks):
            raise TaskError(
                f"the saved curriculum is of the tasks {sorted(state['cursor'])}, this recipe has "
                f"{sorted(self.tasks)}; resume with the recipe of the run, or start a new run"
            )
        self._cursor = dict(state["cursor"])
        self._tally = {name: dict(counts) for name, counts in state["tally"].items()}
        self._step, self._draws = state["step"], state["draws"]

    def _next(self, name: str) -> Problem:
        index = self._cursor[name]
        self._cursor[name] += 1
        return self.tasks[name].problem(index, "train")

    def _rng(self, step: int, draws: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed, step], counter=[0, 0, 0, draws]))
