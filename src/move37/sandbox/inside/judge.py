"""The tests' own process: calls the answer's function through a pipe and decides. The answer never sees it.

Every `assert` is a case: it is counted, and the next one is tried whatever it says. What comes back from the answer is plain
data (see `plain`), so that comparing runs no code of the answer's.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from move37.sandbox.inside import frames, plain


class Gone(BaseException):
    """The answer's process does not answer, or not with a message. No test may catch it with `except Exception`."""


@dataclass
class Report:
    calls: int = 0
    tried: int = 0
    right: int = 0
    written: int = 0  # asserts in the text of the tests
    finished: bool = False
    failure: str = ""  # what the first failing case showed: "wrong", "crash", "memory"
    why: str = ""
    fault: str = ""  # why the tests themselves can not be believed

    def note(self, failure: str, why: str) -> None:
        if not self.failure:
            self.failure, self.why = failure, why


class Counted(ast.NodeTransformer):
    """`assert X` becomes: count X, and what evaluating it raises."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        counted = ast.Expr(_call("__case__", node.test, ast.Constant(ast.unparse(node.test)[:200])))
        failed = ast.Expr(_call("__failed__", ast.Name("__error__", ast.Load()), ast.Constant(ast.unparse(node.test)[:200])))
        handler = ast.ExceptHandler(type=ast.Name("Exception", ast.Load()), name="__error__", body=[failed])
        new = ast.Try(body=[counted], handlers=[handler], orelse=[], finalbody=[])
        return ast.fix_missing_locations(ast.copy_location(new, node))


def _call(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(func=ast.Name(name, ast.Load()), args=list(args), keywords=[])


class Answer:
    """The answer's function, as the tests see it."""

    def __init__(self, call: int, replies: int, report: Report) -> None:
        self._call, self._replies, self._report = call, replies, report

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        functions: list[Callable[..., Any]] = []
        try:
            message = plain.encode((args, kwargs), functions)
        except plain.TooLarge as problem:  # no test writes such a thing by hand: it came from the answer
            self._report.note("wrong", f"it was to be called with {problem}")
            raise Gone from None
        except plain.NotPlain as problem:
            self._report.fault = f"the tests pass {problem}, which can not be sent to the answer's process"
            raise Gone from None
        self._report.calls += 1
        try:
            with contextlib.suppress(BrokenPipeError):  # its last message may say why it does not listen
                frames.send(self._call, message)
            kind, *told = frames.receive(self._replies, plain.LONGEST)
            while kind == "call":
                frames.send(self._call, self._asked(functions[told[0]], plain.decode(told[1])))
                kind, *told = frames.receive(self._replies, plain.LONGEST)
            value = plain.decode(told[0]) if kind == "returned" else None
        except (EOFError, BrokenPipeError):
            raise Gone from None
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError) as problem:
            self._report.note("crash", f"its process sent what is no value ({type(problem).__name__})")
            raise Gone from None
        if kind == "returned":
            return value
        self._raise(str(kind), [str(part) for part in told])

    @staticmethod
    def _asked(function: Callable[..., Any], args: tuple) -> list:
        """The answer calls a function that a test passed to it."""
        try:
            return ["", plain.encode(function(*args))]
        except Exception as problem:
            return [f"{type(problem).__name__}: {problem}"[:300], None]

    def _raise(self, kind: str, told: list[str]) -> None:
        """What the answer raised, as the builtin exception of that name, so that tests can expect it."""
        if kind == "broken":
            self._report.note("did_not_compile" if told[0] == "did_not_compile" else "crash", told[1])
            raise Gone
        if kind == "unsendable":
            raise NotComparable(f"it returned {told[0]}, which is no plain data")
        named = getattr(builtins, told[0], None)
        known = isinstance(named, type) and issubclass(named, Exception) and named not in (UnicodeDecodeError, UnicodeEncodeError)
        error = named(told[1]) if known else RuntimeError(f"{told[0]}: {told[1]}")
        error.move37_answer = "memory" if told[0] == "MemoryError" else "crash"  # type: ignore[attr-defined]
        raise error


class NotComparable(Exception):
    """The answer's value stayed in its process."""


def main(tests: dict, call: int, replies: int, reports: int) -> None:
    """Run the tests and write the report; the watcher reads it."""
    report = Report()
    answer = Answer(call, replies, report)
    try:
        _run(tests, answer, report)
    except Gone:
        pass
    except BaseException as problem:
        text = f"{type(problem).__name__}: {problem}"[:300]
        if made := getattr(problem, "move37_answer", ""):
            report.note(made, f"it raised {text}")
        elif report.calls:
            report.note("wrong", f"the tests stopped at {text}")
        else:
            report.fault = report.fault or f"the tests do not run: {text}"
    os.write(reports, json.dumps(asdict(report)).encode())


def _run(tests: dict, answer: Callable[..., Any], report: Report) -> None:
    space: dict[str, Any] = {"__name__": "tests"}
    # Helpers of the problem that the tests may use. The mere beginning of a function does not compile: they are missing then.
    with contextlib.suppress(SyntaxError):
        exec(compile(tests["prompt"], "<prompt>", "exec"), space)
    tree = ast.parse(tests["tests"])
    report.written = sum(isinstance(node, ast.Assert) for node in ast.walk(tree))
    space |= {tests["entry"]: answer, "candidate": answer}
    space |= {"__case__": _case(report), "__failed__": _failed(report)}
    exec(compile(Counted().visit(tree), "<tests>", "exec"), space)
    if "check" in space:
        space["check"](answer)
    report.finished = True


def _case(report: Report) -> Callable[[Any, str], None]:
    def case(held: Any, text: str) -> None:
        held = bool(held)
        report.tried += 1
        report.right += held
        if not held:
            report.note("wrong", f"not true: {text}")

    return case


def _failed(report: Report) -> Callable[[Exception, str], None]:
    def failed(problem: Exception, text: str) -> None:
        report.tried += 1
        said = f"{type(problem).__name__}: {problem}"[:200]
        report.note(getattr(problem, "move37_answer", "wrong"), f"{said} at: {text}")

    return failed


# ------------------------------------------------------------------------------------------------- in the watcher


def verdict(written: bytes, answer: tuple[str, str], tests: tuple[str, str]) -> dict:
    """What the report and the ends of the two processes come to. Passing needs a whole report with every case right."""
    try:
        report = Report(**json.loads(written))
    except (ValueError, TypeError):
        failure, why = answer if answer[0] else tests
        return {"failure": failure or "infrastructure", "why": why or "the tests gave no report", "passed": 0, "total": 1}
    total = max(1, report.tried if report.finished else max(report.written, report.tried + 1))
    counts = {"passed": report.right, "total": total}
    if report.finished and not report.calls:
        return {"failure": "infrastructure", "why": "the tests never call the function", **counts}
    if report.finished and report.tried and report.right == report.tried:
        return {"failure": None, "why": "", "passed": report.tried, "total": report.tried}
    if report.finished and not report.tried:
        if report.written:  # what the answer returned led around them
            return {"failure": "wrong", "why": "no assert was reached", **counts}
        return {"failure": "infrastructure", "why": "the tests hold no assert that is reached", **counts}
    if report.fault:
        return {"failure": "infrastructure", "why": report.fault, **counts}
    if answer[0]:
        return {"failure": answer[0], "why": report.why or answer[1], **counts}
    if report.failure:
        return {"failure": report.failure, "why": report.why, **counts}
    return {"failure": "crash", "why": "its process ended before the tests did", **counts}
