"""Which problems a step trains on: by the weights of the tasks, without repeats until a task has been through.

Every draw is a function of (seed, step, draws before it in the step), so a run that was killed and resumed draws what
it would have drawn. Other ways to draw are in draws.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from move37.errors import TaskError
from move37.tasks.base import Task, stream
from move37.tasks.pool import Entry, Pool
from move37.types import Group, Problem, Verdict


class Curriculum:
    """Draws training problems; `state()` is JSON and `restore()` brings a curriculum back to it exactly.

    Args:
        pool: the problems that may be drawn, by task; a task without any is not drawn from. None: all.
    """

    def __init__(self, tasks: Mapping[str, Task], seed: int, pool: Pool | None = None) -> None:
        if not tasks:
            raise TaskError("there is no task to draw problems from; add one under `tasks`")
        self.tasks = dict(tasks)
        self.seed = seed
        self.pool = pool
        self._cursor = dict.fromkeys(self.tasks, 0)  # the next index of each task
        self._tally = {name: {"right": 0, "wrong": 0, "cannot_tell": 0} for name in self.tasks}
        self._step = -1
        self._draws = 0  # draws made so far within that step: a refill must not repeat the first draw
        self._places: dict[tuple[str, str], tuple[str, int]] = {}  # id and wording of a drawn problem -> its task and index

    def draw(self, step: int, n: int) -> list[Problem]:
        """`n` training problems, in random order.

        Each task gets its share of `n` rounded up or down, right on average (systematic sampling: n equally spaced
        points with one random offset, laid over the weights), so that small steps do not leave a task out by chance.
        """
        rng = self._rng(step)
        shares = self.open(step)
        weights = np.array(list(shares.values()), np.float64)
        edges = np.cumsum(weights / weights.sum())
        points = (np.arange(n) + rng.random()) / max(n, 1)
        picks = np.minimum(np.searchsorted(edges, points, side="right"), len(weights) - 1)
        names = list(shares)
        return [self._next(step, names[pick]) for pick in rng.permutation(picks)]

    def open(self, step: int) -> dict[str, float]:
        """The tasks that are drawn from at a step, with their weights."""
        return {name: task.weight for name, task in self.tasks.items() if self.pool is None or name in self.pool}

    def place(self, problem: Problem) -> tuple[str, int]:
        """(task, index) of a problem that was drawn: `problem_at` gives it again."""
        return self._places[problem.id, problem.question]

    def problem_at(self, name: str, index: int) -> Problem:
        """The training problem of a task at an index; from now on `place` knows it."""
        problem = self.tasks[name].problem(index, "train")
        self._places[problem.id, problem.question] = (name, index)
        return problem

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

    def expected(self, problem: Problem) -> float:
        """The pass rate a problem was drawn for; NaN where none is known. Of the pool: as it was measured."""
        name, index = self._places[problem.id, problem.question]
        entries = (self.pool or {}).get(name, ())
        rate = next((e.pass_rate for e in entries if e.index == index), None)
        return float("nan") if rate is None else rate

    def metrics(self, step: int, groups: Sequence[Group]) -> dict[str, float]:
        """How hard the drawn problems are; to be asked before `observe`.

        Shares of the groups of which no decided response was right (`drawn/none`), under half, half or more, and all; and
        `drawn/pass_rate`, the mean of what was expected of them, where something was.
        """
        rates = [rate for rate in map(pass_rate, groups) if not np.isnan(rate)]
        expected = [rate for rate in (self.expected(g.problem) for g in groups) if not np.isnan(rate)]
        kinds = {
            "none": [r == 0 for r in rates],
            "under_half": [0 < r < 0.5 for r in rates],
            "half_or_more": [0.5 <= r < 1 for r in rates],
            "all": [r == 1 for r in rates],
        }
        told = {f"drawn/{kind}": float(np.mean(hits)) if rates else float("nan") for kind, hits in kinds.items()}
        return told | ({"drawn/pass_rate": float(np.mean(expected))} if expected else {})

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

    def accepts(self, step: int, entry: Entry) -> bool:
        """Whether a problem of the pool may be drawn at a step."""
        return True

    def _next(self, step: int, name: str) -> Problem:
        """The next problem of a task. A pool is gone through in another random order each time."""
        if self.pool is None:
            self._cursor[name] += 1
            return self.problem_at(name, self._cursor[name] - 1)
        entries = self.pool[name]
        while True:  # `open` has seen that one of them is accepted
            epoch, place = divmod(self._cursor[name], len(entries))
            self._cursor[name] += 1
            order = np.random.Generator(np.random.Philox(key=[stream("pool", name, self.seed), epoch]))
            entry = entries[order.permutation(len(entries))[place]]
            if self.accepts(step, entry):
                return self.problem_at(name, entry.index)

    def _rng(self, step: int) -> np.random.Generator:
        """The stream of the next draw of a step."""
        if step != self._step:
            self._step, self._draws = step, 0
        self._draws += 1
        return np.random.Generator(np.random.Philox(key=[self.seed, step], counter=[0, 0, 0, self._draws - 1]))


def pass_rate(group: Group) -> float:
    """Share RIGHT of a group's decided rollouts; NaN where none is decided.

    Example:
        >>> pass_rate(Group(problem=Problem(id="a", task="t", question="?", answer="1"), rollouts=[]))
        nan
    """
    decided = [r.verdict is Verdict.RIGHT for r in group.rollouts if r.verdict is not Verdict.CANNOT_TELL]
    return float(np.mean(decided)) if decided else float("nan")
