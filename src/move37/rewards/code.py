"""Verifiers of code: does the answer's function pass the tests, does its program turn each input into its output?

The answer runs in a sandbox (`move37.sandbox`). The output expected of a program never enters it; the tests of a function
run beside the answer's process, not in it. What the sandbox itself gets wrong is no verdict: CANNOT_TELL.

What counts as the code: the last fenced block of the answer, or all of it where there is none.

Example:
    >>> case = Case(given="2 3", expected="5")
    >>> program("```python\\nprint(sum(map(int, input().split())))\\n```", [case]).value
    1.0
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from move37 import sandbox
from move37.sandbox import Ended, Limits, Outcome
from move37.types import Score

TIMEOUTS = 2  # cases of one program that may run out of time; the rest of its cases is not tried and counts as such
LARGEST_TIME_S, LARGEST_MEMORY_MB = 600.0, 1 << 16
FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*[^`\n]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Standard input and the standard output it must give."""

    given: str
    expected: str


def extract(answer: str) -> str:
    """The last fenced block; one that is not closed ends with the answer. All of the answer where there is none."""
    found, block, mark = None, [], ""
    for line in answer.splitlines():
        bare = line.strip()
        if mark:
            if bare.startswith(mark) and not bare.strip(mark[0]):
                found, mark = "\n".join(block), ""
            else:
                block.append(line)
        elif match := FENCE.fullmatch(line):
            mark, block = match[1], []
    if mark:
        found = "\n".join(block)
    return answer if found is None else found


def same(told: str, expected: str) -> bool:
    """Whether two outputs are the same.

    Convention: each line's runs of white space count as one space, those at its ends as none; empty lines at the end do not
    count. Everything else does: case, empty lines between, 1.0 is not 1.
    """
    return _lines(told) == _lines(expected)


def _lines(text: str) -> list[str]:
    lines = [" ".join(line.split()) for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def program(answer: str, cases: Sequence[Case], limits: Limits | None = None) -> Score:
    """1 where every case passes, else the share that does; NaN where the sandbox fails. Comparing is done outside.

    `parts`: `passed` (the share), `cases` (how many), and how many cases had each other outcome.

    Raises:
        RewardError: the sandbox does not start.
    """
    if not cases:
        return Score.cannot_tell("the problem has no cases")
    source, limits = extract(answer), limits or Limits()
    if not source.strip():
        return Score(value=0.0, parts={"passed": 0.0, "cases": len(cases)}, why="there is no code")
    outcomes: list[tuple[Outcome, str]] = []
    for case in cases:
        outcomes.append(_outcome(sandbox.one(sandbox.Program([source], case.given, limits)), case))
        last = outcomes[-1][0]
        if last is Outcome.INFRASTRUCTURE:
            break
        if last is Outcome.DID_NOT_COMPILE or [o for o, _ in outcomes].count(Outcome.TIMEOUT) >= TIMEOUTS:
            outcomes += [(last, "not tried")] * (len(cases) - len(outcomes))
            break
    return _score(outcomes)


def _outcome(ended: Ended, case: Case) -> tuple[Outcome, str]:
    if ended.failure:
        return ended.failure, ended.why
    if same(ended.stdout, case.expected):
        return Outcome.PASSED, ""
    return Outcome.WRONG, f"it printed {ended.stdout.strip()[:60]!r}, not {case.expected.strip()[:60]!r}"


def _score(outcomes: Sequence[tuple[Outcome, str]]) -> Score:
    counts = Counter(outcome for outcome, _ in outcomes)
    if counts[Outcome.INFRASTRUCTURE]:
        return Score.cannot_tell(f"infrastructure error: {outcomes[-1][1]}", cause="infrastructure")
    share = counts.pop(Outcome.PASSED, 0) / len(outcomes)
    parts = {"passed": share, "cases": float(len(outcomes)), **{str(o): float(n) for o, n in sorted(counts.items())}}
    if share == 1:
        return Score(value=1.0, parts=parts)
    number, (outcome, why) = next((k, o) for k, o in enumerate(outcomes, 1) if o[0] is not Outcome.PASSED)
    return Score(value=share, parts=parts, why=f"case {number}: {outcome.replace('_', ' ')}: {why}")


def function(answer: str, tests: str, entry: str, prompt: str = "", limits: Limits | None = None) -> Score:
    """1 where every assert holds, else the share that does; NaN where the sandbox or the tests themselves fail.

    The answer is a whole definition of `entry`, or the rest of `prompt`. `parts` as for `program`, a case being an assert
    that was reached; what comes after a crash or a timeout counts as not passed.

    Raises:
        RewardError: the sandbox does not start.
    """
    sources = completed(extract(answer), prompt, entry)
    ended = sandbox.one(sandbox.Function(sources, entry, tests, prompt, limits or Limits()))
    if ended.failure is Outcome.INFRASTRUCTURE:
        return Score.cannot_tell(f"infrastructure error: {ended.why}", cause="infrastructure")
    parts = {"passed": ended.passed / ended.total, "cases": float(ended.total)}
    if ended.failure is None:
        return Score(value=1.0, parts=parts)
    # a failure of everything after the last assert leaves a share of 1, which only passing may have
    share = min(parts["passed"], (ended.total - 1) / ended.total)
    missed = float(ended.total - round(share * ended.total))
    why = f"{ended.failure.replace('_', ' ')}: {ended.why}"
    return Score(value=share, parts=parts | {"passed": share, str(ended.failure): missed}, why=why)


def completed(code: str, prompt: str, entry: str) -> list[str]:
    """The sources to try, in order: the first that compiles is run.

    A definition of `entry` stands alone, after the prompt, whose imports and helpers it may use. Anything else goes on where
    the prompt ends; the first line may have lost its indentation when the answer was stripped, or all lines theirs.
    """
    if not prompt:
        return [code]
    if re.search(rf"^(async[ \t]+)?def[ \t]+{re.escape(entry)}\b", code, re.MULTILINE):
        return [f"{prompt}\n\n{code}", code]  # a prompt that does not compile by itself is of no use
    return [f"{prompt}{text}\n" for text in (f"    {code}", code, textwrap.indent(code, "    "))]


def cases_of(cell: Any) -> list[Case]:
    """A list of `{"input": ..., "output": ...}`, or the same as JSON text.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError as problem:
            raise ValueError(f"`cases` is text that is no JSON ({problem})") from None
    if not isinstance(cell, Sequence) or not cell:
        raise ValueError("`cases` must be a list of {input, output} that is not empty")
    out = []
    for number, case in enumerate(cell, 1):
        if not isinstance(case, Mapping) or not all(isinstance(case.get(key), str) for key in ("input", "output")):
            raise ValueError(f"case {number} of `cases` must have `input` and `output`, both text; it is {case!r:.80}")
        out.append(Case(given=case["input"], expected=case["output"]))
    return out


def limits_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The limits a row gives; what it leaves out is the default's."""
    out: dict[str, Any] = {}
    for key, kind, most in (("time_s", float, LARGEST_TIME_S), ("memory_mb", int, LARGEST_MEMORY_MB)):
        given = row.get(key)
        if given in (None, ""):
            continue
        try:
            out[key] = kind(given)
        except (TypeError, ValueError):
            raise ValueError(f"`{key}` is {given!r}, no number") from None
        if not 0 < out[key] <= most:
            raise ValueError(f"`{key}` is {given!r}; it must be above 0 and at most {most:g}")
    return out
