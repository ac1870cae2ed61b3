"""`curate`: which problems are worth training on, and how hard they are for a model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from move37.errors import NothingAccepted
from move37.rewards import accuracy
from move37.rewards.combine import ACCURACY, grade
from move37.rewards.form import TAG
from move37.rewards.reading import READINGS
from move37.rollout.draw import Sampling
from move37.sections import Curate, stops
from move37.stages import dataset, watch
from move37.stages.context import Context
from move37.stages.dataset import Row
from move37.stages.making import Making
from move37.tasks.base import Task
from move37.tasks.curriculum import Curriculum, pass_rate
from move37.tasks.formats import format_of
from move37.types import Group, Problem, Reading

KEPT = "kept"
# What a response begins with that leaves no room for a thought, by reading.
OPENINGS: dict[Reading, str] = {"tags": "<answer>", "box": "The answer is \\boxed{", "text": "The answer is"}


class Curating(Making):
    """As Kimi k1.5 (arXiv 2501.12599), section 2.1: diverse, balanced in difficulty, and accurately evaluable problems.

    The pass rate over hot samples is a problem's difficulty: trivial ones are dropped (and hopeless ones, where asked for).
    So is what the model guesses right without a thought: its response is begun for it with an empty thought and an opened
    answer (`OPENINGS`). Multiple choice, true or false and proofs are dropped by their words, before anything is sampled. At
    most `most` of a tag are kept, at random. What was dropped and why is in statistics.json; every response is in `rollouts`,
    the guesses as the last samples of their problem.

    Deviations: the paper samples from an SFT model, here `init` says from which; it tags domains with a classifier, here
    they are the file's or the task's own; it tests for guesses in general question answering, here everywhere.
    """

    FOLDERS = ("rollouts", "rows")

    def __init__(self, context: Context, name: str, section: Curate) -> None:
        super().__init__(context, name, -(-section.prompts // section.prompts_per_step))
        self.section = section
        self.tasks = context.chosen(section.tasks)
        self.curriculum = Curriculum(self.tasks, context.recipe.seed)
        common = {"temperature": section.temperature}
        self.sampling = Sampling(**common, max_new_tokens=section.max_new_tokens, **stops(section.stop))
        self.guessing = Sampling(**common, max_new_tokens=section.guess_tokens, stop=("</answer>",))
        self.seen: set[str] = set()
        loaded = context.load(section)
        self.sampler = context.sampler(loaded)
        prompter = self.sampler.prompter
        thought = "</think>" if prompter.prefill else "<think></think>" if section.reading == "tags" else ""
        self.guesser = self.sampler.speaking(prompter.opened(thought + OPENINGS[section.reading]))

    def sentence(self) -> str:
        return self.section.sentence()

    def step(self, number: int) -> dict[str, Any]:
        """Look at the next problems: their words, their pass rate, and what is guessed of them."""
        fates: dict[str, str] = {}
        asked = []
        for problem in self._new(number):
            form = format_of(problem.question, problem.answer)
            if form in self.section.leave_out:
                fates[problem.id] = str(form)
            asked.append(problem)
        groups = self._sampled(number, [p for p in asked if p.id not in fates])
        metrics = watch.sample_metrics(groups)
        rates = {g.problem.id: pass_rate(g) for g in groups}
        fates |= {problem: difficulty(rate, self.section.trivial, self.section.hopeless) for problem, rate in rates.items()}
        hits = self._guessed(number, [g for g in groups if fates[g.problem.id] == KEPT])
        fates |= {problem: "guessed" for problem, right in hits.items() if right}
        self.log.rollouts(number, groups)
        tokens = {g.problem.id: [r.length for r in g.rollouts[: self.section.samples_per_prompt]] for g in groups}
        rows = [self._row(p, fates[p.id], rates.get(p.id), hits.get(p.id), tokens.get(p.id, [])) for p in asked]
        self.log.rows(number, rows)
        told = Counter(row["fate"] for row in rows)
        counts = {f"fate/{fate}": told[fate] for fate in sorted(told)}
        return {"tokens": sum(r.length for g in groups for r in g.rollouts), **counts, **metrics}

    def skip(self, number: int) -> None:
        self._new(number)

    def collect(self) -> tuple[list[Row], dict[str, Any]]:
        rows = self.made()
        kept = capped([r for r in rows if r["fate"] == KEPT], self.section.balance, self.section.most, self._seed())
        chosen = {row["problem"] for row in kept}
        fates = [r | {"fate": "over_most" if r["fate"] == KEPT and r["problem"] not in chosen else r["fate"]} for r in rows]
        statistics = counted(fates, self.section.balance)
        if not kept:
            raise NothingAccepted(f"{self.name}: none of {len(rows)} problems was kept: {'; '.join(statistics['told'])}")
        return [{key: value for key, value in row.items() if key != "fate"} for row in kept], statistics

    # ------------------------------------------------------------------------------------------------- its parts

    def _new(self, number: int) -> list[Problem]:
        """The problems of a step, without those that an earlier one had; the last step may draw fewer."""
        drawn = self.curriculum.draw(number, self.share(number, self.section.prompts, self.section.prompts_per_step))
        new = {p.id: p for p in drawn if p.id not in self.seen}
        self.seen |= set(new)
        return list(new.values())

    def _sampled(self, number: int, problems: Sequence[Problem]) -> list[Group]:
        seed = watch.mix(self.context.recipe.seed, self.name, number)
        groups = self.sampler.sample(problems, self.section.samples_per_prompt, self.sampling, seed)
        grade(groups, ACCURACY, self.tasks, self.section.reading)
        return groups

    def _guessed(self, number: int, groups: Sequence[Group]) -> dict[str, int]:
        """Right guesses by problem; the guesses become the last samples of the groups."""
        if not self.section.guesses:
            return {}
        seed = watch.mix(self.context.recipe.seed, self.name, "guess", number)
        tried = self.guesser.sample([g.problem for g in groups], self.section.guesses, self.guessing, seed)
        for group in tried:
            verify(group, self.tasks[group.problem.task], self.section.reading)
        for group, guesses in zip(groups, tried, strict=True):
            for guess in guesses.rollouts:
                guess.sample += self.section.samples_per_prompt
            group.rollouts += guesses.rollouts
        return {g.problem.id: sum(r.scores["accuracy"].value >= 1 for r in g.rollouts) for g in tried}

    def _row(self, problem: Problem, fate: str, rate: float | None, hits: int | None, tokens: Sequence[int]) -> Row:
        return {
            "prompt": problem.question,
            "answer": problem.answer,
            "task": problem.task,
            "index": self.curriculum.place(problem)[1],
            "problem": problem.id,
            "pass_rate": rate,
            "guessed": hits,
            "tokens": float(np.mean(tokens)) if tokens else None,
            "language": problem.meta.get("language"),
            "domain": problem.meta.get("domain", watch.DOMAINS[0]),
            "source": problem.meta.get("source", problem.task),
            "fate": fate,
        }

    def _seed(self) -> int:
        return watch.mix(self.context.recipe.seed, self.name, "most")


def difficulty(rate: float, trivial: float, hopeless: float | None) -> str:
    """What becomes of a problem of that pass rate: kept, trivial, hopeless or cannot_tell.

    Example:
        >>> [difficulty(rate, 0.9, 0.0) for rate in (0.0, 0.1, 0.9)]
        ['hopeless', 'kept', 'trivial']
    """
    if np.isnan(rate):
        return "cannot_tell"
    if rate >= trivial:
        return "trivial"
    return "hopeless" if hopeless is not None and rate <= hopeless else KEPT


def verify(group: Group, task: Task, reading: Reading) -> None:
    """Put the score of each guess onto it. What can not be told is no right guess."""
    for rollout in group.rollouts:
        rollout.answer = rollout.final = said(reading, rollout.prefill, rollout.text)
        rollout.scores = {}
    accuracy.verify([(rollout, group.problem) for rollout in group.rollouts], {group.problem.task: task})


def said(reading: Reading, opening: str, text: str) -> str | None:
    """The answer of a guess, whose beginning was written for it; in the reading `text`, its first line.

    Example:
        >>> said("tags", "<think></think><answer>", "14</answer>"), said("box", "The answer is \\\\boxed{", "14}.")
        ('14', '14')
    """
    if reading == "tags":
        return TAG.split(text)[0].strip() or None
    if reading == "text":
        return text.strip().partition("\n")[0].rstrip(" .。") or None
    return READINGS[reading]("", opening.rpartition("</think>")[2] + text).final


def tagged(row: Row, tag: str) -> Any:
    """What a row counts as: its task, domain, source or language, or its pass rate to one digit.

    Example:
        >>> tagged({"pass_rate": 0.1 + 0.2, "task": "a"}, "pass_rate"), tagged({"task": "a"}, "task")
        ('0.3', 'a')
    """
    return f"{row[tag]:.1f}" if tag == "pass_rate" else row[tag]


def capped(rows: Sequence[Row], tag: str, most: int | None, seed: int) -> list[Row]:
    """At most so many rows of each tag, at random, in the order they had."""
    if most is None:
        return list(rows)
    by_tag: dict[Any, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        by_tag[tagged(row, tag)].append(i)
    kept: set[int] = set()
    for name, mine in by_tag.items():
        kept |= {mine[i] for i in dataset.random(seed, str(name)).permutation(len(mine))[:most]}
    return [row for i, row in enumerate(rows) if i in kept]


def counted(rows: Sequence[Row], tag: str) -> dict[str, Any]:
    """The statistics: fates in all and by task, what is kept by tag and by pass rate."""
    kept = [row for row in rows if row["fate"] == KEPT]
    fates = Counter(row["fate"] for row in rows)
    by_task: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        by_task[row["task"]][row["fate"]] += 1
    dropped = {fate: count for fate, count in sorted(fates.items()) if fate != KEPT}
    told = ", ".join(f"{fate} {count}" for fate, count in dropped.items()) or "nothing"
    return {
        "asked": len(rows),
        KEPT: len(kept),
        "dropped": dropped,
        "tasks": {task: {"asked": mine.total(), **dict(sorted(mine.items()))} for task, mine in sorted(by_task.items())},
        "tags": dict(sorted(Counter(str(tagged(row, tag)) for row in kept).items())),
        "pass_rates": {name: _histogram(mine) for name, mine in (("asked", rows), (KEPT, kept))},
        "domains": {name: _sizes([r for r in kept if r["domain"] == name]) for name in sorted({r["domain"] for r in kept})},
        "total": _sizes(kept),
        "told": [f"{len(kept)} of {len(rows)} problems kept; dropped: {told}"],
    }


def _histogram(rows: Sequence[Row]) -> dict[str, int]:
    """Pass rate, to one digit -> problems."""
    return dict(sorted(Counter(tagged(row, "pass_rate") for row in rows if row["pass_rate"] is not None).items()))


def _sizes(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """As those of other data sets; a problem's tokens are the mean over its responses."""
    tokens = [row["tokens"] for row in rows if row["tokens"] is not None]
    return {"samples": len(rows), "rounds": 1.0, "tokens": float(np.mean(tokens)) if tokens else 0.0}


