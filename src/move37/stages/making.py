"""What the stages that make a data set share: steps that leave a shard each, resuming, and the data set in the end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from move37.files import read_lines
from move37.runs import Folder
from move37.stages import dataset
from move37.stages.context import Context
from move37.stages.dataset import Row


class Making(ABC):
    """Base of the stages that make data.

    A step leaves its shards in the folders FOLDERS and a line of metrics. The data set is made from the shards in the end
    (`collect`), so a stage that was killed does no finished step again, and ends with the same bits.
    """

    FOLDERS: ClassVar[tuple[Folder, ...]] = ("rows",)

    def __init__(self, context: Context, name: str, total: int) -> None:
        self.context, self.name, self.total = context, name, total
        self.log = context.run.log(name)

    @abstractmethod
    def sentence(self) -> str:
        """The derived sizes, for people."""

    @abstractmethod
    def step(self, number: int) -> dict[str, Any]:
        """Make one step's shards; returns its metrics, `tokens` among them."""

    @abstractmethod
    def collect(self) -> tuple[list[Row], dict[str, Any]]:
        """The rows of the data set and its statistics, from the shards.

        Raises:
            NothingAccepted: no row is left; says why.
        """

    def share(self, number: int, whole: int, most: int) -> int:
        """How many of `whole` a step has, at most so many; the last one may have fewer."""
        return min(most, whole - (number - 1) * most)

    def skip(self, number: int) -> None:  # noqa: B027  (a stage that draws nothing)
        """Go past a step that is done already: what it drew is drawn again."""

    def check(self) -> None:  # noqa: B027  (a stage that always makes something)
        """Stop a run that comes to nothing; called after each step."""

    def run(self) -> None:
        """The steps that are left, then the data set."""
        done = self._resume()
        for number in range(done + 1, self.total + 1):
            started = time.perf_counter()
            metrics = self.step(number)
            metrics["seconds"] = time.perf_counter() - started
            metrics["wall_s"] = sum(row["seconds"] for row in self.log.metrics()) + metrics["seconds"]
            self.log.record(number, metrics)
            self.context.display.step({"step": number, **metrics})
            self.check()
            if self.context.interrupt.asked and number < self.total:
                self.context.interrupt.stop(f"step {number} of {self.name}", self.context.run.resume_command())
        rows, statistics = self.collect()
        dataset.write(self.log.data, rows, statistics)
        for line in dataset.table(statistics):
            self.context.display.note(f"{self.name}: {line}")
        metrics = self.log.metrics()
        spent = {key: sum(row[key] for row in metrics) for key in ("tokens", "seconds")}
        self.log.finish({"rows": len(rows), **spent}, "data")

    def made(self) -> list[Row]:
        """The rows of all steps, in order."""
        return [row for path in self.log.shards("rows").values() for row in read_lines(path)[0]]

    def _resume(self) -> int:
        """Steps on record whose shards are there."""
        shards = [self.log.shards(folder) for folder in self.FOLDERS]
        done = 0
        while done < len(self.log.metrics()) and all(done + 1 in mine for mine in shards):
            done += 1
        self.log.truncate_after(done)
        for number in range(1, done + 1):
            self.skip(number)
        if done:
            self.context.display.note(f"{self.name}: going on after step {done} of {self.total}")
        return done
