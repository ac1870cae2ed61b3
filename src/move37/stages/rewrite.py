"""`rewrite`: the second half of a cold start. Right responses are written anew for readers, and verified again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37.errors import NothingAccepted, TaskError, nearest
from move37.models import folder
from move37.rewards import style
from move37.rewards.reading import last_box, tagged
from move37.sections import Rewrite
from move37.sections.answering import SCRIPTED, source_of
from move37.stages import conversations, dataset, instructions
from move37.stages.context import Context
from move37.stages.dataset import Row
from move37.stages.demonstrate import RESPONSE
from move37.stages.judges import Asking, Place, asker_of
from move37.stages.making import Making
from move37.tasks.base import Task
from move37.tasks.known import Key, find
from move37.types import Problem, Verdict
from move37.world import rewriter
from move37.world.speech import WORDS

COLUMNS = ("prompt", "response", "task", "problem")
REASONING = "reasoning"  # rows of other domains stay as they are


@dataclass(slots=True)
class Draft:
    """A row on its way. `dropped` is the cause, once there is one."""

    row: Row
    problem: Problem
    thought: str = ""
    answer: str = ""
    summary: str = ""
    dropped: str = ""


class Rewriting(Making):
    """As DeepSeek-R1 v2, section B.3.2: a writer makes reasoning and summary readable, in the question's language.

    Two requests a row: the thought first, then its summary. A row stays only where its new form is whole and the answer in
    its last box is found right by its task again. The others are counted by cause: `layout` (the row given is not in the
    form), `too_long`, `refused`, `no_reply`, `cut_off`, `empty`, `tags`, `no_box`, `answer_changed`. A writer that does not
    answer ends the run (`Asking`), with what it has written so far in a ledger: going on asks for the rest alone.
    """

    def __init__(self, context: Context, name: str, section: Rewrite) -> None:
        self.section = section
        self.rows = _rows(f"stages.{name}.data", context, section.data)
        super().__init__(context, name, -(-len(self.rows) // section.rows_per_step))
        self.tokenizer = folder.load_tokenizer(context.source(section))
        self.write = _writer(context, section, self.log.path / "written.jsonl")
        self.problems = find(context.tasks, map(_key, _only(self.rows)))
        self._check_problems()

    def sentence(self) -> str:
        return f"{len(self.rows)} rows in {self.section.sentence()}"

    def step(self, number: int) -> dict[str, Any]:
        rows = self.rows[(number - 1) * self.section.rows_per_step : number * self.section.rows_per_step]
        drafts = [self._draft(row) for row in rows if _reasoning(row)]
        self.write([draft for draft in drafts if not draft.dropped])
        _verify([draft for draft in drafts if not draft.dropped], self.context.tasks)
        done = iter(drafts)
        made = [self._made(next(done)) if _reasoning(row) else self._passed(row) for row in rows]
        self.log.rows(number, made)
        kept = [row for row in made if not row["dropped"]]
        causes = Counter(row["dropped"] for row in made if row["dropped"])
        counts = {f"dropped/{cause}": count for cause, count in sorted(causes.items())}
        return {"tokens": sum(row["tokens"] for row in kept), "accepted": len(kept), **counts}

    def collect(self) -> tuple[list[Row], dict[str, Any]]:
        made = self.made()
        kept = [{key: value for key, value in row.items() if key != "dropped"} for row in made if not row["dropped"]]
        dropped = dict(sorted(Counter(row["dropped"] for row in made if row["dropped"]).items()))
        told = ", ".join(f"{cause} {count}" for cause, count in dropped.items())
        if not any(map(_reasoning, kept)):
            raise NothingAccepted(f"{self.name}: none of {len(made)} rows is left. Dropped: {told}. {_hint(dropped)}")
        statistics = {
            **dataset.sizes(kept),
            "given": len(made),
            "dropped": dropped,
            "language": {"before": _in_language(self.rows), "after": _in_language(kept)},
            "told": [f"{len(made) - len(kept)} of {len(made)} rows dropped: {told}"] if dropped else [],
        }
        return kept, statistics

    def _draft(self, row: Row) -> Draft:
        draft = Draft(row, self.problems[_key(row)])
        read = tagged("", row["response"])
        if not read.ok or read.thinking is None or read.final is None:
            draft.dropped = "layout"
        elif len(read.thinking) > self.section.longest:
            draft.dropped = "too_long"
        else:
            draft.thought, draft.answer = read.thinking, read.final
        return draft

    def _made(self, draft: Draft) -> Row:
        response = RESPONSE.format(draft.thought, draft.summary)
        tokens = dataset.length(response, self.tokenizer)
        if draft.dropped:
            return {**draft.row, "written": response, "dropped": draft.dropped}
        return {**dataset.row(self.name, draft.problem, response, tokens), "dropped": ""}

    def _passed(self, row: Row) -> Row:
        """A row of another domain."""
        return {**dataset.counted(row, Path(self.section.data).stem, self.tokenizer), "dropped": ""}

    def _check_problems(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if _reasoning(row) and _key(row) not in self.problems:
                told = f"row {number} answers problem {row['problem']!r}, which is no training problem of task {row['task']}"
                told += " in these words"
                raise TaskError(f"stages.{self.name}.data: {told}; use the tasks of the recipe that made the data")
        spoken = {problem.meta.get("language") for problem in self.problems.values()}
        if self.section.by == SCRIPTED and not spoken <= set(WORDS):
            told = f"knows {', '.join(sorted(WORDS))}, and there are questions in {', '.join(map(str, spoken - set(WORDS)))}"
            raise TaskError(f"stages.{self.name}.by: the script {told}; name an endpoint or a checkpoint")


Write = Callable[[Sequence[Draft]], None]  # fills thought and summary, or dropped


def _writer(context: Context, section: Rewrite, ledger: Path) -> Write:
    source = source_of(section.by)
    if source is None:
        return _scripted
    asking = Asking(asker_of(source, ledger, Place.of(context, section)), source)
    return lambda drafts: _asked(drafts, asking)


def _scripted(drafts: Sequence[Draft]) -> None:
    for draft in drafts:
        language = draft.problem.meta["language"]
        draft.thought = rewriter.rewrite(draft.thought, language)
        draft.summary = rewriter.summary(draft.answer, language)


def _asked(drafts: Sequence[Draft], asking: Asking) -> None:
    """Thoughts first; the summary is of the thought that has been written. Raises RunError as `Asking` does."""
    thoughts = asking([instructions.thought_messages(d.problem.question, d.thought) for d in drafts])
    for draft, reply in zip(drafts, thoughts, strict=True):
        draft.thought, draft.dropped = instructions.written(reply)
    left = [draft for draft in drafts if not draft.dropped]
    summaries = asking([instructions.summary_messages(d.problem.question, d.thought, d.answer) for d in left])
    for draft, reply in zip(left, summaries, strict=True):
        draft.summary, draft.dropped = instructions.written(reply)


def _verify(drafts: Sequence[Draft], tasks: dict[str, Task]) -> None:
    """Whether form and final answer are what they were."""
    asked: dict[str, list[tuple[Draft, str]]] = {}
    for draft in drafts:
        read = tagged("", RESPONSE.format(draft.thought, draft.summary))
        if not read.ok or read.final is None:
            draft.dropped = "tags"
        elif last_box(draft.summary) is None:
            draft.dropped = "no_box"
        else:
            asked.setdefault(draft.problem.task, []).append((draft, read.final))
    for name, mine in asked.items():
        scores = tasks[name].verify_all([(final, draft.problem) for draft, final in mine])
        for (draft, _), score in zip(mine, scores, strict=True):
            draft.dropped = "" if score.verdict is Verdict.RIGHT else "answer_changed"


def _rows(where: str, context: Context, data: str) -> list[Row]:
    """The rows, checked: columns, and tasks of this recipe."""
    rows = conversations.rows(where, context.data(data))
    for number, row in enumerate(rows, 1):
        for column in COLUMNS if _reasoning(row) else ():
            if column not in row:
                fix = "rewrite takes what rejection_sample makes, and verifies each answer by its task"
                raise TaskError(f"{where}: row {number} has no {column!r}; {fix}")
        if _reasoning(row) and row["task"] not in context.tasks:
            known = nearest(str(row["task"]), context.tasks)
            raise TaskError(f"{where}: row {number} is of task {row['task']!r}, which is none of this recipe; {known}")
    return rows


def _reasoning(row: Row) -> bool:
    return row.get("domain", REASONING) == REASONING


def _key(row: Row) -> Key:
    return row["task"], row["problem"], row["prompt"]


def _in_language(rows: Sequence[Row]) -> float | None:
    """Share of the reasoning rows whose thought is, by script, in the question's language; of those that have words."""
    pairs = [(style.language(tagged("", row["response"]).thinking or ""), style.language(row["prompt"])) for row in _only(rows)]
    told = [thought == question for thought, question in pairs if thought and question]
    return sum(told) / len(told) if told else None


def _only(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if _reasoning(row)]


def _hint(dropped: dict[str, int]) -> str:
    worst = max(dropped, key=lambda cause: dropped[cause], default="")
    return {
        "layout": "The data must be in the R1-Zero form: <think>...</think><answer>...</answer>.",
        "no_box": "The writer leaves out \\boxed{}: choose one that follows instructions.",
        "answer_changed": "The writer changes answers: choose a stronger one.",
        "cut_off": "Raise max_tokens of the writer.",
    }.get(worst, "Look at rows/ in the stage's directory: it keeps what was written.")
