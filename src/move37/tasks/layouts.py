"""Known layouts of problem files: which columns hold what, and how answers are compared. One dict literal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from move37.rewards import ifeval
from move37.rewards.verify import VERIFIERS
from move37.tasks import code
from move37.types import Problem, Score

Row = Mapping[str, Any]
Pairs = Sequence[tuple[str, Problem]]  # (answer, problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How to read a row. `question` and `answer` may assume that the `columns` are there and not empty."""

    columns: tuple[str, ...]
    question: Callable[[Row], str]
    answer: Callable[[Row], str]
    verify_all: Callable[[Pairs], list[Score]]
    meta: Callable[[Row], dict[str, Any]] = lambda row: {}  # what the verifier needs beside the gold: Problem.meta
    comparable: bool = False  # whether an answer can stand for the gold when another is verified
    wrong: Callable[[str], str] | None = None  # gold -> an answer that is wrong; None: another number or another gold
    gold: bool = True  # False: a row may have no answer of its own, only a verifier
    open_ended: bool = False  # so many answers are right that none is known to be wrong
    sandbox: bool = False  # answers are code: they run in `move37.sandbox`
    gaps: bool = False  # the public file has rows without an answer: they are left out and told, not an error


def text_of(cell: Any) -> str:
    """A cell as text: 145.0 is "145"; what is missing is empty."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    return str(cell).strip()


def column(name: str) -> Callable[[Row], str]:
    return lambda row: text_of(row[name])


def plain(question: str, answer: str, verifier: str, gaps: bool = False) -> Layout:
    """A question column and an answer column."""
    return Layout(
        columns=(question, answer), question=column(question), answer=column(answer), gaps=gaps, **compared(verifier)
    )


def compared(verifier: str) -> dict[str, Any]:
    """The fields of a layout whose answers are compared with the gold by a verifier, given by name."""
    verify_all = VERIFIERS[verifier]
    return {
        "verify_all": lambda pairs: verify_all([(answer, problem.answer) for answer, problem in pairs]),
        "comparable": True,
        "wrong": other_letter if verifier == "choice" else None,
    }


def other_letter(gold: str) -> str:
    return "B" if gold.strip().upper() == "A" else "A"


def after_marks(row: Row) -> str:
    """GSM8K writes the number after ####; nothing where the mark is missing."""
    return text_of(row["answer"]).partition("####")[2].strip()


def svamp_question(row: Row) -> str:
    body = text_of(row["Body"])
    return f"{body}{'' if body.endswith(('.', '?', '!')) else '.'} {text_of(row['Question'])}"


def aqua_question(row: Row) -> str:
    return "\n".join([text_of(row["question"]), *(text_of(option) for option in row["options"])])


def people(answer: str, gold: str) -> Score:
    """Knights and knaves: everybody named in the gold, each once, and nobody else. `parts` has the share told right.

    Reads `X is a knight` or `X is a knave` in any order, numbered or not, with commas, line breaks or "and" between.
    """
    want = told(gold)
    if not want:
        return Score.cannot_tell(f"the gold {gold[:40]!r} says of nobody whether they are a knight or a knave")
    have = told(answer)
    if have is None:
        return Score(
            value=0.0, why="the answer is more than a list of `X is a knight` and `X is a knave`, or names one twice"
        )
    right = sum(have.get(name) == role for name, role in want.items())
    share = {"told_right": right / len(want)}
    if have == want:
        return Score(value=1.0, parts=share)
    return Score(
        value=0.0, parts=share, why=f"{right} of {len(want)} told right, {len(have.keys() - want.keys())} others named"
    )


def other_role(gold: str) -> str:
    """The first of them is what they are not."""
    return re.sub("knight|knave", lambda m: "knave" if m[0] == "knight" else "knight", gold, count=1)


LONGEST = 5_000  # characters of a list of people; a pattern must not be let loose on more
STATEMENT = re.compile(r"\b(\w+) is (?:a |an )?(knight|knave)\b", re.IGNORECASE)


def told(text: str) -> dict[str, str] | None:
    """Name -> role; None where somebody is named twice or anything but statements is said."""
    if len(text) > LONGEST:
        return None
    roles: dict[str, str] = {}
    for name, role in STATEMENT.findall(text):
        if name.casefold() in roles:
            return None
        roles[name.casefold()] = role.casefold()
    rest = re.sub(r"\(\d+\)|\d+[.)]|\band\b|[\s,;.*-]", "", STATEMENT.sub("", text))
    return None if rest else roles


def ifeval_meta(row: Row) -> dict[str, Any]:
    """The instructions that a response has to follow. Parquet fills the arguments up with nothing, which is dropped."""
    return {"instructions": ifeval.instructions(row["instruction_id_list"], row["kwargs"])}


LAYOUTS: dict[str, Layout] = {
    "gsm8k": Layout(
        columns=("question", "answer"), question=column("question"), answer=after_marks, **compared("number")
    ),
    "svamp": Layout(
        columns=("Body", "Question", "Answer"),
        question=svamp_question,
        answer=column("Answer"),
        **compared("number"),
    ),
    "cmath": plain("question", "answer", "number"),
    "aime24": plain("problem", "answer", "number"),
    "amc23": plain("problem", "answer", "number"),
    "aqua": Layout(
        columns=("question", "options", "correct"),
        question=aqua_question,
        answer=column("correct"),
        **compared("choice"),
    ),
    "sat_math": Layout(
        columns=("question", "options", "Answer"),
        question=lambda row: f"{text_of(row['question'])}\n{text_of(row['options'])}",
        answer=column("Answer"),
        **compared("choice"),
    ),
    "math500": plain("problem", "answer", "math"),
    "math_train7474": plain("problem", "answer", "math", gaps=True),
    "college_math": plain("question", "answer", "math"),
    "olymmath": plain("problem", "answer", "math"),
    "knights_knaves": Layout(
        columns=("quiz", "solution_text_format"),
        question=column("quiz"),
        answer=column("solution_text_format"),
        verify_all=lambda pairs: [people(answer, problem.answer) for answer, problem in pairs],
        comparable=True,
        wrong=other_role,
    ),
    "ifeval": Layout(
        columns=("prompt", "instruction_id_list", "kwargs"),
        question=column("prompt"),
        answer=lambda row: "",
        verify_all=lambda pairs: [ifeval.verify(answer, problem.meta["instructions"]) for answer, problem in pairs],
        meta=ifeval_meta,
        gold=False,
        open_ended=True,
    ),
    "humaneval": Layout(
        columns=("prompt", "entry_point", "test"),
        question=code.function_question,
        answer=code.function_answer,
        verify_all=code.verify_functions,
        meta=code.function_meta,
        wrong=code.nothing,
        gold=False,
        sandbox=True,
    ),
    "contest": Layout(
        columns=("question", "cases"),
        question=column("question"),
        answer=code.program_answer,
        verify_all=code.verify_programs,
        meta=code.program_meta,
        wrong=code.nothing,
        gold=False,
        sandbox=True,
    ),
}
