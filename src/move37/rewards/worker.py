"""A function in a process that can be killed: for code that may hang, crash or eat memory. Works in any thread.

Parent and child talk in frames (8 bytes of length, then a pickle) over pipes. The child answers item by item, so the
deadline holds per item although a whole batch is sent at once. It protects from hangs, crashes and memory; it is no
sandbox: the function can read and write what this user can.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import math
import os
import pickle
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from move37.errors import RewardError
from move37.types import Score

LENGTH = struct.Struct("<Q")
STARTUP_S = 120.0  # for the imports of the function's module
GRACE_S = 2.0  # the child kills itself this long after the deadline, should its parent be gone
AT_ONCE = 16  # items that a worker of several takes from the queue


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item."""

    kind: Literal["ok", "raised", "hung", "died", "queued"]  # queued: its turn did not come in time
    value: Any = None  # what the function returned; for the others a text
    seconds: float = 0.0  # wall-clock in the child

    def told(self) -> str:
        """The end of a sentence that begins with the function's name."""
        return f"{self.kind}: {self.value}" if self.value else self.kind


class Worker:
    """One child process, started at the first `run` and again after a kill. Not for two threads at once: see Pool."""

    def __init__(self, target: str, memory_mb: int = 0, cpu_s: float = 0.0) -> None:
        """`target` is `module:function` or `file.py:function`.

        `memory_mb` limits the address space, `cpu_s` the CPU time of one item; 0 does not.
        """
        self.target = target
        self.memory_mb = memory_mb
        self.cpu_s = cpu_s
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, items: Sequence[tuple], deadline_s: float, hangs_limit: int = 0) -> list[Outcome]:
        """Call the function with each item's arguments; one outcome per item, in order.

        Once `hangs_limit` items hung (0: no limit) the rest is not tried and counts as hung.

        Raises:
            RewardError: the function can not be loaded in the child.
        """
        outcomes: list[Outcome] = []
        while len(outcomes) < len(items):
            outcomes += self.attempt(items[len(outcomes) :], deadline_s)
            hangs = sum(outcome.kind == "hung" for outcome in outcomes)
            if hangs_limit and hangs >= hangs_limit:
                untried = len(items) - len(outcomes)
                outcomes += [Outcome("hung", f"not tried: {hangs} before it hung")] * untried
        return outcomes

    def close(self) -> None:
        """Kill the child, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def attempt(self, items: Sequence[tuple], deadline_s: float) -> list[Outcome]:
        """Outcomes up to the first item that costs the child its life, that one included; at least one.

        Raises:
            RewardError: the function can not be loaded in the child.
        """
        if self._process is None:
            self._start()
        outcomes: list[Outcome] = []
        try:
            self._send(("run", deadline_s, list(items)))
            while len(outcomes) < len(items):
                outcomes.append(Outcome(*self._receive(deadline_s)))
        except TimeoutError:
            self.close()
            outcomes.append(Outcome("hung", f"no answer in {deadline_s:g} s", deadline_s))
        except (EOFError, BrokenPipeError):
            code = self._process.wait() if self._process else -signal.SIGKILL
            self.close()
            if code == -signal.SIGPROF:
                outcomes.append(Outcome("hung", f"no answer in {self.cpu_s:g} s of CPU time", self.cpu_s))
            elif code in (-signal.SIGALRM, -signal.SIGXCPU):
                outcomes.append(Outcome("hung", f"no answer in {deadline_s:g} s", deadline_s))
            else:
                outcomes.append(Outcome("died", f"exit code {code}"))
        return outcomes

    def _start(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-P", "-c", "from move37.rewards.worker import serve; serve()"]
        # A session of its own: Ctrl-C in the terminal is for the parent, and a kill takes grandchildren along.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        try:
            self._send(("load", self.target, self.memory_mb, self.cpu_s))
            kind, text, _ = self._receive(STARTUP_S)
        except (EOFError, BrokenPipeError, TimeoutError) as problem:
            self.close()
            raise RewardError(f"reward {self.target!r}: its process did not start ({problem or 'it died'})") from None
        if kind != "ready":
            self.close()
            raise RewardError(f"reward {self.target!r} does not load in its process: {text}")

    def _send(self, message: tuple) -> None:
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        self._process.stdin.write(LENGTH.pack(len(data)) + data)
        self._process.stdin.flush()

    def _receive(self, seconds: float) -> tuple[Any, Any, float]:
        until = time.monotonic() + seconds
        [length] = LENGTH.unpack(self._read(LENGTH.size, until))
        return pickle.loads(self._read(length, until))

    def _read(self, size: int, until: float) -> bytes:
        descriptor = self._process.stdout.fileno()
        data = b""
        while len(data) < size:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("no answer in time")
            part = os.read(descriptor, size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class Pool:
    """A few workers of one function, for callers in several threads. Workers start when they are needed.

    A batch goes to all workers at once. An item that hangs or kills its worker delays the others by its own limit at most:
    what was to follow it on that worker goes back to the queue.
    """

    def __init__(self, target: str, memory_mb: int = 0, size: int = 1, cpu_s: float = 0.0) -> None:
        self._make = lambda: Worker(target, memory_mb, cpu_s)
        self._size = size
        self._inherited: list[Worker] = []
        self._workers: list[Worker] = []
        self._renew()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._renew)  # the pipes are the parent's

    def run(
        self, items: Sequence[tuple], deadline_s: float, hangs_limit: int = 0, queue_s: float = math.inf
    ) -> list[Outcome]:
        """One outcome per item, in order. `hangs_limit` counts per worker; see `Worker.run`.

        What has not begun `queue_s` seconds after the call is not tried.

        Raises:
            RewardError: the function can not be loaded in the child.
        """
        until = time.monotonic() + queue_s
        step = max(1, min(AT_ONCE, -(-len(items) // self._size)))
        if self._size == 1 or hangs_limit:
            step = max(1, len(items))
        work = Batch(items, step, deadline_s, hangs_limit, until)
        lanes = [threading.Thread(target=self._lane, args=(work,), daemon=True) for _ in range(work.lanes(self._size))]
        try:
            for lane in lanes[1:]:
                lane.start()
            if lanes:
                self._lane(work)
            for lane in lanes[1:]:
                lane.join()
        except BaseException:
            work.stopped = True
            self.close()
            raise
        if work.error:
            raise work.error
        return work.outcomes()

    def _lane(self, work: Batch) -> None:
        """Take parts of a batch until none is left, on one free worker after the other."""
        while not work.stopped and work.queue:
            free = self._free
            try:
                worker = free.get(timeout=max(0.0, work.until - time.monotonic()) if work.until < math.inf else None)
            except queue.Empty:
                return
            try:
                work.serve(worker)
            except Exception as error:
                worker.close()  # half a conversation can not be resumed
                work.error, work.stopped = error, True
            except BaseException:
                worker.close()
                raise
            finally:
                free.put(worker)

    def close(self) -> None:
        """Kill the children; the pool can be used again."""
        if self._owner == os.getpid():
            for worker in self._workers:
                worker.close()

    def _renew(self) -> None:
        self._inherited += self._workers  # kept: what they buffer must not reach the parent's children
        self._owner = os.getpid()
        self._workers = [self._make() for _ in range(self._size)]
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()  # the warm one first
        for worker in self._workers:
            self._free.put(worker)


class Batch:
    """Items on their way: parts in a queue, outcomes by place."""

    def __init__(self, items: Sequence[tuple], step: int, deadline_s: float, hangs_limit: int, until: float) -> None:
        self.items, self.deadline_s, self.hangs_limit, self.until = items, deadline_s, hangs_limit, until
        self.queue = deque(range(start, min(start + step, len(items))) for start in range(0, len(items), step))
        self.found: list[Outcome | None] = [None] * len(items)
        self.stopped = False
        self.error: Exception | None = None

    def lanes(self, size: int) -> int:
        return min(size, len(self.queue))

    def serve(self, worker: Worker) -> None:
        """One part on one worker; what a killed worker leaves goes back to the front."""
        if time.monotonic() >= self.until:
            self.stopped = True
            return
        try:
            places = self.queue.popleft()
        except IndexError:  # another lane was quicker
            return
        items = [self.items[place] for place in places]
        if self.hangs_limit:
            done = worker.run(items, self.deadline_s, self.hangs_limit)
        else:
            done = worker.attempt(items, self.deadline_s)
        self.found[places.start : places.start + len(done)] = done
        if len(done) < len(items):
            self.queue.appendleft(range(places.start + len(done), places.stop))

    def outcomes(self) -> list[Outcome]:
        late = Outcome("queued", "its turn did not come in time")
        return [outcome or late for outcome in self.found]


# ------------------------------------------------------------------------------------------------- in the child


def serve() -> None:
    """The child's life: load the function, then answer batches until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    frames_in = os.fdopen(os.dup(0), "rb")
    frames_out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the function prints must not fall between the frames
    _, target, memory_mb, cpu_s = _next(frames_in)
    try:
        function = _load(target)
        _limit_memory(memory_mb)
    except Exception as problem:
        _answer(frames_out, "failed", f"{type(problem).__name__}: {problem}", 0.0)
        return
    _answer(frames_out, "ready", "", 0.0)
    while True:
        try:
            _, deadline_s, items = _next(frames_in)
        except EOFError:
            return
        for item in items:
            started = time.perf_counter()
            kind, value = _call(function, item, deadline_s, cpu_s)
            _answer(frames_out, kind, value, time.perf_counter() - started)


def _call(function: Callable[..., Any], item: tuple, deadline_s: float, cpu_s: float) -> tuple[str, Any]:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # default: the alarm kills, also inside C code
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, deadline_s + GRACE_S)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    _limit_cpu(deadline_s + GRACE_S)
    try:
        return "ok", _sendable(function(*item))
    except Exception as problem:
        return "raised", f"{type(problem).__name__}: {problem}"[:500]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _sendable(value: Any) -> Any:
    """Only what the parent can read without importing anything of the user's."""
    if isinstance(value, Score):
        parts = {str(name): float(part) for name, part in value.parts.items()}
        return Score(value=float(value.value), parts=parts, why=str(value.why), cause=str(value.cause))
    if value is None or type(value) in (bool, int, float, str, tuple, list):
        return value
    return float(value)  # numpy and torch scalars


def _load(target: str) -> Callable[..., Any]:
    module, _, name = target.rpartition(":")
    if module.startswith("move37."):
        return getattr(importlib.import_module(module), name)
    from move37.rewards.user import load  # here: user.py imports this module

    return load(target)


def _limit_memory(memory_mb: int) -> None:
    import resource  # not on Windows, where nothing here runs anyway

    if memory_mb:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_cpu(seconds: float) -> None:
    """A second way to end a hang, for functions that take the alarm away. All cores may be busy that long."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = used.ru_utime + used.ru_stime + seconds * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (int(allowed) + 1, resource.RLIM_INFINITY))


def _next(frames: io.BufferedReader) -> tuple:
    head = frames.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    return pickle.loads(frames.read(LENGTH.unpack(head)[0]))


def _answer(frames: io.BufferedWriter, kind: str, value: Any, seconds: float) -> None:
    data = pickle.dumps((kind, value, seconds), protocol=pickle.HIGHEST_PROTOCOL)
    frames.write(LENGTH.pack(len(data)) + data)
    frames.flush()
