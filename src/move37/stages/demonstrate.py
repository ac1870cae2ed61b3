"""`demonstrate`: data for SFT by the tasks' own writers."""

from __future__ import annotations

import random
from typing import Any

from move37.models import folder
from move37.sections import Demonstrate
from move37.stages import dataset, watch
from move37.stages.context import Context
from move37.stages.dataset import Row
from move37.stages.making import Making
from move37.tasks.curriculum import Curriculum
from move37.types import Problem
from move37.world.demonstrations import demonstrate, labelled

ROWS_PER_STEP = 512
RESPONSE = "<think>{}</think><answer>{}</answer>"


class Demonstration(Making):
    """Stands for the general data of DeepSeek-R1, section 2.3.3: writing, facts, translation, small talk.

    A row is a function of (seed, stage, its place). Deviation: there a stronger model wrote it; here the task does.
    """

    def __init__(self, context: Context, name: str, section: Demonstrate) -> None:
        super().__init__(context, name, -(-section.rows // ROWS_PER_STEP))
        self.section = section
        self.tasks = context.chosen(section.tasks)
        self.curriculum = Curriculum(self.tasks, context.recipe.seed)
        for task in self.tasks.values():  # one that can not is told before anything is written
            demonstrate(task, task.problem(0, "train"), random.Random(0))
        self.tokenizer = folder.load_tokenizer(context.source(section))

    def sentence(self) -> str:
        return self.section.sentence()

    def step(self, number: int) -> dict[str, Any]:
        seed = watch.mix(self.context.recipe.seed, self.name, number)
        problems = self.curriculum.draw(number, self._size(number))
        rows = [self._row(problem, random.Random(f"{seed}/{place}")) for place, problem in enumerate(problems)]
        self.log.rows(number, rows)
        return {"tokens": sum(row["tokens"] for row in rows), "rows": len(rows)}

    def skip(self, number: int) -> None:
        self.curriculum.draw(number, self._size(number))

    def collect(self) -> tuple[list[Row], dict[str, Any]]:
        rows = self.made()
        distinct = len({(row["prompt"], row["response"]) for row in rows})
        return rows, {**dataset.sizes(rows), "distinct": distinct}

    def _row(self, problem: Problem, rng: random.Random) -> Row:
        task = self.tasks[problem.task]
        response = RESPONSE.format(*demonstrate(task, problem, rng, self.section.slips))
        return dataset.row(self.name, problem, response, dataset.length(response, self.tokenizer)) | labelled(task, problem)

    def _size(self, number: int) -> int:
        return self.share(number, self.section.rows, ROWS_PER_STEP)
