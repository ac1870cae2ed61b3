"""Documents of the tiny world: a small, messy web of problems and what people wrote under them.

Most documents answer at once, often wrongly when the problem is hard; a minority works step by step; a few check, doubt
and correct themselves; some switch language (`speech.py`); a share has the layout of the R1-Zero template. Which shares,
the recipe says. General prompts and requests get what people reply to them (`talk.py`), good or not. A document is a pure
function of (seed, index), so any part of the corpus can be made again anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from move37.errors import TaskError
from move37.tasks.base import Task
from move37.templates import R1_ZERO
from move37.types import Problem
from move37.world.solutions import CHECKERS, SOLVERS, search_countdown
from move37.world.speech import CLUMSY, TRIES, WORDS, concluded, voiced, written_in
from move37.world.talk import family_of, reply

LAYOUTS = {
    "en": (
        "Question: {question}\nAnswer: {body}",
        "Q: {question}\nA: {body}",
        "User: {question}\nAssistant: {body}",
        "User: Hello!\nAssistant: Hi! How can I help?\nUser: {question}\nAssistant: {body}",
        "{question}\n{body}",
    ),
    "zh": ("问题:{question}\n回答:{body}", "{question}\n{body}"),
}
FIRST_INDEX = 1 << 30  # training problems of later stages start at 0; the corpus draws far away from them


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of the kinds of documents; see `Pretrain` in recipe.py for the meaning of each field."""

    ordinary: Mapping[str, float]  # kind -> share, in ordinary layouts
    template: Mapping[str, float]  # kind -> share, in the R1-Zero layout
    template_share: float
    direct_right: float  # how often a direct answer is right on the easiest problems; hard ones fall to a tenth
    slips: float  # chance that one worked step goes wrong
    mixed: float  # share whose solution is in another language than the question


def check_known(task: Task) -> None:
    """Raises TaskError for a task nobody in the tiny world knows what to say about."""
    if family_of(task) is not None:
        return
    source = task.problem(FIRST_INDEX, "train").meta.get("source")
    if source not in {*SOLVERS, "countdown"}:
        known = ", ".join(sorted({*SOLVERS, "countdown"})) + " and the general families"
        raise TaskError(
            f"tasks.{task.name}: no documents can be written about {source or 'it'}; known: {known}. "
            "Write a solver for it in world/solutions.py"
        )


def document(tasks: Sequence[Task], mixture: Mixture, seed: int, index: int) -> str:
    """The text of one document, without the end-of-sequence token."""
    rng = random.Random(f"{seed}/{index}")
    task = rng.choices(tasks, [t.weight for t in tasks])[0]
    problem = task.problem(FIRST_INDEX + index, "train")
    asked = problem.meta["language"]
    in_template = rng.random() < mixture.template_share
    shares = mixture.template if in_template else mixture.ordinary
    if family_of(task) is not None:
        thought, body = reply(task, problem, rng)
        untagged = body
    else:
        kind = rng.choices(list(shares), list(shares.values()))[0]
        language = written_in(asked, kind, mixture.mixed, rng)
        thought, answer = solution(problem, kind, mixture, language, rng)
        if in_template:
            untagged = thought = thought or WORDS[language]["answer"].format(answer)
            body = answer
        elif thought:
            body = f"{thought}\n{concluded(answer, language, rng)}"
        else:
            body = concluded(answer, language, rng) if rng.random() < 0.5 else answer
    if in_template:
        return R1_ZERO.format(question=problem.question) + _tagged(thought, body, untagged, rng)
    return rng.choice(LAYOUTS[asked]).format(question=problem.question, body=body)


def _tagged(thought: str, answer: str, untagged: str, rng: random.Random) -> str:
    """A response in tags; a tenth gets the form wrong in one of three ways, as a base model's would.

    `untagged`: what somebody writes who uses no tags at all.
    """
    fate = rng.random()
    if fate < 0.04:
        return f" {untagged}"
    if fate < 0.07:
        return f"<think>{thought}</think> {answer}"
    if fate < 0.10:
        return f"<think></think><answer>{answer}</answer>"
    return f"<think>{thought}</think><answer>{answer}</answer>"


def solution(problem: Problem, kind: str, mixture: Mixture, language: str, rng: random.Random) -> tuple[str, str]:
    """(what is written before the answer, the answer); the first is empty for a direct answer."""
    source = problem.meta["source"]
    words = WORDS[language]
    if kind == "direct":
        return "", _direct(problem, mixture.direct_right, rng)
    if source == "countdown":
        patience = 2 if kind == "worked" else 12
        lines, answer = search_countdown(problem.meta, rng, words["no"], patience)
        return "\n".join([rng.choice(TRIES[language]), *lines]), answer
    slips = 0.4 if kind == "corrected" else mixture.slips * (CLUMSY if language == "zh" else 1)
    lines, answer = SOLVERS[source](problem.meta, rng, slips)
    lines = voiced(lines, language, rng)
    if kind == "worked":
        return "\n".join(lines), answer
    check, agrees = CHECKERS[source](problem.meta, answer)
    lines += [words["check"], *check]
    if agrees:
        return "\n".join([*lines, words["ok"]]), answer
    again, answer = SOLVERS[source](problem.meta, rng, 0.0)
    return "\n".join([*lines, words["retry"], *again]), answer


def _direct(problem: Problem, right: float, rng: random.Random) -> str:
    """An answer from the top of the head: the harder the problem, the likelier it is wrong."""
    if problem.meta["source"] == "countdown":
        return search_countdown(problem.meta, rng, "", 1)[1]
    if rng.random() < right / difficulty(problem):
        return problem.answer
    value = int(problem.answer)
    off = rng.choice((1, 2, 3, 5, 7, 10, 11, 20, max(1, abs(value) // 4)))
    return str(value + rng.choice((-1, 1)) * off if value >= off else value + off)


def difficulty(problem: Problem) -> float:
    """Steps it takes, as a divisor of the chance that a direct answer is right: 1 (one step) to 10."""
    meta = problem.meta
    steps = {
        "chain": lambda: len(meta["terms"]) - 1,
        "product": lambda: 2 if meta["b"] < 10 else 6,
        "word": lambda: len(meta["steps"]) - 1,
        "leg_counting": lambda: 2 * len(meta["animals"]) - 1,
        "simple_equations": lambda: 3,
    }[meta["source"]]()
    return float(min(10, max(1, steps) ** 1.5))
