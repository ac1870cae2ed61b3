"""`move37 grade`: the graders on their own, for scripts and for other people's logs. JSONL in, JSONL out, in order.

A record says what it is (`kind`), what is right (`gold`) and what was said (`response`, or `answer` where it was already
taken out of one). It comes back with "verdict", "score", "parts", "why" and "seconds"; every other key is passed through.
The conventions are docs/grading.md.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from move37 import sandbox
from move37.errors import UserError, nearest
from move37.options import build
from move37.rewards import code, consistent, equality, extract, form, ifeval
from move37.rewards.verify import VERIFIERS
from move37.sandbox import Limits
from move37.types import Score, Verdict

Record = dict[str, Any]
CHUNK = 1 << 20  # bytes read at once, where so many are there
TOLD = {Verdict.RIGHT: "right", Verdict.WRONG: "wrong", Verdict.CANNOT_TELL: "unknown"}
USED = ("gold", "answer", "response", "prefill", "tolerance", "target", "question")  # not passed through
USED += ("instructions", "instruction_id_list", "kwargs")
USED += ("cases", "tests", "entry_point", "prompt", "time_s", "memory_mb")


# ------------------------------------------------------------------------------------------------------------ kinds


def text_of(record: Record, key: str) -> str:
    """A field that must be there, as text; numbers are accepted.

    Raises:
        UserError: it is missing, or neither text nor number.
    """
    if key not in record:
        raise UserError(f"a record of kind {record['kind']!r} needs {key!r}; it has {', '.join(sorted(record))}")
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(f"{key!r} must be a text or a number, not {value!r:.60}")
    return str(value)


def answer_of(record: Record) -> str | None:
    """The `answer` of a record, or what is found in its `response`; None where there is none.

    Raises:
        UserError: it has neither, or both.
    """
    given = [key for key in ("answer", "response") if key in record]
    if len(given) != 1:
        raise UserError("it has both 'answer' and 'response'; give one" if given else "it needs 'response' or 'answer'")
    return text_of(record, "answer") if given == ["answer"] else extract.answer_of(text_of(record, "response"))


def compared(name: str) -> Callable[[list[Record]], list[Score]]:
    """Answers against golds by a verifier."""

    def score(records: list[Record]) -> list[Score]:
        pairs = [(answer_of(record), text_of(record, "gold")) for record in records]
        return with_answers(pairs, VERIFIERS[name])

    return score


def with_answers(
    pairs: Sequence[tuple[str | None, str]], verify_all: Callable[[list[tuple[str, str]]], list[Score]]
) -> list[Score]:
    """Scores of the pairs that have an answer; the others are wrong."""
    graded = iter(verify_all([(answer, gold) for answer, gold in pairs if answer is not None]))
    none = Score(value=0.0, why="no answer is found in the response")
    return [none if answer is None else next(graded) for answer, _ in pairs]


def mathematics(records: list[Record]) -> list[Score]:
    """As `compared("math")`, with an optional absolute `tolerance`: a number, or one for each item of the gold."""
    pairs = [(answer_of(record), text_of(record, "gold")) for record in records]
    tolerances = [_tolerance(record) for (answer, _), record in zip(pairs, records, strict=True) if answer is not None]
    return with_answers(pairs, lambda found: equality.verify_all(found, tolerances))


def _tolerance(record: Record) -> equality.Tolerance:
    given = record.get("tolerance")
    numbers = given if isinstance(given, list) else [given]
    if given is None:
        return None
    if not numbers or not all(type(n) in (int, float) and n >= 0 and math.isfinite(n) for n in numbers):
        raise UserError(f"'tolerance' must be a number of at least 0, or a list of them, not {given!r:.60}")
    return given


def in_form(records: list[Record]) -> list[Score]:
    """The R1-Zero form of a response; `prefill` is what the prompt put before it, such as "<think>"."""
    forms = [form.split(text_of(r, "prefill") if "prefill" in r else "", text_of(r, "response")) for r in records]
    return [Score(value=float(found.ok), why=found.why) for found in forms]


def followed(records: list[Record]) -> list[Score]:
    """IFEval: the instructions of a record (`instructions`, or `instruction_id_list` and `kwargs` as in its files)."""
    return [ifeval.verify(_said(record), _instructions(record)) for record in records]


def _said(record: Record) -> str:
    """An `answer` as it is; of a `response` what is inside <answer>, or after the thought."""
    if "answer" in record and "response" not in record:
        return text_of(record, "answer")
    response = text_of(record, "response")
    found = form.split("", response).answer
    return response.rpartition("</think>")[2].strip() if found is None else found


def _instructions(record: Record) -> list[dict[str, Any]]:
    given, ids, arguments = (record.get(key) for key in ("instructions", "instruction_id_list", "kwargs"))
    if given is None and isinstance(ids, list) and isinstance(arguments, list) and len(ids) == len(arguments):
        given = [{"id": name, **more} for name, more in zip(ids, arguments, strict=True) if isinstance(more, dict)]
    if not isinstance(given, list) or not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in given):
        raise UserError("it needs 'instructions', a list of {\"id\": ..., arguments}, or 'instruction_id_list' and 'kwargs'")
    return ifeval.instructions([one["id"] for one in given], [{k: v for k, v in one.items() if k != "id"} for one in given])


def spoken(records: list[Record]) -> list[Score]:
    """The share of words in the `target` language (a code), or in that of the `question`; of the thought, where one is found."""
    scores = []
    for record in records:
        response = text_of(record, "response")
        given = {"target": record["target"]} if "target" in record else {}
        target = build("kind", {"language": consistent.Language}, "language", given).target
        if target == "question":
            target = consistent.question_language(text_of(record, "question"), "en")
        thought = form.split(text_of(record, "prefill") if "prefill" in record else "", response).thinking
        scores.append(consistent.share(response if thought is None else thought, target))
    return scores


def ran(records: list[Record]) -> list[Score]:
    """Code: a function (`entry_point`, `tests`, perhaps its `prompt`) or a program (`cases` of `input` and `output`)."""
    jobs = [(_said(record), *_code(record)) for record in records]

    def one(job: tuple[str, Record, Limits]) -> Score:
        said, given, limits = job
        started = time.perf_counter()
        if "cases" in given:
            score = code.program(said, code.cases_of(given["cases"]), limits)
        else:
            prompt = text_of(given, "prompt") if "prompt" in given else ""
            score = code.function(said, text_of(given, "tests"), text_of(given, "entry_point"), prompt, limits)
        return replace(score, seconds=time.perf_counter() - started)

    return sandbox.parallel(one, jobs)


def _code(record: Record) -> tuple[Record, Limits]:
    if ("cases" in record) == ("tests" in record):
        raise UserError("it needs either 'cases' (a program) or 'entry_point' and 'tests' (a function)")
    try:
        if "cases" in record:
            code.cases_of(record["cases"])
        else:
            for key in ("entry_point", "tests"):
                text_of(record, key)
        return record, Limits(**code.limits_of(record))
    except ValueError as problem:
        raise UserError(str(problem)) from None


# kind -> one score per record, in order. A record that lacks something raises UserError.
KINDS: dict[str, Callable[[list[Record]], list[Score]]] = {
    "math": mathematics,
    "number": compared("number"),
    "choice": compared("choice"),
    "code": ran,
    "text": compared("text"),
    "format": in_form,
    "ifeval": followed,
    "language": spoken,
}


# ---------------------------------------------------------------------------------------------------------- records


@dataclass(slots=True)
class Line:
    """One line of input on its way."""

    number: int
    record: Record | None = None
    error: str = ""
    score: Score | None = None
    seconds: float = 0.0

    def out(self) -> Record:
        """What is written for it."""
        kept = {key: value for key, value in (self.record or {}).items() if key not in USED}
        if self.score is None:
            found: Record = {"verdict": "unknown", "score": None, "parts": {}, "why": f"line {self.number}: {self.error}"}
        else:
            value = None if math.isnan(self.score.value) else self.score.value
            found = {"verdict": TOLD[self.score.verdict], "score": value, "parts": dict(self.score.parts), "why": self.score.why}
        return kept | found | {"seconds": round(self.seconds, 6)}


def parse(number: int, text: str) -> Line:
    """A line of JSON as a record, or with its error."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as problem:
        return Line(number, error=f"no JSON ({problem})")
    if not isinstance(record, dict):
        return Line(number, error=f"a {type(record).__name__}, not an object with 'kind'")
    kind = record.get("kind")
    if kind is None:
        return Line(number, record, f"it has no 'kind'; valid: {', '.join(KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        return Line(number, record, f"kind {kind!r:.60} is not known; {nearest(str(kind), KINDS)}")
    return Line(number, record)


def grade(lines: Sequence[Line]) -> None:
    """Fill the scores, one call for each kind. A record its kind can not use gets an error and no score."""
    kinds: dict[str, list[Line]] = {}
    for line in lines:
        if line.record is not None and not line.error:
            kinds.setdefault(line.record["kind"], []).append(line)
    for kind, mine in kinds.items():
        if not _graded(kind, mine):  # one of them is not as it should be: which?
            for line in mine:
                _graded(kind, [line])


def _graded(kind: str, lines: list[Line]) -> bool:
    started = time.perf_counter()
    try:
        scores = KINDS[kind]([line.record or {} for line in lines])
    except UserError as problem:
        if len(lines) == 1:
            lines[0].error = str(problem)
        return False
    share = (time.perf_counter() - started) / len(lines)
    for line, score in zip(lines, scores, strict=True):
        line.score, line.seconds = score, share if score.seconds is None else score.seconds
    return True


# -------------------------------------------------------------------------------------------------------- streaming


def batches(descriptor: int) -> Iterator[list[str]]:
    """Lines as they come: what a read returns, up to its last line break. Waits only where nothing is there."""
    rest = b""
    while part := os.read(descriptor, CHUNK):
        *whole, rest = (rest + part).split(b"\n")
        if whole:
            yield [line.decode("utf-8", errors="replace") for line in whole]
    if rest:
        yield [rest.decode("utf-8", errors="replace")]


def stream(descriptor: int, write: Callable[[str], None], tell: Callable[[str], None]) -> Mapping[str, int]:
    """Grade what comes from a file descriptor until it ends.

    Args:
        write: gets finished lines, in the order of the input, a batch at a time.
        tell: gets one message per line that could not be used.

    Returns:
        How many lines got which verdict; "error" counts those that could not be used (their verdict is unknown).
    """
    counts = {"right": 0, "wrong": 0, "unknown": 0, "error": 0}
    number = 0
    for texts in batches(descriptor):
        lines = [parse(k, text) for k, text in enumerate(texts, number + 1) if text.strip()]
        number += len(texts)
        grade(lines)
        found = [line.out() for line in lines]
        write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in found))
        for line, record in zip(lines, found, strict=True):
            counts[record["verdict"]] += 1
            if line.error:
                counts["error"] += 1
                tell(record["why"])
    return counts


def grade_records(records: Iterable[Record]) -> list[Record]:
    """The same for records in memory."""
    lines = [parse(k, json.dumps(record)) for k, record in enumerate(records, 1)]
    grade(lines)
    return [line.out() for line in lines]
