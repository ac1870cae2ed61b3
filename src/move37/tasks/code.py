"""Layouts whose answers are code: a function with tests (as HumanEval writes them), a program with inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from move37 import sandbox
from move37.rewards import code
from move37.sandbox import Limits
from move37.types import Problem, Score

Row = Mapping[str, Any]
Pairs = Sequence[tuple[str, Problem]]

ASK = "Complete this Python function. Answer with the whole function in one fenced code block.\n\n"


def fenced(source: str) -> str:
    return f"```python\n{source.rstrip()}\n```"


def nothing(gold: str) -> str:
    """A program that does nothing, a function that returns nothing."""
    return fenced("pass")


def function_question(row: Row) -> str:
    return ASK + fenced(str(row["prompt"]))


def function_answer(row: Row) -> str:
    """Prompt and reference solution as one definition; empty where there is none."""
    solution = row.get("canonical_solution") or ""
    return fenced(f"{row['prompt']}{solution}") if solution else ""


def function_meta(row: Row) -> dict[str, Any]:
    """What `verify_functions` needs. Columns `time_s` and `memory_mb` are optional.

    Raises:
        ValueError: a limit that can not be.
    """
    given = {key: str(row[key]) for key in ("prompt", "entry_point", "test")}
    return given | {"limits": code.limits_of(row)}


def verify_functions(pairs: Pairs) -> list[Score]:
    """The tests of `meta["test"]` on the answer's `meta["entry_point"]`.

    Raises:
        RewardError: the sandbox does not start.
    """

    def one(pair: tuple[str, Problem]) -> Score:
        answer, meta = pair[0], pair[1].meta
        return code.function(answer, meta["test"], meta["entry_point"], meta["prompt"], Limits(**meta["limits"]))

    return sandbox.parallel(one, pairs)


def program_answer(row: Row) -> str:
    """The reference program of an optional column `solution`; empty where there is none."""
    return fenced(str(row["solution"])) if row.get("solution") else ""


def program_meta(row: Row) -> dict[str, Any]:
    """What `verify_programs` needs. Columns `time_s` and `memory_mb` are optional.

    Raises:
        ValueError: cases that are no list of `input` and `output`, or a limit that can not be.
    """
    cases = [{"input": case.given, "output": case.expected} for case in code.cases_of(row["cases"])]
    return {"cases": cases, "limits": code.limits_of(row)}


def verify_programs(pairs: Pairs) -> list[Score]:
    """The cases of `meta["cases"]` on the answer's program.

    Raises:
        RewardError: the sandbox does not start.
    """

    def one(pair: tuple[str, Problem]) -> Score:
        answer, meta = pair[0], pair[1].meta
        return code.program(answer, code.cases_of(meta["cases"]), Limits(**meta["limits"]))

    return sandbox.parallel(one, pairs)
