"""`move37 cases`: test cases for programs, from generators that somebody or some model wrote, kept where submissions agree.

After Kimi k1.5 (arXiv 2501.12599), section 2.3.5: 50 tests a problem, 10 reference submissions on each; a test is kept if at
least 7 outputs agree, a problem if at least 9 submissions pass all tests that were kept. Of the paper's generators 463 gave at
least 40 tests that were kept; here that is what a problem needs (`least`). Deviations: generators are plain Python programs that
print one input each time they run, not scripts of the CYaRon library; a submission that runs out of time twice is not tried on
the rest, and counts as out of time there.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37 import sandbox
from move37.errors import UserError
from move37.rewards import code
from move37.sandbox import Ended, Limits, Outcome, Program
from move37.streams import reading, writing

TIMEOUTS = code.TIMEOUTS
ASK = """Write a Python program that prints one random input for the programming problem below, and nothing else.

- Use only the standard library, and `random` for everything random. Each run must print another input.
- Keep to every constraint and to the input format of the problem.
- Mix small inputs, large ones and corner cases, as chance has it.
- Answer with the program in one fenced code block.

The problem:

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a test case and when a problem is kept."""

    tests: int = 50  # runs of the generators
    submissions: int = 10  # drawn at random where there are more
    agree: int = 7  # submissions that must print the same
    passing: int = 9  # submissions that must pass every case that was kept
    least: int = 40  # cases that must be kept
    seed: int = 0

    def check(self) -> None:
        """Raises UserError where they can not be."""
        if not 1 <= self.agree <= self.submissions or not 1 <= self.passing <= self.submissions:
            given = f"--agree {self.agree} and --passing {self.passing}"
            raise UserError(f"{given} must be at least 1 and at most --submissions {self.submissions}")
        if 2 * self.agree <= self.submissions:
            told = "two outputs could both be right"
            raise UserError(f"--agree {self.agree} is no majority of --submissions {self.submissions}: {told}")
        if not 1 <= self.least <= self.tests:
            raise UserError(f"--least {self.least} must be at least 1 and at most --tests {self.tests}")


def make(file: Path, out: Path, report: Path | None, rules: Rules) -> str:
    """Every problem of a file, in its order; each is written as soon as it is done. Returns what happened in one sentence.

    Raises:
        UserError: a file that can not be read or written, rules that can not be, or a line that can not be used, by its number.
        RewardError: the sandbox does not start.
    """
    rules.check()
    with reading(str(file)) as descriptor, open(descriptor, encoding="utf-8", errors="replace", closefd=False) as lines:
        problems = [_numbered(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    sandbox.require()
    reasons: Counter[str] = Counter()
    with ExitStack() as stack:
        write = stack.enter_context(writing(out, str(file)))
        tell = stack.enter_context(writing(report, str(file))) if report else None
        for number, problem in problems:
            row, found = build(problem, rules)
            if row is not None:
                write(json.dumps(row, ensure_ascii=False) + "\n")
            if tell:
                name = {key: problem.row[key] for key in ("id",) if key in problem.row}
                tell(json.dumps({"line": number, **name, **found}, ensure_ascii=False) + "\n")
            reasons["kept" if found["kept"] else found["why"].partition(";")[2].strip()] += 1
    told = [f"{count} dropped: {why}" for why, count in sorted(reasons.items()) if why != "kept"]
    return "; ".join([f"{out}: {reasons['kept']} of {len(problems)} problems are kept", *told])


def _numbered(number: int, line: str) -> tuple[int, Problem]:
    try:
        return number, parse(line)
    except ValueError as problem:
        raise UserError(f"line {number}: {problem}") from None


def prompt(question: str) -> str:
    """What to ask a model for a generator. Its whole answer can be put into `generators`."""
    return ASK + question


@dataclass(frozen=True, slots=True)
class Problem:
    """A line of input, checked."""

    row: Mapping[str, Any]
    generators: tuple[str, ...]
    submissions: tuple[str, ...]
    limits: Limits


def parse(text: str) -> Problem:
    """Raises ValueError: it is no JSON object with `question`, `generators` and `submissions`."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"no JSON ({problem})") from None
    if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row["question"].strip():
        raise ValueError("it must be an object with a `question`")
    lists = []
    for key in ("generators", "submissions"):
        given = row.get(key)
        if not isinstance(given, list) or not given or not all(isinstance(one, str) and one.strip() for one in given):
            raise ValueError(f"`{key}` must be a list of programs, as text, that is not empty")
        lists.append(tuple(code.extract(one) for one in given))
    return Problem(row, *lists, Limits(**code.limits_of(row)))


def build(problem: Problem, rules: Rules) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The problem with its cases, or None where it is not kept; and what happened.

    Returns:
        A row of the layout `contest`: all keys of the input but `generators` and `submissions`, and `cases` and `solution`, a
        submission that passes them all. The report: `kept`, `why`, `cases`, `dropped` (reason -> tests), `passing`.

    Raises:
        RewardError: the sandbox does not start.
    """
    report: dict[str, Any] = {"kept": False, "why": "", "tests": rules.tests, "cases": 0, "dropped": {}, "passing": 0}
    if len(problem.submissions) < rules.submissions:
        report["why"] = f"{len(problem.submissions)} submissions; {rules.submissions} are needed"
        return None, report
    chosen = random.Random(f"{rules.seed}/{problem.row['question']}").sample(problem.submissions, rules.submissions)
    dropped: Counter[str] = Counter()
    inputs = _inputs(problem, rules, dropped)
    table = sandbox.parallel(lambda source: _outputs(source, inputs, problem.limits, rules.seed), chosen)
    cases, passed = [], [True] * len(chosen)
    for k, given in enumerate(inputs):
        ended = [column[k] for column in table]
        if any(e.failure is Outcome.INFRASTRUCTURE for e in ended):
            dropped["infrastructure"] += 1
            continue
        expected = agreed(ended, rules.agree)
        if expected is None:
            dropped["disagree"] += 1
            continue
        cases.append({"input": given, "output": expected})
        for n, one in enumerate(ended):
            passed[n] = passed[n] and one.failure is None and code.same(one.stdout, expected)
    report |= {"cases": len(cases), "dropped": dict(sorted(dropped.items())), "passing": sum(passed)}
    if len(cases) < rules.least:
        report["why"] = f"{len(cases)} cases are kept; {rules.least} are needed"
        return None, report
    if sum(passed) < rules.passing:
        report["why"] = f"{sum(passed)} submissions pass every case; {rules.passing} must"
        return None, report
    report["kept"] = True
    kept = {key: value for key, value in problem.row.items() if key not in ("generators", "submissions")}
    return kept | {"cases": cases, "solution": chosen[passed.index(True)]}, report


def agreed(ended: Sequence[Ended], least: int) -> str | None:
    """The output that at least so many programs print, as `code.same` compares; None where there is none, or it is empty."""
    told = [e.stdout for e in ended if e.failure is None]
    for one in told:
        if sum(code.same(one, other) for other in told) >= least:
            return one if one.strip() else None
    return None


def _inputs(problem: Problem, rules: Rules, dropped: Counter[str]) -> list[str]:
    """Different inputs, in the order of the runs; the generators take turns, each run with a seed of its own."""
    runs = [
        Program([problem.generators[k % len(problem.generators)]], limits=problem.limits, seed=_seed(rules.seed, "generator", k))
        for k in range(rules.tests)
    ]
    found: dict[str, None] = {}
    for ended in sandbox.run(runs):
        if ended.failure:
            dropped[f"generator_{ended.failure}"] += 1
        elif not ended.stdout.strip():
            dropped["generator_empty"] += 1
        elif ended.stdout in found:
            dropped["repeated"] += 1
        else:
            found[ended.stdout] = None
    return list(found)


def _outputs(source: str, inputs: Sequence[str], limits: Limits, seed: int) -> list[Ended]:
    """One submission on every input; a random one gets another seed each time, so that it shows."""
    out: list[Ended] = []
    for k, given in enumerate(inputs):
        if sum(e.failure is Outcome.TIMEOUT for e in out) >= TIMEOUTS:
            out.append(Ended(failure=Outcome.TIMEOUT, why="not tried"))
        else:
            out.append(sandbox.one(Program([source], given, limits, _seed(seed, source, k))))
    return out


def _seed(*parts: object) -> int:
    return random.Random("/".join(map(str, parts))).getrandbits(32)
