"""Problems found again: rows of a data set name the problem they answer and its wording, the task makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from move37.tasks.base import ATTEMPTS, Task
from move37.types import Problem

Key = tuple[str, str, str]  # task, id, question: a problem has one id in all its wordings


def find(tasks: Mapping[str, Task], wanted: Iterable[Key]) -> dict[Key, Problem]:
    """The training problems of those of `wanted` that are found.

    Problems are gone through by index, as training draws them: all of a finite task, and of an endless one so many that
    every problem a run has drawn is among them, and ATTEMPTS more.
    """
    by_task: dict[str, set[tuple[str, str]]] = {}
    for task, identity, question in wanted:
        by_task.setdefault(task, set()).add((identity, question))
    found: dict[Key, Problem] = {}
    for name, left in by_task.items():
        task = tasks[name]
        patience = ATTEMPTS if task.size is None else task.size
        index = last = 0
        while left and index - last < patience:
            problem = task.problem(index, "train")
            index += 1
            if (problem.id, problem.question) in left:
                found[name, problem.id, problem.question] = problem
                left.remove((problem.id, problem.question))
                last = index
    return found
