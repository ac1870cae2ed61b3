"""Checking tasks without a model: does every gold earn full marks, and does everything else earn none?

Each probe is a response built from the gold and graded the way a sampled one is: form, then the task's verifier.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from move37.errors import TaskError
from move37.rewards.combine import ACCURACY, grade
from move37.rewards.plain import parse_number
from move37.tasks.base import Split, Task
from move37.types import Group, Problem, Rollout, Stop

THOUGHT = "Let me see."
GOLD_PROBES = ("gold", "gold, prefilled")
SHOWN = 20  # golds and failures listed in the summary, per task


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One probe of one problem."""

    task: str
    problem: str  # Problem.id
    question: str
    gold: str
    probe: str  # what was tried, such as "two answers"
    answer: str  # the answer it was built around
    expected: float  # 1 for golds, 0 for the rest
    got: float  # value of the accuracy reward; NaN where it can not tell
    why: str

    @property
    def ok(self) -> bool:
        return self.got == self.expected


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All records, and readings of them."""

    records: list[Record]
    notes: dict[str, list[str]]  # by task: what its loading found worth telling

    @property
    def failures(self) -> list[Record]:
        return [record for record in self.records if not record.ok]

    @property
    def bad_golds(self) -> list[Record]:
        """Golds that do not verify against themselves, each once."""
        found = {(r.task, r.problem, r.answer): r for r in self.failures if r.probe in GOLD_PROBES}
        return list(found.values())

    @property
    def ok(self) -> bool:
        return not self.failures

    def summary(self) -> str:
        """Plain text for people: one line per task, then what failed."""
        lines = []
        for task in dict.fromkeys(record.task for record in self.records):
            mine = [record for record in self.records if record.task == task]
            problems = len({record.problem for record in mine})
            bad = [record for record in self.bad_golds if record.task == task]
            other = [record for record in mine if not record.ok and record.probe not in GOLD_PROBES]
            state = "ok" if not bad and not other else f"{len(bad)} bad golds, {len(other)} other probes failed"
            lines.append(f"{task}: {problems} problems, {len(mine)} probes: {state}")
            lines += [f"  note: {note}" for note in self.notes.get(task, [])]
            lines += [f"  gold {r.answer[:60]!r} of {r.problem} ({_short(r.question)}): {r.why}" for r in bad[:SHOWN]]
            counts = Counter(record.probe for record in other)
            lines += [f"  {probe!r} earned marks or could not be told {count} times" for probe, count in counts.items()]
            for r in other[:SHOWN]:
                lines.append(f"  {r.probe}: {r.answer[:60]!r} against {r.gold[:60]!r} got {r.got:g} {r.why}")
            hidden = max(0, len(bad) - SHOWN) + max(0, len(other) - SHOWN)
            lines += [f"  and {hidden} more"] if hidden else []
        return "\n".join(lines)


def check(tasks: Mapping[str, Task], n: int = 32) -> CheckReport:
    """Probe the first `n` problems of each split of each task; of a finite task with fewer, all of them.

    Raises:
        TaskError: a task has no problem in a split that it should have.
    """
    records = [record for task in tasks.values() for record in check_task(task, n)]
    return CheckReport(records, {name: task.notes for name, task in tasks.items() if task.notes})


def check_task(task: Task, n: int) -> list[Record]:
    """All probes of the first `n` problems of each split."""
    groups, plans = [], []
    for problem in _problems(task, n):
        plan = list(probes(task, problem))
        rollouts = [_rollout(problem, k, prefill, text) for k, (_, _, prefill, text) in enumerate(plan)]
        groups.append(Group(problem=problem, rollouts=rollouts))
        plans.append(plan)
    grade(groups, ACCURACY, {task.name: task})
    return [
        Record(
            task=task.name,
            problem=group.problem.id,
            question=group.problem.question,
            gold=group.problem.answer,
            probe=probe,
            answer=answer,
            expected=float(probe in GOLD_PROBES),
            got=rollout.scores["accuracy"].value,
            why=rollout.scores["accuracy"].why,
        )
        for group, plan in zip(groups, plans, strict=True)
        for (probe, answer, _, _), rollout in zip(plan, group.rollouts, strict=True)
    ]


def probes(task: Task, problem: Problem) -> Iterator[tuple[str, str, str, str]]:
    """(name of the probe, answer, prefill, response text) of everything tried on a problem."""
    golds = task.gold_answers(problem)
    for gold in golds:
        yield "gold", gold, "", respond(gold)
        yield "gold, prefilled", gold, "<think>", respond(gold).removeprefix("<think>")
    gold = golds[0] if golds else "?"  # a task may only verify
    wrong = task.wrong_answer(problem) if golds else "?!"
    if not task.open_ended:
        yield "wrong answer", wrong, "", respond(wrong)
    short = truncated(gold)
    if short and short not in golds:
        yield "truncated gold", short, "", respond(short)
    yield "empty answer", "", "", respond("")
    yield "empty response", "", "", ""
    yield "empty thought", gold, "", respond(gold, thought=" ")
    yield "no tags", gold, "", f"{THOUGHT} {gold}"
    yield "answer only in the thought", gold, "", f"<think>{THOUGHT} <answer>{gold}</answer></think> I do not know."
    yield "two answers", gold, "", f"{respond(wrong)} <answer>{gold}</answer>"
    yield "text after the answer", gold, "", f"{respond(gold)} or so"


def respond(answer: str, thought: str = THOUGHT) -> str:
    """A response in the R1-Zero form."""
    return f"<think>{thought}</think> <answer>{answer}</answer>"


def truncated(gold: str) -> str:
    """The gold without its last character; empty where that leaves nothing or may leave the same value.

    Punctuation and brackets at the end may carry no value, half a LaTeX command is no command, and 0.50 is 0.5.
    """
    gold = gold.strip()
    short = gold[:-1].strip()
    if not short or not gold[-1].isalnum() or re.search(r"\\[A-Za-z]+$", gold):
        return ""
    value = parse_number(gold)
    return "" if value is not None and value == parse_number(short) else short


def _problems(task: Task, n: int) -> list[Problem]:
    """Of each split that has a share, the first `n` different ones."""
    shares: dict[Split, float] = {"train": 1 - task.held_out, "held_out": task.held_out}
    splits = [split for split, share in shares.items() if share > 0]
    if not splits:
        raise TaskError(f"tasks.{task.name}: held_out={task.held_out} leaves no problems at all")
    found: dict[str, Problem] = {}
    for split in splits:
        if split == "held_out":
            found |= {problem.id: problem for problem in task.held_out_problems(n)}
        else:
            count = n if task.size is None else min(n, task.size)
            found |= {problem.id: problem for problem in (task.problem(index, split) for index in range(max(1, count)))}
    return list(found.values())


def _rollout(problem: Problem, sample: int, prefill: str, text: str) -> Rollout:
    """A response nobody sampled: no tokens, only text."""
    ids, flags, logprobs = np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0, np.float32)
    return Rollout(
        problem=problem.id,
        task=problem.task,
        sample=sample,
        token_ids=ids,
        sampled=flags,
        logprobs=logprobs,
        sampling_logprobs=logprobs,
        text=text,
        prefill=prefill,
        stop=Stop.EOS,
        version=0,
    )


def _short(question: str) -> str:
    question = " ".join(question.split())
    return question if len(question) <= 60 else f"{question[:57]}..."
