"""Chosen problems: those of a task that may be drawn, by index, with what is known of their difficulty.

`curate` leaves such a set as rows with `task`, `index`, `problem` (its id) and `pass_rate`, among others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37.errors import TaskError, nearest
from move37.tasks.base import Task

COLUMNS = ("task", "index", "problem", "pass_rate")


@dataclass(frozen=True, slots=True)
class Entry:
    """One problem of a task, among those that may be drawn."""

    index: int  # of the split `train`
    problem: str  # its id
    pass_rate: float | None = None  # share of right responses when it was measured: low is hard


Pool = Mapping[str, Sequence[Entry]]  # by task


def read(where: str, path: Path, tasks: Mapping[str, Task]) -> Pool:
    """The set of problems a stage or file holds, of `tasks` alone; `where` is the key that named it, for errors.

    Raises:
        TaskError: no rows of these tasks; a row without task, index, problem and pass_rate; or one whose problem is not what
            the task has at that index: it was measured on other tasks, or with another seed.
    """
    found: dict[str, list[Entry]] = {}
    for name, row in _rows(where, path):
        missing = [column for column in COLUMNS if column not in row]
        if missing:
            raise TaskError(f"{where}: {name} has no {missing[0]!r}; give the data of a `curate` stage (it has {sorted(row)})")
        if row["task"] in tasks:
            task = tasks[row["task"]]
            if task.problem(row["index"], "train").id != row["problem"]:
                raise TaskError(
                    f"{where}: {name} is problem {row['problem']} of task {task.name}, which has another one at index "
                    f"{row['index']} now; curate again with this recipe's task and seed"
                )
            found.setdefault(task.name, []).append(Entry(row["index"], row["problem"], row["pass_rate"]))
    if not found:
        raise TaskError(f"{where}: {path} has no problem of the tasks {', '.join(tasks)}; curate these, or name other tasks")
    return found


def _rows(where: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(file and line, row) of a JSONL file or a directory of them."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, near) if near else "there is no such directory either"
        raise TaskError(f"{where}: {path} holds no problems; {hint}")
    rows = []
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as problem:
                raise TaskError(f"{where}: {file}, line {number} is no JSON: {problem}") from None
            rows.append((f"{file}, line {number}", row))
    return rows
