"""`demonstrate`: data for SFT by the tasks' own writers, or by an endpoint or a checkpoint."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from move37.errors import NothingAccepted, TaskError
from move37.models import folder
from move37.sections import Demonstrate
from move37.sections.answering import source_of
from move37.stages import dataset, instructions, watch
from move37.stages.context import Context
from move37.stages.dataset import Row
from move37.stages.judges import Asking, Place, asker_of
from move37.stages.making import Making
from move37.tasks.curriculum import Curriculum
from move37.types import Problem
from move37.world.demonstrations import demonstrate, labelled

ROWS_PER_STEP = 512
RESPONSE = "<think>{}</think><answer>{}</answer>"


class Demonstration(Making):
    """Stands for the general data of DeepSeek-R1, section 2.3.3: writing, facts, translation, small talk.

    By the tasks, a row is a function of (seed, stage, its place). By a model, as there: it is asked for a short thought and
    a reply; nobody verifies them (no rule could), and what is in no form is dropped and counted: `refused`, `no_reply`,
    `cut_off`, `empty`, `tags`. What it has written is in a ledger, so that going on asks for the rest alone.
    """

    def __init__(self, context: Context, name: str, section: Demonstrate) -> None:
        super().__init__(context, name, -(-section.rows // ROWS_PER_STEP))
        self.section = section
        self.tasks = context.chosen(section.tasks)
        self.curriculum = Curriculum(self.tasks, context.recipe.seed)
        source = source_of(section.by)
        for task in self.tasks.values():  # one that can not is told before anything is written
            if source is None:
                demonstrate(task, task.problem(0, "train"), random.Random(0), thoughts=section.thoughts)
            elif not task.open_ended:
                told = "has an answer that a rule verifies, and nothing here would: use rejection_sample"
                raise TaskError(f"stages.{name}.by: task {task.name} {told}")
        self.tokenizer = folder.load_tokenizer(context.source(section))
        ledger, place = self.log.path / "written.jsonl", Place.of(context, section)
        self.asking = None if source is None else Asking(asker_of(source, ledger, place), source)

    def sentence(self) -> str:
        return self.section.sentence()

    def step(self, number: int) -> dict[str, Any]:
        seed = watch.mix(self.context.recipe.seed, self.name, number)
        problems = self.curriculum.draw(number, self._size(number))
        if self.asking is None:
            rows = [self._row(problem, random.Random(f"{seed}/{place}")) for place, problem in enumerate(problems)]
        else:
            rows = self._asked(problems, number, self.asking)
        self.log.rows(number, rows)
        kept = [row for row in rows if not row.get("dropped")]
        return {"tokens": sum(row["tokens"] for row in kept), "rows": len(kept)}

    def skip(self, number: int) -> None:
        self.curriculum.draw(number, self._size(number))

    def collect(self) -> tuple[list[Row], dict[str, Any]]:
        made = self.made()
        dropped = dict(sorted(Counter(row["dropped"] for row in made if row.get("dropped")).items()))
        rows = [{key: value for key, value in row.items() if key != "dropped"} for row in made if not row.get("dropped")]
        told = ", ".join(f"{cause} {count}" for cause, count in dropped.items())
        if not rows:
            raise NothingAccepted(f"{self.name}: none of {len(made)} rows is left. Dropped: {told}. Look at rows/ there")
        distinct = len({(row["prompt"], row["response"]) for row in rows})
        statistics = {**dataset.sizes(rows), "distinct": distinct, "behaviours": dataset.behaviours(rows, "tags")}
        if dropped:
            statistics |= {"dropped": dropped, "told": [f"{len(made) - len(rows)} of {len(made)} rows dropped: {told}"]}
        return rows, statistics

    def _row(self, problem: Problem, rng: random.Random) -> Row:
        task = self.tasks[problem.task]
        response = RESPONSE.format(*demonstrate(task, problem, rng, self.section.slips, self.section.thoughts))
        return dataset.row(self.name, problem, response, dataset.length(response, self.tokenizer)) | labelled(task, problem)

    def _asked(self, problems: Sequence[Problem], number: int, asking: Asking) -> list[Row]:
        """Rows by the model, dropped ones among them. Raises RunError as `Asking` does."""
        replies = asking([instructions.reply_messages(problem.question) for problem in problems], sample=number)
        rows = []
        for problem, reply in zip(problems, replies, strict=True):
            thought, text, dropped = instructions.replied(reply)
            response = RESPONSE.format(thought, text)
            made = dataset.row(self.name, problem, response, dataset.length(response, self.tokenizer))
            rows.append({**made, "answer": text, "dropped": dropped})
        return rows

    def _size(self, number: int) -> int:
        return self.share(number, self.section.rows, ROWS_PER_STEP)
