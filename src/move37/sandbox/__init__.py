"""Running code that nobody trusts: in bubblewrap, one case in one process, with limits.

    a program  (standard input and output)   `Program`: what it printed and how it ended; compare outside
    a function (called by tests)             `Function`: the tests run in a process of their own

See docs/security.md for what it holds against, and what it does not.

Example:
    >>> [ended] = run([Program(["print(int(input()) * 2)"], stdin="21")])
    >>> ended.failure, ended.stdout
    (None, '42\\n')
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar, get_args

from move37 import machine
from move37.errors import RewardError, nearest
from move37.sandbox.host import Mode, Pool
from move37.sandbox.inside import confine

LONGEST_SOURCE = 1 << 20  # characters
LONGEST_INPUT = 48 << 20


class Outcome(StrEnum):
    """What became of a case. INFRASTRUCTURE is no fault of the answer's: it can not be told, and is never a 0."""

    PASSED = "passed"
    WRONG = "wrong"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASH = "crash"
    DID_NOT_COMPILE = "did_not_compile"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one case. On the clock on the wall a case may take three times its CPU time and a second."""

    time_s: float = 5.0  # CPU seconds
    memory_mb: int = 512  # address space of its process
    output_kb: int = 1024  # of standard output, and of standard error


@dataclass(frozen=True, slots=True)
class Program:
    """A whole program. The first of `sources` that compiles is run."""

    sources: Sequence[str]
    stdin: str = ""
    limits: Limits = field(default_factory=Limits)
    seed: int = 0  # of `random`

    def parts(self) -> list[dict]:
        return [_request("program", self.sources, self.limits) | {"stdin": self.stdin, "seed": self.seed}]


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its tests: `assert`s that call it by name, or a `check(candidate)` with asserts inside.

    `prompt` holds helpers that the tests may use. The tests never enter the process of the answer.
    """

    sources: Sequence[str]
    entry: str
    tests: str
    prompt: str = ""
    limits: Limits = field(default_factory=Limits)

    def parts(self) -> list[dict]:
        first = _request("function", self.sources, self.limits) | {"entry": self.entry}
        return [first, {"entry": self.entry, "tests": self.tests, "prompt": self.prompt}]


def _request(kind: str, sources: Sequence[str], limits: Limits) -> dict:
    sizes = {"time_s": limits.time_s, "memory_mb": limits.memory_mb, "output": limits.output_kb << 10}
    return {"kind": kind, "sources": list(sources), **sizes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a case ended. `failure` None: a program ended with status 0, or a function passed all its tests."""

    failure: Outcome | None
    why: str = ""
    stdout: str = ""  # of programs
    stderr: str = ""  # its last 2,000 bytes
    passed: int = 0  # asserts, of functions
    total: int = 1
    cpu_s: float = 0.0
    wall_s: float = 0.0


@dataclass(slots=True)
class _Chosen:
    """What this process uses; `use` sets it."""

    mode: Mode = "bubblewrap"
    pool: Pool | None = None
    owner: int = 0
    works: bool = False


_chosen = _Chosen()
_lock = threading.Lock()


def use(mode: str) -> None:
    """Choose what holds the code, for this process: `bubblewrap` (the default) or `none-i-accept-the-risk`.

    Raises:
        RewardError: no such mode.
    """
    if mode not in get_args(Mode):
        raise RewardError(f"sandbox {mode!r} is not known; {nearest(mode, get_args(Mode))}")
    with _lock:
        if mode != _chosen.mode:
            if _chosen.pool:
                _chosen.pool.close()
            _chosen.mode, _chosen.pool, _chosen.works = mode, None, False  # type: ignore[assignment]


def mode() -> Mode:
    return _chosen.mode


def require() -> None:
    """Start the sandbox and run a program in it, once.

    Raises:
        RewardError: it is not installed, not permitted or does not work here; with what to do.
    """
    if _chosen.works and _chosen.owner == os.getpid():
        return
    if _chosen.mode == "bubblewrap" and not confine.filtered():
        raise RewardError(
            f"the sandbox does not know the system calls of {platform.machine()} ({', '.join(confine.ARCHITECTURES)} it does); "
            "at your own risk: `sandbox: none-i-accept-the-risk` in the recipe"
        )
    ended = one(Program(["print(input())"], stdin="37"))
    if ended.failure or ended.stdout != "37\n":
        raise RewardError(f"the sandbox starts, but a program in it fails: {ended.failure}: {ended.why or ended.stdout!r}")
    _chosen.works = True


def run(jobs: Sequence[Program | Function]) -> list[Ended]:
    """Every job, as many at once as there are cores; results in order.

    Raises:
        RewardError: the sandbox does not start.
    """
    return parallel(one, jobs)


def one(job: Program | Function) -> Ended:
    """One job, in this thread; waits for a free sandbox.

    Raises:
        RewardError: the sandbox does not start.
    """
    if max(map(len, job.sources)) > LONGEST_SOURCE:
        return Ended(failure=Outcome.CRASH, why=f"it has more than {LONGEST_SOURCE} characters")
    if isinstance(job, Program) and len(job.stdin) > LONGEST_INPUT:
        return Ended(failure=Outcome.INFRASTRUCTURE, why=f"an input has more than {LONGEST_INPUT} characters")
    found = _pool().ask(job.parts())
    failure = found.pop("failure")
    return Ended(failure=Outcome(failure) if failure else None, **found)


def close() -> None:
    """End the waiting processes. The next job starts new ones."""
    if _chosen.pool:
        _chosen.pool.close()


Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`work` of every item, in as many threads as there are sandboxes. An interrupt ends what runs."""
    if len(items) < 2:
        return [work(item) for item in items]
    stop = threading.Event()

    def guarded(item: Item) -> Any:
        return None if stop.is_set() else work(item)

    with ThreadPoolExecutor(min(_pool().size, len(items))) as threads:
        try:
            return list(threads.map(guarded, items))
        except BaseException:
            stop.set()
            _pool().abort()
            raise


def _pool() -> Pool:
    with _lock:
        if _chosen.pool is None or _chosen.owner != os.getpid():  # after a fork the pipes are the parent's
            _chosen.pool, _chosen.owner, _chosen.works = Pool(_chosen.mode, machine.cores()), os.getpid(), False
        return _chosen.pool


__all__ = ["Ended", "Function", "Limits", "Outcome", "Program", "close", "mode", "one", "parallel", "require", "run", "use"]
