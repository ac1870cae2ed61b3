"""Good responses by the world's own writer: what a cold start, a teacher or a test can be shown."""

from __future__ import annotations

import random
from typing import Any

from move37.errors import TaskError
from move37.tasks.base import Task
from move37.tasks.families import Forms, General, Same
from move37.tasks.family import FamilyProblems
from move37.types import Problem
from move37.world.solutions import CHECKERS, SOLVERS, find_countdown
from move37.world.speech import TRIES, WORDS, voiced
from move37.world.thoughts import searched, worked

CHECKED = 0.3  # share of worked solutions that are checked before they are told
PATIENCE = 8  # tries of a search that is shown
SUMMARIES = {
    "en": ("The answer is \\boxed{{{}}}.", "So the answer is \\boxed{{{}}}."),
    "zh": ("答案是\\boxed{{{}}}。", "所以答案是\\boxed{{{}}}。"),
}


def demonstrate(
    task: Task, problem: Problem, rng: random.Random, slips: float = 0.0, thoughts: str = "short"
) -> tuple[str, str]:
    """(thought, reply), both in the question's language and, without slips, right by the task's verifier.

    Of a reasoning problem the thought is a worked solution, sometimes checked, and the reply a sentence with the answer in
    \\boxed{}; of a general or safety prompt a short line and a good reply. A translation is in the language asked for.

    Args:
        slips: chance that one worked step goes wrong; later steps go on from the wrong number, and the reply tells what came
            out. A search and a general reply have none.
        thoughts: long: planned, tried, checked, perhaps taken back and done anew (`world/thoughts.py`), without slips.

    Raises:
        TaskError: nobody in the tiny world can do that task, or thinks about it at length.
    """
    language = problem.meta.get("language", "en")
    family = task.family if isinstance(task, FamilyProblems) else None
    if isinstance(family, General | Forms):
        if thoughts == "long":
            raise TaskError(f"tasks.{task.name}: nobody in the tiny world thinks about it at length; thoughts=short writes it")
        return family.demonstrate(dict(problem.meta), rng)
    source = problem.meta.get("source")
    if thoughts == "long" and source in ("countdown", *SOLVERS):
        lines, answer = searched(problem, language, rng) if source == "countdown" else worked(problem, source, language, rng)
    elif source == "countdown":
        lines, answer = find_countdown(problem.meta, rng, WORDS[language]["no"], PATIENCE)
        lines = [rng.choice(TRIES[language]), *lines]
    elif source in SOLVERS:
        lines, answer = _worked(problem, source, language, rng, slips)
    else:
        raise TaskError(f"tasks.{task.name}: nobody in the tiny world can demonstrate {source or 'it'}; only its own families, "
                        f"{', '.join(sorted(SOLVERS))} and countdown")  # fmt: skip
    return "\n".join(lines), rng.choice(SUMMARIES[language]).format(answer)


def labelled(task: Task, problem: Problem) -> dict[str, Any]:
    """Columns beside a demonstration of `same`: the question for a reward model without reasoning. Empty for other tasks."""
    family = task.family if isinstance(task, FamilyProblems) else None
    return family.labelled(dict(problem.meta)) if isinstance(family, Same) else {}


def _worked(problem: Problem, source: str, language: str, rng: random.Random, slips: float) -> tuple[list[str], str]:
    lines, answer = SOLVERS[source](problem.meta, rng, slips)
    lines = voiced(lines, language, rng, switches=0.0)
    if rng.random() < CHECKED:
        check, agrees = CHECKERS[source](problem.meta, answer)
        if agrees:  # who slips does not look again
            lines += [WORDS[language]["check"], *check, WORDS[language]["ok"]]
    return lines, answer
