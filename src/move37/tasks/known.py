"""Problems found again by their ids: rows of a data set name the problem they answer, the task makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from move37.tasks.base import ATTEMPTS, Task
from move37.types import Problem


def find(tasks: Mapping[str, Task], wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Problem]:
    """(task, id) -> the training problem, for those of `wanted` that are found.

    Problems are gone through by index, as training draws them: all of a finite task, and of an endless one so many that
    every problem a run has drawn is among them, and ATTEMPTS more.
    """
    by_task: dict[str, set[str]] = {}
    for task, identity in wanted:
        by_task.setdefault(task, set()).add(identity)
    found: dict[tuple[str, str], Problem] = {}
    for name, left in by_task.items():
        task = tasks[name]
        patience = ATTEMPTS if task.size is None else task.size
        index = last = 0
        while left and index - last < patience:
            problem = task.problem(index, "train")
            index += 1
            if problem.id in left:
                found[name, problem.id] = problem
                left.remove(problem.id)
                last = index
    return found
