"""The answer's own process: runs code that nobody trusts. Whatever it says of itself can only make the outcome worse."""

from __future__ import annotations

import atexit
import os
import random
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

from move37.sandbox.inside import frames, plain

NOT_COMPILED, NO_MEMORY = 121, 122  # exit codes


def program(sources: list[str], seed: int) -> None:
    """Run the first source that compiles as `__main__`, to the end that an interpreter would give it."""
    code = 0
    random.seed(seed)  # one program on one input gives one verdict
    module = types.ModuleType("__main__")
    try:
        compiled = _compiled(sources)
        sys.modules["__main__"] = module
        sys.argv = ["answer.py"]
        exec(compiled, module.__dict__)
    except BaseException as problem:
        code = _told(problem)
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as an interpreter that ends does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except MemoryError:
        code = code or NO_MEMORY
    except BaseException:
        code = code or 1
    os._exit(code)


def _told(problem: BaseException) -> int:
    """What an interpreter would print and return."""
    if isinstance(problem, MemoryError):
        return NO_MEMORY
    if isinstance(problem, SystemExit):
        if problem.code is None or isinstance(problem.code, int):
            return (problem.code or 0) & 0xFF
        print(problem.code, file=sys.stderr)
        return 1
    traceback.print_exception(problem, limit=-20)
    return NOT_COMPILED if getattr(problem, "move37_uncompiled", False) else 1


def _compiled(sources: list[str]) -> types.CodeType:
    """Raises what compiling the first source raised, marked."""
    first: BaseException | None = None
    for source in sources:
        try:
            return compile(source, "<answer>", "exec")
        except MemoryError:
            raise
        except BaseException as problem:
            first = first or problem
    assert first is not None
    first.move37_uncompiled = True  # type: ignore[attr-defined]
    raise first


def function(request: dict, calls: int, replies: int) -> None:
    """Define the function, then answer calls until the tests have no more."""
    random.seed(0)
    module = types.ModuleType("answer")
    try:
        compiled = _compiled(request["sources"])
        sys.modules["answer"] = module
        exec(compiled, module.__dict__)
        wanted = module.__dict__[request["entry"]]
    except MemoryError:
        os._exit(NO_MEMORY)
    except BaseException as problem:
        told = f"it defines no {request['entry']}" if isinstance(problem, KeyError) else _said(problem)
        uncompiled = getattr(problem, "move37_uncompiled", False)
        _answer(replies, ["broken", "did_not_compile" if uncompiled else "crash", told])
        os._exit(NOT_COMPILED if uncompiled else 1)
    while True:
        try:
            message = frames.receive(calls)
        except EOFError:
            os._exit(0)
        _answer(replies, _call(wanted, message, calls, replies))


def _call(wanted: Callable[..., Any], message: Any, calls: int, replies: int) -> list:
    def given(place: int) -> Callable[..., Any]:
        """A function of the tests' that was passed as an argument: it runs over there."""

        def there(*args: Any) -> Any:
            frames.send(replies, ["call", place, plain.encode(args)])
            failed, value = frames.receive(calls)
            if failed:
                raise RuntimeError(failed)
            return plain.decode(value)

        return there

    try:
        args, kwargs = plain.decode(message, given)
        return ["returned", plain.encode(wanted(*args, **kwargs))]
    except plain.NotPlain as problem:
        return ["unsendable", str(problem)]
    except BaseException as problem:
        return ["raised", type(problem).__name__, _said(problem).partition(": ")[2]]


def _said(problem: BaseException) -> str:
    try:
        return f"{type(problem).__name__}: {problem}"[:300]
    except BaseException:
        return type(problem).__name__


def _answer(replies: int, message: list) -> None:
    try:
        frames.send(replies, message)
    except MemoryError:
        os._exit(NO_MEMORY)
