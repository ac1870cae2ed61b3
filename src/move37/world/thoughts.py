"""Long thoughts: a problem thought through as Kimi k1.5's warm-up wants it (arXiv 2501.12599, section 2.2).

Planning, evaluation, reflection and exploration are the paper's four; error identification, backtracking and refinement are
those that its RL is to find (2.3). The paper has a model write them; the tiny world writes them itself, true to the last line:
a try goes wrong, a check tells so, another try is right.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from move37.types import Problem
from move37.world.solutions import CHECKERS, SOLVERS, find_countdown
from move37.world.speech import WORDS

MISTAKEN = 0.3  # share of worked thoughts whose first try goes wrong; of searches, that are begun again
SLIPS = 0.4  # of a step of a try that is to go wrong
PATIENCE = 6  # tries of a search
PHRASES = {
    "en": {
        "plan": ("Plan: step by step.", "First, a plan: one step after the other."),
        "hunt": ("Plan: try what comes near the target.", "First, a plan: look near the target."),
        "try": ("Let me try.", "Let me try this way."),
        "again": "Wait, none of these. Start again:",
        "fixed": "Fixed it: {}.",
        "exact": "More exactly: {}.",
    },
    "zh": {
        "plan": ("计划:一步一步算。", "首先想好思路。"),
        "hunt": ("计划:试试接近的数。", "首先看看接近的数。"),
        "try": ("我来试试。", "先尝试一下。"),
        "again": "等等,都错了。重来:",
        "fixed": "修正:{}。",
        "exact": "更准确:{}。",
    },
}


def worked(problem: Problem, source: str, language: str, rng: random.Random) -> tuple[list[str], str]:
    """Lines and the right result of a problem that has a solver: planned, worked, checked; or taken back and done anew."""
    words, phrases = WORDS[language], PHRASES[language]
    lines, answer = SOLVERS[source](problem.meta, rng, 0.0)
    told = [rng.choice(phrases["plan"])]
    wrong = _wrong(problem, source, answer, rng) if rng.random() < MISTAKEN else None
    if wrong is None:
        return [*told, *lines, *_check(problem, source, answer, language)], answer
    first, claimed = wrong
    doubt, _ = CHECKERS[source](problem.meta, claimed)
    told += [rng.choice(phrases["try"]), *first, words["check"], *doubt, words["retry"], *lines]
    return [*told, phrases["fixed"].format(answer)], answer


def searched(problem: Problem, language: str, rng: random.Random) -> tuple[list[str], str]:
    """The same of a countdown: some tries, perhaps another start, the expression that hits, looked at once more."""
    words, phrases = WORDS[language], PHRASES[language]
    told = [rng.choice(phrases["hunt"]), rng.choice(phrases["try"])]
    lines, answer = find_countdown(problem.meta, rng, words["no"], PATIENCE)
    if len(lines) > 2 and rng.random() < MISTAKEN:
        lines = [*lines[:-1], phrases["again"], lines[-1]]
    return [*told, *lines, words["check"], f"{lines[-1]} {words['ok']}", phrases["exact"].format(answer)], answer


def _wrong(problem: Problem, source: str, answer: str, rng: random.Random) -> tuple[list[str], str] | None:
    """A try that ends on another number; None where luck does not bring one."""
    for _ in range(8):
        lines, claimed = SOLVERS[source](problem.meta, rng, SLIPS)
        if claimed != answer:
            return lines, claimed
    return None


def _check(problem: Problem, source: str, answer: str, language: str) -> Sequence[str]:
    lines, _ = CHECKERS[source](problem.meta, answer)
    return [WORDS[language]["check"], *lines, WORDS[language]["ok"]]
